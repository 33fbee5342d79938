/*
 * calls.c - What other threads may ask of the engine
 *
 * Theory of operation
 *
 * Every mediator_*() call is a function that runs on the reactor thread, and a wrapper that hands
 * it over by control_call() and waits. Arguments are checked by the function that uses them. The
 * contract is mediator.h.
 */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "device.h"
#include "engine.h"
#include "mediator.h"
#include "tenants.h"

static int call_drain(struct mediator *m, void *argument)
{
    const int *cancel = argument;

    m->draining = true;
    m->cancelling = *cancel != 0;
    for (uint32_t i = 0; i < m->vm_capacity; i++) {
        struct vm *vm = m->vm[i];

        if (!vm)
            continue;
        if (*cancel)
            completion_end_queued(vm, VGPU_CANCELLED);
        for (int k = 0; k < 3; k++)
            if (vm->transport[k])
                transport_wake(vm->transport[k]);
    }
    return 0;
}

int mediator_drain(struct mediator *m, int cancel)
{
    return control_call(&m->control, call_drain, &cancel);
}

int mediator_event_fd(struct mediator *m)
{
    return m->events.fd;
}

int mediator_events(struct mediator *m, struct mediator_event *out, uint32_t max)
{
    return (int)event_ring_take(&m->events, out, max);
}

static int call_set_hold_fd(struct mediator *m, void *argument)
{
    return held_connections_set(m, *(const int *)argument);
}

int mediator_set_hold_fd(struct mediator *m, int fd)
{
    return control_call(&m->control, call_set_hold_fd, &fd);
}

static int call_set_config(struct mediator *m, void *argument)
{
    struct sched_config sched;
    uint64_t now_ns = engine_now_ns();

    for (uint32_t i = 0; i < m->vm_capacity; i++)
        if (m->vm[i])
            faults_settle(m->vm[i], now_ns);
    m->config = *(const struct mediator_config *)argument;
    sched = engine_sched_config(&m->config);
    scheduler_set_config(&m->scheduler, &sched);
    for (uint32_t i = 0; i < m->vm_capacity; i++)
        for (int lane = 0; m->vm[i] && lane < SCHED_LANES; lane++)
            worker_link_let_spin(&m->vm[i]->link[lane], m->config.spin_us);
    return 0;
}

int mediator_set_config(struct mediator *m, const struct mediator_config *config)
{
    struct mediator_config copy = *config;

    return engine_config_valid(config) ? control_call(&m->control, call_set_config, &copy)
                                       : -EINVAL;
}

struct bytes {
    const void *at;
    size_t size;
};

static int call_set_device(struct mediator *m, void *argument)
{
    const struct bytes *info = argument;

    m->has_device = info->size == sizeof(m->device_info);
    if (m->has_device)
        memcpy(&m->device_info, info->at, info->size);
    return 0;
}

int mediator_set_device(struct mediator *m, const void *info, size_t size)
{
    struct bytes bytes = {info, size};

    if (size && size != sizeof(m->device_info))
        return -EINVAL;
    return control_call(&m->control, call_set_device, &bytes);
}

struct pool_call {
    uint32_t weight;
    uint8_t pool_id;
    bool enabled;
};

static int call_pool_set(struct mediator *m, void *argument)
{
    const struct pool_call *call = argument;

    return tenants_pool_set(m, call->pool_id, call->weight, call->enabled);
}

int mediator_pool_set(struct mediator *m, uint8_t pool_id, uint32_t weight, int enabled)
{
    struct pool_call call = {weight, pool_id, enabled != 0};

    return control_call(&m->control, call_pool_set, &call);
}

static int call_pool_remove(struct mediator *m, void *argument)
{
    return tenants_pool_remove(m, *(const uint8_t *)argument);
}

int mediator_pool_remove(struct mediator *m, uint8_t pool_id)
{
    return control_call(&m->control, call_pool_remove, &pool_id);
}

/* One structure for all calls about a VM: each fills in what it needs. */
struct vm_call {
    uint32_t handle;
    int lane;
    int crashed;
    uint32_t retry_us;
    uint64_t detail;
    const struct mediator_vm *identity;
    const struct mediator_vm_fds *fds;
    const struct mediator_worker *worker;
    void *out;
};

static int call_vm_add(struct mediator *m, void *argument)
{
    const struct vm_call *call = argument;

    return tenants_vm_add(m, call->identity, call->fds);
}

int mediator_vm_add(struct mediator *m, const struct mediator_vm *vm,
                    const struct mediator_vm_fds *fds)
{
    struct vm_call call = {.identity = vm, .fds = fds};

    return control_call(&m->control, call_vm_add, &call);
}

static int call_vm_set(struct mediator *m, void *argument)
{
    const struct vm_call *call = argument;
    struct vm *vm = tenants_vm(m, call->handle);

    return vm ? tenants_vm_set(vm, call->identity) : -ENOENT;
}

