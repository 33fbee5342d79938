/*
 * binaries.h - What the build worker has made so far, by key
 *
 * Bounded in number and bytes; the least recently used goes first. Failures are kept too, so that a
 * unit that comes back after its build finds out why.
 */
#ifndef VGPUD_WORKER_BINARIES_H
#define VGPUD_WORKER_BINARIES_H

#include <stdint.h>

#include "hash.h"

#define BINARIES_MAX       64u
#define BINARIES_MAX_BYTES (64ull << 20)

/* The log, then the binary, in one read-only mapping that nobody can change any more. */
struct binary {
    struct hash_key key;
    uint16_t status; /* enum vgpu_status of the build */
    int32_t native;
    const uint8_t *map; /* NULL when there is neither log nor binary */
    uint64_t log_bytes;
    uint64_t binary_bytes;
    uint64_t last_use;
};

struct binaries {
    uint64_t clock; /* counts uses */
    uint64_t bytes;
    uint32_t count;
    struct binary entries[BINARIES_MAX];
};

/**
 * binaries_find() - What is known of a build
 * @binaries: cache
 * @key:      of the build
 *
 * Return: the entry, valid until the next binaries_put(); NULL when nothing is known.
 */
const struct binary *binaries_find(struct binaries *binaries, struct hash_key key);

/**
 * binaries_put() - Keep a build; it replaces an older one of its key
 * @binaries: cache
 * @binary:   at most BINARIES_MAX_BYTES; its mapping is the cache's from now on
 */
void binaries_put(struct binaries *binaries, const struct binary *binary);

/**
 * binaries_clear() - Forget everything
 * @binaries: cache
 */
void binaries_clear(struct binaries *binaries);

#endif
