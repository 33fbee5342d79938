/*
 * clock.h - The worker's clock
 */
#ifndef VGPUD_WORKER_CLOCK_H
#define VGPUD_WORKER_CLOCK_H

#include <stdint.h>
#include <time.h>

/**
 * clock_ns() - Now, in nanoseconds of CLOCK_MONOTONIC
 *
 * Return: nanoseconds.
 */
static inline uint64_t clock_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

#endif
