/*
 * builtin.h - Work that the worker brings along: the vector add of the version 1 framing
 *
 * It is a kernel like any other: the build worker compiles it (it knows the source), the launch
 * worker loads the binary once and keeps it.
 */
#ifndef VGPUD_WORKER_BUILTIN_H
#define VGPUD_WORKER_BUILTIN_H

#include "backend.h"
#include "hash.h"

struct builtin {
    struct backend_module *module;
    struct backend_kernel *kernel;
    struct backend_buffer *out;
};

/**
 * builtin_source() - What the build worker compiles
 * @ops: the backend
 * @key: its key
 *
 * Return: the code.
 */
struct backend_code builtin_source(const struct backend_ops *ops, struct hash_key *key);

/**
 * builtin_is_loaded() - Can builtin_vector_add() be called?
 * @builtin: zeroes, or loaded before
 * @ops:     the backend
 *
 * Return: whether no binary is needed any more.
 */
static inline int builtin_is_loaded(const struct builtin *builtin, const struct backend_ops *ops)
{
    return ops->vector_add != NULL || builtin->kernel != NULL;
}

/**
 * builtin_load() - Make the kernel from its binary
 * @builtin: zeroes
 * @ops:     the backend
 * @backend: its open device
 * @binary:  what the build worker made of builtin_source()
 * @bytes:   its length
 *
 * Return: verdict; nothing is kept on failure.
 */
struct backend_verdict builtin_load(struct builtin *builtin, const struct backend_ops *ops,
                                    struct backend *backend, const uint8_t *binary, uint64_t bytes);

/**
 * builtin_vector_add() - a + b, modulo 2^32, on the device; blocks until it is done
 * @builtin: loaded
 * @ops:     the backend
 * @backend: its open device
 * @a:       first number
 * @b:       second number
 * @sum:     the sum on success
 *
 * Return: verdict.
 */
struct backend_verdict builtin_vector_add(struct builtin *builtin, const struct backend_ops *ops,
                                          struct backend *backend, uint32_t a, uint32_t b,
                                          uint32_t *sum);

/**
 * builtin_close() - Give back what builtin_load() made
 * @builtin: loaded or not; zeroes afterwards
 * @ops:     the backend
 * @backend: its open device, with nothing running
 */
void builtin_close(struct builtin *builtin, const struct backend_ops *ops, struct backend *backend);

#endif
