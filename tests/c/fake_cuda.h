/*
 * fake_cuda.h - A CUDA driver library without a device, for tests
 *
 * libfake_cuda.so exports the driver's functions, and those at the end of this header for the test that
 * loaded it. "Device" memory is host memory that only the fake can reach: device addresses are made up.
 * Work on a stream is done when somebody waits for it, not before, so that who does not wait is found
 * out. Whatever a caller of the real driver must not do is noted as misuse.
 *
 * Kernels are known by name: vgpu_vector_add, vecadd, saxpy, wild (ends in CUDA_ERROR_ILLEGAL_ADDRESS); others
 * do nothing. What parameters they take is read from the PTX, of which a "cubin" here is a copy behind
 * an ELF header.
 *
 * Environment, read by cuInit(): FAKE_CUDA_FAIL=SYMBOL=CODE makes a call fail once, FAKE_CUDA_DEVICES=N
 * is the number of devices (1), FAKE_CUDA_ABORT=1 ends the process at the first misuse.
 */
#ifndef VGPUD_TESTS_FAKE_CUDA_H
#define VGPUD_TESTS_FAKE_CUDA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "worker/cuda_driver.h"

#define FAKE_CUDA_EXPORT __attribute__((visibility("default")))

/* A function of the driver. */
#define DRIVER(symbol, parameters)                                                                 \
    FAKE_CUDA_EXPORT CUresult symbol parameters;                                                   \
    CUresult symbol parameters

#define FAKE_CUDA_THREADS               1024u
#define FAKE_CUDA_BEST_BLOCK            768u
#define FAKE_CUDA_SHARED                49152u
#define FAKE_CUDA_SHARED_OPTIN          101376u
#define FAKE_CUDA_MEMORY                (1ull << 30)
#define FAKE_CUDA_PARAMETERS            256u
#define FAKE_CUDA_PARAM_BYTES           4096u /* of one kernel's parameters together */
#define FAKE_CUDA_FRESH                 0xa5u /* what fresh memory is full of */
#define FAKE_CUDA_ERROR_NOT_INITIALIZED 3

/* ---- between the files of the fake ---- */

enum fake_kind {
    FAKE_CONTEXT,
    FAKE_STREAM,
    FAKE_EVENT,
    FAKE_MEMORY,
    FAKE_MODULE,
    FAKE_LINK,
    FAKE_KINDS,
};

/* Everything that is made and given back; the first member of what has more to it. */
struct fake_object {
    enum fake_kind kind;
    struct fake_object *context; /* NULL for a context */
    struct fake_object *next;
};

struct CUctx_st {
    struct fake_object object;
    CUresult sticky;
};

struct CUfunc_st {
    struct CUfunc_st *next; /* of its module */
    char name[256];
    uint32_t params;
    uint32_t size[FAKE_CUDA_PARAMETERS];
    uint32_t max_threads;
    uint32_t shared_bytes; /* dynamic; as many as it may have */
};

/* The calling thread's. */
CUcontext fake_current(void);

/* A call begins: is it allowed to, and is it to fail? Returns what the call returns if not 0. */
CUresult fake_enter(const char *symbol, bool needs_context);

void fake_misuse(const char *symbol, const char *what);

/* Makes an object of the current context; dies without memory. */
void *fake_make(enum fake_kind kind, size_t bytes);

/* Is it alive, of that kind, of the current context? If not, that is misuse. */
bool fake_alive(const char *symbol, const void *object, enum fake_kind kind);

/* Takes it off the list, and frees it. */
void fake_unmake(void *object);

/* Is the module of that function loaded? If not, that is misuse. */
bool fake_is_function(const char *symbol, CUfunction function);

/* The host's side of device memory, NULL when not all of it is there. */
uint8_t *fake_memory(CUdeviceptr at, size_t bytes);

/* What a stream is to do. */
struct fake_work {
    struct fake_work *next;
    CUresult (*run)(const struct fake_work *work);
    bool is_launch;
    uint64_t number;
    CUdeviceptr to, from;
    const void *host_from;
    void *host_to;
    size_t bytes;
    uint8_t pattern[4];
    uint32_t pattern_bytes;
    char kernel[256];
    uint64_t threads;
    uint32_t offset[FAKE_CUDA_PARAMETERS];
    uint8_t params[FAKE_CUDA_PARAM_BYTES];
};

/* Adds work to a stream; NULL, with *code set, when the call is refused. */
struct fake_work *fake_queue(const char *symbol, CUstream stream, CUresult *code);

/* Frees what an object holds, its place on the list apart. */
void fake_drop_stream(void *stream);
void fake_drop_memory(void *memory);
void fake_drop_module(void *module);
void fake_drop_link(void *link);

/* How many launches a stream still has to do. */
unsigned fake_launches(CUstream stream);

/* Is anything unfinished in the current context? */
bool fake_is_busy(void);
struct fake_object *fake_first(void);

/* ---- for the test: found by dlsym() ---- */

struct fake_cuda_launch {
    uint32_t grid[3];
    uint32_t block[3];
    uint32_t shared_bytes;
};

/* The call of `symbol` after `after` more fails once with `code`; 0 takes that back. */
typedef void (*fake_cuda_fail_t)(const char *symbol, CUresult code, unsigned after);
/* All misuse so far, a line each; empty when there was none. */
typedef const char *(*fake_cuda_misuse_t)(void);
/* Objects that are alive, in all contexts, and those themselves. */
typedef unsigned (*fake_cuda_live_t)(void);
/* Buffers that were freed with something in them. */
typedef unsigned (*fake_cuda_dirty_t)(void);
/* How many launches were unfinished at a time. */
typedef unsigned (*fake_cuda_most_in_flight_t)(void);
typedef struct fake_cuda_launch (*fake_cuda_last_launch_t)(void);

#endif
