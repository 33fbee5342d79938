/*
 * cuda_device.h - What the parts of the CUDA backend share
 */
#ifndef VGPUD_WORKER_CUDA_DEVICE_H
#define VGPUD_WORKER_CUDA_DEVICE_H

#include <stdbool.h>

#include "backend.h"
#include "cuda_driver.h"

struct cuda_params;

struct backend {
    struct cuda_driver cu;
    CUdevice device;
    CUcontext context; /* current in the one thread that calls the backend */
    CUstream stream;   /* everything goes through it, so everything is in order */
    /* Launches that may be unfinished: from `oldest` on, going round. */
    CUevent done[BACKEND_LAUNCHES_IN_FLIGHT];
    uint32_t oldest;
    uint32_t in_flight;
    CUresult lost;              /* the error after which this process can use no device; 0 = none */
    struct cuda_params *params; /* see cuda_kernel.c */
};

struct backend_buffer {
    CUdeviceptr at;
    uint64_t bytes;
};

struct backend_module {
    CUmodule module;
};

/**
 * cuda_verdict() - What a CUDA code means to a guest
 * @backend: whose call it was; remembers an error that nothing can come after
 * @code:    CUDA_SUCCESS or an error
 *
 * Return: verdict, with the code as native. Once the device is lost it is VGPU_DEVICE_LOST for ever,
 * with the error that did it.
 */
struct backend_verdict cuda_verdict(struct backend *backend, CUresult code);

/**
 * cuda_wait() - Wait for all that the stream has
 * @backend: open
 * @code:    what the call said that came before
 *
 * Waits also when that call failed: of several, those before it may be under way.
 *
 * Return: verdict on both.
 */
struct backend_verdict cuda_wait(struct backend *backend, CUresult code);

/**
 * cuda_open_device() - Open a device: a context of its own, a stream, the events
 * @backend:      its driver is loaded
 * @index:        in the order of their PCI addresses; -1 = the first
 * @reason:       on failure: a sentence
 * @reason_bytes: room for it
 *
 * Return: 0 or -ENODEV; what was made by then is for cuda_close_device().
 */
int cuda_open_device(struct backend *backend, int32_t index, char *reason, size_t reason_bytes);

/**
 * cuda_close_device() - Give back what cuda_open_device() made
 * @backend: opened, in parts or not at all
 */
void cuda_close_device(struct backend *backend);

/**
 * cuda_params_new() - Room for the parameters of a launch
 * @all_of_them: the driver may read parameters that nobody gave it
 *
 * Return: to be freed by free(); NULL without memory.
 */
struct cuda_params *cuda_params_new(bool all_of_them);

/* The backend_ops functions of these names. cuda_device.c: */
void cuda_describe(struct backend *backend, struct vgpu_device_info *info);

/* cuda_memory.c: */
struct backend_verdict cuda_alloc(struct backend *backend, uint64_t bytes,
                                  struct backend_buffer **buffer, uint64_t *raw);
void cuda_free(struct backend *backend, struct backend_buffer *buffer);
struct backend_verdict cuda_write(struct backend *backend, struct backend_buffer *buffer,
                                  uint64_t off, const void *from, uint64_t bytes);
struct backend_verdict cuda_read(struct backend *backend, struct backend_buffer *buffer,
                                 uint64_t off, void *to, uint64_t bytes);
struct backend_verdict cuda_copy(struct backend *backend, struct backend_buffer *to,
                                 uint64_t to_off, struct backend_buffer *from, uint64_t from_off,
                                 uint64_t bytes);
struct backend_verdict cuda_fill(struct backend *backend, struct backend_buffer *buffer,
                                 uint64_t off, uint64_t bytes, const void *pattern,
                                 uint32_t pattern_bytes);

/* cuda_module.c: */
struct backend_verdict cuda_build(struct backend *backend, const struct backend_code *code,
                                  struct backend_built *built);
struct backend_verdict cuda_module_load(struct backend *backend, const uint8_t *binary,
                                        uint64_t bytes, struct backend_module **module);
void cuda_module_unload(struct backend *backend, struct backend_module *module);

/* cuda_kernel.c: */
struct backend_verdict cuda_kernel_create(struct backend *backend, struct backend_module *module,
                                          const char *name, struct backend_kernel **kernel,
                                          uint32_t *args);
void cuda_kernel_arg(struct backend *backend, struct backend_kernel *kernel, uint32_t index,
                     struct vgpu_arg_info *info);
void cuda_kernel_release(struct backend *backend, struct backend_kernel *kernel);
struct backend_verdict cuda_launch(struct backend *backend, const struct backend_launch *launch);
struct backend_verdict cuda_finish(struct backend *backend);

#endif
