/*
 * scheduler_life.h - A scheduler to which everything happens that can, at random, on a virtual clock
 */
#ifndef VGPUD_TESTS_SCHEDULER_LIFE_H
#define VGPUD_TESTS_SCHEDULER_LIFE_H

#include <stdbool.h>

#include "record.h"

#define LIFE_POOLS   5
#define LIFE_VMS     24
#define LIFE_STREAMS 4
#define LIFE_UNITS   48 /* of one VM at a time */

struct life_pool {
    struct sched_pool sched; /* must be first */
    uint8_t id;
    bool used;
};

struct life_stream {
    struct sched_stream sched; /* must be first */
    uint32_t number;
};

struct life_unit {
    struct sched_unit sched; /* must be first */
    uint32_t number;
    bool used;
};

struct life_vm {
    struct sched_vm sched; /* must be first */
    uint32_t number;
    uint64_t next_seq;
    struct life_stream stream[LIFE_STREAMS];
    struct life_unit unit[LIFE_UNITS];
};

struct life {
    struct scheduler scheduler;
    struct life_pool pool[LIFE_POOLS];
    struct life_vm vm[LIFE_VMS];
    struct life_unit *flying[LIFE_VMS * LIFE_UNITS];
    uint32_t in_flight;
    uint64_t now_ns;
    uint64_t random;
    uint64_t decisions; /* picks that found something */
    uint64_t aged;
};

extern const struct record_names life_names;

/** life_begin() - Two pools, all VMs in them */
void life_begin(struct life *life, uint64_t seed);

/** life_step() - Something happens */
void life_step(struct life *life);

/** life_state() - Write the whole state, as the records of its owner */
void life_state(const struct life *life, const struct record_sink *sink);

void life_end(struct life *life);

/** life_random() - 0..@below - 1 */
uint32_t life_random(struct life *life, uint32_t below);

#endif
