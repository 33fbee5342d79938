/*
 * sched_explain.c - Why a unit waits, what is ahead of it, and for about how long
 *
 * Theory of operation
 *
 * The rule that holds a unit is found by going through the rules from the inside out, in the order of
 * enum sched_hold; that nothing holds it is said of exactly the unit that the next pick would return.
 *
 * The estimate plays the decisions forward on paper, for the parties that compete now: each has its
 * start tag and moves on by its estimate / weight for each unit; whoever comes before this unit's own
 * tag is ahead of it, with as many units as fit in between and are queued. The same among pools, where
 * the work that their own pool does before this unit moves the pool's tag. It assumes that
 *   - units cost what their VM's moving average says,
 *   - nothing new arrives, nothing else is cancelled, changed or becomes ready,
 *   - one unit is served at a time, and what is in flight is back now,
 *   - what has waited too long does not overtake.
 * So it is short where a higher class goes on submitting, and long for who will be aged. Where the end
 * of the wait is not the scheduler's to tell, it says that it is unknown.
 */
#include "sched_parts.h"

struct work {
    uint64_t units;
    uint64_t ns;
};

/* All that a VM has ready in a lane. */
static struct work work_of(const struct sched_vm *vm, enum sched_lane lane)
{
    const struct sched_party *party = &vm->party[lane];
    const struct sched_stream *stream = party->ready;
    struct work work = {0};

    for (uint32_t i = 0; i < party->ready_count; i++, stream = stream->ready_next)
        work.units += stream->queued;
    work.ns = work.units * party->estimate_ns;
    return work;
}

static void add(struct work *sum, struct work more)
{
    sum->units += more.units;
    sum->ns += more.ns;
}

static struct work work_of_level(const struct sched_level *level, enum sched_lane lane)
{
    struct work work = {0};

    for (uint32_t i = 0; i < level->turns.count; i++)
        add(&work, work_of(level->turns.at[i]->owner, lane));
    return work;
}

/* A start tag as it is, or as it will be when its owner comes back to compete. */
static struct sched_node place_of(const struct sched_node *node, uint64_t virtual_time)
{
    struct sched_node place = *node;

    if (sched_node_in_heap(node))
        return place;
    place.key = sched_later(node->key, virtual_time);
    place.order = INT64_MAX; /* behind all who are there */
    return place;
}

/* Of its own VM: those before it in its stream, and the turns of the other streams in between. */
static struct work own_work(const struct sched_unit *unit, enum sched_lane lane,
                            uint32_t stream_ahead)
{
    const struct sched_stream *own = unit->stream, *stream;
    const struct sched_party *party = &own->vm->party[lane];
    bool passed = false;
    struct work work = {.units = stream_ahead};

    stream = party->ready;
    for (uint32_t i = 0; i < party->ready_count; i++, stream = stream->ready_next) {
        uint64_t turns = (uint64_t)stream_ahead + !passed;

        if (stream == own)
            passed = true;
        else
            work.units += turns < stream->queued ? turns : stream->queued;
    }
    work.ns = work.units * party->estimate_ns;
    return work;
}

/* What another VM of the level is served of before @place. */
static struct work ahead_of(const struct sched_node *node, const struct sched_node *place,
                            enum sched_lane lane)
{
    const struct sched_vm *vm = node->owner;
    uint64_t step = sched_tag_step(vm->party[lane].estimate_ns, vm->weight);
    struct work all, none = {0};
    uint64_t units;

    if (!sched_comes_before(node, place))
        return none;
    units = step ? (place->key - node->key + step - 1) / step : UINT64_MAX;
    units = units ? units : 1; /* tags are equal, it came first */
    all = work_of(vm, lane);
    return units < all.units ? (struct work){units, units * vm->party[lane].estimate_ns} : all;
}

/* Inside the class: the own VM's and the other VMs'. */
static struct work class_work(const struct sched_unit *unit, enum sched_lane lane,
                              struct sched_explanation *out)
{
    const struct sched_vm *vm = unit->stream->vm;
    const struct sched_level *level = &vm->pool->lane[lane].level[vm->class];
    struct sched_node place = place_of(&vm->party[lane].turn, level->virtual_time);
    struct work work = own_work(unit, lane, out->stream_ahead);

