/*
 * queue_timeout.c - Requests that have waited too long
 *
 * Theory of operation
 *
 * A request that has waited for queue_timeout_ms is answered TIMEOUT: whoever sent it has given up
 * by then, and a pool that is disabled must not keep its VMs waiting for ever. The wait counts from
 * the arrival, of a request that was begun and is to go on from its last dispatch. While anything is
 * queued, all queued requests are looked at an eighth of the timeout apart (between 10 ms and 1 s),
 * SLOTS_PER_TURN in a turn, so an answer is late by that much at most, and nobody's data path is
 * held up by it. An engine with nothing queued does not wake up. The limits that requests bring
 * along are own_limits.c's.
 */
#include "engine.h"

#define SWEEPS_PER_TIMEOUT 8u
#define SWEEP_MIN_NS       10000000u
#define SWEEP_MAX_NS       1000000000u
#define SLOTS_PER_TURN     2048u

static uint64_t timeout_ns(const struct mediator *m)
{
    return (uint64_t)m->config.queue_timeout_ms * 1000000u;
}

static uint64_t interval_ns(const struct mediator *m)
{
    uint64_t interval = timeout_ns(m) / SWEEPS_PER_TIMEOUT;

    if (interval < SWEEP_MIN_NS)
        return SWEEP_MIN_NS;
    return interval > SWEEP_MAX_NS ? SWEEP_MAX_NS : interval;
}

static bool is_late(const struct request *r, uint64_t now_ns, uint64_t limit_ns)
{
    uint64_t since_ns = r->slot->arrival_ns;

    if (!r->live || r->slot->state != REQUEST_QUEUED || r->unit.settled)
        return false;
    if (r->slot->dispatch_ns > since_ns)
        since_ns = r->slot->dispatch_ns;
    return now_ns >= since_ns && now_ns - since_ns >= limit_ns;
}

/* Look at one VM's requests from @from on, *@left at most. Return: where to go on, 0 = done with it */
static uint32_t sweep_vm(struct vm *vm, uint32_t from, uint32_t *left, uint64_t now_ns)
{
    uint64_t limit_ns = timeout_ns(vm->mediator);

    for (uint32_t i = from; i < vm->journal->slots_used && vm->stats.queued; i++) {
        struct request *r = &vm->request[i];

        if (*left == 0)
            return i;
        --*left;
        if (!is_late(r, now_ns, limit_ns))
            continue;
        completion_end(r, VGPU_TIMEOUT);
    }
    return 0;
}

/**
 * queue_timeout_ms() - How long the reactor may wait before queue_timeout_check()
 *
 * Return: milliseconds, -1 = as long as it likes: nothing is queued, or the engine drains
 */
int queue_timeout_ms(struct mediator *m, uint64_t now_ns)
{
    uint64_t next_ns;

    if (m->in_use == 0 || m->draining) {
        m->sweep = (struct sweep){0};
        return -1;
    }
    if (m->sweep.next_ns == 0)
        m->sweep.next_ns = now_ns + interval_ns(m);
    next_ns = m->own_limits_due_ns && m->own_limits_due_ns < m->sweep.next_ns ? m->own_limits_due_ns
                                                                              : m->sweep.next_ns;
    return next_ns <= now_ns ? 0 : (int)((next_ns - now_ns) / 1000000u) + 1;
}

/** queue_timeout_check() - Answer what has waited too long, if it is time to look */
void queue_timeout_check(struct mediator *m, uint64_t now_ns)
{
    struct sweep *sweep = &m->sweep;
    uint32_t left = SLOTS_PER_TURN;

    own_limits_check(m, now_ns);
    if (sweep->next_ns == 0 || now_ns < sweep->next_ns)
        return;
    for (; sweep->vm < m->vm_capacity; sweep->vm++) {
        struct vm *vm = m->vm[sweep->vm];

        sweep->slot = vm ? sweep_vm(vm, sweep->slot, &left, now_ns) : 0;
        if (sweep->slot)
            return; /* the next turn goes on here, at once */
    }
    *sweep = (struct sweep){.next_ns = now_ns + interval_ns(m)};
}
