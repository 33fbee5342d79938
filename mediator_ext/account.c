/*
 * account.c - What is counted, and for whom
 *
 * Theory of operation
 *
 * All counting is done here, at the few moments in the life of a request that matter: it has come,
 * was refused, was dispatched for the first time, was charged, is finished. Each counts for the VM
 * and for the pool that the VM is in at that moment; a VM that moves on leaves in its old pool what it
 * did there. Levels (queued, running) are kept by request_set_state(). No clock is read here.
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

/** account_refused() - A request that has come is not accepted */
void account_refused(struct vm *vm)
{
    struct pool *pool = pool_of(vm);

    vm->stats.refused++;
    if (pool)
        pool->stats.refused++;
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

/**
 * account_finished() - An accepted request is finished
 * @answered: its client was there to be answered
 * @now_ns: when
 */
void account_finished(struct request *r, enum vgpu_status status, bool answered, uint64_t now_ns)
{
    struct mediator_vm_stats *stats = &r->vm->stats;
    struct pool *pool = pool_of(r->vm);

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
    if (status == VGPU_OK) {
        stats->completed++;
        if (pool)
            pool->stats.completed++;
    } else {
        stats->failed++;
        if (pool)
            pool->stats.failed++;
    }
}
