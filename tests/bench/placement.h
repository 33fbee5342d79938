/*
 * placement.h - Which CPU a load generator asks from
 *
 * The kernel's choice decides more than what is measured. So a load generator goes to the CPU that
 * GUEST_CPU names once its rival runs; the rival stays where the generator was started, as vgpud does.
 */
#ifndef VGPUD_TESTS_BENCH_PLACEMENT_H
#define VGPUD_TESTS_BENCH_PLACEMENT_H

#include <sched.h>

#include "samples.h"

static inline void stay_on(int cpu)
{
    cpu_set_t one;

    CPU_ZERO(&one);
    CPU_SET(cpu, &one);
    must(sched_setaffinity(0, sizeof(one), &one) == 0, "sched_setaffinity");
}

/* For a rival that takes turns with the guest in one process: the CPUs it was started on, vgpud's. */
static inline void go_to_host_cpu(const cpu_set_t *started_on)
{
    must(sched_setaffinity(0, sizeof(*started_on), started_on) == 0, "sched_setaffinity");
}

/* CPUs are counted from 0, numbers here from 1. */
static inline void go_to_guest_cpu(void)
{
    const char *cpu = getenv("GUEST_CPU");

    if (cpu)
        stay_on(strcmp(cpu, "0") ? (int)number(cpu, CPU_SETSIZE - 1) : 0);
}

#endif
