/*
 * scheduler.c - Who is served next: pools, classes, VMs, streams
 *
 * Theory of operation
 *
 * Four decisions, from the outside in. Among pools: start-time fair queueing (SFQ; Goyal, Vin, Cheng
 * 1996) by pool weight. Inside a pool: three strict priority classes. Inside a class: SFQ among VMs
 * by VM weight. Inside a VM: round robin over its ready streams, strict FIFO in each. With scope
 * global the first two change places: the highest class in which anybody waits, and among its pools.
 * What has waited too long may come before a higher class (sched_aging.c).
 *
 * SFQ, for a party (pool or VM) of weight w: its next unit has a start tag S; serving a unit of cost
 * c moves S by c / w. The party with the smallest S is served. The virtual time V of that level is
 * the smallest S among those who competed when something was last picked. A party that was idle
 * comes back with S = max(V, S), so that idleness saves nothing up. Costs are known only afterwards:
 * a pick moves S by the party's estimate (a moving average of what it was charged), completion moves
 * it by the difference.
 *
 * A VM that changes class or pool takes its debt with it, S - V of the level it leaves, as virtual
 * time of two levels cannot be compared; the bare S could lock it out for as long as the old level
 * was ahead of the new one. A party whose weight changes owes the same time as before: S - V is
 * scaled by old / new weight. At the bare S, a VM that has just paid for a long unit at weight 1
 * would wait a hundred times as long as at weight 100, which it has now.
 *
 * Tags are nanoseconds << SCHED_TAG_SHIFT, divided by the weight, and compared by signed difference, so
 * that they may wrap around.
 *
 * Lanes are independent instances of all this over the same streams. A stream competes in the lane
 * of its head unit. A unit that comes back unfinished (its budget ran out, it needs a build, it was
 * bounced behind one of those) goes back to its place by `seq`, and holds its stream until all that
 * was in flight has come back; so order inside a stream survives pipelining.
 *
 * The parts: sched_streams.c (which streams are ready), sched_parties.c (who competes),
 * sched_aging.c, sched_heap.c, and sched_explain.c, which decides nothing.
 */
#include "sched_parts.h"

#define ESTIMATE_SHIFT 3 /* an estimate moves by an eighth of its error */

/* ---- charging ---- */

static void charge(struct sched_heap *heap, struct sched_node *turn, uint64_t step)
{
    turn->key += step;
    sched_heap_rekey(heap, turn);
}

static void estimate_update(struct sched_party *party, uint64_t cost_ns)
{
    int64_t error = (int64_t)(cost_ns - party->estimate_ns);

    party->estimate_ns += (uint64_t)(error / (1 << ESTIMATE_SHIFT));
    if (party->estimate_ns == 0)
        party->estimate_ns = 1;
}

/*
 * Replace what was charged at pick by what it cost, at the weights of now, to which the tags have been
 * scaled. A VM that has moved since then still pays what is missing, but gets nothing back: where it
 * is now, nothing was taken from it.
 */
static void settle(struct scheduler *s, struct sched_unit *unit, uint64_t cost_ns, uint64_t now_ns)
{
    struct sched_vm *vm = unit->stream->vm;
    struct sched_pool *pool = vm->pool;
    uint8_t lane = unit->picked_lane;

    if (pool) {
        struct sched_level *level = sched_level_of(vm, lane);
        bool moved = unit->charged_pool &&
                     (unit->charged_pool != pool->number || unit->charged_class != vm->class);
        uint64_t step =
            sched_tag_step(cost_ns, vm->weight) - sched_tag_step(unit->charged_ns, vm->weight);

        if (!moved || (int64_t)step > 0)
            charge(&level->turns, &vm->party[lane].turn, step);
        if (!moved) {
            uint8_t slot = unit->charged_slot;

            charge(&s->lane[lane].turns[slot], &pool->lane[lane].turn[slot],
                   sched_tag_step(cost_ns, pool->weight) -
                       sched_tag_step(unit->charged_ns, pool->weight));
            sched_aging_settled(s, pool, lane, unit->aged, unit->charged_ns, cost_ns);
        }
        sched_aging_served(level, &vm->party[lane], now_ns);
    } else {
        vm->party[lane].served_ns = now_ns;
    }
    unit->stream->in_flight--;
}

/* Virtual time is at the smallest start tag of those who compete. */
static void time_passes(uint64_t *virtual_time, const struct sched_heap *turns)
{
    *virtual_time = sched_later(*virtual_time, turns->at[0]->key);
}