    place.key += sched_tag_step(work.ns, vm->weight);
    for (uint32_t i = 0; i < level->turns.count; i++) {
        struct work ahead;

        if (level->turns.at[i]->owner == vm)
            continue;
        ahead = ahead_of(level->turns.at[i], &place, lane);
        out->vms_ahead += ahead.units > 0;
        add(&work, ahead);
    }
    return work;
}

/* Everything of the higher classes, of one pool. */
static struct work higher_work(const struct sched_pool *pool, enum sched_lane lane, int class,
                               struct sched_explanation *out)
{
    struct work work = {0};

    while (++class < SCHED_CLASSES) {
        add(&work, work_of_level(&pool->lane[lane].level[class], lane));
        out->vms_ahead += pool->lane[lane].level[class].turns.count;
    }
    return work;
}

static struct work pool_work(const struct scheduler *s, const struct sched_pool *pool,
                             enum sched_lane lane, int slot)
{
    struct work work = {0};

    for (int class = 0; class < SCHED_CLASSES; class++)
        if (sched_slot(s, (uint8_t)class) == slot)
            add(&work, work_of_level(&pool->lane[lane].level[class], lane));
    return work;
}

/* The least that a pool is served of, once it is ahead: one unit of whoever is its first. */
static uint64_t least_of(const struct sched_pool *pool, enum sched_lane lane, int slot, bool global)
{
    int class = global ? slot : SCHED_HIGH;
    const struct sched_vm *vm;

    while (pool->lane[lane].level[class].turns.count == 0)
        class--;
    vm = pool->lane[lane].level[class].turns.at[0]->owner;
    return vm->party[lane].estimate_ns;
}

/* What the other pools are served of while the unit's own pool does @own. */
static struct work pools_work(const struct scheduler *s, const struct sched_pool *pool,
                              enum sched_lane lane, int slot, uint64_t own_ns,
                              struct sched_explanation *out)
{
    const struct sched_pools *pools = &s->lane[lane];
    struct sched_node place = place_of(&pool->lane[lane].turn[slot], pools->virtual_time[slot]);
    struct work work = {0};

    place.key += sched_tag_step(own_ns, pool->weight);
    for (uint32_t i = 0; i < pools->turns[slot].count; i++) {
        const struct sched_node *node = pools->turns[slot].at[i];
        const struct sched_pool *other = node->owner;
        struct work all;
        uint64_t ns, least;

        if (other == pool || !sched_comes_before(node, &place))
            continue;
        all = pool_work(s, other, lane, slot);
        ns = ((place.key - node->key) >> SCHED_TAG_SHIFT) * other->weight;
        least = least_of(other, lane, slot, s->config.scope == SCHED_SCOPE_GLOBAL);
        ns = ns < least ? least : ns;
        ns = ns < all.ns ? ns : all.ns;
        out->pools_ahead++;
        add(&work,
            (struct work){1 + (uint64_t)((double)(all.units - 1) * ((double)ns / (double)all.ns)),
                          ns});
    }
    return work;
}

/* All that is ahead. */
static struct work total_work(const struct scheduler *s, const struct sched_unit *unit,
                              enum sched_lane lane, struct sched_explanation *out)
{
    const struct sched_vm *vm = unit->stream->vm;
    bool global = s->config.scope == SCHED_SCOPE_GLOBAL;
    struct work work = class_work(unit, lane, out), higher = {0};

    for (const struct sched_pool *pool = s->pools; pool; pool = pool->next)
        if (global ? pool->enabled : pool == vm->pool)
            add(&higher, higher_work(pool, lane, vm->class, out));
    if (!global)
        add(&work, higher);
    add(&work, pools_work(s, vm->pool, lane, sched_slot(s, vm->class), work.ns, out));
    if (global)
        add(&work, higher);
    return work;
}

