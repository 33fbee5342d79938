/*
 * filter_calls.h - The system calls that a worker may make
 */
#ifndef VGPUD_WORKER_FILTER_CALLS_H
#define VGPUD_WORKER_FILTER_CALLS_H

#include <stddef.h>
#include <stdint.h>

/* Who may make a call. */
enum filter_party {
    FILTER_LAUNCH = 1u,
    FILTER_BUILD = 2u,
    FILTER_PROBE = 4u,
    FILTER_DRIVER = 8u, /* any role whose device has a driver in the kernel */
};

#define FILTER_EVERYBODY (FILTER_LAUNCH | FILTER_BUILD | FILTER_PROBE)
#define FILTER_COMPILERS (FILTER_BUILD | FILTER_PROBE)

/* What becomes of it; what a condition does not let through is as if it were not in the table. */
enum filter_rule {
    FILTER_ALLOWED,
    FILTER_THREAD,      /* clone: of a thread of this process */
    FILTER_PROCESS,     /* clone: without namespaces */
    FILTER_OWN_PROCESS, /* the first argument is this process */
    FILTER_OWN_LIMITS,  /* the first argument is 0, for the caller */
    FILTER_OWN_MEMORY,  /* mmap: of a file, or such that RLIMIT_DATA counts it */
    FILTER_NAMING,      /* prctl: names for threads and memory */
    FILTER_NOT_THERE,   /* fails with ENOSYS */
    FILTER_NO_TERMINAL, /* fails with ENOTTY */
};

struct filter_call {
    uint32_t number; /* SYS_* */
    uint8_t parties; /* enum filter_party */
    uint8_t rule;    /* enum filter_rule */
};

/**
 * filter_calls() - The table
 * @count: set to the number of its rows
 *
 * For one party the first row with a number counts.
 */
const struct filter_call *filter_calls(size_t *count);

#endif
