/*
 * backend_null.c - A device that runs nothing
 *
 * Buffers are host memory, so what is written can be read back; modules, kernels and launches are
 * accepted and do nothing. It serves tests that need no device, and measures everything but the
 * device: whatever a request costs here is ours. For what is about sharing a device, a kernel named
 * busy_<N>us keeps this one busy for N microseconds (1 to 1000000) at each launch.
 *
 * Modules take the same way as on a real device (NEED_BUILD, the exchange, a binary), so that the
 * whole path can be driven without a compiler. A source with an #error line does not build.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "backend.h"

#define BUSY_MAX_US 1000000u

static const char null_binary[] = "vgpud null binary 1";

struct backend {
    uint64_t memory_bytes;
};

struct backend_buffer {
    uint8_t *bytes;
};

struct backend_module {
    char unused; /* nothing is kept: the address is the object */
};

struct backend_kernel {
    uint64_t busy_ns;
};

static int null_open(const struct backend_settings *settings, struct backend **backend,
                     char *reason, size_t reason_bytes)
{
    struct backend *made = malloc(sizeof(*made));

    (void)settings;
    if (!made) {
        snprintf(reason, reason_bytes, "no memory for the null device");
        return -ENOMEM;
    }
    made->memory_bytes = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
    *backend = made;
    return 0;
}

static void null_close(struct backend *backend)
{
    free(backend);
}

static void null_describe(struct backend *backend, struct vgpu_device_info *info)
{
    info->type = VGPU_DEVICE_TYPE_NONE;
    snprintf(info->name, sizeof(info->name), "null device");
    snprintf(info->vendor, sizeof(info->vendor), "vgpud");
    snprintf(info->driver, sizeof(info->driver), "1");
    info->global_mem_bytes = backend->memory_bytes;
    info->max_alloc_bytes = backend->memory_bytes;
    info->local_mem_bytes = 65536;
    info->max_work_group = 1024;
    info->compute_units = 1;
    info->module_kinds = 1u << VGPU_MODULE_OPENCL_C;
}

static struct backend_verdict null_alloc(struct backend *backend, uint64_t bytes,
                                         struct backend_buffer **buffer, uint64_t *raw)
{
    struct backend_verdict full = {.status = VGPU_NO_MEMORY, .native = 0};
    struct backend_buffer *made;

    if (bytes > backend->memory_bytes)
        return full;
    made = malloc(sizeof(*made));
    if (!made)
        return full;
    made->bytes = calloc(1, bytes);
    if (!made->bytes) {
        free(made);
        return full;
    }
    *buffer = made;
    *raw = 0;
    return BACKEND_FINE;
}

static void null_free(struct backend *backend, struct backend_buffer *buffer)
{
    (void)backend;
    free(buffer->bytes);
    free(buffer);
}

static struct backend_verdict null_write(struct backend *backend, struct backend_buffer *buffer,
                                         uint64_t off, const void *from, uint64_t bytes)
{
    (void)backend;
    memcpy(buffer->bytes + off, from, bytes);
    return BACKEND_FINE;
}

static struct backend_verdict null_read(struct backend *backend, struct backend_buffer *buffer,
                                        uint64_t off, void *to, uint64_t bytes)
{
    (void)backend;
    memcpy(to, buffer->bytes + off, bytes);
    return BACKEND_FINE;
}

static struct backend_verdict null_copy(struct backend *backend, struct backend_buffer *to,
                                        uint64_t to_off, struct backend_buffer *from,
                                        uint64_t from_off, uint64_t bytes)
{
    (void)backend;
    memcpy(to->bytes + to_off, from->bytes + from_off, bytes);
    return BACKEND_FINE;
}

/* What is there already is the pattern for twice as much. */
static struct backend_verdict null_fill(struct backend *backend, struct backend_buffer *buffer,
                                        uint64_t off, uint64_t bytes, const void *pattern,
                                        uint32_t pattern_bytes)
{
    uint8_t *to = buffer->bytes + off;
    uint64_t done = pattern_bytes;

    (void)backend;
    memcpy(to, pattern, pattern_bytes);
    while (done < bytes) {
        uint64_t piece = done < bytes - done ? done : bytes - done;

        memcpy(to + done, to, piece);
        done += piece;
    }
    return BACKEND_FINE;
}

