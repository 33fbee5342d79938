/*
 * completion.c - The one exit: account, answer, free, and let the stream move on
 *
 * Theory of operation
 *
 * Whatever becomes of an accepted request, it leaves through complete(), once. The answer goes to the
 * attachment that it came by; when that is gone (its client disconnected, another one came) the answer
 * is dropped and counted. Then the slot is free, and what stood behind it in its stream may go on: NOPs
 * and the like need nothing but to be the head of an idle stream, so they are answered here, in a loop
 * and not by recursion, as a guest may queue thousands of them.
 */
#include "engine.h"

/* Give the answer that is in the slot, and the slot back. Return: was there anybody to give it to? */
static bool finish(struct request *r, enum vgpu_status status)
{
    struct vm *vm = r->vm;
    struct journal_slot *slot = r->slot;
    struct transport *t = vm->transport[slot->transport];
    bool there = slot->state != REQUEST_CANCELLED && t && t->attachment == slot->attachment;

    slot->status = (uint16_t)status;
    if (slot->end_ns == 0)
        slot->end_ns = engine_now_ns();
    if (slot->start_ns == 0)
        slot->start_ns = slot->end_ns;
    if (there) {
        if (slot->signal && slot->kind < REQUEST_SIGNAL)
            timelines_move(vm, slot->qp, VGPU_TIMELINE_STREAM, slot->stream, slot->signal,
                           status != VGPU_OK);
        request_set_state(r, REQUEST_DONE);
        t->ops->answer(t, slot);
    } else {
        request_set_state(r, REQUEST_FREE);
    }
    request_free(r);
    return there;
}

static void finish_accepted(struct request *r, enum vgpu_status status)
{
    struct mediator_vm_stats *stats = &r->vm->stats;
    struct mediator *m = r->vm->mediator;

    if (!finish(r, status)) {
        stats->dropped++;
        return;
    }
    m->answered++;
    if (status == VGPU_OK)
        stats->completed++;
    else
        stats->failed++;
}

/** completion_refuse() - Answer a request that was not accepted through the slot that it has */
void completion_refuse(struct request *r, enum vgpu_status status)
{
    r->slot->signal = 0; /* it may be submitted again */
    finish(r, status);
}

/**
 * completion_due() - What ends a request that comes back unfinished, or waits to go on
 *
 * Return: VGPU_OK = nothing, it goes on; else the status to answer it with
 */
enum vgpu_status completion_due(const struct request *r)
{
    const struct journal_slot *slot = r->slot;

    if (slot->state == REQUEST_CANCELLED || slot->cancelled || r->vm->mediator->cancelling)
        return VGPU_CANCELLED;
    if (quarantine_holds(r->vm))
        return VGPU_QUARANTINED;
    if (request_left_ns(slot) == 0)
        return VGPU_TIMEOUT;
    return VGPU_OK;
}

/* Answer what needs nothing but its turn, then let go of an empty stream. */
static void advance(struct vm *vm, struct stream *stream)
{
    struct sched_unit *unit;

    while ((unit = scheduler_take_instant(&vm->mediator->scheduler, &stream->sched))) {
        struct request *r = request_of_unit(unit);

        finish_accepted(r, (enum vgpu_status)r->slot->status);
    }
    stream_put(vm, stream);
}

/** completion_move() - A stream's head may have become answerable: look at it, soon */
void completion_move(struct vm *vm, struct stream *stream)
{
    vm->streams_moved |= 1ull << (stream - vm->stream);
}

/** completion_advance() - Look at a stream, NULL = none, and at all that is moved by what is answered */
void completion_advance(struct vm *vm, struct stream *stream)
{
    if (stream)
        completion_move(vm, stream);
    if (vm->advancing)
        return;
    vm->advancing = true;
    while (vm->streams_moved) {
        uint32_t at = (uint32_t)__builtin_ctzll(vm->streams_moved);

        vm->streams_moved &= vm->streams_moved - 1;
        advance(vm, &vm->stream[at]);
    }
    vm->advancing = false;
    executor_see_to_workers(vm);
}

/**
 * complete() - A request is finished
 * @r: neither queued nor picked any more; its answer but for the status is in the slot
 */
void complete(struct request *r, enum vgpu_status status)
{
    struct vm *vm = r->vm;
    struct stream *stream = (struct stream *)r->unit.stream;

    finish_accepted(r, status);
    completion_advance(vm, stream);
}

/**
 * completion_end() - A queued request is not to run
 *
 * It is answered at once, unless that would move its stream's timeline over what those before it have
 * still to say: then when it comes to the head.
 */
void completion_end(struct request *r, enum vgpu_status status)
{
    struct stream *stream = (struct stream *)r->unit.stream;

    if (!r->slot->signal) {
        request_unqueue(r);
        complete(r, status);
        return;
    }
    timelines_forget(r);
    r->slot->status = (uint16_t)status;
    scheduler_settle(&r->vm->mediator->scheduler, &r->unit);
    completion_advance(r->vm, stream);
}

/** completion_end_unfinished() - End a request that had begun, and is back in its stream's FIFO */
void completion_end_unfinished(struct request *r, enum vgpu_status status)
{
    r->slot->native = status == VGPU_TIMEOUT;
    r->slot->op_index = r->slot->first_op;
    request_unqueue(r);
    complete(r, status);
}

/* Take a queued request out of its stream and end it. The stream is looked after by the caller. */
static void end_queued(struct request *r, enum vgpu_status status)
{
    request_unqueue(r);
    finish_accepted(r, status);
}

/** completion_drop_queued() - The client is gone: drop what it has queued, disown what runs */
void completion_drop_queued(struct vm *vm, enum mediator_transport transport)
{
    for (uint32_t i = 0; i < vm->journal->slots_used; i++) {
        struct request *r = &vm->request[i];

        if (!r->live || r->slot->transport != transport)
            continue;
        if (r->slot->state == REQUEST_QUEUED)
            end_queued(r, VGPU_CANCELLED);
        else if (r->slot->state == REQUEST_RUNNING)
            request_set_state(r, REQUEST_CANCELLED);
    }
    completion_advance_all(vm);
}

/** completion_end_queued() - Nothing that is queued is to run: end it with @status, in its streams' order */
void completion_end_queued(struct vm *vm, enum vgpu_status status)
{
    bool advancing = vm->advancing;

    vm->advancing = true; /* nothing may get to the head, and be done, before its end */
    for (uint64_t left = vm->streams_used; left; left &= left - 1) {
        struct sched_unit *unit = vm->stream[__builtin_ctzll(left)].sched.head, *next;

        for (; unit; unit = next) {
            next = unit->next;
            if (!unit->settled)
                completion_end(request_of_unit(unit), status);
        }
    }
    vm->advancing = advancing;
    completion_advance_all(vm);
}

/** completion_advance_all() - Look at every stream: its head may have become answerable */
void completion_advance_all(struct vm *vm)
{
    vm->streams_moved |= vm->streams_used;
    completion_advance(vm, NULL);
}
