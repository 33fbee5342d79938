/*
 * spin.h - Whether to look for a moment before going to sleep; pure
 *
 * Theory of operation
 *
 * To be woken costs from 5 us on a bare machine to 60 us in a virtual one whose idle CPUs halt. Who looks
 * again and again instead, for as long as that, saves it if what comes comes soon, and wastes a CPU if
 * not; where the CPU is the one that the other side needs, it loses more than it saves. So spinning
 * has a limit, and is tried only while most waits have lately been shorter than that. How long waits
 * are is known whether or not they were spun through.
 */
#ifndef VGPUD_SPIN_H
#define VGPUD_SPIN_H

#include <stdbool.h>
#include <stdint.h>

#define SPIN_MAX_US  1000u
#define SPIN_CERTAIN 256 /* every wait is short */
#define SPIN_ENOUGH  192 /* three of four */

/* Zeroed at first: nothing is known, so it sleeps. */
struct spin {
    int32_t short_waits; /* moving average, of SPIN_CERTAIN */
};

/** spin_worth() - Is it to be tried now? @limit_us: 0 = never */
static inline bool spin_worth(const struct spin *spin, uint32_t limit_us)
{
    return limit_us && spin->short_waits >= SPIN_ENOUGH;
}

/** spin_note() - A wait is over, spun or slept through */
static inline void spin_note(struct spin *spin, uint32_t limit_us, uint64_t waited_ns)
{
    int32_t now = waited_ns <= limit_us * 1000ull ? SPIN_CERTAIN : 0;

    spin->short_waits += (now - spin->short_waits) / 8;
}

/** spin_pause() - Between two looks: let the other half of the core work */
static inline void spin_pause(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("isb" ::: "memory");
#endif
}

#endif
