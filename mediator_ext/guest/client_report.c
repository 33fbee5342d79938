/*
 * client_report.c - What vgpu-client prints: words for people, or one JSON object
 *
 * The two never mix on standard output. Errors are words on standard error in both cases; with
 * --json the object says them too, so that a program need not read standard error.
 */
#include "client.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void report_say(const struct report *report, const char *format, ...)
{
    va_list args;

    if (report->json)
        return;
    va_start(args, format);
    vprintf(format, args);
    va_end(args);
    fflush(stdout);
}

static void json_string(const char *text)
{
    putchar('"');
    for (const unsigned char *c = (const unsigned char *)text; *c; c++) {
        if (*c == '"' || *c == '\\')
            printf("\\%c", *c);
        else if (*c == '\n')
            fputs("\\n", stdout);
        else if (*c < 0x20 || *c > 0x7e)
            printf("\\u%04x", *c); /* bytes, read as Latin-1: the object is always valid */
        else
            putchar(*c);
    }
    putchar('"');
}

static bool json_key(struct report *report, const char *key)
{
    if (!report->json)
        return false;
    fputs(report->begun ? ", " : "{", stdout);
    report->begun = true;
    json_string(key);
    fputs(": ", stdout);
    return true;
}

void report_text(struct report *report, const char *key, const char *text)
{
    if (json_key(report, key))
        json_string(text);
}

void report_count(struct report *report, const char *key, uint64_t value)
{
    if (json_key(report, key))
        printf("%" PRIu64, value);
}

void report_integer(struct report *report, const char *key, int64_t value)
{
    if (json_key(report, key))
        printf("%" PRId64, value);
}

void report_real(struct report *report, const char *key, double value)
{
    if (json_key(report, key))
        printf("%.3f", value);
}

void report_flag(struct report *report, const char *key, bool value)
{
    if (json_key(report, key))
        fputs(value ? "true" : "false", stdout);
}

int report_done(struct report *report, enum client_exit exit_code)
{
    report_flag(report, "ok", exit_code == CLIENT_OK);
    report_integer(report, "exit", exit_code);
    if (report->json)
        puts("}");
    return exit_code;
}

int report_failed(struct report *report, enum client_exit exit_code, const char *format, ...)
{
    char text[1024];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    fflush(stdout);
    fprintf(stderr, "vgpu-client: %s\n", text);
    report_text(report, "error", text);
    return report_done(report, exit_code);
}

int report_result(struct report *report, int result, const char *what)
{
    if (result > 0) {
        report_text(report, "status", vgpu_status_name(result));
        return report_failed(report, CLIENT_NEGATIVE, "%s: %s (%s)", what, vgpu_result_text(result),
                             vgpu_status_name(result));
    }
    if (result == -ETIMEDOUT)
        return report_failed(report, CLIENT_TIMEOUT, "%s: %s (see --timeout-ms)", what,
                             vgpu_result_text(result));
    return report_failed(report, result == -EPIPE ? CLIENT_DETACHED : CLIENT_NEGATIVE, "%s: %s",
                         what, vgpu_result_text(result));
}

const char *device_type_text(uint32_t type)
{
    static const char *const names[] = {
        [VGPU_DEVICE_TYPE_NONE] = "the null device, which computes nothing",
        [VGPU_DEVICE_TYPE_CPU] = "CPU",
        [VGPU_DEVICE_TYPE_GPU] = "GPU",
        [VGPU_DEVICE_TYPE_ACCELERATOR] = "accelerator",
    };

    return type <= VGPU_DEVICE_TYPE_ACCELERATOR ? names[type] : "a device of unknown type";
}

uint32_t device_text_kind(const struct vgpu_device_info *info)
{
    bool takes_opencl_c = info->module_kinds & (1u << VGPU_MODULE_OPENCL_C);

    return !takes_opencl_c && info->module_kinds & (1u << VGPU_MODULE_PTX) ? VGPU_MODULE_PTX
                                                                           : VGPU_MODULE_OPENCL_C;
}

void text_printable(char *text)
{
    for (; *text; text++) {
        if (*text < 0x20 || *text > 0x7e)
            *text = '?';
    }
}

void report_device(struct report *report, const struct vgpu_device_info *info)
{
    struct vgpu_device_info shown = *info;

    text_printable(shown.name);
    text_printable(shown.vendor);
    text_printable(shown.driver);
    text_printable(shown.backend);
    report_say(report,
               "Device         %s (%s)\n"
               "Vendor         %s, driver %s, backend %s\n"
               "Memory         %.1f MiB; %.1f MiB for this VM, %.1f MiB in one buffer\n"
               "Compute units  %" PRIu32 ", work-groups of up to %" PRIu64 "\n"
               "Takes          %s%s%s%s\n",
               shown.name, device_type_text(info->type), shown.vendor, shown.driver, shown.backend,
               (double)info->global_mem_bytes / 1048576.0,
               (double)info->vm_memory_bytes / 1048576.0, (double)info->max_alloc_bytes / 1048576.0,
               info->compute_units, info->max_work_group,
               info->module_kinds & (1u << VGPU_MODULE_OPENCL_C) ? "OpenCL C " : "",
               info->module_kinds & (1u << VGPU_MODULE_SPIRV) ? "SPIR-V " : "",
               info->module_kinds & (1u << VGPU_MODULE_PTX) ? "PTX " : "",
               info->module_kinds & (1u << VGPU_MODULE_CUBIN) ? "CUBIN" : "");
    report_text(report, "device", shown.name);
    report_text(report, "vendor", shown.vendor);
    report_text(report, "driver", shown.driver);
    report_text(report, "backend", shown.backend);
    report_count(report, "device_type", info->type);
    report_count(report, "global_mem_bytes", info->global_mem_bytes);
    report_count(report, "max_alloc_bytes", info->max_alloc_bytes);
    report_count(report, "local_mem_bytes", info->local_mem_bytes);
    report_count(report, "vm_memory_bytes", info->vm_memory_bytes);
    report_count(report, "max_work_group", info->max_work_group);
    report_count(report, "compute_units", info->compute_units);
    report_count(report, "clock_mhz", info->clock_mhz);
    report_count(report, "module_kinds", info->module_kinds);
}
