/*
 * builders.c - Build workers that are not needed any more
 *
 * Theory of operation
 *
 * A build whose client has left is nobody's any more, and cannot be stopped but with its worker. It
 * goes on as long as nobody waits for its place, since what it makes may still be asked for again; as
 * soon as somebody does (another VM where all max_builds places are taken, or its own VM, which builds
 * one thing at a time and keeps the order of its streams), the worker is given up. That is not a
 * fault: to leave is everybody's right.
 */
#include "engine.h"

/** builders_doom() - Give up a VM's build worker, if there is one; it is nobody's fault */
void builders_doom(struct vm *vm)
{
    struct worker_link *link = &vm->link[MEDIATOR_BUILD];

    if (link->journal->worker_id == 0 || link->doomed)
        return;
    link->doomed = true;
    scheduler_vm_block(&vm->mediator->scheduler, &vm->sched, SCHED_BUILD, true);
    vm_event(vm, MEDIATOR_WORKERS, MEDIATOR_BUILD, 0);
}

/* The request that a VM's build worker has in hand, NULL = none that still counts. */
static const struct request *in_hand(const struct vm *vm)
{
    const struct worker_link *link = &vm->link[MEDIATOR_BUILD];
    uint32_t index = link->slot[link->journal->reply_head % WORKER_RING_ENTRIES];

    if (!worker_link_usable(link) || link->in_flight == 0 || index == NO_SLOT)
        return NULL;
    return &vm->request[index];
}

/* Does the VM itself wait, with another build, or with anything behind this one in its stream? */
static bool own_waits(const struct vm *vm, const struct request *r)
{
    return vm->sched.party[SCHED_BUILD].ready_count > 0 || r->unit.stream->head;
}

static bool others_wait(const struct mediator *m)
{
    const struct sched_pools *pools = &m->scheduler.lane[SCHED_BUILD];
    uint32_t waiting = 0;

    for (int i = 0; i < SCHED_CLASSES; i++)
        waiting += pools->turns[i].count;
    return waiting > 0 && m->builds >= m->config.max_builds;
}

/** builders_check() - Give up builds that nobody wants, if their place is wanted */
void builders_check(struct mediator *m)
{
    for (uint32_t i = 0; i < m->builds; i++) {
        const struct request *r = in_hand(m->building[i]);

        if (r && r->slot->state == REQUEST_CANCELLED &&
            (own_waits(m->building[i], r) || others_wait(m)))
            builders_doom(m->building[i]);
    }
}
