/*
 * opencl_device.c - Which OpenCL device, and what it is
 */
#include "opencl_device.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#define DEVICES_MAX 128u

static bool is_gpu(struct backend *backend, cl_device_id device)
{
    cl_device_type type = 0;

    backend->cl.GetDeviceInfo(device, CL_DEVICE_TYPE, sizeof(type), &type, NULL);
    return type & (CL_DEVICE_TYPE_GPU | CL_DEVICE_TYPE_ACCELERATOR);
}

bool opencl_is_cpu(struct backend *backend)
{
    cl_device_type type = 0;

    backend->cl.GetDeviceInfo(backend->device, CL_DEVICE_TYPE, sizeof(type), &type, NULL);
    return type & CL_DEVICE_TYPE_CPU;
}

int opencl_pick(struct backend *backend, int32_t index, char *reason, size_t reason_bytes)
{
    cl_device_id devices[DEVICES_MAX];
    uint32_t seen = 0;
    bool found = false;

    for (cl_uint p = 0; p < backend->cl.platform_count; p++) {
        cl_platform_id platform = backend->cl.platforms[p];
        cl_uint count = 0;

        if (backend->cl.GetDeviceIDs(platform, CL_DEVICE_TYPE_ALL, DEVICES_MAX, devices, &count) !=
            CL_SUCCESS)
            continue; /* CL_DEVICE_NOT_FOUND: a platform whose hardware is not in this machine */
        if (count > DEVICES_MAX)
            count = DEVICES_MAX;
        for (cl_uint d = 0; d < count; d++, seen++) {
            bool best = index < 0 && is_gpu(backend, devices[d]);

            if (!best && !(index < 0 && !found) && (int64_t)seen != index)
                continue;
            backend->platform = platform;
            backend->device = devices[d];
            found = true;
            if (best || index >= 0)
                return 0;
        }
    }
    if (found)
        return 0;
    if (index < 0)
        snprintf(reason, reason_bytes, "the OpenCL library has no device");
    else
        snprintf(reason, reason_bytes, "there is no OpenCL device %d: there are %u", index, seen);
    return -ENODEV;
}

/* The texts of OpenCL end with NUL; one that does not fit is cut. */
static void text(struct backend *backend, cl_device_info what, char *to, size_t bytes)
{
    char whole[1024] = "";
    const char *start = whole;

    if (backend->cl.GetDeviceInfo(backend->device, what, sizeof(whole), whole, NULL) != CL_SUCCESS)
        whole[0] = 0;
    whole[sizeof(whole) - 1] = 0;
    start += strspn(start, " ");
    snprintf(to, bytes, "%.*s", (int)bytes - 1, start);
}

static uint64_t number64(struct backend *backend, cl_device_info what)
{
    cl_ulong number = 0;

    backend->cl.GetDeviceInfo(backend->device, what, sizeof(number), &number, NULL);
    return number;
}

static uint32_t number32(struct backend *backend, cl_device_info what)
{
    cl_uint number = 0;

    backend->cl.GetDeviceInfo(backend->device, what, sizeof(number), &number, NULL);
    return number;
}

void opencl_describe(struct backend *backend, struct vgpu_device_info *info)
{
    cl_device_type type = number64(backend, CL_DEVICE_TYPE);
    size_t work_group = 0;

    if (type & CL_DEVICE_TYPE_GPU)
        info->type = VGPU_DEVICE_TYPE_GPU;
    else if (type & CL_DEVICE_TYPE_CPU)
        info->type = VGPU_DEVICE_TYPE_CPU;
    else
        info->type = VGPU_DEVICE_TYPE_ACCELERATOR;
    text(backend, CL_DEVICE_NAME, info->name, sizeof(info->name));
    text(backend, CL_DEVICE_VENDOR, info->vendor, sizeof(info->vendor));
    text(backend, CL_DRIVER_VERSION, info->driver, sizeof(info->driver));
    info->global_mem_bytes = number64(backend, CL_DEVICE_GLOBAL_MEM_SIZE);
    info->max_alloc_bytes = number64(backend, CL_DEVICE_MAX_MEM_ALLOC_SIZE);
    info->local_mem_bytes = number64(backend, CL_DEVICE_LOCAL_MEM_SIZE);
    backend->cl.GetDeviceInfo(backend->device, CL_DEVICE_MAX_WORK_GROUP_SIZE, sizeof(work_group),
                              &work_group, NULL);
    info->max_work_group = work_group;
    info->compute_units = number32(backend, CL_DEVICE_MAX_COMPUTE_UNITS);
    info->clock_mhz = number32(backend, CL_DEVICE_MAX_CLOCK_FREQUENCY);
    if (number32(backend, CL_DEVICE_COMPILER_AVAILABLE))
        info->module_kinds = 1u << VGPU_MODULE_OPENCL_C;
    if (backend->create_with_il)
        info->module_kinds |= 1u << VGPU_MODULE_SPIRV;
}
