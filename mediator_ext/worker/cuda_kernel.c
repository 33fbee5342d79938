/*
 * cuda_kernel.c - Kernels, their parameters, and launches
 *
 * The driver is given an array of pointers and reads as many parameters, each as long, as the kernel
 * has: what a launch does not give it would take from this process's memory. A driver that tells a
 * kernel's parameters (12.4 and later) is asked once, when the kernel is made, and what is given is
 * compared at each launch. For an older one all that it could read is laid out: every pointer there can
 * be, each to what was given or to zeroes, and after each enough bytes for the largest parameter. Then a
 * wrong launch computes with wrong values of its own VM, and that is all.
 *
 * What is a pointer for the kernel is a number for the driver. A launch may give any: the context has
 * the memory of one VM only, and what it may not touch ends this worker by CUDA_ERROR_ILLEGAL_ADDRESS.
 */
#include <stdalign.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "cuda_device.h"

/* All parameters of a kernel together, by the PTX ISA; so there cannot be more of them, either. */
#define PARAMETER_BYTES_MAX 32764u

/* Where a parameter starts: the most that the type of one may ask for. */
#define PARAMETER_ALIGN 16u

/* So wide are the groups in which the device runs threads. */
#define WARP 32u

struct cuda_params {
    void *at[PARAMETER_BYTES_MAX];
    uint32_t given; /* by the last launch */
    alignas(PARAMETER_ALIGN) uint8_t bytes[VGPU_LAUNCH_ARGS_BYTES + PARAMETER_BYTES_MAX];
    alignas(PARAMETER_ALIGN) uint8_t zeroes[PARAMETER_BYTES_MAX];
};

/* An argument takes its head of 8 bytes and itself, rounded up to 8, in a command: no less than here. */
_Static_assert(sizeof(struct vgpu_arg) + 8 >= PARAMETER_ALIGN,
               "arguments fit when they are aligned");

struct backend_kernel {
    CUfunction function;
    uint32_t max_threads;
    int32_t shared_bytes; /* dynamic; what a launch may have without asking again */
    bool params_known;
    uint32_t params;
    uint32_t size[VGPU_LAUNCH_ARGS_MAX];
};

struct cuda_params *cuda_params_new(bool all_of_them)
{
    struct cuda_params *made = calloc(1, sizeof(*made));

    if (made && all_of_them)
        for (uint32_t i = 0; i < PARAMETER_BYTES_MAX; i++)
            made->at[i] = made->zeroes;
    return made;
}

/* Returns CUDA_SUCCESS; a kernel with too many parameters has VGPU_LAUNCH_ARGS_MAX + 1. */
static CUresult ask_params(struct backend *backend, struct backend_kernel *kernel)
{
    kernel->params_known = backend->cu.FuncGetParamInfo != NULL;
    while (kernel->params_known && kernel->params <= VGPU_LAUNCH_ARGS_MAX) {
        size_t off, size;
        CUresult code;

        code = backend->cu.FuncGetParamInfo(kernel->function, kernel->params, &off, &size);
        if (code == CUDA_ERROR_INVALID_VALUE)
            break; /* that one is not there */
        if (code != CUDA_SUCCESS)
            return code;
        if (kernel->params < VGPU_LAUNCH_ARGS_MAX)
            kernel->size[kernel->params] = (uint32_t)size;
        kernel->params++;
    }
    return CUDA_SUCCESS;
}

static CUresult ask(struct backend *backend, struct backend_kernel *kernel)
{
    int threads = 0, shared = 0;
    CUresult code;

    code = backend->cu.FuncGetAttribute(&threads, CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK,
                                        kernel->function);
    if (code == CUDA_SUCCESS)
        code = backend->cu.FuncGetAttribute(
            &shared, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, kernel->function);
    if (code == CUDA_SUCCESS)
        code = ask_params(backend, kernel);
    kernel->max_threads = threads > 0 ? (uint32_t)threads : 1;
    kernel->shared_bytes = shared;
    return code;
}

