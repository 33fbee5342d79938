/*
 * client_saxpy.c - The command saxpy: real work, and every element of its result checked
 *
 *     build the program ─► buffers x, y ─► write both ─► y := a * x + y, `repeat` times ─► read y
 *
 * Inputs are small integers, so that every intermediate result is exact in a float and a wrong
 * element is a wrong element, not a rounding. Object ids come from the process id: a client that
 * was killed before it could free its own is in nobody's way.
 */
#include "client.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BUILD_LOG_BYTES (64u * 1024)
#define FACTOR          2.0f

static const char saxpy_opencl_c[] =
    "__kernel void saxpy(const float a, __global const float *x, __global float *y)\n"
    "{\n"
    "    const size_t i = get_global_id(0);\n"
    "    y[i] = a * x[i] + y[i];\n"
    "}\n";

static const char saxpy_ptx[] = ".version 6.0\n"
                                ".target sm_50\n"
                                ".address_size 64\n"
                                ".visible .entry saxpy(\n"
                                "    .param .f32 a,\n"
                                "    .param .u64 x,\n"
                                "    .param .u64 y)\n"
                                "{\n"
                                "    .reg .b32 %r<4>;\n"
                                "    .reg .f32 %f<5>;\n"
                                "    .reg .b64 %rd<9>;\n"
                                "    ld.param.f32 %f1, [a];\n"
                                "    ld.param.u64 %rd1, [x];\n"
                                "    ld.param.u64 %rd2, [y];\n"
                                "    mov.u32 %r1, %ctaid.x;\n"
                                "    mov.u32 %r2, %ntid.x;\n"
                                "    mov.u32 %r3, %tid.x;\n"
                                "    cvt.u64.u32 %rd3, %r3;\n"
                                "    mad.wide.u32 %rd4, %r1, %r2, %rd3;\n"
                                "    shl.b64 %rd4, %rd4, 2;\n"
                                "    cvta.to.global.u64 %rd5, %rd1;\n"
                                "    cvta.to.global.u64 %rd6, %rd2;\n"
                                "    add.u64 %rd7, %rd5, %rd4;\n"
                                "    add.u64 %rd8, %rd6, %rd4;\n"
                                "    ld.global.f32 %f2, [%rd7];\n"
                                "    ld.global.f32 %f3, [%rd8];\n"
                                "    fma.rn.f32 %f4, %f1, %f2, %f3;\n"
                                "    st.global.f32 [%rd8], %f4;\n"
                                "    ret;\n"
                                "}\n";

struct saxpy {
    struct vgpu_session *session;
    uint64_t elements;
    uint64_t repeat;
    float *x;
    float *y;
    uint64_t *wait_ns; /* of each launch */
    uint64_t *gpu_ns;
    uint32_t x_id;
    uint32_t y_id;
    uint32_t module_id;
    uint32_t kernel_id;
    double build_ms;
    double write_ms;
    double read_ms;
};

static double ms_since(uint64_t start_ns)
{
    return (double)(vgpu_now_ns() - start_ns) / 1e6;
}

static float x_at(uint64_t i)
{
    return (float)(i % 1000);
}

static float y_at(uint64_t i)
{
    return (float)(i % 7);
}

/* @source: of the kind that the device takes; NULL = the one built in */
static int build(struct saxpy *saxpy, uint32_t kind, const char *source, size_t bytes,
                 struct report *report)
{
    struct vgpu_build_log log = {.room = BUILD_LOG_BYTES};
    uint64_t start_ns = vgpu_now_ns();
    int rc, exit_code = CLIENT_OK;

    log.text = malloc(log.room);
    if (!log.text)
        return report_failed(report, CLIENT_NEGATIVE, "out of memory");
    if (!source) {
        source = kind == VGPU_MODULE_PTX ? saxpy_ptx : saxpy_opencl_c;
        bytes = strlen(source);
    }
    rc = vgpu_module_load(saxpy->session, saxpy->module_id, kind, source, bytes, NULL, &log);
    saxpy->build_ms = ms_since(start_ns);
    if (rc) {
        if (rc == VGPU_BUILD_FAILED) {
            report_say(report, "%s\n", log.text);
            report_text(report, "log", log.text);
        }
        exit_code = report_result(report, rc, "building the program");
    } else {
        report_say(report, "Built the program in %.1f ms.\n", saxpy->build_ms);
    }
    free(log.text);
    return exit_code;
}

