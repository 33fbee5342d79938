/*
 * sched_streams.c - Streams: FIFOs of units, and the ring of those that may be picked from
 *
 * Theory of operation
 *
 * A stream is in its VM's ready ring of the lane that its head unit needs, iff that may be picked
 * now: the head waits for nothing but its turn, nothing holds the stream, and no unit of it is in
 * flight in another lane. Every change of one of these goes through sched_stream_update(). The ring
 * is what a VM's round robin turns.
 */
#include "sched_parts.h"

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

    if (!head || head->lane >= SCHED_LANES || head->waits)
        return SCHED_LANES;
    if (stream->in_flight && (stream->held || head->lane != SCHED_EXEC))
        return SCHED_LANES;
    return head->lane;
}

/** sched_stream_update() - Let a stream be ready or not, as its state now says */
void sched_stream_update(struct scheduler *s, struct sched_stream *stream)
{
    uint8_t lane = wanted_lane(stream);
    struct sched_vm *vm = stream->vm;

    if (lane == stream->ready_lane)
        return;
    if (stream->ready_lane != SCHED_LANES) {
        uint8_t old = stream->ready_lane;

        ring_remove(&vm->party[old].ready, stream);
        stream->ready_lane = SCHED_LANES;
        vm->party[old].ready_count--;
        sched_vm_update(s, vm, old);
    }
    if (lane != SCHED_LANES) {
        ring_insert_last(&vm->party[lane].ready, stream);
        stream->ready_lane = lane;
        vm->party[lane].ready_count++;
        sched_vm_update(s, vm, lane);
    }
}

/** sched_fifo_insert_after() - Put a unit behind @before, NULL = at the head */
void sched_fifo_insert_after(struct sched_stream *stream, struct sched_unit *before,
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
    stream->queued++;
}

/** sched_fifo_remove() - Take a unit out of its stream */
void sched_fifo_remove(struct sched_stream *stream, struct sched_unit *unit)
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
    stream->queued--;
}

/** scheduler_stream_init() - An empty stream of @vm */
void scheduler_stream_init(struct scheduler *s, struct sched_stream *stream, struct sched_vm *vm)
{
    *stream = (struct sched_stream){.vm = vm, .ready_lane = SCHED_LANES};
    sched_tell(s, .type = SCHED_CALL_STREAM_INIT, .vm = vm, .stream = stream);
}
