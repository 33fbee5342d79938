/*
 * request.c - Request slots and the streams they stand in
 *
 * Theory of operation
 *
 * A request is a journal slot (what must survive, journal.h) and a struct request of the same index
 * (what is rebuilt). Both arrays are made when the VM is added, so a request costs no allocation. Free
 * slots are a stack: the last one used is the next one taken, and pages of slots that were never
 * needed are never touched.
 *
 * Streams are entries of a small table, made when a request names one and given back when nothing of
 * it is queued or running. One transport's pair and stream number make the key, so what an old client
 * still has running keeps its place before what a new one submits.
 */
#include "engine.h"

#include <string.h>

/** request_of_unit() - The request that a scheduler's unit is part of */
struct request *request_of_unit(struct sched_unit *unit)
{
    return (struct request *)unit;
}

/** request_token() - What names a unit of it in a worker's channel */
uint64_t request_token(const struct request *r)
{
    return (uint64_t)r->slot->generation << 32 | (uint32_t)(r - r->vm->request);
}

/** request_set_state() - Move a request on; see journal.h for which moves there are */
void request_set_state(struct request *r, enum request_state state)
{
    if (r->slot->state == REQUEST_QUEUED)
        r->vm->stats.queued--;
    if (r->slot->state == REQUEST_RUNNING || r->slot->state == REQUEST_CANCELLED)
        r->vm->stats.running--;
    if (state == REQUEST_QUEUED)
        r->vm->stats.queued++;
    if (state == REQUEST_RUNNING || state == REQUEST_CANCELLED)
        r->vm->stats.running++;
    __atomic_store_n(&r->slot->state, state, __ATOMIC_RELEASE);
}

static uint32_t pop_free(struct vm *vm)
{
    uint32_t index = vm->free_slots;

    if (index != NO_SLOT) {
        vm->free_slots = vm->request[index].next_free;
        return index;
    }
    if (vm->journal->slots_used == vm->journal->slot_count)
        return NO_SLOT;
    return vm->journal->slots_used++;
}

/* What a new request waits for. */
static uint8_t first_lane(const struct journal_slot *slot)
{
    return slot->kind == REQUEST_NOP || slot->kind == REQUEST_DEVICE_INFO ? SCHED_INSTANT
                                                                          : SCHED_EXEC;
}

/**
 * request_take() - Turn what a transport received into a request, state RECEIVED
 *
 * Return: the request, or NULL: no slot is free
 */
struct request *request_take(struct vm *vm, struct transport *t,
                             const struct request_received *what)
{
    uint32_t index = pop_free(vm);
    struct journal_slot *slot;
    struct request *r;

    if (index == NO_SLOT)
        return NULL;
    slot = &vm->journal->slot[index];
    r = &vm->request[index];
    *r = (struct request){.slot = slot, .vm = vm, .live = true, .wait_timeline = NO_TIMELINE};
    *slot = (struct journal_slot){
        .state = REQUEST_FREE,
        .generation = slot->generation + 1,
        .seq = vm->journal->next_seq++,
        .arrival_ns = what->received_ns ? what->received_ns : engine_now_ns(),
        .attachment = what->attachment,
        .transport = (uint8_t)t->ops->id,
        .kind = what->kind,
        .vgpu_lane = what->vgpu_lane,
        .qp = what->qp,
        .ctx = what->ctx,
        .stream = what->stream,
        .sq_index = what->sq_index,
        .cookie = what->cookie,
        .cmd_off = what->cmd_off,
        .cmd_seg = what->cmd_seg,
        .cmd_len = what->cmd_len,
        .wire = {what->wire[0], what->wire[1]},
        .status = what->status,
        .signal = what->signal,
        .wait_count = what->wait_count,
        .timeout_ms = what->timeout_ms,
    };
    if (what->wait_count)
        memcpy(journal_waits(vm->journal, index), what->waits,
               what->wait_count * sizeof(*what->waits));
    memcpy(slot->args, what->args, sizeof(slot->args));
    slot->lane = first_lane(slot);
    r->queued_ns = slot->arrival_ns;
    request_set_state(r, REQUEST_RECEIVED);
    vm->in_use++;
    vm->mediator->in_use++;
    return r;
}

/** request_forget_starved() - It waits for a slot no more */
void request_forget_starved(struct vm *vm)
{
    struct mediator *m = vm->mediator;

    vm->starved = false;
    if (!vm->in_line)
        return;
    vm->in_line = false;
    if (vm->starved_prev)
        vm->starved_prev->starved_next = vm->starved_next;
    else
        m->starved = vm->starved_next;
    if (vm->starved_next)
        vm->starved_next->starved_prev = vm->starved_prev;
    else
        m->starved_last = vm->starved_prev;
}

/** request_feed() - There may be a slot for it: if it waits for one, it may look */
void request_feed(struct vm *vm)
{
    if (!vm->starved)
        return;
    request_forget_starved(vm);
    for (int i = 0; i < 3; i++)
        if (vm->transport[i])
            transport_wake(vm->transport[i]);
}

