/*
 * cuda_device.c - A CUDA device, what it is, and when it is lost
 *
 * The context is this process's own, not the primary one: nothing else may come to share it. Waiting
 * sleeps (BLOCKING_SYNC): by default CUDA spins, and there may be more workers than processors.
 *
 * After some errors, such as an illegal address in a kernel, CUDA answers every further call of the
 * process with the same error, and only another process can use the device again. The first of them is
 * kept, and from then on every verdict is VGPU_DEVICE_LOST; who gets that ends this worker.
 */
#include "cuda_device.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>

static bool is_sticky(CUresult code)
{
    switch (code) {
    case CUDA_ERROR_DEINITIALIZED:
    case CUDA_ERROR_ECC_UNCORRECTABLE:
    case CUDA_ERROR_NVLINK_UNCORRECTABLE:
    case CUDA_ERROR_CONTAINED:
    case CUDA_ERROR_ILLEGAL_ADDRESS:
    case CUDA_ERROR_LAUNCH_TIMEOUT:
    case CUDA_ERROR_CONTEXT_IS_DESTROYED:
    case CUDA_ERROR_ASSERT:
    case CUDA_ERROR_HARDWARE_STACK_ERROR:
    case CUDA_ERROR_ILLEGAL_INSTRUCTION:
    case CUDA_ERROR_MISALIGNED_ADDRESS:
    case CUDA_ERROR_INVALID_ADDRESS_SPACE:
    case CUDA_ERROR_INVALID_PC:
    case CUDA_ERROR_LAUNCH_FAILED:
    case CUDA_ERROR_TENSOR_MEMORY_LEAK:
    case CUDA_ERROR_MPS_RPC_FAILURE:
    case CUDA_ERROR_MPS_CLIENT_TERMINATED:
    case CUDA_ERROR_UNKNOWN:
        return true;
    default:
        return false;
    }
}

struct backend_verdict cuda_verdict(struct backend *backend, CUresult code)
{
    uint16_t status;

    if (!backend->lost && is_sticky(code)) {
        backend->lost = code;
        fprintf(stderr, "vgpu-worker: the CUDA device is lost to this process: %s (%d)\n",
                cuda_error_name(&backend->cu, code), code);
    }
    if (backend->lost)
        return (struct backend_verdict){VGPU_DEVICE_LOST, backend->lost};
    switch (code) {
    case CUDA_SUCCESS:
        status = VGPU_OK;
        break;
    case CUDA_ERROR_OUT_OF_MEMORY:
    case CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES:
        status = VGPU_NO_MEMORY;
        break;
    case CUDA_ERROR_INVALID_VALUE:
        status = VGPU_INVALID;
        break;
    case CUDA_ERROR_NOT_FOUND:
        status = VGPU_NO_OBJECT;
        break;
    default:
        status = VGPU_FAILED;
    }
    return (struct backend_verdict){status, code};
}

struct backend_verdict cuda_wait(struct backend *backend, CUresult code)
{
    CUresult waited =
        backend->lost ? backend->lost : backend->cu.StreamSynchronize(backend->stream);

    if (waited == CUDA_SUCCESS)
        backend->in_flight = 0;
    return cuda_verdict(backend, code != CUDA_SUCCESS ? code : waited);
}

static CUresult make_parts(struct backend *backend)
{
    const struct cuda_driver *cu = &backend->cu;
    CUresult code;

    code = cu->CtxCreate(&backend->context, CU_CTX_SCHED_BLOCKING_SYNC, backend->device);
    if (code == CUDA_SUCCESS)
        code = cu->StreamCreate(&backend->stream, CU_STREAM_NON_BLOCKING);
    for (uint32_t i = 0; i < BACKEND_LAUNCHES_IN_FLIGHT && code == CUDA_SUCCESS; i++)
        code = cu->EventCreate(&backend->done[i], CU_EVENT_DISABLE_TIMING | CU_EVENT_BLOCKING_SYNC);
    return code;
}

int cuda_open_device(struct backend *backend, int32_t index, char *reason, size_t reason_bytes)
{
    const struct cuda_driver *cu = &backend->cu;
    int count = 0;
    CUresult code;

    code = cu->Init(0);
    if (code == CUDA_SUCCESS)
        code = cu->DeviceGetCount(&count);
    if (code != CUDA_SUCCESS) {
        snprintf(reason, reason_bytes, "the CUDA driver does not start: %s (%d)",
                 cuda_error_name(cu, code), code);
        return -ENODEV;
    }
    if (count <= 0 || index >= count) {
        snprintf(reason, reason_bytes, "there is no CUDA device %d: there are %d",
                 index < 0 ? 0 : index, count);
        return -ENODEV;
    }
    code = cu->DeviceGet(&backend->device, index < 0 ? 0 : index);
    if (code == CUDA_SUCCESS)
        code = make_parts(backend);
    if (code != CUDA_SUCCESS) {
        snprintf(reason, reason_bytes, "the CUDA device cannot be opened: %s (%d)",
                 cuda_error_name(cu, code), code);
        return -ENODEV;
    }
    return 0;
}

void cuda_close_device(struct backend *backend)
{
    for (uint32_t i = 0; i < BACKEND_LAUNCHES_IN_FLIGHT; i++)
        if (backend->done[i])
            backend->cu.EventDestroy(backend->done[i]);
    if (backend->stream)
        backend->cu.StreamDestroy(backend->stream);
    if (backend->context)
        backend->cu.CtxDestroy(backend->context);
}

/* 0 where the driver does not know the attribute. */
static uint32_t attribute(struct backend *backend, CUdevice_attribute what)
{
    int value = 0;

    if (backend->cu.DeviceGetAttribute(&value, what, backend->device) != CUDA_SUCCESS || value < 0)
        return 0;
    return (uint32_t)value;
}

void cuda_describe(struct backend *backend, struct vgpu_device_info *info)
{
    size_t memory = 0;
    int version = 0;

    info->type = VGPU_DEVICE_TYPE_GPU;
    if (backend->cu.DeviceGetName(info->name, sizeof(info->name), backend->device) != CUDA_SUCCESS)
        snprintf(info->name, sizeof(info->name), "CUDA device");
    info->name[sizeof(info->name) - 1] = 0;
    snprintf(info->vendor, sizeof(info->vendor), "NVIDIA");
    backend->cu.DriverGetVersion(&version);
    snprintf(info->driver, sizeof(info->driver), "CUDA %d.%d", version / 1000, version % 1000 / 10);
    backend->cu.DeviceTotalMem(&memory, backend->device);
    info->global_mem_bytes = memory;
    info->max_alloc_bytes = memory;
    info->local_mem_bytes =
        attribute(backend, CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN);
    if (info->local_mem_bytes == 0)
        info->local_mem_bytes = attribute(backend, CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK);
    info->max_work_group = attribute(backend, CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_BLOCK);
    info->compute_units = attribute(backend, CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT);
    info->clock_mhz = attribute(backend, CU_DEVICE_ATTRIBUTE_CLOCK_RATE) / 1000;
    info->module_kinds = 1u << VGPU_MODULE_PTX | 1u << VGPU_MODULE_CUBIN;
}
