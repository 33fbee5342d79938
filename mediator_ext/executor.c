/*
 * executor.c - From the scheduler to a worker
 *
 * Theory of operation
 *
 * executor_run() is called at the end of every turn: take all replies, then fill the device and the
 * build lane. dispatch() and, in replies.c, take_reply() are the whole path of a unit.
 *
 * The device belongs to one VM at a time. The scheduler says whose turn it is; further units of that
 * VM are queued behind the first one as quantum.h allows, until a higher class waits. When all of them
 * are back the scheduler is asked again.
 * A unit is charged from the moment it could run, max(its dispatch, the completion before it), to its
 * reply, by the engine's clock.
 *
 * A worker that answers as fast as it is asked is left for the next turn after a few rounds, so that
 * the other VMs' sockets and rings are looked at.
 *
 * A worker that takes longer than its limit, or breaks the channel's rules, is doomed: it gets nothing
 * more and is not listened to. The control plane is told, has it killed, and reports it gone; until
 * then what it has stays out, and so does the device, as the hardware may still be busy with it.
 */
#include "engine.h"

#include "quantum.h"

#define ROUNDS_PER_TURN 16u

_Static_assert((int)SCHED_EXEC == (int)MEDIATOR_LAUNCH && (int)SCHED_BUILD == (int)MEDIATOR_BUILD,
               "a lane and its worker have one number");

static struct worker_link *link_for(struct vm *vm, uint8_t lane)
{
    return &vm->link[lane == SCHED_BUILD ? MEDIATOR_BUILD : MEDIATOR_LAUNCH];
}

