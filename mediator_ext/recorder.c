/*
 * recorder.c - A recording that is read while it is made: bounded, and honest about what it lost
 *
 * Theory of operation
 *
 * One producer (the scheduler's thread), one consumer (whoever reads). Indices run freely; the
 * producer fills a record and then publishes tail with release order, the consumer copies and then
 * publishes head, so a record is never overwritten while it is read.
 *
 * The scheduler waits for nobody. When all but one place is taken, a gap is put into the last one and
 * the recording ends: after a lost call nothing could be reproduced. What would have followed is
 * counted. There is always room for what was there at the beginning, as begin was told.
 */
#include "recorder.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int recorder_begin(struct recorder *r, const struct record_names *names, uint64_t records)
{
    struct mediator_record *record;
    uint64_t capacity = 2;

    while (capacity < records + 1) /* one more, for a gap */
        capacity *= 2;
    record = malloc(capacity * sizeof(*record));
    if (!record)
        return -ENOMEM;
    recorder_free(r);
    r->names = names;
    r->record = record;
    r->capacity = capacity;
    return 0;
}

void recorder_free(struct recorder *r)
{
    free(r->record);
    memset(r, 0, sizeof(*r));
}

void recorder_put(void *recorder, const struct mediator_record *record)
{
    static const struct mediator_record gap = {.type = MEDIATOR_RECORD_GAP};
    struct recorder *r = recorder;
    uint64_t used = r->tail - __atomic_load_n(&r->head, __ATOMIC_ACQUIRE);

    if (r->gap || used == r->capacity - 1) {
        __atomic_store_n(&r->lost, r->lost + 1, __ATOMIC_RELAXED);
        if (r->gap)
            return;
        r->gap = true;
        record = &gap;
    }
    r->record[r->tail & (r->capacity - 1)] = *record;
    __atomic_store_n(&r->tail, r->tail + 1, __ATOMIC_RELEASE);
}

void recorder_tap(void *recorder, const struct scheduler *s, const struct sched_call *call)
{
    struct recorder *r = recorder;
    struct mediator_record record;

    record_call(r->names, s, call, &record);
    recorder_put(r, &record);
}

uint32_t recorder_take(struct recorder *r, struct mediator_record *out, uint32_t max)
{
    uint64_t head = r->head, tail = __atomic_load_n(&r->tail, __ATOMIC_ACQUIRE);
    uint32_t taken = 0;

    while (head != tail && taken < max)
        out[taken++] = r->record[head++ & (r->capacity - 1)];
    __atomic_store_n(&r->head, head, __ATOMIC_RELEASE);
    return taken;
}

uint64_t recorder_lost(const struct recorder *r)
{
    return __atomic_load_n(&r->lost, __ATOMIC_RELAXED);
}