static int write_inputs(struct saxpy *saxpy, struct report *report)
{
    uint64_t bytes = saxpy->elements * sizeof(float), start_ns = vgpu_now_ns();
    int rc;

    for (uint64_t i = 0; i < saxpy->elements; i++) {
        saxpy->x[i] = x_at(i);
        saxpy->y[i] = y_at(i);
    }
    rc = vgpu_alloc(saxpy->session, saxpy->x_id, bytes, NULL);
    if (!rc)
        rc = vgpu_alloc(saxpy->session, saxpy->y_id, bytes, NULL);
    if (rc)
        return report_result(report, rc, "allocating device memory");
    rc = vgpu_write(saxpy->session, saxpy->x_id, 0, saxpy->x, bytes);
    if (!rc)
        rc = vgpu_write(saxpy->session, saxpy->y_id, 0, saxpy->y, bytes);
    if (rc)
        return report_result(report, rc, "writing to the device");
    saxpy->write_ms = ms_since(start_ns);
    report_say(report, "Wrote %.1f MiB to the device in %.1f ms.\n",
               2.0 * (double)bytes / 1048576.0, saxpy->write_ms);
    return CLIENT_OK;
}

/*
 * The host's clock is ours on the same machine, not from inside a VM: there the wait is what the
 * round trip leaves beside the time on the device.
 */
static uint64_t waited_ns(uint64_t submit_ns, uint64_t done_ns,
                          const struct vgpu_completion *answer)
{
    uint64_t gpu_ns = answer->end_ns - answer->start_ns, whole_ns = done_ns - submit_ns;

    if (answer->start_ns >= submit_ns && answer->start_ns <= done_ns)
        return answer->start_ns - submit_ns;
    return whole_ns > gpu_ns ? whole_ns - gpu_ns : 0;
}

static int launch_all(struct saxpy *saxpy, struct report *report)
{
    const float factor = FACTOR;
    const struct vgpu_launch_arg args[] = {
        vgpu_arg_value(&factor, sizeof(factor)),
        vgpu_arg_buffer(saxpy->x_id),
        vgpu_arg_buffer(saxpy->y_id),
    };
    const struct vgpu_launch launch = {.kernel = saxpy->kernel_id,
                                       .dims = 1,
                                       .global = {saxpy->elements, 1, 1},
                                       .arg_count = sizeof(args) / sizeof(args[0]),
                                       .args = args};

    for (uint64_t i = 0; i < saxpy->repeat; i++) {
        struct vgpu_completion answer;
        uint64_t submit_ns;
        int rc = vgpu_launch(saxpy->session, &launch, &answer, &submit_ns);

        if (rc)
            return report_result(report, rc, "running the kernel");
        if (answer.end_ns < answer.start_ns)
            return report_failed(report, CLIENT_NEGATIVE,
                                 "running the kernel: it ended before it started");
        saxpy->wait_ns[i] = waited_ns(submit_ns, vgpu_now_ns(), &answer);
        saxpy->gpu_ns[i] = answer.end_ns - answer.start_ns;
    }
    return CLIENT_OK;
}

static int by_value(const void *a, const void *b)
{
    const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return (x > y) - (x < y);
}

static void report_times(struct saxpy *saxpy, struct report *report)
{
    uint64_t middle = saxpy->repeat / 2, last = saxpy->repeat - 1, gpu_total_ns = 0;
    double wait_us, wait_max_us, gpu_us;

    for (uint64_t i = 0; i < saxpy->repeat; i++)
        gpu_total_ns += saxpy->gpu_ns[i];
    qsort(saxpy->wait_ns, saxpy->repeat, sizeof(*saxpy->wait_ns), by_value);
    qsort(saxpy->gpu_ns, saxpy->repeat, sizeof(*saxpy->gpu_ns), by_value);
    wait_us = (double)saxpy->wait_ns[middle] / 1e3;
    wait_max_us = (double)saxpy->wait_ns[last] / 1e3;
    gpu_us = (double)saxpy->gpu_ns[middle] / 1e3;
    if (saxpy->repeat == 1)
        report_say(report,
                   "Ran it over %" PRIu64 " elements: waited %.1f us for the device, then "
                   "%.1f us on it.\n",
                   saxpy->elements, wait_us, gpu_us);
    else
        report_say(report,
                   "Ran it %" PRIu64 " times over %" PRIu64 " elements: waited %.1f us for "
                   "the device (longest %.1f us), then %.1f us on it, each.\n",
                   saxpy->repeat, saxpy->elements, wait_us, wait_max_us, gpu_us);
    report_real(report, "wait_us", wait_us);
    report_real(report, "wait_max_us", wait_max_us);
    report_real(report, "gpu_us", gpu_us);
    report_real(report, "gpu_total_us", (double)gpu_total_ns / 1e3);
}

