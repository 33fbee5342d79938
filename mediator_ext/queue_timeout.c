/*
 * queue_timeout.c - Requests that have waited too long
 *
 * Theory of operation
 *
 * A request that was never begun within queue_timeout_ms of its arrival is answered TIMEOUT:
 * whoever sent it has given up by then, and a pool that is disabled must not keep its VMs waiting
 * for ever. While anything is queued, all queued requests are looked at an eighth of the timeout
 * apart (between 10 ms and 1 s), so an answer is late by that much at most, and the data path pays
 * nothing for it. An engine with nothing queued does not wake up.
 */
#include "engine.h"

#define SWEEPS_PER_TIMEOUT 8u
#define SWEEP_MIN_NS       10000000u
#define SWEEP_MAX_NS       1000000000u

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

static void sweep_vm(struct vm *vm, uint64_t now_ns)
{
    uint64_t limit_ns = timeout_ns(vm->mediator);

    for (uint32_t i = 0; i < vm->journal->slots_used && vm->stats.queued; i++) {
        struct request *r = &vm->request[i];

        if (!r->live || r->slot->state != REQUEST_QUEUED || r->slot->start_ns ||
            now_ns - r->slot->arrival_ns < limit_ns)
            continue;
        scheduler_cancel(&vm->mediator->scheduler, &r->unit);
        complete(r, VGPU_TIMEOUT);
    }
}

/**
 * queue_timeout_ms() - How long the reactor may wait before queue_timeout_check()
 *
 * Return: milliseconds, -1 = as long as it likes: nothing is queued, or the engine drains
 */
int queue_timeout_ms(struct mediator *m, uint64_t now_ns)
{
    if (m->in_use == 0 || m->draining) {
        m->next_sweep_ns = 0;
        return -1;
    }
    if (m->next_sweep_ns == 0)
        m->next_sweep_ns = now_ns + interval_ns(m);
    return m->next_sweep_ns <= now_ns ? 0 : (int)((m->next_sweep_ns - now_ns) / 1000000u) + 1;
}

/** queue_timeout_check() - Answer what has waited too long, if it is time to look */
void queue_timeout_check(struct mediator *m, uint64_t now_ns)
{
    if (m->next_sweep_ns == 0 || now_ns < m->next_sweep_ns)
        return;
    m->next_sweep_ns = now_ns + interval_ns(m);
    for (uint32_t i = 0; i < m->vm_capacity; i++)
        if (m->vm[i] && m->vm[i]->stats.queued)
            sweep_vm(m->vm[i], now_ns);
}
