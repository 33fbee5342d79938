/*
 * scheduler_life.c - A scheduler to which everything happens that can, at random, on a virtual clock
 */
#include "scheduler_life.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static uint8_t pool_name(const struct sched_pool *pool)
{
    return ((const struct life_pool *)pool)->id;
}

static uint32_t vm_name(const struct sched_vm *vm)
{
    return ((const struct life_vm *)vm)->number;
}

static uint32_t stream_name(const struct sched_stream *stream)
{
    return ((const struct life_stream *)stream)->number;
}

static uint32_t unit_name(const struct sched_unit *unit)
{
    return ((const struct life_unit *)unit)->number;
}

const struct record_names life_names = {pool_name, vm_name, stream_name, unit_name};

static void must(int rc)
{
    if (rc) {
        fprintf(stderr, "the random life is short of memory\n");
        abort();
    }
}

uint32_t life_random(struct life *life, uint32_t below)
{
    life->random = life->random * 6364136223846793005ull + 1442695040888963407ull;
    return (uint32_t)(life->random >> 33) % below;
}

/* Heavy-tailed: mostly some 20 us, now and then 100 ms. */
static uint64_t some_cost(struct life *life)
{
    return 20000ull << life_random(life, 1 + life_random(life, 13));
}

static uint32_t some_weight(struct life *life)
{
    return 1 + life_random(life, 100);
}

static struct sched_pool *some_pool(struct life *life)
{
    struct life_pool *pool = &life->pool[life_random(life, LIFE_POOLS)];

    return pool->used ? &pool->sched : NULL;
}

static void pool_add(struct life *life, struct life_pool *pool)
{
    must(scheduler_pool_add(&life->scheduler, &pool->sched, some_weight(life),
                            life_random(life, 4) > 0));
    pool->used = true;
}

static void vm_new(struct life *life, struct life_vm *vm)
{
    scheduler_vm_init(&life->scheduler, &vm->sched);
    for (uint32_t i = 0; i < LIFE_STREAMS; i++)
        scheduler_stream_init(&life->scheduler, &vm->stream[i].sched, &vm->sched);
}

static void vm_set(struct life *life, struct life_vm *vm)
{
    must(scheduler_vm_set(&life->scheduler, &vm->sched, some_pool(life),
                          (uint8_t)life_random(life, SCHED_CLASSES), some_weight(life)));
}

void life_begin(struct life *life, uint64_t seed)
{
    life->random = seed;
    life->now_ns = 1000000000;
    for (uint32_t i = 0; i < LIFE_POOLS; i++)
        life->pool[i].id = (uint8_t)('A' + i);
    for (uint32_t i = 0; i < 2; i++)
        pool_add(life, &life->pool[i]);
    for (uint32_t i = 0; i < LIFE_VMS; i++) {
        struct life_vm *vm = &life->vm[i];

        vm->number = i;
        for (uint32_t k = 0; k < LIFE_STREAMS; k++)
            vm->stream[k].number = k;
        for (uint32_t k = 0; k < LIFE_UNITS; k++)
            vm->unit[k].number = k;
        vm_new(life, vm);
        vm_set(life, vm);
    }
}

/* A unit that is nowhere, filled in; NULL = the VM has all that it may have. */
static struct life_unit *unit_new(struct life *life, struct life_vm *vm, uint8_t lane)
{
    for (uint32_t i = 0; i < LIFE_UNITS; i++) {
        struct life_unit *unit = &vm->unit[i];

        if (unit->used)
            continue;
        unit->used = true;
        unit->sched = (struct sched_unit){
            .lane = lane,
            .seq = vm->next_seq++,
            .arrival_ns = life->now_ns,
            .waits = life_random(life, 8) ? 0 : 1 + life_random(life, 2),
            .settled = lane == SCHED_INSTANT && life_random(life, 4) == 0,
        };
        return unit;
    }
    return NULL;
}

static void fly(struct life *life, struct sched_unit *unit)
{
    if (!unit)
        return;
    life->flying[life->in_flight++] = (struct life_unit *)unit;
    life->decisions++;
    life->aged += unit->aged;
}

/* One that is in flight, taken off the list. */
static struct life_unit *land(struct life *life)
{
    uint32_t i = life_random(life, life->in_flight);
    struct life_unit *unit = life->flying[i];

    life->flying[i] = life->flying[--life->in_flight];
    return unit;
}

static void submit(struct life *life, struct life_vm *vm)
{
    static const uint8_t lanes[] = {SCHED_EXEC, SCHED_EXEC, SCHED_EXEC,    SCHED_EXEC,
                                    SCHED_EXEC, SCHED_EXEC, SCHED_INSTANT, SCHED_BUILD};
    struct life_unit *unit = unit_new(life, vm, lanes[life_random(life, 8)]);

    if (unit)
        scheduler_push(&life->scheduler, &vm->stream[life_random(life, LIFE_STREAMS)].sched,
                       &unit->sched);
}

static void adopt(struct life *life, struct life_vm *vm)
{
    struct life_stream *stream = &vm->stream[life_random(life, LIFE_STREAMS)];
    struct life_unit *unit = stream->sched.head ? NULL : unit_new(life, vm, SCHED_EXEC);

    if (!unit)
        return;
    unit->sched.waits = 0;
    scheduler_adopt(&life->scheduler, &stream->sched, &unit->sched,
                    (enum sched_lane)life_random(life, SCHED_LANES));
    life->flying[life->in_flight++] = unit;
}

