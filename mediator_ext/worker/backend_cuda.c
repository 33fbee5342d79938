/*
 * backend_cuda.c - An NVIDIA device, through the CUDA driver
 *
 * One context and one stream for the VM. The driver reads its environment when it starts: compiled
 * programs are not to be kept in files (nothing cached outlives a worker or is seen by another one),
 * and devices are counted in the order of their PCI addresses, which stays the same.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "cuda_device.h"

static void cuda_close(struct backend *backend)
{
    cuda_close_device(backend);
    free(backend->params);
    free(backend);
}

/* The driver loads its compiler with the first link: now, while files can be opened. */
static int load_compiler(struct backend *backend, char *reason, size_t reason_bytes)
{
    CUlinkState link = NULL;
    CUresult code = backend->cu.LinkCreate(0, NULL, NULL, &link);

    if (code == CUDA_SUCCESS)
        code = backend->cu.LinkDestroy(link);
    if (code == CUDA_SUCCESS)
        return 0;
    snprintf(reason, reason_bytes, "the CUDA driver cannot compile: %s (%d)",
             cuda_error_name(&backend->cu, code), code);
    return -ENODEV;
}

static int cuda_open(const struct backend_settings *settings, struct backend **backend,
                     char *reason, size_t reason_bytes)
{
    struct backend *made = calloc(1, sizeof(*made));
    int error;

    if (!made || setenv("CUDA_CACHE_DISABLE", "1", 1) ||
        setenv("CUDA_DEVICE_ORDER", "PCI_BUS_ID", 1)) {
        snprintf(reason, reason_bytes, "no memory for the CUDA device");
        free(made);
        return -ENOMEM;
    }
    error = cuda_load(&made->cu, settings->library, reason, reason_bytes);
    if (!error)
        error = cuda_open_device(made, settings->device, reason, reason_bytes);
    if (!error && settings->builds)
        error = load_compiler(made, reason, reason_bytes);
    if (!error) {
        made->params = cuda_params_new(made->cu.FuncGetParamInfo == NULL);
        if (!made->params) {
            snprintf(reason, reason_bytes, "no memory for the CUDA device");
            error = -ENOMEM;
        }
    }
    if (error)
        cuda_close(made);
    else
        *backend = made;
    return error;
}

const struct backend_ops backend_cuda = {
    .name = "cuda",
    .flags = 0,
    .library_variable = "VGPU_CUDA_LIBRARY",
    .builtin_kind = VGPU_MODULE_PTX,
    .open = cuda_open,
    .close = cuda_close,
    .describe = cuda_describe,
    .alloc = cuda_alloc,
    .free = cuda_free,
    .write = cuda_write,
    .read = cuda_read,
    .copy = cuda_copy,
    .fill = cuda_fill,
    .build = cuda_build,
    .module_load = cuda_module_load,
    .module_unload = cuda_module_unload,
    .kernel_create = cuda_kernel_create,
    .kernel_arg = cuda_kernel_arg,
    .kernel_release = cuda_kernel_release,
    .launch = cuda_launch,
    .finish = cuda_finish,
    .vector_add = NULL,
};
