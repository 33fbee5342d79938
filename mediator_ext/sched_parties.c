/*
 * sched_parties.c - Who competes: pools and VMs, their places and their coming and going
 *
 * Theory of operation
 *
 * See scheduler.c for the whole. A VM is in the heaps of its class iff it has ready streams, is not
 * blocked and has a pool; a pool is in the heap of pools of a slot iff it is enabled and one of its
 * VMs of that slot's classes competes. Every change of one of these conditions goes through
 * sched_vm_update() or pool_update(). The set-up calls below may allocate, and make room in a heap
 * before anybody can need it.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "sched_parts.h"

/** sched_slot() - The place among pools through which VMs of a class are found */
uint8_t sched_slot(const struct scheduler *s, uint8_t class)
{
    return s->config.scope == SCHED_SCOPE_GLOBAL ? class : 0;
}

/** sched_level_of() - Where a VM that has a pool competes */
struct sched_level *sched_level_of(struct sched_vm *vm, enum sched_lane lane)
{
    return &vm->pool->lane[lane].level[vm->class];
}

/* A party that was idle starts at the present, never in the past. */
static void join(struct scheduler *s, struct sched_heap *heap, uint64_t virtual_time,
                 struct sched_node *turn)
{
    turn->key = sched_later(virtual_time, turn->key);
    turn->order = s->next_order++;
    sched_heap_insert(heap, turn);
}

/* A debt in virtual time, at another weight: so much time of the lane is as much as before. */
static uint64_t debt_at(uint64_t debt, uint32_t weight, uint32_t new_weight)
{
    return debt / new_weight * weight + debt % new_weight * weight / new_weight;
}

static void reweigh(struct sched_heap *heap, uint64_t virtual_time, struct sched_node *turn,
                    uint32_t weight, uint32_t new_weight)
{
    uint64_t debt = sched_later(turn->key, virtual_time) - virtual_time;

    if (debt == 0)
        return;
    turn->key = virtual_time + debt_at(debt, weight, new_weight);
    sched_heap_rekey(heap, turn);
}

static bool slot_competes(const struct scheduler *s, const struct sched_pool_lane *pl, int slot)
{
    if (s->config.scope == SCHED_SCOPE_GLOBAL)
        return pl->level[slot].turns.count > 0;
    return slot == 0 && (pl->level[SCHED_LOW].turns.count || pl->level[SCHED_MEDIUM].turns.count ||
                         pl->level[SCHED_HIGH].turns.count);
}

static void pool_update(struct scheduler *s, struct sched_pool *pool, enum sched_lane lane)
{
    struct sched_pool_lane *pl = &pool->lane[lane];
    struct sched_pools *pools = &s->lane[lane];

    for (int slot = 0; slot < SCHED_CLASSES; slot++) {
        bool competes = pool->enabled && slot_competes(s, pl, slot);

        if (competes == sched_node_in_heap(&pl->turn[slot]))
            continue;
        if (competes)
            join(s, &pools->turns[slot], pools->virtual_time[slot], &pl->turn[slot]);
        else
            sched_heap_remove(&pools->turns[slot], &pl->turn[slot]);
    }
}

/** sched_vm_update() - Let a VM, and its pool, compete or not, as its state now says */
void sched_vm_update(struct scheduler *s, struct sched_vm *vm, enum sched_lane lane)
{
    struct sched_party *party = &vm->party[lane];
    bool competes = vm->pool && party->ready_count > 0 && !party->blocked;
    struct sched_level *level;

    if (competes == sched_node_in_heap(&party->turn))
        return;
    level = sched_level_of(vm, lane);
    if (competes) {
        join(s, &level->turns, level->virtual_time, &party->turn);
        party->age.key = sched_waits_since(party);
        party->age.order = party->turn.order;
        sched_heap_insert(&level->waiting, &party->age);
    } else {
        sched_heap_remove(&level->turns, &party->turn);
        sched_heap_remove(&level->waiting, &party->age);
    }
    pool_update(s, vm->pool, lane);
}

