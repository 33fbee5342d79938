/*
 * snapshot.c - The statistics of VMs and pools, by copy
 *
 * Theory of operation
 *
 * The reactor only copies: counters, level state and histograms, 3.8 KB of a VM. What is worked out
 * of them, the quantiles, the caller works out in its own thread. All VMs are copied a few at a time,
 * each few in a turn of its own, so that no request waits longer for an administrator who looks
 * than some tens of microseconds, however many VMs there are. The copies go to memory that the caller
 * has touched: the reactor takes no page fault for them.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "engine.h"
#include "tenants.h"

/* Handles, and pool ids, that one turn looks at. */
#define PER_TURN 64u

struct vm_copy {
    struct mediator_vm_stats stats;
    struct times times;
};

struct pool_copy {
    struct mediator_pool_stats stats;
    struct times times;
};

/* ---- on the reactor's thread ---- */

static void copy_vm(const struct vm *vm, struct vm_copy *copy)
{
    struct mediator_vm_stats *out = &copy->stats;

    *out = vm->stats;
    copy->times = vm->times;
    out->vm = vm->handle;
    out->pool_id = vm->identity.pool_id;
    out->fault_points = faults_points(vm, engine_now_ns());
    quarantine_report(vm, out);
    out->stub_connected = vm->transport[MEDIATOR_STUB] && vm->transport[MEDIATOR_STUB]->attachment;
    out->ring_connected = vm->transport[MEDIATOR_RING] && vm->transport[MEDIATOR_RING]->attachment;
    for (int lane = 0; lane < SCHED_LANES; lane++) {
        const struct worker_link *link = &vm->link[lane];

        out->worker_pid[lane] = link->channel ? link->pid : 0;
        out->worker_id[lane] = link->journal->worker_id;
        out->worker_wanted[lane] = link->wanted;
        out->worker_doomed[lane] = link->doomed;
        out->worker_spare[lane] = dismissal_possible(vm, (enum mediator_lane)lane);
        out->worker_used_ns[lane] = link->used_ns;
    }
}

struct one_vm {
    uint32_t handle;
    struct vm_copy *copy;
};

static int call_copy_vm(struct mediator *m, void *argument)
{
    const struct one_vm *one = argument;
    const struct vm *vm = tenants_vm(m, one->handle);

    if (!vm)
        return -ENOENT;
    copy_vm(vm, one->copy);
    return 0;
}

/* @next moves on with each call; the call returns how many were copied. */
struct some_vms {
    uint32_t next;
    bool last;
    struct vm_copy *copy;
};

static int call_copy_vms(struct mediator *m, void *argument)
{
    struct some_vms *some = argument;
    uint32_t end = some->next + PER_TURN;
    int count = 0;

    for (; some->next < end && some->next < m->vm_capacity; some->next++)
        if (m->vm[some->next])
            copy_vm(m->vm[some->next], &some->copy[count++]);
    some->last = some->next >= m->vm_capacity;
    return count;
}

struct some_pools {
    uint32_t next;
    struct pool_copy *copy;
};

static int call_copy_pools(struct mediator *m, void *argument)
{
    struct some_pools *some = argument;
    uint32_t end = some->next + PER_TURN;
    int count = 0;

    for (; some->next < end; some->next++) {
        const struct pool *pool = m->pool[some->next];

        if (!pool)
            continue;
        some->copy[count].stats = pool->stats;
        some->copy[count].stats.pool_id = pool->id;
        some->copy[count].times = pool->times;
        count++;
    }
    return count;
}

/* ---- on the caller's ---- */

static struct mediator_times summary(const struct histogram *h)
{
    return (struct mediator_times){
        .count = histogram_count(h),
        .sum_ns = h->sum_ns,
        .p50_ns = histogram_quantile(h, 500),
        .p95_ns = histogram_quantile(h, 950),
        .p99_ns = histogram_quantile(h, 990),
        .max_ns = h->max_ns,
    };
}

static void finish_vm(const struct vm_copy *copy, struct mediator_vm_stats *out)
{
    *out = copy->stats;
    out->wait = summary(&copy->times.wait);
    out->run = summary(&copy->times.run);
    out->total = summary(&copy->times.total);
}

static void finish_pool(const struct pool_copy *copy, struct mediator_pool_stats *out)
{
    *out = copy->stats;
    out->wait = summary(&copy->times.wait);
    out->run = summary(&copy->times.run);
    out->total = summary(&copy->times.total);
}

int mediator_vm_stats(struct mediator *m, uint32_t handle, struct mediator_vm_stats *out)
{
    struct vm_copy copy;
    struct one_vm one = {handle, &copy};
    int rc = control_call(&m->control, call_copy_vm, &one);

    if (rc == 0)
        finish_vm(&copy, out);
    return rc;
}

/* Return: memory of which every page is there, or NULL */
static void *touched(size_t bytes)
{
    void *memory = malloc(bytes);

    /* Not with zeroes: the compiler would make that a calloc(), which touches nothing. */
    return memory ? memset(memory, 1, bytes) : NULL;
}

int mediator_vms_stats(struct mediator *m, struct mediator_vm_stats *out, uint32_t max)
{
    struct some_vms some = {.copy = touched(PER_TURN * sizeof(*some.copy))};
    uint32_t count = 0;

    if (!some.copy)
        return -ENOMEM;
    while (!some.last) {
        int copied = control_call(&m->control, call_copy_vms, &some);

        for (int i = 0; i < copied && count < max; i++)
            finish_vm(&some.copy[i], &out[count++]);
    }
    free(some.copy);
    return (int)count;
}

int mediator_pools_stats(struct mediator *m, struct mediator_pool_stats *out, uint32_t max)
{
    struct some_pools some = {.copy = touched(PER_TURN * sizeof(*some.copy))};
    uint32_t count = 0;

    if (!some.copy)
        return -ENOMEM;
    while (some.next < 256) {
        int copied = control_call(&m->control, call_copy_pools, &some);

        for (int i = 0; i < copied && count < max; i++)
            finish_pool(&some.copy[i], &out[count++]);
    }
    free(some.copy);
    return (int)count;
}