/* What holds a unit that may be picked, as far as it alone is concerned. */
static enum sched_hold hold_by_others(const struct scheduler *s, const struct sched_unit *unit,
                                      uint64_t now_ns)
{
    const struct sched_vm *vm = unit->stream->vm;
    enum sched_lane lane = (enum sched_lane)unit->lane;
    int class;
    const struct sched_pool *pool = sched_front(s, lane, &class);
    const struct sched_vm *aged = sched_aging_would_pick(s, pool, lane, class, now_ns);

    if (aged != vm) {
        if (s->config.scope == SCHED_SCOPE_GLOBAL ? class > vm->class
                                                  : sched_higher_waits(s, vm, lane))
            return SCHED_HOLD_CLASS;
        if (pool != vm->pool)
            return SCHED_HOLD_POOLS;
        if (pool->lane[lane].level[class].turns.at[0]->owner != vm)
            return SCHED_HOLD_VMS;
        if (aged)
            return SCHED_HOLD_AGED;
    }
    return vm->party[lane].ready == unit->stream ? SCHED_HOLD_NOTHING : SCHED_HOLD_STREAMS;
}

static bool ends_some_day(enum sched_hold hold)
{
    return hold != SCHED_HOLD_NO_POOL && hold != SCHED_HOLD_POOL_DISABLED &&
           hold != SCHED_HOLD_BLOCKED && hold != SCHED_HOLD_WAITS;
}

static enum sched_hold hold_of(const struct scheduler *s, const struct sched_unit *unit,
                               uint64_t now_ns)
{
    const struct sched_stream *stream = unit->stream;
    const struct sched_vm *vm = stream->vm;

    if (unit->settled) /* it needs its place alone */
        return unit->prev          ? SCHED_HOLD_STREAM
               : stream->in_flight ? SCHED_HOLD_IN_FLIGHT
                                   : SCHED_HOLD_NOTHING;
    if (!vm->pool)
        return SCHED_HOLD_NO_POOL;
    if (!vm->pool->enabled)
        return SCHED_HOLD_POOL_DISABLED;
    if (unit->lane < SCHED_LANES && vm->party[unit->lane].blocked)
        return SCHED_HOLD_BLOCKED;
    if (unit->waits)
        return SCHED_HOLD_WAITS;
    if (unit->prev)
        return SCHED_HOLD_STREAM;
    if (unit->lane >= SCHED_LANES)
        return stream->in_flight ? SCHED_HOLD_IN_FLIGHT : SCHED_HOLD_NOTHING;
    if (stream->ready_lane != unit->lane)
        return SCHED_HOLD_IN_FLIGHT;
    return hold_by_others(s, unit, now_ns);
}

/**
 * scheduler_explain() - Why a queued unit waits, what is ahead of it, and for about how long
 * @unit: queued, not picked
 *
 * Pure. Looks at every VM of the pools concerned, and at what stands before @unit in its stream.
 */
void scheduler_explain(const struct scheduler *s, const struct sched_unit *unit, uint64_t now_ns,
                       struct sched_explanation *out)
{
    enum sched_lane lane = unit->lane < SCHED_LANES ? (enum sched_lane)unit->lane : SCHED_EXEC;
    const struct sched_pool *pool = unit->stream->vm->pool;
    bool known;
    struct work work;

    *out = (struct sched_explanation){.hold = hold_of(s, unit, now_ns)};
    known = ends_some_day(out->hold) && pool && pool->enabled;
    for (const struct sched_unit *before = unit->prev; before; before = before->prev) {
        out->stream_ahead++;
        known = known && before->waits == 0 &&
                (before->lane >= SCHED_LANES || !unit->stream->vm->party[before->lane].blocked);
    }
    if (out->hold == SCHED_HOLD_NOTHING)
        return;
    if (!known) {
        out->units_ahead = out->stream_ahead;
        out->wait_ns = SCHED_UNKNOWN_NS;
        return;
    }
    work = total_work(s, unit, lane, out);
    out->units_ahead = work.units;
    out->wait_ns = work.ns;
}
