/*
 * workers.c - Workers come, take too long, and go
 *
 * Theory of operation
 *
 * Workers are started and killed by the control plane; the engine says which it wants and which are
 * doomed, and is told when one is there or gone. Two clocks run: a unit on the device may take
 * run_timeout_ms from the moment it could run, a build build_timeout_ms; a request may have a smaller
 * limit of its own on all of its running together. Only what runs can be late, so the next deadline is
 * found by looking at the device and the few builds; an idle engine has none. A
 * worker that is still to be taken over may have finished long ago: its time is up only after a look.
 *
 * When a worker is gone, what it had out is answered: TIMEOUT for the unit that took too long,
 * DEVICE_LOST for the others, and for what a launch worker had begun and was to have back: a fresh one
 * has not run its first ops. What else is queued stays, and a fresh worker is wanted for it.
 *
 * A build worker that died of a program has taken no object with it: that build has failed, and that is
 * all. When its launch worker is gone it is doomed, as it has nobody to hand anything to; what it was
 * building was begun there, so it is lost.
 */
#include <errno.h>

#include "engine.h"

#define COME_BACK_NS 10000000u

static uint64_t later(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

static uint64_t ms(uint32_t count)
{
    return (uint64_t)count * 1000000u;
}

/*
 * How long a unit may run now: the host's limit, or what is left of the request's own, and then as long
 * as it takes to come back at an op. A chain of short ops is so ended without its worker.
 */
static uint64_t limit_ns(const struct mediator *m, const struct journal_slot *slot,
                         uint32_t host_ms)
{
    uint64_t host_ns = ms(host_ms), quantum_ns = (uint64_t)m->config.quantum_us * 1000, own_ns;

    if (slot->timeout_ms == 0)
        return host_ns;
    own_ns = request_left_ns(slot) + later(quantum_ns, COME_BACK_NS);
    return own_ns < host_ns ? own_ns : host_ns;
}

static uint64_t device_deadline(const struct mediator *m)
{
    const struct vm *vm = m->device.vm;
    const struct worker_link *link = vm ? &vm->link[MEDIATOR_LAUNCH] : NULL;
    uint32_t index;

    if (!link || !worker_link_usable(link) || link->in_flight == 0)
        return UINT64_MAX;
    index = link->slot[link->journal->reply_head % WORKER_RING_ENTRIES];
    if (index == NO_SLOT)
        return UINT64_MAX;
    return later(vm->request[index].slot->dispatch_ns, m->device.free_at) +
           limit_ns(m, vm->request[index].slot, m->config.run_timeout_ms);
}

static uint64_t build_deadline(const struct mediator *m, uint32_t i)
{
    const struct vm *vm = m->building[i];
    const struct worker_link *link = &vm->link[MEDIATOR_BUILD];
    uint32_t index = link->slot[link->journal->reply_head % WORKER_RING_ENTRIES];

    if (!worker_link_usable(link) || link->in_flight == 0 || index == NO_SLOT)
        return UINT64_MAX;
    return vm->request[index].slot->dispatch_ns +
           limit_ns(m, vm->request[index].slot, m->config.build_timeout_ms);
}

/**
 * workers_timeout_ms() - How long the reactor may wait before workers_check_deadlines()
 *
 * Return: milliseconds, -1 = as long as it likes
 */
int workers_timeout_ms(const struct mediator *m, uint64_t now_ns)
{
    uint64_t first = device_deadline(m), wait_ms;

    for (uint32_t i = 0; i < m->builds; i++) {
        uint64_t deadline = build_deadline(m, i);

        if (deadline < first)
            first = deadline;
    }
    if (first == UINT64_MAX)
        return -1;
    if (first <= now_ns)
        return 0;
    wait_ms = (first - now_ns) / 1000000 + 1;
    return wait_ms > 60000 ? 60000 : (int)wait_ms;
}

/** workers_check_deadlines() - Give up workers that take too long */
void workers_check_deadlines(struct mediator *m, uint64_t now_ns)
{
    if (device_deadline(m) <= now_ns)
        executor_doom(m->device.vm, &m->device.vm->link[MEDIATOR_LAUNCH],
                      MEDIATOR_FAULT_RUN_TIMEOUT);
    for (uint32_t i = 0; i < m->builds; i++)
        if (build_deadline(m, i) <= now_ns)
            executor_doom(m->building[i], &m->building[i]->link[MEDIATOR_BUILD],
                          MEDIATOR_FAULT_BUILD_TIMEOUT);
}

static void doorbell_ready(struct watch *watch, uint32_t events)
{
    struct worker_link *link = (struct worker_link *)watch;

    (void)events;
    replies_take(link->owner, link);
}

/** workers_attach() - A worker is there. Return: 0, or a negative errno */
int workers_attach(struct vm *vm, enum mediator_lane lane, const struct mediator_worker *worker)
{
    struct mediator *m = vm->mediator;
    struct worker_link *link = &vm->link[lane];
    int rc;

    if (vm->retired)
        return -ESHUTDOWN;
    rc = worker_link_attach(link, &m->reactor, worker, doorbell_ready);
    if (rc)
        return rc;
    worker_link_let_spin(link, m->config.spin_us);
    replies_take(vm, link);
    if (lane == MEDIATOR_LAUNCH || link->in_flight == 0)
        scheduler_vm_block(&m->scheduler, &vm->sched, (enum sched_lane)lane, link->doomed);
    return 0;
}

/* End a unit whose worker is gone. @detail says how it ended. */
static void lose(struct request *r, enum vgpu_status status, uint64_t detail, uint64_t now_ns)
{
    uint64_t cost_ns = executor_settle(r, now_ns);

    if (status == VGPU_DEVICE_LOST && r->unit.picked_lane == SCHED_BUILD && !r->slot->lost)
        status = VGPU_BUILD_FAILED;
    r->slot->native = status == VGPU_BUILD_FAILED ? (int32_t)detail : status == VGPU_TIMEOUT;
    r->slot->op_index = r->slot->first_op;
    scheduler_complete(&r->vm->mediator->scheduler, &r->unit, cost_ns, now_ns);
    complete(r, status);
}

static bool is_begun(const struct journal_slot *slot)
{
    return slot->first_op || slot->built_op || slot->lane == SCHED_BUILD;
}

/* The launch worker is gone, and with it the state that begun units need. */
static void lose_begun(struct vm *vm)
{
    for (uint32_t i = 0; i < vm->journal->slots_used; i++) {
        struct request *r = &vm->request[i];

        if (r->live && r->slot->state == REQUEST_RUNNING && r->slot->lane == SCHED_BUILD)
            r->slot->lost = 1;
        if (!r->live || r->slot->state != REQUEST_QUEUED || !is_begun(r->slot))
            continue;
        r->slot->op_index = r->slot->first_op;
        request_unqueue(r);
        complete(r, VGPU_DEVICE_LOST);
    }
}

/**
 * workers_gone() - A worker has ended; what it had is lost
 * @crashed: by itself: a fault of the VM
 * @detail: reported with the fault
 */
void workers_gone(struct vm *vm, enum mediator_lane lane, bool crashed, uint64_t detail)
{
    struct mediator *m = vm->mediator;
    struct worker_link *link = &vm->link[lane];
    enum vgpu_status status = link->timed_out ? VGPU_TIMEOUT : VGPU_DEVICE_LOST;
    uint64_t now_ns;

    if (!link->doomed)
        replies_take(vm, link); /* what it had finished before it died counts */
    now_ns = engine_now_ns();
    scheduler_vm_block(&m->scheduler, &vm->sched, (enum sched_lane)lane, true);
    if (crashed && !link->doomed)
        vm_fault(vm, MEDIATOR_FAULT_CRASH, detail);
    worker_link_detach(link, &m->reactor);
    vm->settling = true;
    for (uint32_t at = link->journal->reply_head; at != link->journal->unit_tail; at++) {
        uint32_t index = link->slot[at % WORKER_RING_ENTRIES];

        if (index == NO_SLOT)
            continue;
        link->slot[at % WORKER_RING_ENTRIES] = NO_SLOT;
        link->in_flight--;
        lose(&vm->request[index], status, detail, now_ns);
        status = VGPU_DEVICE_LOST;
    }
    link->journal->reply_head = link->journal->unit_tail;
    link->journal->worker_id = 0;
    link->doomed = link->timed_out = link->adopted = false;
    if (lane == MEDIATOR_LAUNCH) {
        lose_begun(vm);
        builders_doom(vm);
    }
    vm->settling = false;
    executor_see_to_workers(vm);
}

/** workers_refused() - No worker can be had: answer what waits for one */
void workers_refused(struct vm *vm, enum mediator_lane lane, uint32_t retry_us)
{
    vm->link[lane].wanted = false;
    vm->settling = true;
    for (uint32_t i = 0; i < vm->journal->slots_used; i++) {
        struct request *r = &vm->request[i];

        if (!r->live || r->slot->state != REQUEST_QUEUED || r->slot->lane != (uint8_t)lane ||
            r->unit.waits || r->unit.settled)
            continue;
        r->slot->retry_after_us = retry_us;
        completion_end(r, VGPU_NO_CONTEXT);
    }
    vm->settling = false;
    executor_see_to_workers(vm);
}