static uint64_t later(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

static uint64_t earlier(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* There is work: if nobody is there to do it, say so. */
static void want_worker(struct vm *vm, struct worker_link *link)
{
    if (link->channel || link->wanted || vm->retired)
        return;
    link->wanted = true;
    vm_event(vm, MEDIATOR_WORKERS, link->lane, 0);
}

/** executor_see_to_workers() - What has become ready must have somebody to do it */
void executor_see_to_workers(struct vm *vm)
{
    for (int lane = 0; !vm->settling && lane < SCHED_LANES; lane++)
        if (vm->sched.party[lane].ready_count)
            want_worker(vm, &vm->link[lane]);
}

/** executor_doom() - Give up a worker; the control plane has it killed */
void executor_doom(struct vm *vm, struct worker_link *link, enum mediator_fault fault)
{
    if (link->doomed)
        return;
    link->doomed = true;
    link->timed_out = fault != MEDIATOR_FAULT_WORKER;
    scheduler_vm_block(&vm->mediator->scheduler, &vm->sched, (enum sched_lane)link->lane, true);
    vm_fault(vm, fault, link->journal->worker_id);
    vm_event(vm, MEDIATOR_WORKERS, link->lane, 0);
}

/* ---- the device and the build lane ---- */

static void device_take_unit(struct vm *vm, uint64_t quantum_end)
{
    struct device_slot *device = &vm->mediator->device;

    if (device->in_flight++ == 0) {
        device->vm = vm;
        device->quantum_end = quantum_end;
    }
}

static void device_give_back(struct mediator *m, uint64_t now_ns)
{
    m->device.free_at = now_ns;
    if (--m->device.in_flight == 0)
        m->device.vm = NULL;
}

static void build_starts(struct vm *vm)
{
    struct mediator *m = vm->mediator;

    m->building[m->builds++] = vm;
    scheduler_vm_block(&m->scheduler, &vm->sched, SCHED_BUILD, true);
}

static void build_ends(struct vm *vm)
{
    struct mediator *m = vm->mediator;

    for (uint32_t i = 0; i < m->builds; i++)
        if (m->building[i] == vm) {
            m->building[i] = m->building[--m->builds];
            break;
        }
    scheduler_vm_block(&m->scheduler, &vm->sched, SCHED_BUILD,
                       !worker_link_usable(&vm->link[MEDIATOR_BUILD]));
}

/** executor_settle() - What a unit that comes back has cost, by the engine's clock; frees its lane */
uint64_t executor_settle(struct request *r, uint64_t now_ns)
{
    struct vm *vm = r->vm;
    struct mediator *m = vm->mediator;
    /* What an engine took up at its start counts as queued then, though it was dispatched before. */
    uint64_t since_ns = later(r->slot->dispatch_ns, r->queued_ns), cost_ns;

    if (r->unit.picked_lane == SCHED_BUILD) {
        build_ends(vm);
    } else {
        since_ns = later(since_ns, m->device.free_at);
        device_give_back(m, now_ns);
    }
    cost_ns = now_ns - since_ns;
    link_for(vm, r->unit.picked_lane)->used_ns = now_ns;
    r->done_ns = now_ns;
    account_charged(r, cost_ns);
    r->slot->ran_ns += cost_ns;
    return cost_ns;
}

/* ---- out ---- */

static void note_start(struct request *r, uint64_t now_ns)
{
    r->dispatches++;
    r->slot->dispatch_ns = now_ns;
    if (r->slot->start_ns)
        return;
    r->slot->start_ns = now_ns;
    account_started(r, now_ns - r->slot->arrival_ns);
}

/* Send a picked unit to its VM's worker. */
static void dispatch(struct request *r, uint64_t now_ns)
{
    struct vm *vm = r->vm;
    struct journal_slot *slot = r->slot;
    struct worker_link *link = link_for(vm, r->unit.picked_lane);
    uint32_t index = (uint32_t)(r - vm->request);
    struct worker_unit unit = {
        .token = request_token(r),
        .kind = slot->kind == REQUEST_VECTOR_ADD ? WORKER_UNIT_VECTOR_ADD : WORKER_UNIT_COMMAND,
        .lane = slot->vgpu_lane,
        .flags = slot->built_op == slot->first_op + 1 ? WORKER_UNIT_BUILT : 0,
        .qp = slot->transport == MEDIATOR_RING ? slot->qp : WORKER_NO_QP,
        .ctx = slot->ctx,
        .stream = slot->stream,
        .first_op = slot->first_op,
        .budget_us = request_budget_us(r),
        .cmd_seg = slot->cmd_seg,
        .cmd_len = slot->cmd_len,
        .cmd_off = slot->cmd_off,
        .args = {slot->args[0], slot->args[1]},
        .generation = slot->attachment,
        .reply_head = link->journal->reply_head,
    };

    note_start(r, now_ns);
    if (r->unit.picked_lane == SCHED_BUILD)
        build_starts(vm);
    else
        device_take_unit(vm, now_ns + (uint64_t)vm->mediator->config.quantum_us * 1000);
    slot->lane = r->unit.picked_lane;
    slot->unit_index = link->journal->unit_tail;
    request_set_state(r, REQUEST_RUNNING);
    worker_link_put(link, &unit, index);
}

/* May one more unit be queued behind those of the VM that has the device? */
static bool may_add(const struct mediator *m, const struct vm *vm, uint64_t now_ns)
{
    return !worker_link_full(&vm->link[MEDIATOR_LAUNCH]) &&
           quantum_has_room(now_ns, m->device.quantum_end, m->device.in_flight,
                            vm->sched.party[SCHED_EXEC].estimate_ns, m->config.units_in_flight);
}

static void fill_device(struct mediator *m, uint64_t now_ns)
{
    struct device_slot *device = &m->device;
    struct sched_unit *unit = NULL;

    if (!device->vm) {
        unit = scheduler_pick(&m->scheduler, SCHED_EXEC, now_ns);
        if (!unit)
            return;
        dispatch(request_of_unit(unit), now_ns);
    }
    while (may_add(m, device->vm, now_ns)) {
        unit = scheduler_pick_more(&m->scheduler, SCHED_EXEC, &device->vm->sched, now_ns);
        if (!unit)
            break;
        dispatch(request_of_unit(unit), now_ns);
    }
    worker_link_publish(&device->vm->link[MEDIATOR_LAUNCH]);
}

static void fill_builds(struct mediator *m, uint64_t now_ns)
{
    while (m->builds < m->config.max_builds) {
        struct sched_unit *unit = scheduler_pick(&m->scheduler, SCHED_BUILD, now_ns);

        if (!unit)
            break;
        dispatch(request_of_unit(unit), now_ns);
        worker_link_publish(&request_of_unit(unit)->vm->link[MEDIATOR_BUILD]);
    }
}

/* ---- the calls ---- */

/** executor_enqueue() - An accepted request stands in its stream now; see that it can be served */
void executor_enqueue(struct request *r)
{
    if (r->unit.lane < SCHED_LANES)
        want_worker(r->vm, link_for(r->vm, r->unit.lane));
}

static void take_all_replies(struct mediator *m)
{
    if (m->device.vm)
        replies_take(m->device.vm, &m->device.vm->link[MEDIATOR_LAUNCH]);
    for (uint32_t i = m->builds; i-- > 0;)
        if (i < m->builds)
            replies_take(m->building[i], &m->building[i]->link[MEDIATOR_BUILD]);
}

/** executor_answered() - Has a worker said something that was not looked at? */
bool executor_answered(const struct mediator *m)
{
    if (m->device.vm && worker_link_answered(&m->device.vm->link[MEDIATOR_LAUNCH]))
        return true;
    for (uint32_t i = 0; i < m->builds; i++)
        if (worker_link_answered(&m->building[i]->link[MEDIATOR_BUILD]))
            return true;
    return false;
}

/** executor_run() - Take what is back, send what may go, a few times as long as something is back */
void executor_run(struct mediator *m)
{
    uint32_t rounds = 0;

    do {
        take_all_replies(m);
        if (!m->draining) {
            uint64_t now_ns = engine_now_ns();

            fill_device(m, now_ns);
            fill_builds(m, now_ns);
        }
    } while (++rounds < ROUNDS_PER_TURN && executor_answered(m));
}

/** executor_sleep() - Ask to be told when something is back. Return: false = something is already */
bool executor_sleep(struct mediator *m)
{
    bool nothing = !m->device.vm || worker_link_sleep(&m->device.vm->link[MEDIATOR_LAUNCH]);

    for (uint32_t i = 0; nothing && i < m->builds; i++)
        nothing = worker_link_sleep(&m->building[i]->link[MEDIATOR_BUILD]);
    return nothing;
}

/**
 * executor_adopt() - At a start: a worker has this, since before this engine was there
 *
 * It is charged from now on: while no engine was there, nobody else could have had the device. But its
 * limit counts from when it began, and its quantum is over: nothing is put behind it.
 */
void executor_adopt(struct request *r)
{
    struct vm *vm = r->vm;
    struct worker_link *link = link_for(vm, r->slot->lane);

    link->slot[r->slot->unit_index % WORKER_RING_ENTRIES] = (uint32_t)(r - vm->request);
    link->in_flight++;
    r->slot->dispatch_ns = earlier(r->slot->dispatch_ns, r->queued_ns);
    r->dispatches = 1;
    if (r->slot->lane == SCHED_BUILD) {
        build_starts(vm);
        return;
    }
    vm->mediator->device.free_at = earlier(link->journal->replied_ns, r->queued_ns);
    device_take_unit(vm, 0);
}

/** executor_idle() - Is nothing out? */
bool executor_idle(const struct mediator *m)
{
    return m->device.in_flight == 0 && m->builds == 0;
}
