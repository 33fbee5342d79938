/*
 * input.h - An input as a list of small numbers, which the targets read acts from
 *
 * What is missing at the end of an input is zero.
 */
#ifndef VGPUD_TESTS_FUZZ_INPUT_H
#define VGPUD_TESTS_FUZZ_INPUT_H

#include <stddef.h>
#include <stdint.h>

struct input {
    const uint8_t *at;
    size_t left;
};

/** take() - The next @bytes (at most 8) as a little-endian number */
static inline uint64_t take(struct input *in, uint32_t bytes)
{
    uint64_t value = 0;

    for (uint32_t i = 0; i < bytes && in->left; i++, in->left--)
        value |= (uint64_t)*in->at++ << 8 * i;
    return value;
}

/** take_small() - The next byte as a number below @limit */
static inline uint32_t take_small(struct input *in, uint32_t limit)
{
    return (uint32_t)take(in, 1) % limit;
}

/** take_bytes() - Fill @out */
static inline void take_bytes(struct input *in, void *out, size_t bytes)
{
    uint8_t *to = out;

    for (size_t i = 0; i < bytes; i++)
        to[i] = (uint8_t)take(in, 1);
}

#endif
