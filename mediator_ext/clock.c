/*
 * clock.c - The engine's clock, for its parts and for the transports
 */
#include "clock.h"

#include <time.h>

/** engine_now_ns() - Nanoseconds of CLOCK_MONOTONIC; costs some 20 of them */
uint64_t engine_now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}
