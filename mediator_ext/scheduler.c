/*
 * scheduler.c - Who is served next: pools, classes, VMs, streams
 *
 * Theory of operation
 *
 * Four decisions, from the outside in. Among pools: start-time fair queueing (SFQ; Goyal, Vin, Cheng
 * 1996) by pool weight. Inside a pool: three strict priority classes. Inside a class: SFQ among VMs
 * by VM weight. Inside a VM: round robin over its ready streams, strict FIFO in each.
 *
 * SFQ, for a party (pool or VM) of weight w: its next unit has a start tag S; serving a unit of cost
 * c moves S by c / w. The party with the smallest S is served; the virtual time V of that level
 * becomes its S. A party that was idle comes back with S = max(V, S), so that idleness saves nothing
 * up. Costs are known only afterwards: a pick moves S by the party's estimate (a moving average of
 * what it was charged), completion moves it by the difference.
 *
 * A VM that changes class or pool takes its debt with it, S - V of the level it leaves, as virtual
 * time of two levels cannot be compared; the bare S could lock it out for as long as the old level
 * was ahead of the new one.
 *
 * Tags are nanoseconds << TAG_SHIFT, divided by the weight, and compared by signed difference, so
 * that they may wrap around.
 *
 * Lanes are independent instances of all this over the same streams. A stream competes in the lane
 * of its head unit. A unit that comes back unfinished (its budget ran out, it needs a build, it was
 * bounced behind one of those) goes back to its place by `seq`, and holds its stream until all that
 * was in flight has come back; so order inside a stream survives pipelining.
 *
 * Invariants: a stream is in its VM's ready ring iff it has a head, is not held, the head has a real
 * lane, and that lane is `ready_lane`. A stream whose units in flight are of another lane is not
 * ready (a build and what follows it stay in order). A VM is in the heap of its class iff it has
 * ready streams, is not blocked and has a pool; a pool is in the heap iff enabled and some VM of it
 * is in a heap.
 */
#include "scheduler.h"

#define TAG_SHIFT      8
#define ESTIMATE_SHIFT 3 /* an estimate moves by an eighth of its error */

static uint64_t tag_step(uint64_t cost_ns, uint32_t weight)
{
    return (cost_ns << TAG_SHIFT) / weight;
}

/* ---- streams ---- */

static void ring_insert_last(struct sched_stream **ring, struct sched_stream *stream)
{
    if (!*ring) {
        stream->ready_next = stream->ready_prev = stream;
        *ring = stream;
        return;
    }
    stream->ready_next = *ring;
    stream->ready_prev = (*ring)->ready_prev;
    stream->ready_prev->ready_next = stream;
    (*ring)->ready_prev = stream;
}

static void ring_remove(struct sched_stream **ring, struct sched_stream *stream)
{
    if (stream->ready_next == stream) {
        *ring = NULL;
    } else {
        stream->ready_prev->ready_next = stream->ready_next;
        stream->ready_next->ready_prev = stream->ready_prev;
        if (*ring == stream)
            *ring = stream->ready_next;
    }
    stream->ready_next = stream->ready_prev = NULL;
}

/* The lane in which @stream may be picked from now, or SCHED_LANES. */
static uint8_t wanted_lane(const struct sched_stream *stream)
{
    const struct sched_unit *head = stream->head;

    if (!head || head->lane >= SCHED_LANES)
        return SCHED_LANES;
    if (stream->in_flight && (stream->held || head->lane != SCHED_EXEC))
        return SCHED_LANES;
    return head->lane;
}

static void stream_update(struct scheduler *s, struct sched_stream *stream)
{
    uint8_t lane = wanted_lane(stream);
    struct sched_vm *vm = stream->vm;

    if (lane == stream->ready_lane)
        return;
    if (stream->ready_lane != SCHED_LANES) {
        uint8_t old = stream->ready_lane;

        ring_remove(&vm->ready[old], stream);
        stream->ready_lane = SCHED_LANES;
        vm->party[old].ready--;
        sched_vm_update(s, vm, old);
    }
    if (lane != SCHED_LANES) {
        ring_insert_last(&vm->ready[lane], stream);
        stream->ready_lane = lane;
        vm->party[lane].ready++;
        sched_vm_update(s, vm, lane);
    }
}