struct backend_verdict cuda_kernel_create(struct backend *backend, struct backend_module *module,
                                          const char *name, struct backend_kernel **kernel,
                                          uint32_t *args)
{
    struct backend_kernel *made = calloc(1, sizeof(*made));
    struct backend_verdict verdict;
    CUresult code;

    if (!made)
        return cuda_verdict(backend, CUDA_ERROR_OUT_OF_MEMORY);
    code = backend->cu.ModuleGetFunction(&made->function, module->module, name);
    if (code == CUDA_SUCCESS)
        code = ask(backend, made);
    verdict = cuda_verdict(backend, code);
    if (verdict.status == VGPU_OK && made->params > VGPU_LAUNCH_ARGS_MAX)
        verdict.status = VGPU_UNSUPPORTED;
    if (verdict.status != VGPU_OK) {
        free(made);
        return verdict;
    }
    *kernel = made;
    *args = made->params;
    return BACKEND_FINE;
}

/* Eight bytes may be a number or the address of a buffer: to the driver it is the same. */
void cuda_kernel_arg(struct backend *backend, struct backend_kernel *kernel, uint32_t index,
                     struct vgpu_arg_info *info)
{
    (void)backend;
    info->size = kernel->size[index];
    if (info->size != sizeof(CUdeviceptr))
        info->kind = VGPU_ARG_VALUE;
}

void cuda_kernel_release(struct backend *backend, struct backend_kernel *kernel)
{
    (void)backend;
    free(kernel);
}

static struct backend_verdict invalid(void)
{
    return (struct backend_verdict){VGPU_INVALID, CUDA_ERROR_INVALID_VALUE};
}

static struct backend_verdict lay_out(struct cuda_params *params,
                                      const struct backend_launch *launch)
{
    const struct backend_kernel *kernel = launch->kernel;
    uint32_t used = 0;

    if (kernel->params_known && launch->arg_count != kernel->params)
        return invalid();
    for (uint32_t i = 0; i < launch->arg_count; i++) {
        const struct backend_arg *arg = &launch->args[i];
        const void *from = arg->kind == VGPU_ARG_BUFFER ? &arg->buffer->at : arg->value;
        uint32_t size = arg->kind == VGPU_ARG_BUFFER ? sizeof(arg->buffer->at) : arg->size;

        if (arg->kind == VGPU_ARG_LOCAL) /* OpenCL's; here it is shared_bytes */
            return (struct backend_verdict){VGPU_UNSUPPORTED, 0};
        if (kernel->params_known && size != kernel->size[i])
            return invalid();
        if (size > VGPU_LAUNCH_ARGS_BYTES - used)
            return invalid();
        memcpy(params->bytes + used, from, size);
        params->at[i] = params->bytes + used;
        params->given = params->given > i ? params->given : i + 1; /* also if it is refused below */
        used += (size + PARAMETER_ALIGN - 1) / PARAMETER_ALIGN * PARAMETER_ALIGN;
    }
    for (uint32_t i = launch->arg_count; i < params->given; i++)
        params->at[i] = params->zeroes;
    params->given = launch->arg_count;
    return BACKEND_FINE;
}

/* A block for work of which nobody said how it is to be divided: as large as runs well, and a divisor
 * of the work, of whole warps if there is one. */
static CUresult choose_block(struct backend *backend, const struct backend_launch *launch,
                             uint32_t *block)
{
    int grid = 0, best = 0;
    uint32_t any = 1;
    CUresult code;

    code = backend->cu.OccupancyMaxPotentialBlockSize(&grid, &best, launch->kernel->function, NULL,
                                                      launch->shared_bytes, 0);
    if (code != CUDA_SUCCESS)
        return code;
    if (best <= 0)
        return CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES;
    for (uint32_t size = (uint32_t)best; size > 1; size--) {
        if (launch->global[0] % size != 0)
            continue;
        any = any > 1 ? any : size;
        if (size % WARP == 0) {
            any = size;
            break;
        }
    }
    *block = any;
    return CUDA_SUCCESS;
}