static struct backend_verdict null_build(struct backend *backend, const struct backend_code *code,
                                         struct backend_built *built)
{
    static const char error[] = "#error";
    struct backend_verdict verdict = BACKEND_FINE;
    const uint8_t *found = memmem(code->bytes, code->size, error, sizeof(error) - 1);

    (void)backend;
    if (found) {
        const uint8_t *end = memchr(found, '\n', (size_t)(code->bytes + code->size - found));
        size_t line = (size_t)((end ? end : code->bytes + code->size) - found);

        verdict.status = VGPU_BUILD_FAILED;
        built->log = strndup((const char *)found, line);
        built->log_bytes = built->log ? strlen(built->log) : 0;
        return verdict;
    }
    built->binary = malloc(sizeof(null_binary));
    if (!built->binary) {
        verdict.status = VGPU_NO_MEMORY;
        return verdict;
    }
    memcpy(built->binary, null_binary, sizeof(null_binary));
    built->binary_bytes = sizeof(null_binary);
    return verdict;
}

static struct backend_verdict null_module_load(struct backend *backend, const uint8_t *binary,
                                               uint64_t bytes, struct backend_module **module)
{
    struct backend_verdict verdict = BACKEND_FINE;

    (void)backend;
    if (bytes != sizeof(null_binary) || memcmp(binary, null_binary, bytes) != 0) {
        verdict.status = VGPU_FAILED;
        return verdict;
    }
    *module = malloc(sizeof(**module));
    if (!*module)
        verdict.status = VGPU_NO_MEMORY;
    return verdict;
}

static void null_module_unload(struct backend *backend, struct backend_module *module)
{
    (void)backend;
    free(module);
}

static uint64_t now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* How long a launch of the kernel takes, by its name. */
static uint64_t busy_ns(const char *name)
{
    static const char prefix[] = "busy_";
    uint64_t us = 0;

    if (strncmp(name, prefix, sizeof(prefix) - 1) != 0)
        return 0;
    for (name += sizeof(prefix) - 1; *name >= '0' && *name <= '9'; name++) {
        us = us * 10 + (uint64_t)(*name - '0');
        if (us > BUSY_MAX_US)
            return 0;
    }
    return strcmp(name, "us") == 0 ? us * 1000 : 0;
}

static struct backend_verdict null_kernel_create(struct backend *backend,
                                                 struct backend_module *module, const char *name,
                                                 struct backend_kernel **kernel, uint32_t *args)
{
    struct backend_verdict verdict = BACKEND_FINE;

    (void)backend;
    (void)module;
    *args = 0;
    *kernel = malloc(sizeof(**kernel));
    if (!*kernel) {
        verdict.status = VGPU_NO_MEMORY;
        return verdict;
    }
    (*kernel)->busy_ns = busy_ns(name);
    return verdict;
}

static void null_kernel_release(struct backend *backend, struct backend_kernel *kernel)
{
    (void)backend;
    free(kernel);
}

static struct backend_verdict null_launch(struct backend *backend,
                                          const struct backend_launch *launch)
{
    uint64_t end_ns;

    (void)backend;
    if (launch->kernel->busy_ns == 0)
        return BACKEND_FINE;
    for (end_ns = now_ns() + launch->kernel->busy_ns; now_ns() < end_ns;)
        ;
    return BACKEND_FINE;
}

static struct backend_verdict null_finish(struct backend *backend)
{
    (void)backend;
    return BACKEND_FINE;
}

/* Computed by this process: there is no device to do it. */
static uint32_t null_vector_add(uint32_t a, uint32_t b)
{
    return a + b;
}

const struct backend_ops backend_null = {
    .name = "null",
    .flags = BACKEND_INSTANT,
    .library_variable = NULL,
    .builtin_kind = VGPU_MODULE_OPENCL_C,
    .open = null_open,
    .close = null_close,
    .describe = null_describe,
    .alloc = null_alloc,
    .free = null_free,
    .write = null_write,
    .read = null_read,
    .copy = null_copy,
    .fill = null_fill,
    .build = null_build,
    .module_load = null_module_load,
    .module_unload = null_module_unload,
    .kernel_create = null_kernel_create,
    .kernel_arg = NULL,
    .kernel_release = null_kernel_release,
    .launch = null_launch,
    .finish = null_finish,
    .vector_add = null_vector_add,
};
