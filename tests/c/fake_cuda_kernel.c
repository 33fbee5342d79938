/*
 * fake_cuda_kernel.c - The fake CUDA driver: what is known of kernels, and launches
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fake_cuda.h"

static unsigned most_in_flight;
static struct fake_cuda_launch last_launch;

FAKE_CUDA_EXPORT unsigned fake_cuda_most_in_flight(void);
unsigned fake_cuda_most_in_flight(void)
{
    return most_in_flight;
}

FAKE_CUDA_EXPORT struct fake_cuda_launch fake_cuda_last_launch(void);
struct fake_cuda_launch fake_cuda_last_launch(void)
{
    return last_launch;
}

static uint64_t parameter(const struct fake_work *work, uint32_t number, size_t bytes)
{
    uint64_t value = 0;

    memcpy(&value, work->params + work->offset[number], bytes);
    return value;
}

static CUresult run_vector_add(const struct fake_work *work)
{
    uint8_t *sum = fake_memory(parameter(work, 2, 8), 4);
    uint32_t value = (uint32_t)(parameter(work, 0, 4) + parameter(work, 1, 4));

    if (!sum)
        return CUDA_ERROR_ILLEGAL_ADDRESS;
    memcpy(sum, &value, sizeof(value));
    return CUDA_SUCCESS;
}

/* vecadd(a, b, sum, count): count u32 in each, one thread for each. */
static CUresult run_vecadd(const struct fake_work *work)
{
    size_t count = parameter(work, 3, 4);
    uint8_t *a, *b, *sum;

    count = count < work->threads ? count : work->threads;
    a = fake_memory(parameter(work, 0, 8), 4 * count);
    b = fake_memory(parameter(work, 1, 8), 4 * count);
    sum = fake_memory(parameter(work, 2, 8), 4 * count);
    if (!a || !b || !sum)
        return CUDA_ERROR_ILLEGAL_ADDRESS;
    for (size_t i = 0; i < count; i++) {
        uint32_t x, y;

        memcpy(&x, a + 4 * i, sizeof(x));
        memcpy(&y, b + 4 * i, sizeof(y));
        x += y;
        memcpy(sum + 4 * i, &x, sizeof(x));
    }
    return CUDA_SUCCESS;
}

/* saxpy(a, x, y): as many as there are threads. */
static CUresult run_saxpy(const struct fake_work *work)
{
    uint8_t *x = fake_memory(parameter(work, 1, 8), 4 * work->threads);
    uint8_t *y = fake_memory(parameter(work, 2, 8), 4 * work->threads);
    uint32_t bits = (uint32_t)parameter(work, 0, 4);
    float a, at_x, at_y;

    memcpy(&a, &bits, sizeof(a));
    for (uint64_t i = 0; x && y && i < work->threads; i++) {
        memcpy(&at_x, x + 4 * i, sizeof(at_x));
        memcpy(&at_y, y + 4 * i, sizeof(at_y));
        at_y += a * at_x;
        memcpy(y + 4 * i, &at_y, sizeof(at_y));
    }
    return x && y ? CUDA_SUCCESS : CUDA_ERROR_ILLEGAL_ADDRESS;
}

static CUresult run_kernel(const struct fake_work *work)
{
    if (strcmp(work->kernel, "vgpu_vector_add") == 0)
        return run_vector_add(work);
    if (strcmp(work->kernel, "vecadd") == 0)
        return run_vecadd(work);
    if (strcmp(work->kernel, "saxpy") == 0)
        return run_saxpy(work);
    return strcmp(work->kernel, "wild") == 0 ? CUDA_ERROR_ILLEGAL_ADDRESS : CUDA_SUCCESS;
}

DRIVER(cuFuncGetAttribute, (int *value, CUfunction_attribute what, CUfunction function))
{
    CUresult code = fake_enter("cuFuncGetAttribute", true);

    if (!fake_is_function("cuFuncGetAttribute", function))
        return CUDA_ERROR_INVALID_HANDLE;
    if (what == CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK)
        *value = (int)function->max_threads;
    else if (what == CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES)
        *value = (int)function->shared_bytes;
    else
        return CUDA_ERROR_INVALID_VALUE;
    return code;
}