/* Take the next unit of @vm, which competes in @lane, and charge the estimate for it. */
static struct sched_unit *take_from(struct scheduler *s, struct sched_vm *vm, enum sched_lane lane,
                                    uint64_t now_ns, bool aged)
{
    struct sched_party *party = &vm->party[lane];
    struct sched_pool *pool = vm->pool;
    struct sched_level *level = sched_level_of(vm, lane);
    struct sched_stream *stream = party->ready;
    struct sched_unit *unit = stream->head;
    uint8_t slot = sched_slot(s, vm->class);
    struct sched_heap *pools = &s->lane[lane].turns[slot];

    __builtin_prefetch(unit->next); /* the next head: far away in memory when much is queued */
    time_passes(&level->virtual_time, &level->turns);
    time_passes(&s->lane[lane].virtual_time[slot], pools);
    unit->charged_pool = pool->number;
    unit->charged_class = vm->class;
    unit->charged_slot = slot;
    unit->charged_ns = party->estimate_ns;
    unit->picked_lane = (uint8_t)lane;
    unit->aged = aged;

    party->ready = stream->ready_next;
    charge(&level->turns, &party->turn, sched_tag_step(unit->charged_ns, vm->weight));
    charge(pools, &pool->lane[lane].turn[slot], sched_tag_step(unit->charged_ns, pool->weight));
    if (aged)
        sched_aging_picked(s, pool, lane, unit->charged_ns);
    sched_aging_served(level, party, now_ns);
    sched_fifo_remove(stream, unit);
    stream->in_flight++;
    if (lane != SCHED_EXEC)
        stream->held = true;
    sched_stream_update(s, stream);
    return unit;
}

static void charge_nothing(struct sched_unit *unit, struct sched_stream *stream)
{
    unit->stream = stream;
    unit->charged_pool = unit->charged_ns = 0;
    unit->charged_class = unit->charged_slot = 0;
    unit->aged = false;
}

/* ---- the calls ---- */

/**
 * scheduler_push() - Queue a new unit at the end of its stream
 * @unit: lane, seq, arrival_ns and waits set by the caller; seq grows within the stream
 */
void scheduler_push(struct scheduler *s, struct sched_stream *stream, struct sched_unit *unit)
{
    charge_nothing(unit, stream);
    sched_fifo_insert_after(stream, stream->tail, unit);
    sched_stream_update(s, stream);
    sched_tell(s, .type = SCHED_CALL_PUSH, .unit = unit);
}

/** scheduler_satisfied() - One of the things that a queued unit waits for has happened */
void scheduler_satisfied(struct scheduler *s, struct sched_unit *unit)
{
    unit->waits--;
    sched_stream_update(s, unit->stream);
    sched_tell(s, .type = SCHED_CALL_SATISFIED, .unit = unit);
}

/** scheduler_settle() - A queued unit is not to run: it only keeps its place */
void scheduler_settle(struct scheduler *s, struct sched_unit *unit)
{
    unit->lane = SCHED_INSTANT;
    unit->waits = 0;
    unit->settled = true;
    sched_stream_update(s, unit->stream);
    sched_tell(s, .type = SCHED_CALL_SETTLE, .unit = unit);
}

/** scheduler_adopt() - A unit that was picked before this scheduler was there; nothing is charged yet */
void scheduler_adopt(struct scheduler *s, struct sched_stream *stream, struct sched_unit *unit,
                     enum sched_lane lane)
{
    charge_nothing(unit, stream);
    if (stream->vm->pool)
        unit->charged_slot = sched_slot(s, stream->vm->class);
    unit->lane = unit->picked_lane = (uint8_t)lane;
    stream->in_flight++;
    stream->held = true; /* what else was in flight with it is not known yet */
    sched_stream_update(s, stream);
    sched_tell(s, .type = SCHED_CALL_ADOPT, .unit = unit, .lane = lane);
}

/**
 * scheduler_return() - A picked unit was not finished: put it back in its place
 * @unit: its lane may have changed
 * @cost_ns: what it has used; charged
 */
void scheduler_return(struct scheduler *s, struct sched_unit *unit, uint64_t cost_ns,
                      uint64_t now_ns)
{
    struct sched_stream *stream = unit->stream;
    struct sched_unit *before = NULL;

    settle(s, unit, cost_ns, now_ns);
    charge_nothing(unit, stream);
    for (struct sched_unit *at = stream->head; at && (int64_t)(at->seq - unit->seq) < 0;
         at = at->next)
        before = at;
    sched_fifo_insert_after(stream, before, unit);
    stream->held = stream->in_flight > 0;
    sched_stream_update(s, stream);
    sched_tell(s, .type = SCHED_CALL_RETURN, .unit = unit, .cost_ns = cost_ns, .now_ns = now_ns);
}

static int top_class(const struct sched_pool_lane *lane)
{
    int class = SCHED_HIGH;

    while (lane->level[class].turns.count == 0)
        class--;
    return class;
}

/**
 * sched_front() - The pool that is to be served next, and its class, before what has waited too long
 *
 * Return: the pool, or NULL: nobody competes
 */
