/*
 * opencl_device.h - What the parts of the OpenCL backend share
 */
#ifndef VGPUD_WORKER_OPENCL_DEVICE_H
#define VGPUD_WORKER_OPENCL_DEVICE_H

#include <stdbool.h>

#include "backend.h"
#include "hash.h"
#include "opencl_icd.h"

struct backend {
    struct opencl cl;
    cl_platform_id platform;
    cl_device_id device;
    cl_context context;
    cl_command_queue queue;                      /* in order */
    cl_api_clCreateProgramWithIL create_with_il; /* NULL = the device takes no SPIR-V */
    bool on_host;                                /* the device's memory is this process's memory */
    /* Launches that may be unfinished, oldest first. */
    cl_event in_flight[BACKEND_LAUNCHES_IN_FLIGHT];
    uint32_t in_flight_count;
    struct backend_module *modules; /* all that are loaded, see opencl_program.c */
};

struct backend_buffer {
    cl_mem mem;
    void *pages; /* what mem lies in on a CPU device; else NULL */
    uint64_t bytes;
};

/* The same binary is loaded once, however often it is asked for. */
struct backend_module {
    cl_program program;
    struct hash_key key; /* of the binary */
    uint32_t uses;
    struct backend_module *next;
};

/**
 * opencl_verdict() - What an OpenCL code means to a guest
 * @code: CL_SUCCESS or an error
 *
 * Return: verdict, with the code as native.
 */
struct backend_verdict opencl_verdict(cl_int code);

/**
 * opencl_pick() - Choose a platform and a device
 * @backend:      its library is loaded; platform and device are set
 * @index:        over all devices of all platforms in their order; -1 = the first GPU or
 *                accelerator, else the first device
 * @reason:       on failure: a sentence
 * @reason_bytes: room for it
 *
 * Return: 0 or -ENODEV.
 */
int opencl_pick(struct backend *backend, int32_t index, char *reason, size_t reason_bytes);

/**
 * opencl_is_cpu() - Does the picked device compute on this machine's processors?
 * @backend: with a device
 *
 * Return: whether its memory is the host's.
 */
bool opencl_is_cpu(struct backend *backend);

/* The backend_ops functions of these names. opencl_device.c: */
void opencl_describe(struct backend *backend, struct vgpu_device_info *info);

/* opencl_program.c: */
struct backend_verdict opencl_build(struct backend *backend, const struct backend_code *code,
                                    struct backend_built *built);
struct backend_verdict opencl_module_load(struct backend *backend, const uint8_t *binary,
                                          uint64_t bytes, struct backend_module **module);
void opencl_module_unload(struct backend *backend, struct backend_module *module);

/* opencl_kernel.c: */
struct backend_verdict opencl_kernel_create(struct backend *backend, struct backend_module *module,
                                            const char *name, struct backend_kernel **kernel,
                                            uint32_t *args);
void opencl_kernel_arg(struct backend *backend, struct backend_kernel *kernel, uint32_t index,
                       struct vgpu_arg_info *info);
void opencl_kernel_release(struct backend *backend, struct backend_kernel *kernel);
struct backend_verdict opencl_launch(struct backend *backend, const struct backend_launch *launch);
struct backend_verdict opencl_finish(struct backend *backend);

#endif
