/*
 * sched_parties.c - Who competes: pools and VMs, their places and their coming and going
 *
 * Theory of operation
 *
 * See scheduler.c for the whole. A VM is in the heap of its class iff it has ready streams, is not
 * blocked and has a pool; a pool is in the heap of pools iff it is enabled and one of its VMs is in a
 * heap. Every change of one of these conditions goes through sched_vm_update() or pool_update(). The
 * set-up calls below may allocate, and make room in a heap before anybody can need it.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "scheduler.h"

/** sched_later() - The greater of two virtual times */
uint64_t sched_later(uint64_t a, uint64_t b)
{
    return (int64_t)(a - b) > 0 ? a : b;
}

static void party_init(struct sched_party *party, void *owner)
{
    *party = (struct sched_party){
        .estimate_ns = SCHED_FIRST_GUESS_NS, .heap_index = SCHED_NOT_IN_HEAP, .owner = owner};
}

/* A party that was idle starts at the present, never in the past. */
static void party_join(struct scheduler *s, struct sched_heap *heap, uint64_t virtual_time,
                       struct sched_party *party)
{
    party->tag = sched_later(virtual_time, party->tag);
    party->order = s->next_order++;
    sched_heap_insert(heap, party);
}

/** sched_level_of() - Where a VM that has a pool competes */
struct sched_level *sched_level_of(struct sched_vm *vm, enum sched_lane lane)
{
    return &vm->pool->level[lane][vm->class];
}

static void pool_update(struct scheduler *s, struct sched_pool *pool, enum sched_lane lane)
{
    struct sched_party *party = &pool->party[lane];
    bool competes = pool->enabled && party->ready > 0;

    if (competes && party->heap_index == SCHED_NOT_IN_HEAP)
        party_join(s, &s->pools[lane], s->virtual_time[lane], party);
    else if (!competes && party->heap_index != SCHED_NOT_IN_HEAP)
        sched_heap_remove(&s->pools[lane], party);
}

/** sched_vm_update() - Let a VM, and its pool, compete or not, as its state now says */
void sched_vm_update(struct scheduler *s, struct sched_vm *vm, enum sched_lane lane)
{
    struct sched_party *party = &vm->party[lane];
    bool competes = vm->pool && party->ready > 0 && !party->blocked;
    struct sched_level *level;

    if (competes == (party->heap_index != SCHED_NOT_IN_HEAP))
        return;
    level = sched_level_of(vm, lane);
    if (competes) {
        party_join(s, &level->vms, level->virtual_time, party);
        vm->pool->party[lane].ready++;
    } else {
        sched_heap_remove(&level->vms, party);
        vm->pool->party[lane].ready--;
    }
    pool_update(s, vm->pool, lane);
}

/** scheduler_init() - An empty scheduler */
void scheduler_init(struct scheduler *s)
{
    memset(s, 0, sizeof(*s));
}

/** scheduler_free() - Release the heap of pools; pools must have been removed */
void scheduler_free(struct scheduler *s)
{
    for (int lane = 0; lane < SCHED_LANES; lane++)
        free(s->pools[lane].at);
    memset(s, 0, sizeof(*s));
}

/**
 * scheduler_pool_add() - Let a pool take part
 * @pool: the caller's, uninitialised
 * @weight: SCHED_WEIGHT_MIN..SCHED_WEIGHT_MAX
 *
 * Return: 0, or -ENOMEM
 */
int scheduler_pool_add(struct scheduler *s, struct sched_pool *pool, uint32_t weight, bool enabled)
{
    for (int lane = 0; lane < SCHED_LANES; lane++)
        if (sched_heap_reserve(&s->pools[lane], s->pools[lane].members + 1))
            return -ENOMEM;
    memset(pool, 0, sizeof(*pool));
    pool->weight = weight;
    pool->enabled = enabled;
    for (int lane = 0; lane < SCHED_LANES; lane++) {
        party_init(&pool->party[lane], pool);
        s->pools[lane].members++;
    }
    return 0;
}

/** scheduler_pool_set() - Change weight and state; queued units stay where they are */
void scheduler_pool_set(struct scheduler *s, struct sched_pool *pool, uint32_t weight, bool enabled)
{
    pool->weight = weight;
    pool->enabled = enabled;
    for (int lane = 0; lane < SCHED_LANES; lane++)
        pool_update(s, pool, lane);
}

/** scheduler_pool_remove() - Take out a pool that no VM belongs to any more */
void scheduler_pool_remove(struct scheduler *s, struct sched_pool *pool)
{
    pool->enabled = false;
    for (int lane = 0; lane < SCHED_LANES; lane++) {
        pool_update(s, pool, lane);
        s->pools[lane].members--;
        for (int class = 0; class < SCHED_CLASSES; class++)
            free(pool->level[lane][class].vms.at);
    }
}

/** scheduler_vm_init() - A VM without a pool; give it one with scheduler_vm_set() */
void scheduler_vm_init(struct sched_vm *vm)
{
    memset(vm, 0, sizeof(*vm));
    vm->weight = SCHED_WEIGHT_MAX / 2;
    for (int lane = 0; lane < SCHED_LANES; lane++)
        party_init(&vm->party[lane], vm);
}

/**
 * scheduler_vm_set() - Put a VM into a pool and class, with a weight; what it has queued follows
 * @pool: NULL = none: its units wait and are never picked
 *
 * The VM keeps its debt (tag - virtual time) towards the level that it leaves.
 *
 * Return: 0, or -ENOMEM with nothing changed
 */
int scheduler_vm_set(struct scheduler *s, struct sched_vm *vm, struct sched_pool *pool,
                     uint8_t class, uint32_t weight)
{
    bool moves = vm->pool != pool || vm->class != class;

    if (!moves) {
        vm->weight = weight;
        return 0;
    }
    for (int lane = 0; pool && lane < SCHED_LANES; lane++) {
        struct sched_heap *heap = &pool->level[lane][class].vms;

        if (sched_heap_reserve(heap, heap->members + 1))
            return -ENOMEM;
    }
    for (int lane = 0; lane < SCHED_LANES; lane++) {
        struct sched_party *party = &vm->party[lane];
        uint64_t debt = party->tag;

        if (vm->pool) {
            struct sched_level *old = sched_level_of(vm, lane);

            if (party->heap_index != SCHED_NOT_IN_HEAP) {
                sched_heap_remove(&old->vms, party);
                vm->pool->party[lane].ready--;
                pool_update(s, vm->pool, lane);
            }
            old->vms.members--;
            debt = sched_later(party->tag, old->virtual_time) - old->virtual_time;
        }
        party->tag = debt + (pool ? pool->level[lane][class].virtual_time : 0);
        if (pool)
            pool->level[lane][class].vms.members++;
    }
    vm->pool = pool;
    vm->class = class;
    vm->weight = weight;
    for (int lane = 0; lane < SCHED_LANES; lane++)
        sched_vm_update(s, vm, lane);
    return 0;
}

/** scheduler_vm_block() - Say whether there is anything that could run this VM's units in a lane */
void scheduler_vm_block(struct scheduler *s, struct sched_vm *vm, enum sched_lane lane,
                        bool blocked)
{
    vm->party[lane].blocked = blocked;
    sched_vm_update(s, vm, lane);
}