static void fifo_insert_after(struct sched_stream *stream, struct sched_unit *before,
                              struct sched_unit *unit)
{
    unit->prev = before;
    unit->next = before ? before->next : stream->head;
    if (unit->prev)
        unit->prev->next = unit;
    else
        stream->head = unit;
    if (unit->next)
        unit->next->prev = unit;
    else
        stream->tail = unit;
}

static void fifo_remove(struct sched_stream *stream, struct sched_unit *unit)
{
    if (unit->prev)
        unit->prev->next = unit->next;
    else
        stream->head = unit->next;
    if (unit->next)
        unit->next->prev = unit->prev;
    else
        stream->tail = unit->prev;
    unit->next = unit->prev = NULL;
}

/* ---- charging ---- */

static void party_charge(struct sched_heap *heap, struct sched_party *party, uint64_t step)
{
    party->tag += step;
    sched_heap_rekey(heap, party);
}

static void estimate_update(struct sched_party *party, uint64_t cost_ns)
{
    int64_t error = (int64_t)(cost_ns - party->estimate_ns);

    party->estimate_ns += (uint64_t)(error / (1 << ESTIMATE_SHIFT));
    if (party->estimate_ns == 0)
        party->estimate_ns = 1;
}

/*
 * Replace what was charged at pick by what it cost, at the weights of now. A VM that has moved since
 * then still pays what is missing, but gets nothing back: where it is now, nothing was taken from it.
 */
static void settle(struct scheduler *s, struct sched_unit *unit, uint64_t cost_ns)
{
    struct sched_vm *vm = unit->stream->vm;
    uint8_t lane = unit->picked_lane;

    if (vm->pool) {
        struct sched_level *level = sched_level_of(vm, lane);
        bool moved = unit->charged && unit->charged != level;
        uint64_t step = tag_step(cost_ns, vm->weight) - unit->charged_vm;

        if (!moved || (int64_t)step > 0)
            party_charge(&level->vms, &vm->party[lane], step);
        if (!moved)
            party_charge(&s->pools[lane], &vm->pool->party[lane],
                         tag_step(cost_ns, vm->pool->weight) - unit->charged_pool);
    }
    unit->stream->in_flight--;
}

/* Take the next unit of @vm, which competes in @lane, and charge the estimate for it. */
static struct sched_unit *take_from(struct scheduler *s, struct sched_vm *vm, enum sched_lane lane)
{
    struct sched_party *party = &vm->party[lane];
    struct sched_pool *pool = vm->pool;
    struct sched_level *level = sched_level_of(vm, lane);
    struct sched_stream *stream = vm->ready[lane];
    struct sched_unit *unit = stream->head;

    level->virtual_time = sched_later(level->virtual_time, party->tag);
    s->virtual_time[lane] = sched_later(s->virtual_time[lane], pool->party[lane].tag);
    unit->charged = level;
    unit->charged_vm = tag_step(party->estimate_ns, vm->weight);
    unit->charged_pool = tag_step(party->estimate_ns, pool->weight);
    unit->picked_lane = (uint8_t)lane;

    fifo_remove(stream, unit);
    stream->in_flight++;
    if (lane != SCHED_EXEC)
        stream->held = true;
    vm->ready[lane] = stream->ready_next;
    party_charge(&level->vms, party, unit->charged_vm);
    party_charge(&s->pools[lane], &pool->party[lane], unit->charged_pool);
    stream_update(s, stream);
    return unit;
}

/* ---- the calls ---- */

/** scheduler_stream_init() - An empty stream of @vm */
void scheduler_stream_init(struct sched_stream *stream, struct sched_vm *vm)
{
    *stream = (struct sched_stream){.vm = vm, .ready_lane = SCHED_LANES};
}

