/*
 * account.c - What is counted, and for whom
 *
 * Theory of operation
 *
 * All counting is done here, at the few moments in the life of a request that matter: it has come,
 * was refused, was dispatched for the first time, was charged, is finished. Each counts for the VM
 * and for the pool that the VM is in at that moment; a VM that moves on leaves in its old pool what it
 * did there. Levels (queued, running) are kept by request_set_state(). What is finished or refused
 * goes into the trace as well. A clock is read for refusals alone.
 */
#include "engine.h"

/* Return: NULL = the VM is in none */
static struct pool *pool_of(const struct vm *vm)
{
    return (struct pool *)vm->sched.pool;
}

/** account_received() - A request has come, or was taken up from the last engine */
void account_received(struct vm *vm)
{
    struct pool *pool = pool_of(vm);

    vm->stats.submitted++;
    if (pool)
        pool->stats.submitted++;
}

/* The entry is filled: the next one is another, and who waits for it is told. */
static void traced(struct mediator *m, uint64_t now_ns)
{
    const struct mediator_event event = {.type = MEDIATOR_TRACED, .time_ns = now_ns};

    m->trace.next++;
    /* The next entry was written long ago, and is in no cache near. */
    __builtin_prefetch(trace_next(&m->trace), 1);
    __builtin_prefetch((const char *)trace_next(&m->trace) + 64, 1);
    if (!m->trace.awaited)
        return;
    m->trace.awaited = false;
    event_ring_put(&m->events, &event);
}

/**
 * account_refused() - A request that has come is not accepted
 * @r: the slot that it got, or NULL
 */
void account_refused(struct transport *t, const struct request_received *what,
                     const struct request *r, const struct admission *verdict)
{
    struct vm *vm = t->vm;
    struct pool *pool = pool_of(vm);
    struct mediator_trace *entry = trace_next(&vm->mediator->trace);
    uint64_t now_ns;

    vm->stats.refused++;
    vm->stats.refused_by[verdict->why]++;
    if (pool)
        pool->stats.refused++;
    if (!entry)
        return;
    now_ns = engine_now_ns();
    *entry = (struct mediator_trace){
        .seq = vm->mediator->trace.next,
        .request = r ? r->slot->seq + 1 : 0,
        .cookie = what->cookie,
        .received_ns = what->received_ns ? what->received_ns : now_ns,
        .answered_ns = now_ns,
        .vm = vm->handle,
        .vm_id = vm->identity.vm_id,
        .stream = what->stream,
        .retry_after_us = verdict->retry_after_us,
        .status = (uint16_t)verdict->status,
        .qp = (uint8_t)what->qp,
        .pool_id = vm->identity.pool_id,
        .priority = vm->identity.priority,
        .transport = (uint8_t)t->ops->id,
        .kind = what->kind,
        .outcome = MEDIATOR_REFUSED,
    };
    traced(vm->mediator, now_ns);
}

/** account_fault() - The VM, or its worker, has done something wrong */
void account_fault(struct vm *vm)
{
    struct pool *pool = pool_of(vm);

    vm->stats.faults++;
    if (pool)
        pool->stats.faults++;
}

/** account_started() - A request is dispatched for the first time, @wait_ns after it came */
void account_started(struct request *r, uint64_t wait_ns)
{
    uint32_t bucket = histogram_bucket(wait_ns);
    struct pool *pool = pool_of(r->vm);

    histogram_add(&r->vm->times.wait, bucket, wait_ns);
    if (pool)
        histogram_add(&pool->times.wait, bucket, wait_ns);
}

/** account_charged() - A unit of a request has come back from the lane it was picked for */
void account_charged(struct request *r, uint64_t cost_ns)
{
    struct vm *vm = r->vm;
    struct pool *pool = pool_of(vm);

    if (r->unit.picked_lane == SCHED_BUILD) {
        r->build_ns += cost_ns;
        vm->stats.build_ns += cost_ns;
        if (pool)
            pool->stats.build_ns += cost_ns;
        return;
    }
    r->device_ns += cost_ns;
    vm->stats.device_ns += cost_ns;
    if (pool)
        pool->stats.device_ns += cost_ns;
}

static void count_run(struct request *r, struct pool *pool)
{
    uint32_t bucket = histogram_bucket(r->device_ns);

    histogram_add(&r->vm->times.run, bucket, r->device_ns);
    if (pool)
        histogram_add(&pool->times.run, bucket, r->device_ns);
}

static void count_total(struct request *r, struct pool *pool, uint64_t total_ns)
{
    uint32_t bucket = histogram_bucket(total_ns);

    histogram_add(&r->vm->times.total, bucket, total_ns);
    if (pool)
        histogram_add(&pool->times.total, bucket, total_ns);
}

static void trace_finished(const struct request *r, uint64_t picked_ns, bool answered,
                           uint64_t now_ns)
{
    const struct vm *vm = r->vm;
    const struct journal_slot *slot = r->slot;
    struct mediator_trace *entry = trace_next(&vm->mediator->trace);

    if (!entry)
        return;
    *entry = (struct mediator_trace){
        .seq = vm->mediator->trace.next,
        .request = slot->seq + 1,
        .cookie = slot->cookie,
        .received_ns = slot->arrival_ns,
        .queued_ns = slot->kind < MEDIATOR_KIND_SIGNAL ? r->queued_ns : 0,
        .picked_ns = picked_ns,
        .started_ns = r->started_ns ? r->started_ns : picked_ns,
        .ended_ns = picked_ns ? slot->end_ns : 0,
        .answered_ns = now_ns,
        .device_ns = r->device_ns,
        .build_ns = r->build_ns,
        .vm = vm->handle,
        .vm_id = vm->identity.vm_id,
        .stream = slot->stream,
        .dispatches = r->dispatches,
        .op_index = slot->op_index,
        .native = slot->native,
        .retry_after_us = slot->retry_after_us,
        .status = slot->status,
        .qp = (uint8_t)slot->qp,
        .pool_id = vm->identity.pool_id,
        .priority = vm->identity.priority,
        .transport = slot->transport,
        .kind = slot->kind,
        .outcome = answered ? MEDIATOR_ANSWERED : MEDIATOR_DROPPED,
    };
    traced(vm->mediator, now_ns);
}

/**
 * account_finished() - An accepted request is finished; its answer is in the slot
 * @picked_ns: when it was begun, 0 = never
 * @answered: its client was there to be answered
 * @now_ns: when
 */
void account_finished(struct request *r, uint64_t picked_ns, bool answered, uint64_t now_ns)
{
    struct mediator_vm_stats *stats = &r->vm->stats;
    struct pool *pool = pool_of(r->vm);

    trace_finished(r, picked_ns, answered, now_ns);
    if (r->dispatches)
        count_run(r, pool);
    if (!answered) {
        stats->dropped++;
        if (pool)
            pool->stats.dropped++;
        return;
    }
    r->vm->mediator->answered++;
    count_total(r, pool, now_ns - r->slot->arrival_ns);
    if (r->slot->status == VGPU_OK) {
        stats->completed++;
        if (pool)
            pool->stats.completed++;
    } else {
        stats->failed++;
        if (pool)
            pool->stats.failed++;
    }
}