/** scheduler_init() - An empty scheduler */
void scheduler_init(struct scheduler *s, const struct sched_config *config)
{
    memset(s, 0, sizeof(*s));
    s->config = *config;
    s->next_order = 1;
}

/** scheduler_free() - Release the heaps of pools; pools must have been removed */
void scheduler_free(struct scheduler *s)
{
    for (int lane = 0; lane < SCHED_LANES; lane++)
        for (int slot = 0; slot < SCHED_CLASSES; slot++)
            free(s->lane[lane].turns[slot].at);
    memset(s, 0, sizeof(*s));
}

/* Take every pool out of its places, or back in, each as if it had been idle. */
static void change_scope(struct scheduler *s, uint32_t scope)
{
    for (struct sched_pool *pool = s->pools; pool; pool = pool->next)
        for (int lane = 0; lane < SCHED_LANES; lane++)
            for (int slot = 0; slot < SCHED_CLASSES; slot++)
                sched_heap_remove(&s->lane[lane].turns[slot], &pool->lane[lane].turn[slot]);
    s->config.scope = scope;
    for (int lane = 0; lane < SCHED_LANES; lane++) {
        s->lane[lane].aging_ns = 0;
        for (struct sched_pool *pool = s->pools; pool; pool = pool->next) {
            pool->lane[lane].aging_ns = 0;
            for (int slot = 0; slot < SCHED_CLASSES; slot++)
                pool->lane[lane].turn[slot].key = s->lane[lane].virtual_time[slot];
            pool_update(s, pool, lane);
        }
    }
}

/** scheduler_tap() - Who listens to all calls from now on; NULL = nobody */
void scheduler_tap(struct scheduler *s, sched_tap_fn *tap, void *argument)
{
    s->tap = tap;
    s->tap_argument = argument;
}

/** scheduler_set_config() - Change how it decides; takes effect at the next pick */
void scheduler_set_config(struct scheduler *s, const struct sched_config *config)
{
    if (config->scope != s->config.scope)
        change_scope(s, config->scope);
    s->config = *config;
    sched_tell(s, .type = SCHED_CALL_CONFIG);
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
        for (int slot = 0; slot < SCHED_CLASSES; slot++) {
            struct sched_heap *heap = &s->lane[lane].turns[slot];

            if (sched_heap_reserve(heap, heap->members + 1))
                return -ENOMEM;
        }
    memset(pool, 0, sizeof(*pool));
    pool->number = s->next_order++;
    pool->weight = weight;
    pool->enabled = enabled;
    for (int lane = 0; lane < SCHED_LANES; lane++)
        for (int slot = 0; slot < SCHED_CLASSES; slot++) {
            sched_node_init(&pool->lane[lane].turn[slot], pool);
            s->lane[lane].turns[slot].members++;
        }
    pool->next = s->pools;
    s->pools = pool;
    sched_tell(s, .type = SCHED_CALL_POOL_ADD, .pool = pool);
    return 0;
}

/** scheduler_pool_set() - Change weight and state; queued units stay where they are */
void scheduler_pool_set(struct scheduler *s, struct sched_pool *pool, uint32_t weight, bool enabled)
{
    for (int lane = 0; lane < SCHED_LANES; lane++)
        for (int slot = 0; slot < SCHED_CLASSES; slot++)
            reweigh(&s->lane[lane].turns[slot], s->lane[lane].virtual_time[slot],
                    &pool->lane[lane].turn[slot], pool->weight, weight);
    pool->weight = weight;
    pool->enabled = enabled;
    for (int lane = 0; lane < SCHED_LANES; lane++)
        pool_update(s, pool, lane);
    sched_tell(s, .type = SCHED_CALL_POOL_SET, .pool = pool);
}

