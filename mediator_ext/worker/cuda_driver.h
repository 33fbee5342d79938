/*
 * cuda_driver.h - Finding the CUDA driver library and its functions at run time
 *
 * No header of CUDA is used: what is needed of its binary interface, which never changes under a
 * versioned name, is declared here. Nothing is linked: a worker on a host without an NVIDIA driver
 * must still start and say what is missing.
 *
 * The symbols are those to which cuda.h maps the plain names (cuMemAlloc is cuMemAlloc_v2); the plain
 * ones are older functions with other arguments.
 */
#ifndef VGPUD_WORKER_CUDA_DRIVER_H
#define VGPUD_WORKER_CUDA_DRIVER_H

#include <stddef.h>
#include <stdint.h>

typedef int CUresult;
typedef int CUdevice;
typedef unsigned long long CUdeviceptr;
typedef int CUdevice_attribute;
typedef int CUfunction_attribute;
typedef unsigned int CUjit_option;
typedef unsigned int CUjitInputType;
typedef struct CUctx_st *CUcontext;
typedef struct CUmod_st *CUmodule;
typedef struct CUfunc_st *CUfunction;
typedef struct CUstream_st *CUstream;
typedef struct CUevent_st *CUevent;
typedef struct CUlinkState_st *CUlinkState;
typedef size_t (*CUoccupancyB2DSize)(int block_size);

enum cuda_result {
    CUDA_SUCCESS = 0,
    CUDA_ERROR_INVALID_VALUE = 1,
    CUDA_ERROR_OUT_OF_MEMORY = 2,
    CUDA_ERROR_DEINITIALIZED = 4,
    CUDA_ERROR_NO_DEVICE = 100,
    CUDA_ERROR_INVALID_IMAGE = 200,
    CUDA_ERROR_INVALID_CONTEXT = 201,
    CUDA_ERROR_ECC_UNCORRECTABLE = 214,
    CUDA_ERROR_INVALID_PTX = 218,
    CUDA_ERROR_NVLINK_UNCORRECTABLE = 220,
    CUDA_ERROR_JIT_COMPILER_NOT_FOUND = 221,
    CUDA_ERROR_CONTAINED = 226,
    CUDA_ERROR_INVALID_HANDLE = 400,
    CUDA_ERROR_NOT_FOUND = 500,
    CUDA_ERROR_ILLEGAL_ADDRESS = 700,
    CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES = 701,
    CUDA_ERROR_LAUNCH_TIMEOUT = 702,
    CUDA_ERROR_CONTEXT_IS_DESTROYED = 709,
    CUDA_ERROR_ASSERT = 710,
    CUDA_ERROR_HARDWARE_STACK_ERROR = 714,
    CUDA_ERROR_ILLEGAL_INSTRUCTION = 715,
    CUDA_ERROR_MISALIGNED_ADDRESS = 716,
    CUDA_ERROR_INVALID_ADDRESS_SPACE = 717,
    CUDA_ERROR_INVALID_PC = 718,
    CUDA_ERROR_LAUNCH_FAILED = 719,
    CUDA_ERROR_TENSOR_MEMORY_LEAK = 721,
    CUDA_ERROR_MPS_RPC_FAILURE = 806,
    CUDA_ERROR_MPS_CLIENT_TERMINATED = 810,
    CUDA_ERROR_UNKNOWN = 999,
};

enum cuda_flag {
    CU_CTX_SCHED_BLOCKING_SYNC = 4,
    CU_STREAM_NON_BLOCKING = 1,
    CU_EVENT_BLOCKING_SYNC = 1,
    CU_EVENT_DISABLE_TIMING = 2,
};

enum cuda_device_attribute {
    CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_BLOCK = 1,
    CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK = 8,
    CU_DEVICE_ATTRIBUTE_CLOCK_RATE = 13, /* kHz */
    CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT = 16,
    CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN = 97,
};

enum cuda_function_attribute {
    CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK = 0,
    CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES = 8,
};

enum cuda_jit_option {
    CU_JIT_INFO_LOG_BUFFER = 3,
    CU_JIT_INFO_LOG_BUFFER_SIZE_BYTES = 4,
    CU_JIT_ERROR_LOG_BUFFER = 5,
    CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES = 6,
};

enum cuda_jit_input {
    CU_JIT_INPUT_PTX = 1,
};

