/*
 * opencl_icd.h - Finding an OpenCL library and its functions at run time
 *
 * Nothing is linked: a worker without a device library must still start and say what is missing.
 */
#ifndef VGPUD_WORKER_OPENCL_ICD_H
#define VGPUD_WORKER_OPENCL_ICD_H

#include <stddef.h>
#include <stdint.h>

/* Of what is newer than 1.2 only clCreateProgramWithIL is used, and only where it is there. */
#define CL_TARGET_OPENCL_VERSION          210
#define CL_USE_DEPRECATED_OPENCL_1_1_APIS /* clGetExtensionFunctionAddress */
#define CL_USE_DEPRECATED_OPENCL_1_2_APIS /* clCreateCommandQueue */
#include <CL/cl_icd.h>

#define OPENCL_PLATFORMS_MAX 32u

/* Every function that is used, without its "cl". */
#define OPENCL_FUNCTIONS(X)                                                                        \
    X(GetPlatformInfo)                                                                             \
    X(GetDeviceIDs)                                                                                \
    X(GetDeviceInfo)                                                                               \
    X(CreateContext)                                                                               \
    X(ReleaseContext)                                                                              \
    X(CreateCommandQueue)                                                                          \
    X(ReleaseCommandQueue)                                                                         \
    X(CreateBuffer)                                                                                \
    X(ReleaseMemObject)                                                                            \
    X(EnqueueFillBuffer)                                                                           \
    X(EnqueueWriteBuffer)                                                                          \
    X(EnqueueReadBuffer)                                                                           \
    X(EnqueueCopyBuffer)                                                                           \
    X(CreateProgramWithSource)                                                                     \
    X(CreateProgramWithBinary)                                                                     \
    X(BuildProgram)                                                                                \
    X(GetProgramInfo)                                                                              \
    X(GetProgramBuildInfo)                                                                         \
    X(ReleaseProgram)                                                                              \
    X(CreateKernel)                                                                                \
    X(GetKernelInfo)                                                                               \
    X(GetKernelArgInfo)                                                                            \
    X(SetKernelArg)                                                                                \
    X(ReleaseKernel)                                                                               \
    X(EnqueueNDRangeKernel)                                                                        \
    X(WaitForEvents)                                                                               \
    X(ReleaseEvent)                                                                                \
    X(Finish)

struct opencl {
    void *library;
    cl_uint platform_count;
    cl_platform_id platforms[OPENCL_PLATFORMS_MAX];
#define X(name) cl_api_cl##name name;
    OPENCL_FUNCTIONS(X)
#undef X
};

/**
 * opencl_load() - Load a library and list its platforms
 * @opencl:       filled in; stays loaded until the process ends (runtimes do not unload well)
 * @path:         a loader (libOpenCL) or one implementation; NULL = "libOpenCL.so.1"
 * @reason:       on failure: a sentence
 * @reason_bytes: room for it
 *
 * Return: 0 or -ENODEV.
 */
int opencl_load(struct opencl *opencl, const char *path, char *reason, size_t reason_bytes);

/**
 * opencl_spirv() - How a device takes SPIR-V
 * @opencl:   loaded
 * @platform: the device's
 * @device:   any
 *
 * Return: the function that makes a program of it; NULL when the device takes none.
 */
cl_api_clCreateProgramWithIL opencl_spirv(const struct opencl *opencl, cl_platform_id platform,
                                          cl_device_id device);

#endif
