/*
 * scheduler_bench.h - A scheduler on a virtual clock, with pools A and B and tenants
 *
 * The scheduler has no clock: a test says what each unit has cost, and sums that up by tenant.
 */
#ifndef VGPUD_TESTS_SCHEDULER_BENCH_H
#define VGPUD_TESTS_SCHEDULER_BENCH_H

#include <stdbool.h>
#include <string.h>

#include "check.h"
#include "sched_parts.h"

#define STREAMS 4

#define UNITS 64

struct tenant {
    struct sched_vm vm;
    struct sched_stream stream[STREAMS];
    struct sched_unit unit[UNITS];
    uint32_t made;
    uint64_t next_seq;
    uint64_t job_ns;
    uint64_t served_ns;
    uint32_t served;
};

static const struct sched_config no_aging = {.scope = SCHED_SCOPE_POOL};

struct bench {
    struct scheduler s;
    struct sched_pool a, b;
};

static inline void bench_init(struct bench *bench)
{
    scheduler_init(&bench->s, &no_aging);
    CHECK(scheduler_pool_add(&bench->s, &bench->a, 50, true) == 0);
    CHECK(scheduler_pool_add(&bench->s, &bench->b, 50, true) == 0);
}

static inline void tenant_init(struct bench *bench, struct tenant *t, struct sched_pool *pool,
                               uint8_t class, uint32_t weight)
{
    memset(t, 0, sizeof(*t));
    scheduler_vm_init(&bench->s, &t->vm);
    for (int i = 0; i < STREAMS; i++)
        scheduler_stream_init(&bench->s, &t->stream[i], &t->vm);
    CHECK(scheduler_vm_set(&bench->s, &t->vm, pool, class, weight) == 0);
}

static inline void tenant_leave(struct bench *bench, struct tenant *t)
{
    CHECK(scheduler_vm_set(&bench->s, &t->vm, NULL, 0, 1) == 0);
}

static inline void bench_free(struct bench *bench)
{
    scheduler_pool_remove(&bench->s, &bench->a);
    scheduler_pool_remove(&bench->s, &bench->b);
    scheduler_free(&bench->s);
}

static inline struct sched_unit *push(struct bench *bench, struct tenant *t, int stream,
                                      uint8_t lane)
{
    struct sched_unit *unit = &t->unit[t->made++ % UNITS];

    *unit = (struct sched_unit){.seq = t->next_seq++, .lane = lane};
    scheduler_push(&bench->s, &t->stream[stream], unit);
    return unit;
}

static inline struct tenant *tenant_of(const struct sched_unit *unit)
{
    return (struct tenant *)unit->stream->vm;
}

/* Serve one unit of the device lane, and give its VM another one to keep it backlogged. */
static inline struct tenant *serve(struct bench *bench)
{
    struct sched_unit *unit = scheduler_pick(&bench->s, SCHED_EXEC, 0);
    struct tenant *t;

    if (!unit)
        return NULL;
    t = tenant_of(unit);
    t->served++;
    t->served_ns += t->job_ns;
    scheduler_complete(&bench->s, unit, t->job_ns, 0);
    *unit = (struct sched_unit){.seq = t->next_seq++, .lane = SCHED_EXEC};
    scheduler_push(&bench->s, &t->stream[0], unit);
    return t;
}

/* SFQ's bound for two parties that were backlogged all the time: |Wi/wi - Wj/wj| <= Li/wi + Lj/wj */
static inline bool fair(const struct tenant *i, double wi, const struct tenant *j, double wj)
{
    double gap = (double)i->served_ns / wi - (double)j->served_ns / wj;

    return (gap < 0 ? -gap : gap) <= (double)i->job_ns / wi + (double)j->job_ns / wj + 1e4;
}

#endif
