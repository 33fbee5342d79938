/*
 * hash.c - The name of a build
 *
 * SipHash-2-4-128 (Aumasson and Bernstein, 2012). A cache is never shared between VMs, so a tenant
 * who constructs a collision deceives nobody but himself; what is needed is speed and a good
 * spread.
 *
 * kind, options and lengths are hashed first, and their hash is the key under which the code is
 * hashed: no two different triples are the same string of bytes.
 */
#include "hash.h"

#include <string.h>

static inline uint64_t rotate(uint64_t x, unsigned by)
{
    return (x << by) | (x >> (64 - by));
}

static inline void rounds(uint64_t v[4], int count)
{
    while (count-- > 0) {
        v[0] += v[1];
        v[2] += v[3];
        v[1] = rotate(v[1], 13) ^ v[0];
        v[3] = rotate(v[3], 16) ^ v[2];
        v[0] = rotate(v[0], 32);
        v[2] += v[1];
        v[0] += v[3];
        v[1] = rotate(v[1], 17) ^ v[2];
        v[3] = rotate(v[3], 21) ^ v[0];
        v[2] = rotate(v[2], 32);
    }
}

struct hash_key hash_siphash(struct hash_key key, const void *data, uint64_t bytes)
{
    uint64_t v[4] = {
        key.word[0] ^ 0x736f6d6570736575u,
        key.word[1] ^ 0x646f72616e646f6du ^ 0xee,
        key.word[0] ^ 0x6c7967656e657261u,
        key.word[1] ^ 0x7465646279746573u,
    };
    const uint8_t *at = data;
    uint64_t word, last = bytes << 56;
    struct hash_key out;

    for (uint64_t left = bytes / 8; left > 0; left--, at += 8) {
        memcpy(&word, at, 8);
        v[3] ^= word;
        rounds(v, 2);
        v[0] ^= word;
    }
    for (unsigned i = 0; i < bytes % 8; i++)
        last |= (uint64_t)at[i] << (8 * i);
    v[3] ^= last;
    rounds(v, 2);
    v[0] ^= last;

    v[2] ^= 0xee;
    rounds(v, 4);
    out.word[0] = v[0] ^ v[1] ^ v[2] ^ v[3];
    v[1] ^= 0xdd;
    rounds(v, 4);
    out.word[1] = v[0] ^ v[1] ^ v[2] ^ v[3];
    return out;
}

struct hash_key hash_module(uint32_t kind, const char *options, const void *code,
                            uint64_t code_bytes)
{
    struct hash_key how = {{kind, strlen(options)}};

    how = hash_siphash(how, options, how.word[1]);
    return hash_siphash(how, code, code_bytes);
}