/* Read y back and compare all of it. */
static int check(struct saxpy *saxpy, struct report *report)
{
    uint64_t start_ns = vgpu_now_ns(), wrong = 0, first_wrong = 0;
    int rc;

    memset(saxpy->y, 0xff, saxpy->elements * sizeof(float)); /* NaN: what is not read is wrong */
    rc = vgpu_read(saxpy->session, saxpy->y_id, 0, saxpy->y, saxpy->elements * sizeof(float));
    if (rc)
        return report_result(report, rc, "reading the result");
    saxpy->read_ms = ms_since(start_ns);
    for (uint64_t i = 0; i < saxpy->elements; i++) {
        float expected = y_at(i) + (float)saxpy->repeat * FACTOR * x_at(i);

        if (saxpy->y[i] != expected && wrong++ == 0)
            first_wrong = i;
    }
    report_count(report, "checked", saxpy->elements);
    report_count(report, "wrong", wrong);
    if (wrong)
        return report_failed(report, CLIENT_NEGATIVE,
                             "%" PRIu64 " of %" PRIu64
                             " elements are wrong; the first is y[%" PRIu64 "] = %g",
                             wrong, saxpy->elements, first_wrong, (double)saxpy->y[first_wrong]);
    report_say(report,
               "Read the result back in %.1f ms and checked all %" PRIu64
               " elements: every one is right.\n",
               saxpy->read_ms, saxpy->elements);
    return CLIENT_OK;
}

/* Ends with an open report when all went well, with a finished one otherwise. */
static int work(struct saxpy *saxpy, const char *source, size_t bytes, struct report *report)
{
    struct vgpu_device_info info;
    int rc = vgpu_device_info(saxpy->session, &info);

    if (rc)
        return report_result(report, rc, "device information");
    text_printable(info.name);
    report_say(report, "Device: %s (%s).\n", info.name, device_type_text(info.type));
    report_text(report, "device", info.name);
    report_count(report, "device_type", info.type);
    report_count(report, "elements", saxpy->elements);
    report_count(report, "repeat", saxpy->repeat);
    rc = build(saxpy, device_text_kind(&info), source, bytes, report);
    if (rc)
        return rc;
    rc = vgpu_kernel_create(saxpy->session, saxpy->kernel_id, saxpy->module_id, "saxpy", NULL);
    if (rc)
        return report_result(report, rc, "finding the kernel \"saxpy\" in the program");
    rc = write_inputs(saxpy, report);
    if (!rc)
        rc = launch_all(saxpy, report);
    if (rc)
        return rc;
    report_times(saxpy, report);
    return check(saxpy, report);
}

/* Objects that were never made are refused as unknown, which is as good. */
static void clean(struct saxpy *saxpy)
{
    if (vgpu_free(saxpy->session, saxpy->x_id) >= 0 && vgpu_free(saxpy->session, saxpy->y_id) >= 0)
        vgpu_module_unload(saxpy->session, saxpy->module_id);
}

int ring_saxpy(const struct client_options *options, struct report *report)
{
    const uint32_t id_base = (uint32_t)getpid() << 2;
    struct saxpy saxpy = {.elements = options->elements,
                          .repeat = options->repeat,
                          .x_id = id_base,
                          .y_id = id_base + 1,
                          .module_id = id_base,
                          .kernel_id = id_base};
    uint64_t start_ns = vgpu_now_ns(), bytes = options->elements * sizeof(float);
    struct ring_client client = {0};
    size_t source_bytes = 0;
    char *file = NULL;
    int exit_code;

    if (options->source) {
        exit_code = file_read(options->source, &file, &source_bytes, report);
        if (exit_code)
            return exit_code;
    }
    saxpy.x = malloc(bytes);
    saxpy.y = malloc(bytes);
    saxpy.wait_ns = calloc(options->repeat, sizeof(*saxpy.wait_ns));
    saxpy.gpu_ns = calloc(options->repeat, sizeof(*saxpy.gpu_ns));
    if (!saxpy.x || !saxpy.y || !saxpy.wait_ns || !saxpy.gpu_ns) {
        exit_code = report_failed(report, CLIENT_NEGATIVE, "out of memory");
        goto out;
    }
    exit_code = ring_client_open(options, 4, &client, report);
    if (exit_code)
        goto out;
    saxpy.session = client.session;
    exit_code = work(&saxpy, file, source_bytes, report);
    if (exit_code != CLIENT_TIMEOUT && exit_code != CLIENT_DETACHED)
        clean(&saxpy);
    if (exit_code)
        goto out;
    report_say(report, "All together: %.1f ms.\n", ms_since(start_ns));
    report_real(report, "build_ms", saxpy.build_ms);
    report_real(report, "write_ms", saxpy.write_ms);
    report_real(report, "read_ms", saxpy.read_ms);
    report_real(report, "total_ms", ms_since(start_ns));
    report_count(report, "retries", vgpu_session_retries(client.session));
    exit_code = report_done(report, CLIENT_OK);
out:
    ring_client_close(&client);
    free(saxpy.gpu_ns);
    free(saxpy.wait_ns);
    free(saxpy.y);
    free(saxpy.x);
    free(file);
    return exit_code;
}