/*
 * A slot of @vm is free: @vm may go on, and as many of those in line as there is room for. One that
 * does not use its room leaves it to the next call: there is one for every request that is out, and
 * with the last one there is room for all.
 */
static void feed_starved(struct mediator *m, struct vm *vm)
{
    uint32_t limit = m->config.max_queued_total;
    uint32_t room = m->in_use < limit ? limit - m->in_use : 0;

    request_feed(vm);
    while (m->starved && room--)
        request_feed(m->starved);
}

/** request_free() - Give the slot back; its state is FREE already. Wakes who waits for one */
void request_free(struct request *r)
{
    struct vm *vm = r->vm;
    struct mediator *m = vm->mediator;

    r->live = false;
    r->next_free = vm->free_slots;
    vm->free_slots = (uint32_t)(r - vm->request);
    vm->in_use--;
    m->in_use--;
    feed_starved(m, vm);
}

/**
 * request_starve() - A transport has something and there is no slot: tell it when there may be one
 *
 * Who has all that are its own waits for one of those; in line stands only who waits for what all
 * share, so that an answer to one VM wakes no other for nothing.
 */
void request_starve(struct vm *vm)
{
    struct mediator *m = vm->mediator;

    if (vm->starved)
        return;
    vm->starved = true;
    if (vm->in_use >= request_limit(vm))
        return;
    vm->in_line = true;
    vm->starved_next = NULL;
    vm->starved_prev = m->starved_last;
    if (m->starved_last)
        m->starved_last->starved_next = vm;
    else
        m->starved = vm;
    m->starved_last = vm;
}

/** request_unqueue() - Take a queued request out of its stream, and out of what it waits for */
void request_unqueue(struct request *r)
{
    timelines_forget(r);
    scheduler_cancel(&r->vm->mediator->scheduler, &r->unit);
}

/** request_stuck() - Does all that this VM has queued wait for signals, so that nothing of it ends? */
bool request_stuck(const struct vm *vm)
{
    return vm->waiters && vm->stats.running == 0 && vm->sched.party[SCHED_EXEC].ready_count == 0 &&
           vm->sched.party[SCHED_BUILD].ready_count == 0;
}

/** request_left_ns() - How long it may still run by its own limit; UINT64_MAX = it has none */
uint64_t request_left_ns(const struct journal_slot *slot)
{
    uint64_t own_ns = (uint64_t)slot->timeout_ms * 1000000u;

    if (slot->timeout_ms == 0)
        return UINT64_MAX;
    return own_ns > slot->ran_ns ? own_ns - slot->ran_ns : 0;
}

/** request_budget_us() - For its next dispatch: a quantum, or what its own limit leaves of it */
uint32_t request_budget_us(const struct request *r)
{
    uint64_t left_us = request_left_ns(r->slot) / 1000;
    uint32_t quantum_us = r->vm->mediator->config.quantum_us;

    return left_us < quantum_us ? (uint32_t)left_us : quantum_us;
}

/** request_limit() - How many slots this VM may have in use */
uint32_t request_limit(const struct vm *vm)
{
    uint32_t limit = vm->journal->slot_count - JOURNAL_SLOTS_URGENT;

    if (vm->identity.max_queued && vm->identity.max_queued < limit)
        limit = vm->identity.max_queued;
    return limit;
}

/** request_room() - May this VM have one more slot? */
bool request_room(const struct vm *vm)
{
    return vm->in_use < request_limit(vm) &&
           (vm->in_use < SLOTS_GRANTED ||
            vm->mediator->in_use < vm->mediator->config.max_queued_total);
}

static uint64_t stream_key(const struct journal_slot *slot)
{
    return (uint64_t)slot->stream << 32 | (uint64_t)slot->qp << 8 | slot->transport;
}

/**
 * stream_get() - The stream that a slot names, made if need be
 *
 * Return: the stream, or NULL: the table is full
 */
struct stream *stream_get(struct vm *vm, const struct journal_slot *slot)
{
    uint64_t key = stream_key(slot);
    struct stream *stream;
    uint32_t i;

    for (uint64_t left = vm->streams_used; left; left &= left - 1) {
        stream = &vm->stream[__builtin_ctzll(left)];
        if (stream->key == key)
            return stream;
    }
    if (vm->streams_used == UINT64_MAX)
        return NULL;
    i = (uint32_t)__builtin_ctzll(~vm->streams_used);
    stream = &vm->stream[i];
    scheduler_stream_init(&vm->mediator->scheduler, &stream->sched, &vm->sched);
    stream->key = key;
    vm->streams_used |= 1ull << i;
    return stream;
}

/** stream_put() - Give the stream back if nothing is queued or running in it */
void stream_put(struct vm *vm, struct stream *stream)
{
    if (!stream->sched.head && stream->sched.in_flight == 0)
        vm->streams_used &= ~(1ull << (stream - vm->stream));
}
