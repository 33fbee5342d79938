/*
 * backend_opencl.c - A device of any OpenCL implementation
 *
 * One context and one in-order queue for the VM. PoCL, the device of a machine without a GPU, wants
 * to be told some things before it is loaded: to make one binary for all local sizes (the launch
 * side has no linker to make another), to keep no program longer than it is used, and where to unpack
 * binaries: a directory of this process alone, because what lies there is executed.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "opencl_device.h"

#define FILL_BYTES 16u

struct backend_verdict opencl_verdict(cl_int code)
{
    uint16_t status;

    switch (code) {
    case CL_SUCCESS:
        status = VGPU_OK;
        break;
    case CL_MEM_OBJECT_ALLOCATION_FAILURE:
    case CL_OUT_OF_RESOURCES:
    case CL_OUT_OF_HOST_MEMORY:
    case CL_INVALID_BUFFER_SIZE:
        status = VGPU_NO_MEMORY;
        break;
    case CL_BUILD_PROGRAM_FAILURE:
    case CL_INVALID_BUILD_OPTIONS:
        status = VGPU_BUILD_FAILED;
        break;
    case CL_INVALID_KERNEL_NAME:
        status = VGPU_NO_OBJECT;
        break;
    case CL_INVALID_ARG_INDEX:
    case CL_INVALID_ARG_VALUE:
    case CL_INVALID_ARG_SIZE:
    case CL_INVALID_KERNEL_ARGS:
    case CL_INVALID_WORK_DIMENSION:
    case CL_INVALID_WORK_GROUP_SIZE:
    case CL_INVALID_WORK_ITEM_SIZE:
    case CL_INVALID_GLOBAL_OFFSET:
    case CL_INVALID_GLOBAL_WORK_SIZE:
        status = VGPU_INVALID;
        break;
    default:
        status = VGPU_FAILED;
    }
    return (struct backend_verdict){.status = status, .native = code};
}

/* Harmless to every other implementation. Called before the first library that reads it is there.
 */
static int prepare_pocl(const struct backend_settings *settings, char *reason, size_t reason_bytes)
{
    const char *scratch = getenv("TMPDIR");
    char text[4096];
    int failed = 0;

    failed |= setenv("POCL_WORK_GROUP_SPECIALIZATION", "0", 1);
    failed |= setenv("POCL_KERNEL_CACHE", "0", 1);
    if (!getenv("POCL_CACHE_DIR") && scratch) {
        snprintf(text, sizeof(text), "%s/pocl", scratch);
        failed |= setenv("POCL_CACHE_DIR", text, 1);
    }
    if (settings->threads > 0) {
        snprintf(text, sizeof(text), "%u", settings->threads);
        failed |= setenv("POCL_MAX_PTHREAD_COUNT", text, 1);
    }
    if (failed) {
        snprintf(reason, reason_bytes, "no memory for the environment");
        return -ENOMEM;
    }
    return 0;
}

static int check_pocl(struct backend *backend, char *reason, size_t reason_bytes)
{
    char name[128] = "";

    backend->cl.GetPlatformInfo(backend->platform, CL_PLATFORM_NAME, sizeof(name) - 1, name, NULL);
    if (strcmp(name, "Portable Computing Language") == 0 && !getenv("POCL_CACHE_DIR")) {
        snprintf(reason, reason_bytes,
                 "PoCL needs a directory of its own: set POCL_CACHE_DIR or TMPDIR");
        return -ENODEV;
    }
    return 0;
}

static void opencl_close(struct backend *backend)
{
    if (backend->queue)
        backend->cl.ReleaseCommandQueue(backend->queue);
    if (backend->context)
        backend->cl.ReleaseContext(backend->context);
    free(backend);
}

static int opencl_open(const struct backend_settings *settings, struct backend **backend,
                       char *reason, size_t reason_bytes)
{
    struct backend *made = calloc(1, sizeof(*made));
    cl_int code = CL_SUCCESS;
    int error;

    if (!made) {
        snprintf(reason, reason_bytes, "no memory for the OpenCL device");
        return -ENOMEM;
    }
    error = prepare_pocl(settings, reason, reason_bytes);
    if (!error)
        error = opencl_load(&made->cl, settings->library, reason, reason_bytes);
    if (!error)
        error = opencl_pick(made, settings->device, reason, reason_bytes);
    if (!error)
        error = check_pocl(made, reason, reason_bytes);
    if (error)
        goto out;
    made->create_with_il = opencl_spirv(&made->cl, made->platform, made->device);
    made->on_host = opencl_is_cpu(made);
    made->context = made->cl.CreateContext(NULL, 1, &made->device, NULL, NULL, &code);
    if (made->context)
        made->queue = made->cl.CreateCommandQueue(made->context, made->device, 0, &code);
    if (!made->queue) {
        snprintf(reason, reason_bytes, "the OpenCL device cannot be opened (code %d)", code);
        error = -ENODEV;
    }
out:
    if (error)
        opencl_close(made);
    else
        *backend = made;
    return error;
}

/* Zeroes, in pieces as large as possible: one-byte patterns are slow on some devices. */
static cl_int zero(struct backend *backend, cl_mem mem, uint64_t bytes)
{
    static const uint8_t zeroes[FILL_BYTES] = {0};
    uint64_t whole = bytes / FILL_BYTES * FILL_BYTES;
    cl_int code = CL_SUCCESS;

    if (whole > 0)
        code = backend->cl.EnqueueFillBuffer(backend->queue, mem, zeroes, FILL_BYTES, 0, whole, 0,
                                             NULL, NULL);
    if (code == CL_SUCCESS && bytes > whole)
        code = backend->cl.EnqueueFillBuffer(backend->queue, mem, zeroes, 1, whole, bytes - whole,
                                             0, NULL, NULL);
    /* Devices may reserve memory only now: whether there is enough must be known here. */
    if (code == CL_SUCCESS)
        code = backend->cl.Finish(backend->queue);
    return code;
}

