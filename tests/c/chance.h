/*
 * chance.h - Pseudo-random numbers for tests: the same ones for the same seed
 */
#ifndef VGPUD_TESTS_CHANCE_H
#define VGPUD_TESTS_CHANCE_H

#include <stdint.h>

/** chance() - The next number below @limit */
static inline uint32_t chance(uint64_t *state, uint32_t limit)
{
    *state = *state * 6364136223846793005ull + 1442695040888963407ull;
    return (uint32_t)(*state >> 33) % limit;
}

#endif