/**
 * scheduler_push() - Queue a new unit at the end of its stream
 * @unit: lane and seq set by the caller; seq grows within the stream
 */
void scheduler_push(struct scheduler *s, struct sched_stream *stream, struct sched_unit *unit)
{
    unit->stream = stream;
    unit->charged = NULL;
    unit->charged_vm = unit->charged_pool = 0;
    fifo_insert_after(stream, stream->tail, unit);
    stream_update(s, stream);
}

/** scheduler_adopt() - A unit that was picked before this scheduler was there; nothing is charged yet */
void scheduler_adopt(struct scheduler *s, struct sched_stream *stream, struct sched_unit *unit,
                     enum sched_lane lane)
{
    unit->stream = stream;
    unit->charged = NULL;
    unit->charged_vm = unit->charged_pool = 0;
    unit->lane = unit->picked_lane = (uint8_t)lane;
    stream->in_flight++;
    stream->held = true; /* what else was in flight with it is not known yet */
    stream_update(s, stream);
}

/**
 * scheduler_return() - A picked unit was not finished: put it back in its place
 * @unit: its lane may have changed
 * @cost_ns: what it has used; charged
 */
void scheduler_return(struct scheduler *s, struct sched_unit *unit, uint64_t cost_ns)
{
    struct sched_stream *stream = unit->stream;
    struct sched_unit *before = NULL;

    settle(s, unit, cost_ns);
    for (struct sched_unit *at = stream->head; at && (int64_t)(at->seq - unit->seq) < 0;
         at = at->next)
        before = at;
    fifo_insert_after(stream, before, unit);
    stream->held = stream->in_flight > 0;
    stream_update(s, stream);
}

/**
 * scheduler_pick() - The unit that is to be served next in a lane
 *
 * Return: the unit, taken out of its stream and charged by estimate, or NULL: nothing can be served
 */
struct sched_unit *scheduler_pick(struct scheduler *s, enum sched_lane lane)
{
    struct sched_pool *pool;

    if (s->pools[lane].count == 0)
        return NULL;
    pool = s->pools[lane].at[0]->owner;
    for (int class = SCHED_CLASSES - 1; class >= 0; class--) {
        struct sched_heap *vms = &pool->level[lane][class].vms;

        if (vms->count)
            return take_from(s, vms->at[0]->owner, lane);
    }
    return NULL;
}

/**
 * scheduler_pick_more() - One more unit of the VM that is being served, to be queued behind it
 *
 * Return: a unit, or NULL: it has none, or a higher class of its pool waits
 */
struct sched_unit *scheduler_pick_more(struct scheduler *s, enum sched_lane lane,
                                       struct sched_vm *vm)
{
    if (vm->party[lane].heap_index == SCHED_NOT_IN_HEAP || !vm->pool->enabled)
        return NULL;
    for (int class = vm->class + 1; class < SCHED_CLASSES; class++)
        if (vm->pool->level[lane][class].vms.count)
            return NULL;
    return take_from(s, vm, lane);
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

    if (!unit || unit->lane != SCHED_INSTANT || stream->in_flight || !pool || !pool->enabled)
        return NULL;
    fifo_remove(stream, unit);
    stream_update(s, stream);
    return unit;
}

/**
 * scheduler_complete() - A picked unit is finished, well or not
 * @cost_ns: by the caller's own clock
 */
void scheduler_complete(struct scheduler *s, struct sched_unit *unit, uint64_t cost_ns)
{
    struct sched_stream *stream = unit->stream;
    struct sched_vm *vm = stream->vm;

    settle(s, unit, cost_ns);
    estimate_update(&vm->party[unit->picked_lane], cost_ns);
    if (stream->in_flight == 0)
        stream->held = false;
    stream_update(s, stream);
}

/** scheduler_cancel() - Take out a unit that is queued, not picked */
void scheduler_cancel(struct scheduler *s, struct sched_unit *unit)
{
    struct sched_stream *stream = unit->stream;

    fifo_remove(stream, unit);
    stream_update(s, stream);
}