static struct backend_verdict divide(struct backend *backend, const struct backend_launch *launch,
                                     uint32_t grid[3], uint32_t block[3])
{
    uint64_t threads = 1;
    CUresult code = CUDA_SUCCESS;

    for (uint32_t i = 0; i < 3; i++)
        grid[i] = block[i] = 1;
    if (launch->local[0] == 0)
        code = choose_block(backend, launch, &block[0]);
    if (code != CUDA_SUCCESS)
        return cuda_verdict(backend, code);
    for (uint32_t i = 0; i < launch->dims; i++) {
        if (launch->offset[i] != 0) /* OpenCL's; a kernel here counts from 0 */
            return (struct backend_verdict){VGPU_UNSUPPORTED, 0};
        if (launch->local[0] != 0) {
            if (launch->local[i] > UINT32_MAX)
                return invalid();
            block[i] = (uint32_t)launch->local[i];
        }
        threads *= block[i]; /* each no larger than a work-group may be: checked by the caller */
        if (launch->global[i] % block[i] != 0 || launch->global[i] / block[i] > UINT32_MAX)
            return invalid();
        grid[i] = (uint32_t)(launch->global[i] / block[i]);
    }
    return threads <= launch->kernel->max_threads ? BACKEND_FINE : invalid();
}

/* More dynamic shared memory than every kernel may have must be asked for. */
static CUresult allow_shared(struct backend *backend, const struct backend_launch *launch)
{
    struct backend_kernel *kernel = launch->kernel;
    CUresult code;

    if (launch->shared_bytes > INT32_MAX)
        return CUDA_ERROR_INVALID_VALUE;
    if ((int32_t)launch->shared_bytes <= kernel->shared_bytes)
        return CUDA_SUCCESS;
    code = backend->cu.FuncSetAttribute(kernel->function,
                                        CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES,
                                        (int)launch->shared_bytes);
    if (code == CUDA_SUCCESS)
        kernel->shared_bytes = (int32_t)launch->shared_bytes;
    return code;
}

static CUresult enqueue(struct backend *backend, const struct backend_launch *launch,
                        const uint32_t grid[3], const uint32_t block[3])
{
    const struct cuda_driver *cu = &backend->cu;
    CUresult code = CUDA_SUCCESS;
    uint32_t slot;

    if (backend->in_flight == BACKEND_LAUNCHES_IN_FLIGHT) {
        code = cu->EventSynchronize(backend->done[backend->oldest]);
        if (code != CUDA_SUCCESS)
            return code;
        backend->oldest = (backend->oldest + 1) % BACKEND_LAUNCHES_IN_FLIGHT;
        backend->in_flight--;
    }
    code = cu->LaunchKernel(launch->kernel->function, grid[0], grid[1], grid[2], block[0], block[1],
                            block[2], launch->shared_bytes, backend->stream, backend->params->at,
                            NULL);
    if (code != CUDA_SUCCESS)
        return code;
    slot = (backend->oldest + backend->in_flight) % BACKEND_LAUNCHES_IN_FLIGHT;
    code = cu->EventRecord(backend->done[slot], backend->stream);
    if (code == CUDA_SUCCESS)
        backend->in_flight++;
    return code;
}

struct backend_verdict cuda_launch(struct backend *backend, const struct backend_launch *launch)
{
    struct backend_verdict verdict;
    uint32_t grid[3], block[3];
    CUresult code;

    code = allow_shared(backend, launch); /* else no block is found that may have so much */
    if (code != CUDA_SUCCESS)
        return cuda_verdict(backend, code);
    verdict = divide(backend, launch, grid, block);
    if (verdict.status == VGPU_OK)
        verdict = lay_out(backend->params, launch);
    if (verdict.status != VGPU_OK)
        return verdict;
    return cuda_verdict(backend, enqueue(backend, launch, grid, block));
}

struct backend_verdict cuda_finish(struct backend *backend)
{
    return cuda_wait(backend, CUDA_SUCCESS);
}