int mediator_vm_set(struct mediator *m, uint32_t handle, const struct mediator_vm *vm)
{
    struct vm_call call = {.handle = handle, .identity = vm};

    return control_call(&m->control, call_vm_set, &call);
}

static int call_vm_retire(struct mediator *m, void *argument)
{
    struct vm *vm = tenants_vm(m, ((const struct vm_call *)argument)->handle);

    if (!vm)
        return -ENOENT;
    tenants_vm_retire(vm);
    return 0;
}

int mediator_vm_retire(struct mediator *m, uint32_t handle)
{
    struct vm_call call = {.handle = handle};

    return control_call(&m->control, call_vm_retire, &call);
}

static int call_vm_remove(struct mediator *m, void *argument)
{
    struct vm *vm = tenants_vm(m, ((const struct vm_call *)argument)->handle);

    return vm ? tenants_vm_remove(vm) : -ENOENT;
}

int mediator_vm_remove(struct mediator *m, uint32_t handle)
{
    struct vm_call call = {.handle = handle};

    return control_call(&m->control, call_vm_remove, &call);
}

static int call_worker_attach(struct mediator *m, void *argument)
{
    const struct vm_call *call = argument;
    struct vm *vm = tenants_vm(m, call->handle);

    return vm ? workers_attach(vm, (enum mediator_lane)call->lane, call->worker) : -ENOENT;
}

int mediator_worker_attach(struct mediator *m, uint32_t handle, int lane,
                           const struct mediator_worker *worker)
{
    struct vm_call call = {.handle = handle, .lane = lane, .worker = worker};
    int rc = lane == MEDIATOR_LAUNCH || lane == MEDIATOR_BUILD
                 ? control_call(&m->control, call_worker_attach, &call)
                 : -EINVAL;

    if (rc) {
        close(worker->channel);
        close(worker->doorbell);
    }
    return rc;
}

static int call_worker_gone(struct mediator *m, void *argument)
{
    const struct vm_call *call = argument;
    struct vm *vm = tenants_vm(m, call->handle);

    if (!vm)
        return -ENOENT;
    workers_gone(vm, (enum mediator_lane)call->lane, call->crashed != 0, call->detail);
    return 0;
}

int mediator_worker_gone(struct mediator *m, uint32_t handle, int lane, int crashed,
                         uint64_t detail)
{
    struct vm_call call = {.handle = handle, .lane = lane, .crashed = crashed, .detail = detail};

    if (lane != MEDIATOR_LAUNCH && lane != MEDIATOR_BUILD)
        return -EINVAL;
    return control_call(&m->control, call_worker_gone, &call);
}

static int call_worker_refused(struct mediator *m, void *argument)
{
    const struct vm_call *call = argument;
    struct vm *vm = tenants_vm(m, call->handle);

    if (!vm)
        return -ENOENT;
    workers_refused(vm, (enum mediator_lane)call->lane, call->retry_us);
    return 0;
}

int mediator_worker_refused(struct mediator *m, uint32_t handle, int lane, uint32_t retry_us)
{
    struct vm_call call = {.handle = handle, .lane = lane, .retry_us = retry_us};

    if (lane != MEDIATOR_LAUNCH && lane != MEDIATOR_BUILD)
        return -EINVAL;
    return control_call(&m->control, call_worker_refused, &call);
}

static int call_vm_layout(struct mediator *m, void *argument)
{
    const struct vm_call *call = argument;
    const struct vm *vm = tenants_vm(m, call->handle);
    uint64_t *out = call->out;
    struct ring_geometry g;

    if (!vm)
        return -ENOENT;
    g = device_geometry(&vm->journal->ring.layout);
    out[0] = vm->journal->ring.layout.qp_count;
    out[1] = g.qp_base;
    out[2] = g.qp_stride;
    out[3] = g.data_offset;
    out[4] = vm->journal->ring.layout.data_bytes;
    return 0;
}

int mediator_vm_layout(struct mediator *m, uint32_t handle, uint64_t out[5])
{
    struct vm_call call = {.handle = handle, .out = out};

    return control_call(&m->control, call_vm_layout, &call);
}

static int call_stats(struct mediator *m, void *argument)
{
    struct mediator_stats *out = argument;

    *out = (struct mediator_stats){
        .accepted = m->accepted,
        .answered = m->answered,
        .events_dropped = event_ring_dropped(&m->events),
        .turns = m->turns,
        .outstanding = m->in_use,
        .in_flight = m->device.in_flight,
        .builds = m->builds,
        .vms = m->vm_count,
    };
    return 0;
}

int mediator_stats(struct mediator *m, struct mediator_stats *out)
{
    return control_call(&m->control, call_stats, out);
}
