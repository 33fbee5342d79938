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
    finish(r, status);
}

/** completion_advance() - Answer what needs nothing but its turn, then let go of an empty stream */
void completion_advance(struct vm *vm, struct stream *stream)
{
    struct sched_unit *unit;

    while ((unit = scheduler_take_instant(&vm->mediator->scheduler, &stream->sched)))
        finish_accepted(request_of_unit(unit), VGPU_OK);
    stream_put(vm, stream);
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
    if (stream)
        completion_advance(vm, stream);
}

/* Take a queued request out of its stream and end it. The stream is looked after by the caller. */
static void end_queued(struct request *r, enum vgpu_status status)
{
    scheduler_cancel(&r->vm->mediator->scheduler, &r->unit);
    finish_accepted(r, status);
}

static void end_all_queued(struct vm *vm, int transport, enum vgpu_status status)
{
    for (uint32_t i = 0; i < vm->journal->slots_used; i++) {
        struct request *r = &vm->request[i];

        if (!r->live || (transport >= 0 && r->slot->transport != transport))
            continue;
        if (r->slot->state == REQUEST_QUEUED)
            end_queued(r, status);
        else if (transport >= 0 && r->slot->state == REQUEST_RUNNING)
            request_set_state(r, REQUEST_CANCELLED);
    }
    completion_advance_all(vm);
}

/** completion_drop_queued() - The client is gone: drop what it has queued, disown what runs */
void completion_drop_queued(struct vm *vm, enum mediator_transport transport)
{
    end_all_queued(vm, (int)transport, VGPU_CANCELLED);
}

/** completion_cancel_queued() - Answer all that is queued with CANCELLED */
void completion_cancel_queued(struct vm *vm)
{
    end_all_queued(vm, -1, VGPU_CANCELLED);
}

/** completion_advance_all() - Look at every stream: its head may have become answerable */
void completion_advance_all(struct vm *vm)
{
    for (uint64_t left = vm->streams_used; left; left &= left - 1)
        completion_advance(vm, &vm->stream[__builtin_ctzll(left)]);
}