/* Every function that is used: its name here, its symbol, its parameters. */
#define CUDA_FUNCTIONS(X)                                                                          \
    X(Init, cuInit, (unsigned int))                                                                \
    X(DriverGetVersion, cuDriverGetVersion, (int *))                                               \
    X(GetErrorName, cuGetErrorName, (CUresult, const char **))                                     \
    X(DeviceGetCount, cuDeviceGetCount, (int *))                                                   \
    X(DeviceGet, cuDeviceGet, (CUdevice *, int))                                                   \
    X(DeviceGetName, cuDeviceGetName, (char *, int, CUdevice))                                     \
    X(DeviceGetAttribute, cuDeviceGetAttribute, (int *, CUdevice_attribute, CUdevice))             \
    X(DeviceTotalMem, cuDeviceTotalMem_v2, (size_t *, CUdevice))                                   \
    X(CtxCreate, cuCtxCreate_v2, (CUcontext *, unsigned int, CUdevice))                            \
    X(CtxDestroy, cuCtxDestroy_v2, (CUcontext))                                                    \
    X(StreamCreate, cuStreamCreate, (CUstream *, unsigned int))                                    \
    X(StreamDestroy, cuStreamDestroy_v2, (CUstream))                                               \
    X(StreamSynchronize, cuStreamSynchronize, (CUstream))                                          \
    X(EventCreate, cuEventCreate, (CUevent *, unsigned int))                                       \
    X(EventDestroy, cuEventDestroy_v2, (CUevent))                                                  \
    X(EventRecord, cuEventRecord, (CUevent, CUstream))                                             \
    X(EventSynchronize, cuEventSynchronize, (CUevent))                                             \
    X(MemAlloc, cuMemAlloc_v2, (CUdeviceptr *, size_t))                                            \
    X(MemFree, cuMemFree_v2, (CUdeviceptr))                                                        \
    X(MemcpyHtoDAsync, cuMemcpyHtoDAsync_v2, (CUdeviceptr, const void *, size_t, CUstream))        \
    X(MemcpyDtoHAsync, cuMemcpyDtoHAsync_v2, (void *, CUdeviceptr, size_t, CUstream))              \
    X(MemcpyDtoDAsync, cuMemcpyDtoDAsync_v2, (CUdeviceptr, CUdeviceptr, size_t, CUstream))         \
    X(MemsetD8Async, cuMemsetD8Async, (CUdeviceptr, unsigned char, size_t, CUstream))              \
    X(MemsetD16Async, cuMemsetD16Async, (CUdeviceptr, unsigned short, size_t, CUstream))           \
    X(MemsetD32Async, cuMemsetD32Async, (CUdeviceptr, unsigned int, size_t, CUstream))             \
    X(LinkCreate, cuLinkCreate_v2, (unsigned int, CUjit_option *, void **, CUlinkState *))         \
    X(LinkAddData, cuLinkAddData_v2,                                                               \
      (CUlinkState, CUjitInputType, void *, size_t, const char *, unsigned int, CUjit_option *,    \
       void **))                                                                                   \
    X(LinkComplete, cuLinkComplete, (CUlinkState, void **, size_t *))                              \
    X(LinkDestroy, cuLinkDestroy, (CUlinkState))                                                   \
    X(ModuleLoadDataEx, cuModuleLoadDataEx,                                                        \
      (CUmodule *, const void *, unsigned int, CUjit_option *, void **))                           \
    X(ModuleUnload, cuModuleUnload, (CUmodule))                                                    \
    X(ModuleGetFunction, cuModuleGetFunction, (CUfunction *, CUmodule, const char *))              \
    X(FuncGetAttribute, cuFuncGetAttribute, (int *, CUfunction_attribute, CUfunction))             \
    X(FuncSetAttribute, cuFuncSetAttribute, (CUfunction, CUfunction_attribute, int))               \
    X(OccupancyMaxPotentialBlockSize, cuOccupancyMaxPotentialBlockSize,                            \
      (int *, int *, CUfunction, CUoccupancyB2DSize, size_t, int))                                 \
    X(LaunchKernel, cuLaunchKernel,                                                                \
      (CUfunction, unsigned int, unsigned int, unsigned int, unsigned int, unsigned int,           \
       unsigned int, unsigned int, CUstream, void **, void **))

/* What older drivers do not have: NULL there. */
#define CUDA_NEWER_FUNCTIONS(X)                                                                    \
    X(FuncGetParamInfo, cuFuncGetParamInfo, (CUfunction, size_t, size_t *, size_t *)) /* 12.4 */

struct cuda_driver {
    void *library;
#define X(name, symbol, parameters) CUresult(*name) parameters;
    CUDA_FUNCTIONS(X)
    CUDA_NEWER_FUNCTIONS(X)
#undef X
};

/**
 * cuda_load() - Load the driver library
 * @driver:       filled in; stays loaded until the process ends
 * @path:         the library; NULL = "libcuda.so.1" where the system has it
 * @reason:       on failure: a sentence
 * @reason_bytes: room for it
 *
 * Return: 0 or -ENODEV.
 */
int cuda_load(struct cuda_driver *driver, const char *path, char *reason, size_t reason_bytes);

/**
 * cuda_error_name() - What the driver calls a code
 * @driver: loaded
 * @code:   any
 *
 * Return: such as "CUDA_ERROR_NO_DEVICE", never NULL.
 */
const char *cuda_error_name(const struct cuda_driver *driver, CUresult code);

#endif
