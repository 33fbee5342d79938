/*
 * urgent.c - What is answered at once: SIGNAL, CANCEL, QUERY
 *
 * Theory of operation
 *
 * These are how a guest gets out of what it has got itself into, so they wait for nothing: not for
 * their turn, not for a slot (the last one is theirs), not for their pool to be enabled. They cost
 * the reactor time that nobody is charged for; so a VM has URGENT_PER_S of them, and is told when the
 * next one may come.
 *
 * Each can be done twice with the same outcome, or nearly: an engine that was killed in the middle
 * does it again.
 */
#include "bucket.h"
#include "engine.h"

#include <time.h>

#define URGENT_PER_S 10000u
#define URGENT_BURST 64u

/** urgent_admit() - May this VM have one more? Return: VGPU_OK, or VGPU_RATE and @retry_after_us */
enum vgpu_status urgent_admit(struct vm *vm, uint32_t *retry_after_us)
{
    uint64_t now_ns = engine_now_ns();

    bucket_set(&vm->urgent, URGENT_PER_S, URGENT_BURST, now_ns);
    *retry_after_us = bucket_wait_us(&vm->urgent, now_ns);
    if (*retry_after_us)
        return VGPU_RATE;
    bucket_take(&vm->urgent, now_ns);
    return VGPU_OK;
}

static bool is_meant(const struct request *r, const struct journal_slot *cancel)
{
    const struct journal_slot *slot = r->slot;

    return r->live && slot != cancel && slot->transport == cancel->transport &&
           slot->attachment == cancel->attachment && slot->qp == cancel->qp &&
           slot->cookie == cancel->signal;
}

static uint64_t cancel(struct request *r)
{
    struct vm *vm = r->vm;
    uint64_t found = 0;

    for (uint32_t i = 0; i < vm->journal->slots_used; i++) {
        struct request *other = &vm->request[i];

        if (!is_meant(other, r->slot))
            continue;
        if (other->slot->state == REQUEST_QUEUED && !other->unit.settled) {
            completion_end(other, VGPU_CANCELLED);
            found++;
        } else if (other->slot->state == REQUEST_RUNNING) {
            other->slot->cancelled = 1; /* it ends when it comes back */
            found++;
        }
    }
    return found;
}

static uint64_t clock_ns(clockid_t clock)
{
    struct timespec now;

    clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static void query(struct request *r)
{
    struct journal_slot *slot = r->slot;
    const struct journal_timeline *timeline;

    if (slot->cmd_seg == VGPU_QUERY_CLOCKS) {
        slot->result[0] = clock_ns(CLOCK_MONOTONIC);
        slot->result[1] = clock_ns(CLOCK_REALTIME);
        return;
    }
    timeline = timelines_find(r->vm, slot->qp,
                              slot->cmd_seg == VGPU_QUERY_TIMELINE ? VGPU_TIMELINE_USER
                                                                   : VGPU_TIMELINE_STREAM,
                              slot->stream);
    slot->result[0] = timeline ? timeline->value : 0;
    slot->result[1] = timeline && timeline->failed_to && timeline->failed_to == timeline->value;
}

/** urgent_run() - Do what an urgent request asks for; its answer is in the slot then */
void urgent_run(struct request *r)
{
    struct journal_slot *slot = r->slot;

    switch (slot->kind) {
    case REQUEST_SIGNAL:
        timelines_move(r->vm, slot->qp, VGPU_TIMELINE_USER, slot->stream, slot->signal, false);
        break;
    case REQUEST_CANCEL:
        slot->result[0] = cancel(r);
        break;
    default:
        query(r);
        break;
    }
}