DRIVER(cuFuncSetAttribute, (CUfunction function, CUfunction_attribute what, int value))
{
    CUresult code = fake_enter("cuFuncSetAttribute", true);

    if (!fake_is_function("cuFuncSetAttribute", function))
        return CUDA_ERROR_INVALID_HANDLE;
    if (what != CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES || value < 0 ||
        value > (int)FAKE_CUDA_SHARED_OPTIN)
        return CUDA_ERROR_INVALID_VALUE;
    if (code == CUDA_SUCCESS)
        function->shared_bytes = (uint32_t)value;
    return code;
}

#ifndef FAKE_CUDA_OLD
DRIVER(cuFuncGetParamInfo, (CUfunction function, size_t number, size_t *off, size_t *size))
{
    CUresult code = fake_enter("cuFuncGetParamInfo", true);

    if (!fake_is_function("cuFuncGetParamInfo", function))
        return CUDA_ERROR_INVALID_HANDLE;
    if (number >= function->params)
        return CUDA_ERROR_INVALID_VALUE;
    *off = 0;
    *size = function->size[number];
    return code;
}
#endif

DRIVER(cuOccupancyMaxPotentialBlockSize,
       (int *grid, int *block, CUfunction function, CUoccupancyB2DSize shared_of,
        size_t shared_bytes, int limit))
{
    CUresult code = fake_enter("cuOccupancyMaxPotentialBlockSize", true);

    (void)shared_bytes;
    if (!fake_is_function("cuOccupancyMaxPotentialBlockSize", function))
        return CUDA_ERROR_INVALID_HANDLE;
    if (shared_of || limit)
        return CUDA_ERROR_INVALID_VALUE;
    *grid = 216;
    *block = FAKE_CUDA_BEST_BLOCK < function->max_threads ? (int)FAKE_CUDA_BEST_BLOCK
                                                          : (int)function->max_threads;
    return code;
}

/* As many as the kernel has are read, whatever was given: so does the driver. */
static void take_parameters(struct fake_work *work, CUfunction function, void **given)
{
    uint32_t used = 0;

    for (uint32_t i = 0; i < function->params; i++) {
        if (function->size[i] > sizeof(work->params) - used)
            abort();
        memcpy(work->params + used, given[i], function->size[i]);
        work->offset[i] = used;
        used += function->size[i];
    }
}

DRIVER(cuLaunchKernel,
       (CUfunction function, unsigned int grid_x, unsigned int grid_y, unsigned int grid_z,
        unsigned int block_x, unsigned int block_y, unsigned int block_z, unsigned int shared_bytes,
        CUstream stream, void **params, void **extra))
{
    struct fake_cuda_launch launch = {
        {grid_x, grid_y, grid_z}, {block_x, block_y, block_z}, shared_bytes};
    uint64_t block = (uint64_t)block_x * block_y * block_z;
    struct fake_work *work;
    CUresult code;

    if (!fake_current()) {
        fake_misuse("cuLaunchKernel", "called without a current context");
        return CUDA_ERROR_INVALID_CONTEXT;
    }
    if (!stream)
        fake_misuse("cuLaunchKernel", "on the default stream");
    if (!fake_is_function("cuLaunchKernel", function))
        return CUDA_ERROR_INVALID_HANDLE;
    if (block == 0 || block > FAKE_CUDA_THREADS || shared_bytes > function->shared_bytes || extra ||
        grid_x == 0 || grid_y == 0 || grid_z == 0 || grid_x > INT32_MAX || grid_y > UINT16_MAX ||
        grid_z > UINT16_MAX)
        return CUDA_ERROR_INVALID_VALUE;
    if (block > function->max_threads)
        return CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES;
    work = fake_queue("cuLaunchKernel", stream, &code);
    if (!work)
        return code;
    work->run = run_kernel;
    work->is_launch = true;
    work->threads = block * grid_x * grid_y * grid_z;
    snprintf(work->kernel, sizeof(work->kernel), "%s", function->name);
    take_parameters(work, function, params);
    last_launch = launch;
    if (fake_launches(stream) > most_in_flight)
        most_in_flight = fake_launches(stream);
    return CUDA_SUCCESS;
}
