/*
 * hash.h - The name of a build: 128 bits over what went into it
 */
#ifndef VGPUD_WORKER_HASH_H
#define VGPUD_WORKER_HASH_H

#include <stdbool.h>
#include <stdint.h>

struct hash_key {
    uint64_t word[2];
};

/**
 * hash_siphash() - SipHash-2-4 with 128 bits of output
 * @key:   selects the function
 * @data:  what to hash
 * @bytes: its length
 *
 * Return: the hash.
 */
struct hash_key hash_siphash(struct hash_key key, const void *data, uint64_t bytes);

/**
 * hash_module() - The key of a module build
 * @kind:       enum vgpu_module_kind
 * @options:    text with a final NUL
 * @code:       source or intermediate code
 * @code_bytes: its length
 *
 * Return: the key under which launcher and builder know the result.
 */
struct hash_key hash_module(uint32_t kind, const char *options, const void *code,
                            uint64_t code_bytes);

static inline bool hash_same(struct hash_key a, struct hash_key b)
{
    return a.word[0] == b.word[0] && a.word[1] == b.word[1];
}

#endif