static void pick(struct life *life)
{
    enum sched_lane lane = life_random(life, 8) ? SCHED_EXEC : SCHED_BUILD;
    struct sched_unit *unit = scheduler_pick(&life->scheduler, lane, life->now_ns);
    uint32_t more = unit && lane == SCHED_EXEC ? life_random(life, 4) : 0;

    fly(life, unit);
    while (more--)
        fly(life, scheduler_pick_more(&life->scheduler, lane, unit->stream->vm, life->now_ns));
}

static void finish(struct life *life)
{
    struct life_unit *unit = land(life);
    uint64_t cost_ns = some_cost(life);

    life->now_ns += cost_ns / (1 + life->in_flight);
    if (life_random(life, 5) == 0) {
        unit->sched.lane = life_random(life, 3) ? SCHED_EXEC : SCHED_BUILD;
        scheduler_return(&life->scheduler, &unit->sched, cost_ns, life->now_ns);
        return;
    }
    scheduler_complete(&life->scheduler, &unit->sched, cost_ns, life->now_ns);
    unit->used = false;
}

/* Something that is queued in a stream of the VM: it is cancelled, not to run, or a wait is over. */
static void touch_queued(struct life *life, struct life_vm *vm, bool cancel)
{
    struct sched_unit *unit = vm->stream[life_random(life, LIFE_STREAMS)].sched.head;

    while (unit && unit->next && life_random(life, 3))
        unit = unit->next;
    if (!unit)
        return;
    if (cancel) {
        scheduler_cancel(&life->scheduler, unit);
        ((struct life_unit *)unit)->used = false;
    } else if (life_random(life, 30) == 0) {
        scheduler_settle(&life->scheduler, unit);
    } else if (unit->waits) {
        if (unit->waits == 1 && life_random(life, 3) == 0) { /* in vain */
            unit->lane = SCHED_INSTANT;
            unit->settled = true;
        }
        scheduler_satisfied(&life->scheduler, unit);
    }
}

static void take_instant(struct life *life, struct life_vm *vm)
{
    struct sched_stream *stream = &vm->stream[life_random(life, LIFE_STREAMS)].sched;
    struct sched_unit *unit = scheduler_take_instant(&life->scheduler, stream);

    if (unit)
        ((struct life_unit *)unit)->used = false;
}

static bool has_vms(const struct life *life, const struct life_pool *pool)
{
    for (uint32_t i = 0; i < LIFE_VMS; i++)
        if (life->vm[i].sched.pool == &pool->sched)
            return true;
    return false;
}

static void change_pool(struct life *life)
{
    struct life_pool *pool = &life->pool[life_random(life, LIFE_POOLS)];

    if (!pool->used) {
        pool_add(life, pool);
    } else if (!has_vms(life, pool)) {
        scheduler_pool_remove(&life->scheduler, &pool->sched);
        pool->used = false;
    } else {
        scheduler_pool_set(&life->scheduler, &pool->sched, some_weight(life),
                           life_random(life, 4) > 0);
    }
}

static void change_config(struct life *life)
{
    const struct sched_config config = {
        .aging_after_ns = some_cost(life),
        .aging_share = life_random(life, 3) ? life_random(life, 101) : 0,
        .scope = life_random(life, 2),
    };

    scheduler_set_config(&life->scheduler, &config);
}

/* Another VM gets the number of one that has nothing any more. */
static void replace_vm(struct life *life, struct life_vm *vm)
{
    for (uint32_t i = 0; i < LIFE_UNITS; i++)
        if (vm->unit[i].used)
            return;
    must(scheduler_vm_set(&life->scheduler, &vm->sched, NULL, vm->sched.class, vm->sched.weight));
    vm_new(life, vm);
    vm_set(life, vm);
}

void life_step(struct life *life)
{
    struct life_vm *vm = &life->vm[life_random(life, LIFE_VMS)];
    uint32_t dice = life_random(life, 1000);

    if (dice < 330)
        submit(life, vm);
    else if (dice < 620)
        pick(life);
    else if (dice < 880 && life->in_flight)
        finish(life);
    else if (dice < 920)
        touch_queued(life, vm, false);
    else if (dice < 935)
        touch_queued(life, vm, true);
    else if (dice < 965)
        take_instant(life, vm);
    else if (dice < 970)
        adopt(life, vm);
    else if (dice < 980)
        vm_set(life, vm);
    else if (dice < 988)
        scheduler_vm_block(&life->scheduler, &vm->sched,
                           (enum sched_lane)life_random(life, SCHED_LANES),
                           life_random(life, 4) == 0);
    else if (dice < 996)
        change_pool(life);
    else if (dice < 998)
        replace_vm(life, vm);
    else
        change_config(life);
}

void life_state(const struct life *life, const struct record_sink *sink)
{
    record_scheduler(sink, &life->scheduler);
    for (uint32_t i = 0; i < LIFE_VMS; i++) {
        const struct life_vm *vm = &life->vm[i];

        record_vm(sink, &vm->sched);
        for (uint32_t k = 0; k < LIFE_STREAMS; k++)
            record_stream(sink, &vm->stream[k].sched);
        for (uint32_t k = 0; k < LIFE_UNITS; k++)
            for (uint32_t f = 0; f < life->in_flight; f++)
                if (life->flying[f] == &vm->unit[k])
                    record_flying(sink, &vm->unit[k].sched);
        record_ready(sink, &vm->sched);
    }
    record_end(sink);
}

void life_end(struct life *life)
{
    for (uint32_t i = 0; i < LIFE_VMS; i++)
        must(scheduler_vm_set(&life->scheduler, &life->vm[i].sched, NULL, 0, 1));
    for (uint32_t i = 0; i < LIFE_POOLS; i++)
        if (life->pool[i].used)
            scheduler_pool_remove(&life->scheduler, &life->pool[i].sched);
    scheduler_free(&life->scheduler);
}
