/*
 * recorder.h - A recording that is read while it is made: bounded, and honest about what it lost
 */
#ifndef VGPUD_RECORDER_H
#define VGPUD_RECORDER_H

#include "record.h"

/* head: written by the reader; tail, gap, lost: by the scheduler's thread; the rest by begin. */
struct recorder {
    uint64_t head __attribute__((aligned(64)));
    uint64_t tail __attribute__((aligned(64)));
    uint64_t lost;
    bool gap;
    const struct record_names *names;
    struct mediator_record *record; /* NULL = never begun */
    uint64_t capacity;              /* a power of two */
};

/** recorder_begin() - An empty ring for so many records. Return: 0, or -ENOMEM: as it was */
int recorder_begin(struct recorder *r, const struct record_names *names, uint64_t records);
void recorder_free(struct recorder *r);

/** recorder_put() - Add a record; never blocks. For a sink */
void recorder_put(void *recorder, const struct mediator_record *record);

/** recorder_tap() - Add the record of a call. For scheduler_tap() */
void recorder_tap(void *recorder, const struct scheduler *s, const struct sched_call *call);

/** recorder_take() - Copy out up to @max records, oldest first; the reader's thread. Return: how many */
uint32_t recorder_take(struct recorder *r, struct mediator_record *out, uint32_t max);

/** recorder_lost() - How many records there was no room for; any thread */
uint64_t recorder_lost(const struct recorder *r);

#endif