/** scheduler_pool_remove() - Take out a pool that no VM belongs to any more */
void scheduler_pool_remove(struct scheduler *s, struct sched_pool *pool)
{
    struct sched_pool **at = &s->pools;

    while (*at != pool)
        at = &(*at)->next;
    *at = pool->next;
    pool->enabled = false;
    for (int lane = 0; lane < SCHED_LANES; lane++) {
        pool_update(s, pool, lane);
        for (int slot = 0; slot < SCHED_CLASSES; slot++)
            s->lane[lane].turns[slot].members--;
        for (int class = 0; class < SCHED_CLASSES; class++) {
            free(pool->lane[lane].level[class].turns.at);
            free(pool->lane[lane].level[class].waiting.at);
        }
    }
    sched_tell(s, .type = SCHED_CALL_POOL_REMOVE, .pool = pool);
}

/** scheduler_vm_init() - A VM without a pool; give it one with scheduler_vm_set() */
void scheduler_vm_init(struct scheduler *s, struct sched_vm *vm)
{
    memset(vm, 0, sizeof(*vm));
    vm->weight = SCHED_WEIGHT_MAX / 2;
    for (int lane = 0; lane < SCHED_LANES; lane++) {
        vm->party[lane].estimate_ns = SCHED_FIRST_GUESS_NS;
        sched_node_init(&vm->party[lane].turn, vm);
        sched_node_init(&vm->party[lane].age, vm);
    }
    sched_tell(s, .type = SCHED_CALL_VM_INIT, .vm = vm);
}

static int level_reserve(struct sched_level *level)
{
    uint32_t members = level->turns.members + 1;

    return sched_heap_reserve(&level->turns, members) ||
                   sched_heap_reserve(&level->waiting, members)
               ? -ENOMEM
               : 0;
}

static void vm_reweigh(struct sched_vm *vm, uint32_t weight)
{
    for (int lane = 0; vm->pool && lane < SCHED_LANES; lane++) {
        struct sched_level *level = sched_level_of(vm, lane);

        reweigh(&level->turns, level->virtual_time, &vm->party[lane].turn, vm->weight, weight);
    }
    for (int lane = 0; !vm->pool && lane < SCHED_LANES; lane++) /* its key is all debt */
        vm->party[lane].turn.key = debt_at(vm->party[lane].turn.key, vm->weight, weight);
    vm->weight = weight;
}

/* Leave the level, with a key that is all debt. */
static void vm_leave(struct scheduler *s, struct sched_vm *vm, enum sched_lane lane)
{
    struct sched_party *party = &vm->party[lane];
    struct sched_level *level = sched_level_of(vm, lane);

    sched_heap_remove(&level->turns, &party->turn);
    sched_heap_remove(&level->waiting, &party->age);
    pool_update(s, vm->pool, lane);
    level->turns.members--;
    party->turn.key = sched_later(party->turn.key, level->virtual_time) - level->virtual_time;
}

/* There is room for it. */
static void vm_move(struct scheduler *s, struct sched_vm *vm, struct sched_pool *pool,
                    uint8_t class)
{
    for (int lane = 0; lane < SCHED_LANES; lane++) {
        if (vm->pool)
            vm_leave(s, vm, lane);
        if (pool) {
            vm->party[lane].turn.key += pool->lane[lane].level[class].virtual_time;
            pool->lane[lane].level[class].turns.members++;
        }
    }
    vm->pool = pool;
    vm->class = class;
    for (int lane = 0; lane < SCHED_LANES; lane++)
        sched_vm_update(s, vm, lane);
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

    for (int lane = 0; moves && pool && lane < SCHED_LANES; lane++)
        if (level_reserve(&pool->lane[lane].level[class]))
            return -ENOMEM;
    vm_reweigh(vm, weight);
    if (moves)
        vm_move(s, vm, pool, class);
    sched_tell(s, .type = SCHED_CALL_VM_SET, .vm = vm);
    return 0;
}

/** scheduler_vm_block() - Say whether there is anything that could run this VM's units in a lane */
void scheduler_vm_block(struct scheduler *s, struct sched_vm *vm, enum sched_lane lane,
                        bool blocked)
{
    vm->party[lane].blocked = blocked;
    sched_vm_update(s, vm, lane);
    sched_tell(s, .type = SCHED_CALL_VM_BLOCK, .vm = vm, .lane = lane);
}
