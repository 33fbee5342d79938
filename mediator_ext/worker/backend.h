/*
 * backend.h - What a device backend owes the worker
 *
 * A backend is a table of functions over an opaque `struct backend`: one device, opened by one
 * process for one VM. Everything is called from the worker's main thread. What comes from a guest
 * has been checked by the caller as far as the backend-independent rules go (references, ranges of
 * buffers, dimensions); what only the runtime knows (arguments of a kernel) the backend checks.
 *
 * A verdict of VGPU_DEVICE_LOST is a backend's last: this process can do nothing more with the device,
 * and ends, so that its VM gets another one.
 *
 * Objects that a backend returns belong to the caller until they are given back by the matching
 * function. Nothing is given back while a launch that uses it may be running: finish() comes first.
 */
#ifndef VGPUD_WORKER_BACKEND_H
#define VGPUD_WORKER_BACKEND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ring_abi.h"

struct backend;
struct backend_buffer;
struct backend_module;
struct backend_kernel;

/* What became of a call: enum vgpu_status, and the runtime's own code (0 = none). */
struct backend_verdict {
    uint16_t status;
    int32_t native;
};

#define BACKEND_FINE ((struct backend_verdict){.status = VGPU_OK, .native = 0})

/* At most this many launches are unfinished: what keeps a unit near its budget. */
#define BACKEND_LAUNCHES_IN_FLIGHT 2u

enum backend_flag {
    BACKEND_INSTANT = 1u, /* nothing takes time: replies may be announced in batches */
};

/* How to open a device; from the environment that the spawner set. */
struct backend_settings {
    const char *library; /* path or name of the runtime's library; NULL = the system's */
    int32_t device;      /* index over all devices of the runtime; -1 = the best one */
    uint32_t threads;    /* of a CPU device; 0 = it chooses */
    bool builds;         /* build() will be called: what it needs is to be loaded by open() */
};

struct backend_code {
    uint32_t kind;        /* enum vgpu_module_kind */
    const uint8_t *bytes; /* followed by a NUL that does not count */
    uint64_t size;
    const char *options; /* ends with NUL */
};

/* What a build made. log and binary are malloc'd, the caller's, and NULL when empty. */
struct backend_built {
    char *log;
    uint64_t log_bytes;
    uint8_t *binary;
    uint64_t binary_bytes;
};

struct backend_arg {
    uint32_t kind; /* enum vgpu_arg_kind */
    uint32_t size; /* of the value or of the local memory */
    const void *value;
    struct backend_buffer *buffer;
};

struct backend_launch {
    struct backend_kernel *kernel;
    uint32_t dims; /* 1..3 */
    uint32_t shared_bytes;
    size_t offset[3];
    size_t global[3];
    size_t local[3]; /* local[0] == 0: the device chooses */
    uint32_t arg_count;
    const struct backend_arg *args;
};

struct backend_ops {
    const char *name;             /* also vgpu_device_info.backend */
    uint32_t flags;               /* enum backend_flag */
    const char *library_variable; /* of the environment: backend_settings.library; NULL = none */
    uint32_t builtin_kind; /* enum vgpu_module_kind: what the built-in kernels are given in */

    /* 0 or -errno; then `reason` says in one sentence what is missing. May block and start threads.
     */
    int (*open)(const struct backend_settings *settings, struct backend **backend, char *reason,
                size_t reason_bytes);
    void (*close)(struct backend *backend);
    void (*describe)(struct backend *backend, struct vgpu_device_info *info);

    /* bytes of zeroes; *raw = device address, or 0 where the runtime has none. */
    struct backend_verdict (*alloc)(struct backend *backend, uint64_t bytes,
                                    struct backend_buffer **buffer, uint64_t *raw);
    /* What was in it can be read by nobody afterwards. */
    void (*free)(struct backend *backend, struct backend_buffer *buffer);

    /* All four block, and come after every launch before them. bytes > 0 */
    struct backend_verdict (*write)(struct backend *backend, struct backend_buffer *buffer,
                                    uint64_t off, const void *from, uint64_t bytes);
    struct backend_verdict (*read)(struct backend *backend, struct backend_buffer *buffer,
                                   uint64_t off, void *to, uint64_t bytes);
    /* From one place of the device to another; within one buffer the two ranges are disjoint. */
    struct backend_verdict (*copy)(struct backend *backend, struct backend_buffer *to,
                                   uint64_t to_off, struct backend_buffer *from, uint64_t from_off,
                                   uint64_t bytes);
    /* pattern_bytes is 1, 2, 4, 8 or 16; off and bytes are multiples of it. */
    struct backend_verdict (*fill)(struct backend *backend, struct backend_buffer *buffer,
                                   uint64_t off, uint64_t bytes, const void *pattern,
                                   uint32_t pattern_bytes);

    /* Build role only. With any status but VGPU_OK there may be a log, and never a binary. */
    struct backend_verdict (*build)(struct backend *backend, const struct backend_code *code,
                                    struct backend_built *built);

    /* Launch role only, from what build() made: no compiler, no linker. */
    struct backend_verdict (*module_load)(struct backend *backend, const uint8_t *binary,
                                          uint64_t bytes, struct backend_module **module);
    void (*module_unload)(struct backend *backend, struct backend_module *module);

    /* *args = number of arguments, 0 where it is not known. */
    struct backend_verdict (*kernel_create)(struct backend *backend, struct backend_module *module,
                                            const char *name, struct backend_kernel **kernel,
                                            uint32_t *args);
    /* What is known of argument `index` of those; NULL = nothing. Before it is called, all of *info is zero but the
       kind, which is VGPU_ARG_NOT_KNOWN. */
    void (*kernel_arg)(struct backend *backend, struct backend_kernel *kernel, uint32_t index,
                       struct vgpu_arg_info *info);
    void (*kernel_release)(struct backend *backend, struct backend_kernel *kernel);

    /* Asynchronous; arguments are taken before it returns. Waits for the oldest launch when
       BACKEND_LAUNCHES_IN_FLIGHT are unfinished. */
    struct backend_verdict (*launch)(struct backend *backend, const struct backend_launch *launch);
    struct backend_verdict (*finish)(struct backend *backend);

    /* The built-in vector add of a backend that runs no kernels; NULL = it is a kernel. */
    uint32_t (*vector_add)(uint32_t a, uint32_t b);
};

extern const struct backend_ops backend_null;
extern const struct backend_ops backend_opencl;
extern const struct backend_ops backend_cuda;

/**
 * backend_find() - The backend of a name
 * @name: "null", "opencl" or "cuda"
 *
 * Return: its table, or NULL when there is none of that name.
 */
const struct backend_ops *backend_find(const char *name);

#endif