/* Fresh pages are zeroes already, and cost nothing until they are touched. */
static cl_int alloc_on_host(struct backend *backend, struct backend_buffer *buffer)
{
    cl_int code = CL_SUCCESS;
    void *pages;

    pages = mmap(NULL, buffer->bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (pages == MAP_FAILED)
        return CL_OUT_OF_HOST_MEMORY;
    buffer->mem = backend->cl.CreateBuffer(
        backend->context, CL_MEM_READ_WRITE | CL_MEM_USE_HOST_PTR, buffer->bytes, pages, &code);
    if (!buffer->mem) {
        munmap(pages, buffer->bytes);
        return code;
    }
    buffer->pages = pages;
    return CL_SUCCESS;
}

static cl_int alloc_on_device(struct backend *backend, struct backend_buffer *buffer)
{
    cl_int code = CL_SUCCESS;

    buffer->mem =
        backend->cl.CreateBuffer(backend->context, CL_MEM_READ_WRITE, buffer->bytes, NULL, &code);
    if (!buffer->mem)
        return code;
    code = zero(backend, buffer->mem, buffer->bytes);
    if (code != CL_SUCCESS)
        backend->cl.ReleaseMemObject(buffer->mem);
    return code;
}

static struct backend_verdict opencl_alloc(struct backend *backend, uint64_t bytes,
                                           struct backend_buffer **buffer, uint64_t *raw)
{
    struct backend_buffer *made = calloc(1, sizeof(*made));
    cl_int code;

    if (!made)
        return opencl_verdict(CL_OUT_OF_HOST_MEMORY);
    made->bytes = bytes;
    code = backend->on_host ? alloc_on_host(backend, made) : alloc_on_device(backend, made);
    if (code != CL_SUCCESS) {
        free(made);
        return opencl_verdict(code);
    }
    *buffer = made;
    *raw = 0;
    return BACKEND_FINE;
}

/* A device's memory is wiped before it is given back: who gets it next need not be served here. What
   is wrong with the device is told by whatever comes next. Pages of the host the kernel wipes. */
static void opencl_free(struct backend *backend, struct backend_buffer *buffer)
{
    if (!backend->on_host)
        (void)zero(backend, buffer->mem, buffer->bytes);
    backend->cl.ReleaseMemObject(buffer->mem);
    if (buffer->pages)
        munmap(buffer->pages, buffer->bytes);
    free(buffer);
}

static struct backend_verdict opencl_write(struct backend *backend, struct backend_buffer *buffer,
                                           uint64_t off, const void *from, uint64_t bytes)
{
    return opencl_verdict(backend->cl.EnqueueWriteBuffer(backend->queue, buffer->mem, CL_TRUE, off,
                                                         bytes, from, 0, NULL, NULL));
}

static struct backend_verdict opencl_read(struct backend *backend, struct backend_buffer *buffer,
                                          uint64_t off, void *to, uint64_t bytes)
{
    return opencl_verdict(backend->cl.EnqueueReadBuffer(backend->queue, buffer->mem, CL_TRUE, off,
                                                        bytes, to, 0, NULL, NULL));
}

/* For what cannot be told to block: its event, which is given back. */
static struct backend_verdict wait_for(struct backend *backend, cl_int code, cl_event event)
{
    if (code == CL_SUCCESS) {
        code = backend->cl.WaitForEvents(1, &event);
        backend->cl.ReleaseEvent(event);
    }
    return opencl_verdict(code);
}

static struct backend_verdict opencl_copy(struct backend *backend, struct backend_buffer *to,
                                          uint64_t to_off, struct backend_buffer *from,
                                          uint64_t from_off, uint64_t bytes)
{
    cl_event event = NULL;
    cl_int code = backend->cl.EnqueueCopyBuffer(backend->queue, from->mem, to->mem, from_off,
                                                to_off, bytes, 0, NULL, &event);

    return wait_for(backend, code, event);
}

static struct backend_verdict opencl_fill(struct backend *backend, struct backend_buffer *buffer,
                                          uint64_t off, uint64_t bytes, const void *pattern,
                                          uint32_t pattern_bytes)
{
    cl_event event = NULL;
    cl_int code = backend->cl.EnqueueFillBuffer(backend->queue, buffer->mem, pattern, pattern_bytes,
                                                off, bytes, 0, NULL, &event);

    return wait_for(backend, code, event);
}

const struct backend_ops backend_opencl = {
    .name = "opencl",
    .flags = 0,
    .library_variable = "VGPU_OPENCL_LIBRARY",
    .builtin_kind = VGPU_MODULE_OPENCL_C,
    .open = opencl_open,
    .close = opencl_close,
    .describe = opencl_describe,
    .alloc = opencl_alloc,
    .free = opencl_free,
    .write = opencl_write,
    .read = opencl_read,
    .copy = opencl_copy,
    .fill = opencl_fill,
    .build = opencl_build,
    .module_load = opencl_module_load,
    .module_unload = opencl_module_unload,
    .kernel_create = opencl_kernel_create,
    .kernel_arg = opencl_kernel_arg,
    .kernel_release = opencl_kernel_release,
    .launch = opencl_launch,
    .finish = opencl_finish,
    .vector_add = NULL,
};
