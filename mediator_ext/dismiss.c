/*
 * dismiss.c - Workers that a VM can do without for a while
 *
 * Theory of operation
 *
 * An idle worker keeps a process, and what its compiler left in its scratch directory or a place that
 * another VM needs, for nothing. Only the reactor can say that one is idle: between a look from outside
 * and a kill, a unit could be sent to it. So the engine lets go of it in one step, and the control plane
 * ends it after that; the next unit wants a fresh one.
 *
 * A launch worker can be spared only if nothing of its VM would end with it. What the VM has queued or
 * running may have been begun there, and objects are there by the worker's own word (worker_channel.h).
 */
#include <errno.h>

#include "engine.h"
#include "tenants.h"

struct dismissal {
    uint32_t handle;
    enum mediator_lane lane;
};

/** dismissal_possible() - Is a worker there that has nothing to do, and no object of its VM? */
bool dismissal_possible(const struct vm *vm, enum mediator_lane lane)
{
    const struct worker_link *link = &vm->link[lane];

    if (!worker_link_usable(link) || link->in_flight)
        return false;
    if (lane == MEDIATOR_BUILD)
        return vm->sched.party[SCHED_BUILD].ready_count == 0;
    return vm->stats.queued == 0 && vm->stats.running == 0 && worker_link_holds_nothing(link) &&
           vm->link[MEDIATOR_BUILD].in_flight == 0;
}

static int call_dismiss(struct mediator *m, void *argument)
{
    const struct dismissal *call = argument;
    struct vm *vm = tenants_vm(m, call->handle);

    if (!vm)
        return -ENOENT;
    replies_take(vm, &vm->link[call->lane]);
    if (!dismissal_possible(vm, call->lane))
        return 0;
    workers_gone(vm, call->lane, false, 0);
    return 1;
}

int mediator_worker_dismiss(struct mediator *m, uint32_t handle, int lane)
{
    struct dismissal call = {handle, (enum mediator_lane)lane};

    return lane == MEDIATOR_LAUNCH || lane == MEDIATOR_BUILD
               ? control_call(&m->control, call_dismiss, &call)
               : -EINVAL;
}
