/*
 * own_limits.c - Requests that have waited longer than they allow themselves
 *
 * Theory of operation
 *
 * A request may bring a limit on how long it waits to be begun. Each VM has the time at which the
 * first of those that it has queued ends, and is gone through then: what is late is answered TIMEOUT,
 * and the next such time is found. That happens no more often than every 10 ms for a VM, and with
 * SLOTS_PER_TURN requests at most in a turn of the reactor, over all VMs: a guest with thousands of
 * limits of a millisecond has its own queue gone through a hundred times a second, and delays nobody
 * by more than that. So an answer is late by 10 ms at most, and by what a long queue takes.
 *
 * The times may be early, for one that was begun or answered meanwhile; they are never late. All of
 * this is found anew from the journal.
 */
#include "engine.h"

#define APART_NS       10000000u
#define SLOTS_PER_TURN 1024u

/* The earlier of two times, 0 = none. */
static uint64_t earlier(uint64_t a, uint64_t b)
{
    return a && (!b || a < b) ? a : b;
}

static uint64_t end_of(const struct journal_slot *slot)
{
    return slot->timeout_ms ? slot->arrival_ns + (uint64_t)slot->timeout_ms * 1000000u : 0;
}

/* When its VM is to be gone through for a request that ends then. */
static uint64_t due_for(const struct own_limits *own, uint64_t end_ns)
{
    uint64_t first_ns = own->looked_ns + APART_NS;

    return end_ns && end_ns < first_ns ? first_ns : end_ns;
}

/** own_limits_note() - A request stands in its queue now; it may have a limit of its own */
void own_limits_note(struct request *r)
{
    struct mediator *m = r->vm->mediator;
    struct own_limits *own = &r->vm->own_limits;
    uint64_t due_ns = due_for(own, end_of(r->slot));

    if (due_ns == 0)
        return;
    if (own->slot) /* just being gone through: it may stand before where that is */
        own->next_ns = earlier(own->next_ns, due_ns);
    else
        own->due_ns = earlier(own->due_ns, due_ns);
    m->own_limits_due_ns = earlier(m->own_limits_due_ns, due_ns);
}

/* Go through a VM's requests, or on with that. */
static void look_at(struct vm *vm, uint32_t *left, uint64_t now_ns)
{
    struct own_limits *own = &vm->own_limits;

    if (own->slot == 0) {
        own->looked_ns = now_ns;
        own->next_ns = 0;
    }
    for (; own->slot < vm->journal->slots_used && vm->stats.queued; own->slot++) {
        struct request *r = &vm->request[own->slot];

        if (*left == 0)
            return; /* it stays due: the next turn goes on here, at once */
        --*left;
        if (!r->live || r->slot->state != REQUEST_QUEUED || r->unit.settled || r->slot->start_ns)
            continue;
        if (end_of(r->slot) == 0 || end_of(r->slot) > now_ns) {
            own->next_ns = earlier(own->next_ns, due_for(own, end_of(r->slot)));
            continue;
        }
        completion_end(r, VGPU_TIMEOUT);
    }
    own->slot = 0;
    own->due_ns = own->next_ns;
}

/** own_limits_check() - Answer those that have ended, if it is time to look */
void own_limits_check(struct mediator *m, uint64_t now_ns)
{
    uint32_t left = SLOTS_PER_TURN;

    if (m->draining || m->own_limits_due_ns == 0 || now_ns < m->own_limits_due_ns)
        return;
    m->own_limits_due_ns = 0;
    for (uint32_t i = 0; i < m->vm_capacity; i++) {
        struct vm *vm = m->vm[i];

        if (!vm || vm->own_limits.due_ns == 0)
            continue;
        if (vm->own_limits.due_ns <= now_ns)
            look_at(vm, &left, now_ns);
        m->own_limits_due_ns = earlier(m->own_limits_due_ns, vm->own_limits.due_ns);
    }
}
