/*
 * recover.c - Taking up a VM where the last engine left it
 *
 * Theory of operation
 *
 * The journal's slots are gone through once, by the rules of journal.h. What was not taken from its
 * ring is freed; what was accepted and waits is queued again, in the order of acceptance; what a worker
 * has stays with it, and its reply is expected; what was sent in the journal's eyes only is queued.
 * Answers that are known are given. What came by a connection that is gone is dropped.
 *
 * The transports have been made before, so `attachment` says which connections are still there, and
 * half-posted completions have been posted. The workers come later: they are attached, or reported
 * gone, by the control plane.
 */
#include <errno.h>
#include <stdlib.h>

#include "engine.h"

static bool client_is_there(const struct vm *vm, const struct journal_slot *slot)
{
    const struct transport *t = slot->transport < 3 ? vm->transport[slot->transport] : NULL;

    return t && t->attachment && t->attachment == slot->attachment;
}

/* What the slot's state means now that its engine is gone. */
static enum request_state state_now(const struct vm *vm, const struct journal_slot *slot)
{
    const struct journal_link *link =
        &vm->journal->link[slot->lane == SCHED_BUILD ? MEDIATOR_BUILD : MEDIATOR_LAUNCH];
    bool here = client_is_there(vm, slot);
    bool sent;

    switch (slot->state) {
    case REQUEST_RECEIVED:
        if (!here)
            return REQUEST_FREE;
        if (slot->transport == MEDIATOR_RING &&
            (int32_t)(slot->sq_index - vm->journal->ring.pair[slot->qp % VGPU_QP_MAX].sq_head) >= 0)
            return REQUEST_FREE; /* still in its ring */
        return slot->status == VGPU_OK ? REQUEST_QUEUED
                                       : REQUEST_DONE; /* or it was being refused */
    case REQUEST_QUEUED:
        return here ? REQUEST_QUEUED : REQUEST_FREE;
    case REQUEST_RUNNING:
    case REQUEST_CANCELLED:
        sent = link->worker_id && (int32_t)(slot->unit_index - link->unit_tail) < 0 &&
               (int32_t)(slot->unit_index - link->reply_head) >= 0;
        if (sent)
            return here ? slot->state : REQUEST_CANCELLED;
        return here && slot->state == REQUEST_RUNNING ? REQUEST_QUEUED : REQUEST_FREE;
    case REQUEST_DONE:
        return here ? REQUEST_DONE : REQUEST_FREE;
    default:
        return REQUEST_FREE;
    }
}

static int by_seq(const void *a, const void *b)
{
    const struct request *const *x = a, *const *y = b;
    uint64_t p = (*x)->slot->seq, q = (*y)->slot->seq;

    return p < q ? -1 : p > q;
}

static void revive(struct request *r)
{
    struct vm *vm = r->vm;
    struct journal_slot *slot = r->slot;
    struct stream *stream;

    if (slot->state == REQUEST_DONE) {
        complete(r, (enum vgpu_status)slot->status);
        return;
    }
    if (slot->kind >= REQUEST_SIGNAL) {
        urgent_run(r);
        complete(r, VGPU_OK);
        return;
    }
    stream = stream_get(vm, slot);
    if (!stream) { /* cannot be: the last engine had no more streams than we have */
        complete(r, VGPU_BUSY);
        return;
    }
    r->unit.seq = slot->seq;
    r->unit.lane = slot->lane;
    r->unit.arrival_ns = slot->arrival_ns;
    if (slot->state == REQUEST_QUEUED) {
        if (slot->status != VGPU_OK) {
            r->unit.lane = SCHED_INSTANT; /* it was not to run */
            r->unit.settled = true;
        } else {
            timelines_wait(r);
        }
        scheduler_push(&vm->mediator->scheduler, &stream->sched, &r->unit);
        executor_enqueue(r);
        own_limits_note(r);
        return;
    }
    scheduler_adopt(&vm->mediator->scheduler, &stream->sched, &r->unit,
                    (enum sched_lane)slot->lane);
    executor_adopt(r);
}

/**
 * recover() - Rebuild what is not in the journal from what is
 *
 * Without memory for the list of live requests their order could not be kept, so that is fatal to the
 * call that adds the VM.
 *
 * Return: 0, or -ENOMEM
 */
int recover(struct vm *vm)
{
    struct request **live;
    uint32_t used = vm->journal->slots_used, count = 0;

    if (used == 0)
        return 0;
    live = calloc(used, sizeof(*live));
    if (!live)
        return -ENOMEM;
    for (uint32_t i = used; i-- > 0;) {
        struct request *r = &vm->request[i];
        struct journal_slot *slot = &vm->journal->slot[i];
        enum request_state state = state_now(vm, slot);

        *r = (struct request){.slot = slot, .vm = vm, .wait_timeline = NO_TIMELINE};
        slot->state = state;
        if (state == REQUEST_FREE) {
            r->next_free = vm->free_slots;
            vm->free_slots = i;
            continue;
        }
        r->live = true;
        vm->in_use++;
        vm->mediator->in_use++;
        if (state == REQUEST_QUEUED)
            vm->stats.queued++;
        else if (state == REQUEST_RUNNING || state == REQUEST_CANCELLED)
            vm->stats.running++;
        live[count++] = r;
    }
    qsort(live, count, sizeof(*live), by_seq);
    for (uint32_t i = 0; i < count; i++)
        revive(live[i]);
    free(live);
    completion_advance_all(vm);
    return 0;
}