struct sched_pool *sched_front(const struct scheduler *s, enum sched_lane lane, int *class)
{
    const struct sched_heap *pools = s->lane[lane].turns;
    struct sched_pool *pool;
    int slot = s->config.scope == SCHED_SCOPE_GLOBAL ? SCHED_HIGH : 0;

    while (slot >= 0 && pools[slot].count == 0)
        slot--;
    if (slot < 0)
        return NULL;
    pool = pools[slot].at[0]->owner;
    *class = s->config.scope == SCHED_SCOPE_GLOBAL ? slot : top_class(&pool->lane[lane]);
    return pool;
}

static struct sched_unit *pick(struct scheduler *s, enum sched_lane lane, uint64_t now_ns)
{
    int class;
    struct sched_pool *pool = sched_front(s, lane, &class);
    struct sched_vm *aged = pool ? sched_aging_pick(s, pool, lane, class, now_ns) : NULL;

    if (!pool)
        return NULL;
    if (aged)
        return take_from(s, aged, lane, now_ns, true);
    return take_from(s, pool->lane[lane].level[class].turns.at[0]->owner, lane, now_ns, false);
}

/**
 * scheduler_pick() - The unit that is to be served next in a lane
 *
 * Return: the unit, taken out of its stream and charged by estimate, or NULL: nothing can be served
 */
struct sched_unit *scheduler_pick(struct scheduler *s, enum sched_lane lane, uint64_t now_ns)
{
    struct sched_unit *unit = pick(s, lane, now_ns);

    sched_tell(s, .type = SCHED_CALL_PICK, .lane = lane, .unit = unit, .now_ns = now_ns);
    return unit;
}

/** sched_higher_waits() - Does anybody wait who comes before @vm whatever the tags say? */
bool sched_higher_waits(const struct scheduler *s, const struct sched_vm *vm, enum sched_lane lane)
{
    for (int class = vm->class + 1; class < SCHED_CLASSES; class++)
        if (s->config.scope == SCHED_SCOPE_GLOBAL ? s->lane[lane].turns[class].count
                                                  : vm->pool->lane[lane].level[class].turns.count)
            return true;
    return false;
}

/**
 * scheduler_pick_more() - One more unit of the VM that is being served, to be queued behind it
 *
 * Return: a unit, or NULL: it has none, or a higher class waits
 */
struct sched_unit *scheduler_pick_more(struct scheduler *s, enum sched_lane lane,
                                       struct sched_vm *vm, uint64_t now_ns)
{
    struct sched_unit *unit = NULL;

    if (sched_node_in_heap(&vm->party[lane].turn) && vm->pool->enabled &&
        !sched_higher_waits(s, vm, lane))
        unit = take_from(s, vm, lane, now_ns, false);
    sched_tell(s, .type = SCHED_CALL_PICK_MORE, .lane = lane, .vm = vm, .unit = unit,
               .now_ns = now_ns);
    return unit;
}

/**
 * scheduler_take_instant() - Take the head of a stream if it needs nothing but its turn
 *
 * Return: the unit, out of its stream and not charged, or NULL
 */
struct sched_unit *scheduler_take_instant(struct scheduler *s, struct sched_stream *stream)
{
    struct sched_unit *unit = stream->head;
    struct sched_pool *pool = stream->vm->pool;

    if (unit && (unit->lane != SCHED_INSTANT || unit->waits || stream->in_flight))
        unit = NULL;
    if (unit && !unit->settled && (!pool || !pool->enabled))
        unit = NULL;
    if (unit) {
        sched_fifo_remove(stream, unit);
        sched_stream_update(s, stream);
    }
    sched_tell(s, .type = SCHED_CALL_TAKE_INSTANT, .stream = stream, .unit = unit);
    return unit;
}

/**
 * scheduler_complete() - A picked unit is finished, well or not
 * @cost_ns: by the caller's own clock
 */
void scheduler_complete(struct scheduler *s, struct sched_unit *unit, uint64_t cost_ns,
                        uint64_t now_ns)
{
    struct sched_stream *stream = unit->stream;
    struct sched_vm *vm = stream->vm;

    settle(s, unit, cost_ns, now_ns);
    estimate_update(&vm->party[unit->picked_lane], cost_ns);
    if (stream->in_flight == 0)
        stream->held = false;
    sched_stream_update(s, stream);
    sched_tell(s, .type = SCHED_CALL_COMPLETE, .unit = unit, .cost_ns = cost_ns, .now_ns = now_ns);
}

/** scheduler_cancel() - Take out a unit that is queued, not picked */
void scheduler_cancel(struct scheduler *s, struct sched_unit *unit)
{
    struct sched_stream *stream = unit->stream;

    sched_fifo_remove(stream, unit);
    sched_stream_update(s, stream);
    sched_tell(s, .type = SCHED_CALL_CANCEL, .unit = unit);
}
