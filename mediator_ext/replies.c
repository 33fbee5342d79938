/*
 * replies.c - What workers say of the units that they were given
 *
 * Theory of operation
 *
 * A reply says DONE, or that the unit is not finished: CONTINUE and BOUNCED put it back to the head of
 * its stream, NEED_BUILD into the build lane, where one unit of a VM at a time goes to the VM's build
 * worker and, after that, back again with WORKER_UNIT_BUILT. Progress is enforced: CONTINUE must move
 * first_op on, the same op is not built twice in a row, and BOUNCED is only for what was in flight
 * behind a unit that came back. A worker that breaks these rules is doomed.
 */
#include "engine.h"

static void put_back(struct request *r, uint8_t lane, uint64_t cost_ns, uint64_t now_ns)
{
    enum vgpu_status end = completion_due(r);
    struct vm *vm = r->vm;

    r->unit.lane = lane;
    scheduler_return(&vm->mediator->scheduler, &r->unit, cost_ns, now_ns);
    if (end != VGPU_OK) {
        completion_end_unfinished(r, end); /* what it has held up is on its way back */
        return;
    }
    r->done_ns = 0;
    /* In this order: while the state is RUNNING, `lane` says whose unit_index the slot has. */
    request_set_state(r, REQUEST_QUEUED);
    __atomic_store_n(&r->slot->lane, lane, __ATOMIC_RELEASE);
    executor_see_to_workers(vm);
}

static void done(struct request *r, const struct worker_reply *reply, uint64_t cost_ns,
                 uint64_t now_ns)
{
    struct journal_slot *slot = r->slot;
    struct mediator *m = r->vm->mediator;
    bool built = r->unit.picked_lane == SCHED_BUILD;

    if (built && slot->lost) {
        scheduler_complete(&m->scheduler, &r->unit, cost_ns, now_ns);
        complete(r, VGPU_DEVICE_LOST);
        return;
    }
    if (built && reply->status == VGPU_OK) {
        slot->built_op = slot->first_op + 1;
        put_back(r, SCHED_EXEC, cost_ns, now_ns);
        return;
    }
    /* Shown, not charged: the worker's word on when it was done, as far as it can be true. */
    if (reply->end_ns > slot->start_ns && reply->end_ns < now_ns)
        slot->end_ns = reply->end_ns;
    slot->op_index = reply->op_index;
    slot->native = reply->native;
    slot->out_len = reply->out_len;
    slot->result[0] = reply->result[0];
    slot->result[1] = reply->result[1];
    scheduler_complete(&m->scheduler, &r->unit, cost_ns, now_ns);
    complete(r, reply->status < VGPU_STATUS_COUNT ? (enum vgpu_status)reply->status : VGPU_FAILED);
}

/*
 * Is this what a launch worker may say of this unit? DONE is always allowed. The last engine may have
 * noted the progress in the slot and died before it was done with the reply: @again.
 */
static bool outcome_allowed(const struct request *r, const struct worker_reply *reply, bool again)
{
    const struct journal_slot *slot = r->slot;
    uint32_t first_op = slot->first_op + (again ? 0 : 1);

    switch (reply->outcome) {
    case WORKER_DONE:
        return true;
    case WORKER_BOUNCED:
        return r->unit.picked_lane == SCHED_EXEC && r->unit.stream->held;
    case WORKER_CONTINUE:
        return r->unit.picked_lane == SCHED_EXEC && reply->op_index >= first_op &&
               reply->op_index < VGPU_COMMAND_OPS_MAX;
    case WORKER_NEED_BUILD:
        return r->unit.picked_lane == SCHED_EXEC && reply->op_index >= slot->first_op &&
               reply->op_index < VGPU_COMMAND_OPS_MAX && slot->built_op != reply->op_index + 1;
    default:
        return false;
    }
}

static void act_on_reply(struct request *r, const struct worker_reply *reply, uint64_t now_ns)
{
    uint64_t cost_ns = executor_settle(r, now_ns);

    if (!r->started_ns && reply->start_ns >= r->slot->dispatch_ns && reply->start_ns <= now_ns)
        r->started_ns = reply->start_ns;
    switch (reply->outcome) {
    case WORKER_CONTINUE:
        r->slot->first_op = reply->op_index;
        put_back(r, SCHED_EXEC, cost_ns, now_ns);
        break;
    case WORKER_NEED_BUILD:
        r->slot->first_op = reply->op_index;
        put_back(r, SCHED_BUILD, cost_ns, now_ns);
        break;
    case WORKER_BOUNCED:
        put_back(r, SCHED_EXEC, cost_ns, now_ns);
        break;
    default:
        done(r, reply, cost_ns, now_ns);
        break;
    }
}

/* Take one reply. Return: was there one? */
static bool take_reply(struct vm *vm, struct worker_link *link, uint64_t now_ns)
{
    struct worker_reply reply;
    uint32_t index, unit_index = link->journal->reply_head;
    int rc = link->doomed ? 0 : worker_link_peek(link, &reply);
    struct request *r;

    if (rc == 0)
        return false;
    if (rc < 0) {
        executor_doom(vm, link, MEDIATOR_FAULT_WORKER);
        return false;
    }
    index = link->slot[unit_index % WORKER_RING_ENTRIES];
    if (index == NO_SLOT && link->adopted) {
        /* The last engine acted on it and died before it could say so. */
        link->adopted = false;
        worker_link_consume(link);
        return true;
    }
    r = index == NO_SLOT ? NULL : &vm->request[index];
    if (!r || reply.token != request_token(r) || !outcome_allowed(r, &reply, link->adopted)) {
        executor_doom(vm, link, MEDIATOR_FAULT_WORKER);
        return false;
    }
    link->adopted = false;
    link->slot[unit_index % WORKER_RING_ENTRIES] = NO_SLOT;
    link->in_flight--;
    act_on_reply(r, &reply, now_ns);
    link->journal->replied_ns = now_ns;
    worker_link_consume(link);
    return true;
}

/** replies_take() - Deal with all that a worker has said */
void replies_take(struct vm *vm, struct worker_link *link)
{
    uint64_t now_ns = engine_now_ns();

    while (link->in_flight + link->adopted && take_reply(vm, link, now_ns))
        ;
}
