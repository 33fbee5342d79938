/*
 * tenants.c - Pools and VMs of the engine: adding, changing, taking out
 *
 * Theory of operation
 *
 * All memory that a VM will ever need is allocated when it is added. Everything can change while
 * requests are queued and running: the scheduler moves what is queued, the transports show the guest
 * its new identity. A VM is taken out in two steps, as its workers must be killed in between: retired
 * (nobody is connected, nothing is queued, no worker is wanted), then removed.
 */
#include "tenants.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bucket.h"
#include "journal_map.h"

/** tenants_vm() - The VM of a handle, or NULL */
struct vm *tenants_vm(const struct mediator *m, uint32_t handle)
{
    return handle < m->vm_capacity ? m->vm[handle] : NULL;
}

static struct sched_pool *sched_pool_of(const struct mediator *m, uint8_t pool_id)
{
    return pool_id && m->pool[pool_id] ? &m->pool[pool_id]->sched : NULL;
}

/**
 * tenants_pool_set() - Add a pool, or change it
 *
 * Return: 0, -EINVAL, -ENOMEM
 */
int tenants_pool_set(struct mediator *m, uint8_t pool_id, uint32_t weight, bool enabled)
{
    struct pool *pool = m->pool[pool_id];
    int rc;

    if (pool_id == 0 || weight < SCHED_WEIGHT_MIN || weight > SCHED_WEIGHT_MAX)
        return -EINVAL;
    if (!pool) {
        pool = calloc(1, sizeof(*pool));
        if (!pool)
            return -ENOMEM;
        pool->id = pool_id;
        rc = scheduler_pool_add(&m->scheduler, &pool->sched, weight, enabled);
        if (rc) {
            free(pool);
            return rc;
        }
        m->pool[pool_id] = pool;
        return 0;
    }
    scheduler_pool_set(&m->scheduler, &pool->sched, weight, enabled);
    for (uint32_t i = 0; enabled && i < m->vm_capacity; i++)
        if (m->vm[i] && m->vm[i]->sched.pool == &pool->sched)
            completion_advance_all(m->vm[i]);
    return 0;
}

/**
 * tenants_pool_remove() - Take a pool out
 *
 * Return: 0, -ENOENT, or -EBUSY: a VM belongs to it
 */
int tenants_pool_remove(struct mediator *m, uint8_t pool_id)
{
    struct pool *pool = m->pool[pool_id];

    if (!pool)
        return -ENOENT;
    for (uint32_t i = 0; i < m->vm_capacity; i++)
        if (m->vm[i] && m->vm[i]->sched.pool == &pool->sched)
            return -EBUSY;
    scheduler_pool_remove(&m->scheduler, &pool->sched);
    m->pool[pool_id] = NULL;
    free(pool);
    return 0;
}

static bool identity_valid(const struct mediator *m, const struct mediator_vm *identity)
{
    return memchr(identity->uuid, 0, sizeof(identity->uuid)) &&
           identity->weight >= SCHED_WEIGHT_MIN && identity->weight <= SCHED_WEIGHT_MAX &&
           identity->priority < SCHED_CLASSES && identity->max_rate <= BUCKET_RATE_MAX &&
           identity->max_burst <= BUCKET_RATE_MAX &&
           (identity->pool_id == 0 || m->pool[identity->pool_id]);
}

/* Return: a free handle, or -ENOMEM */
static int find_handle(struct mediator *m)
{
    uint32_t capacity = m->vm_capacity ? m->vm_capacity * 2 : 16;
    struct vm **grown;

    for (uint32_t i = 0; i < m->vm_capacity; i++)
        if (!m->vm[i])
            return (int)i;
    grown = realloc(m->vm, capacity * sizeof(*grown));
    if (!grown)
        return -ENOMEM;
    memset(grown + m->vm_capacity, 0, (capacity - m->vm_capacity) * sizeof(*grown));
    m->vm = grown;
    capacity = m->vm_capacity;
    m->vm_capacity = capacity ? capacity * 2 : 16;
    return (int)capacity;
}

static void forget_woken(struct mediator *m, struct transport *t)
{
    for (struct transport **at = &m->woken; *at; at = &(*at)->woken_next)
        if (*at == t) {
            *at = t->woken_next;
            return;
        }
}

static void close_transports(struct vm *vm)
{
    for (int i = 0; i < 3; i++) {
        struct transport *t = vm->transport[i];

        if (!t)
            continue;
        vm->transport[i] = NULL;
        forget_woken(vm->mediator, t);
        held_connections_forget(t);
        t->ops->free(t);
    }
}

static void vm_free(struct vm *vm)
{
    struct mediator *m = vm->mediator;

    close_transports(vm);
    request_forget_starved(vm);
    for (int lane = 0; lane < SCHED_LANES; lane++)
        worker_link_detach(&vm->link[lane], &m->reactor);
    m->in_use -= vm->in_use;
    scheduler_vm_set(&m->scheduler, &vm->sched, NULL, vm->sched.class, vm->sched.weight);
    journal_unmap(vm->journal, vm->journal_bytes);
    free(vm->request);
    free(vm);
}

static void link_init(struct vm *vm, int lane)
{
    struct worker_link *link = &vm->link[lane];

    link->owner = vm;
    link->lane = (uint8_t)lane;
    link->doorbell.fd = -1;
    link->journal = &vm->journal->link[lane];
    if (link->journal->worker_id == 0) /* nothing is out, and the indices may be half reset */
        link->journal->unit_tail = link->journal->reply_head = 0;
    for (uint32_t i = 0; i < WORKER_RING_ENTRIES; i++)
        link->slot[i] = NO_SLOT;
    scheduler_vm_block(&vm->mediator->scheduler, &vm->sched, (enum sched_lane)lane, true);
}

/* Everything but transports and handle. */
static int vm_new(struct mediator *m, uint32_t handle, const struct mediator_vm *identity,
                  int journal_fd, struct vm **out)
{
    struct vm *vm = calloc(1, sizeof(*vm));
    int rc;

    if (!vm)
        return -ENOMEM;
    vm->mediator = m;
    vm->handle = handle;
    vm->identity = *identity;
    vm->free_slots = NO_SLOT;
    scheduler_vm_init(&m->scheduler, &vm->sched);
    rc = journal_map(journal_fd, &vm->journal, &vm->journal_bytes);
    if (rc) {
        free(vm);
        return rc;
    }
    for (int lane = 0; lane < SCHED_LANES; lane++)
        link_init(vm, lane);
    rc = scheduler_vm_set(&m->scheduler, &vm->sched, sched_pool_of(m, identity->pool_id),
                          identity->priority, identity->weight);
    vm->request = rc ? NULL : calloc(vm->journal->slot_count, sizeof(*vm->request));
    if (!vm->request) {
        vm_free(vm);
        return rc ? rc : -ENOMEM;
    }
    *out = vm;
    return 0;
}

static void close_if_open(int fd)
{
    if (fd >= 0)
        close(fd);
}

static void close_stub_fds(const struct mediator_vm_fds *fds)
{
    close_if_open(fds->stub_listener);
    close_if_open(fds->stub_connection);
}

static void close_ring_fds(const struct mediator_vm_fds *fds, uint32_t pairs)
{
    close_if_open(fds->ring);
    close_if_open(fds->ring_listener);
    close_if_open(fds->ring_connection);
    for (uint32_t i = 0; i < pairs; i++) {
        close_if_open(fds->host_doorbells[i]);
        close_if_open(fds->guest_doorbells[i]);
    }
}

/* Doorbells beyond the layout's pairs are of no use; -1 fills the table. */
static void close_spare_doorbells(const struct mediator_vm_fds *fds, uint32_t pairs)
{
    for (uint32_t i = pairs; i < VGPU_QP_MAX; i++) {
        close_if_open(fds->host_doorbells[i]);
        close_if_open(fds->guest_doorbells[i]);
    }
}

/**
 * tenants_vm_add() - Add a VM with its ways in, and take up what its journal says
 * @fds: consumed, whatever is returned
 *
 * Return: the handle, or a negative errno
 */
int tenants_vm_add(struct mediator *m, const struct mediator_vm *identity,
                   const struct mediator_vm_fds *fds)
{
    struct vm *vm = NULL;
    uint32_t pairs = 0;
    bool stub = false, ring = false;
    int rc = identity_valid(m, identity) ? find_handle(m) : -EINVAL, handle = rc;

    if (rc >= 0)
        rc = vm_new(m, (uint32_t)handle, identity, fds->journal, &vm);
    close_if_open(fds->journal);
    if (rc >= 0) {
        pairs = vm->journal->ring.layout.qp_count;
        rc = transport_unix_new(&vm->transport[MEDIATOR_STUB], vm, &m->reactor, vm->journal,
                                fds->stub_listener, fds->stub_connection);
        stub = rc >= 0;
    }
    if (rc >= 0) {
        rc =
            transport_ivshmem_new(&vm->transport[MEDIATOR_RING], vm, &m->reactor, vm->journal, fds);
        ring = rc >= 0;
    }
    close_spare_doorbells(fds, pairs);
    if (!stub)
        close_stub_fds(fds);
    if (!ring)
        close_ring_fds(fds, pairs);
    if (rc >= 0) {
        m->vm[handle] = vm;
        m->vm_count++;
        bucket_set(&vm->journal->bucket, identity->max_rate, identity->max_burst, engine_now_ns());
        quarantine_follow(vm);
        rc = recover(vm);
        if (rc < 0) {
            m->vm[handle] = NULL;
            m->vm_count--;
        }
    }
    if (rc < 0) {
        if (vm)
            vm_free(vm);
        return rc;
    }
    quarantine_resume(vm);
    return handle;
}

/**
 * tenants_vm_set() - Change what a VM is; takes effect at once, also for what is queued
 *
 * Return: 0, -EINVAL, -ENOMEM
 */
int tenants_vm_set(struct vm *vm, const struct mediator_vm *identity)
{
    struct mediator *m = vm->mediator;
    int rc;

    if (!identity_valid(m, identity) || strcmp(identity->uuid, vm->identity.uuid) != 0)
        return -EINVAL;
    rc = scheduler_vm_set(&m->scheduler, &vm->sched, sched_pool_of(m, identity->pool_id),
                          identity->priority, identity->weight);
    if (rc)
        return rc;
    vm->identity = *identity;
    bucket_set(&vm->journal->bucket, identity->max_rate, identity->max_burst, engine_now_ns());
    quarantine_follow(vm);
    for (int i = 0; i < 3; i++)
        if (vm->transport[i]) {
            vm->transport[i]->ops->identity_changed(vm->transport[i], identity);
            transport_wake(vm->transport[i]); /* there may be more room now */
        }
    completion_advance_all(vm);
    request_feed(vm); /* its limit may be a higher one */
    return 0;
}

/** tenants_vm_retire() - Close its sockets, drop what it has queued, want no worker any more */
void tenants_vm_retire(struct vm *vm)
{
    vm->retired = true;
    for (int i = 0; i < 3; i++) {
        struct transport *t = vm->transport[i];

        if (!t || t->attachment == 0)
            continue;
        t->attachment = 0;
        if (t->ops->hang_up)
            t->ops->hang_up(t);
        transport_drop(t);
        transport_detached(t);
    }
    close_transports(vm);
    for (int lane = 0; lane < SCHED_LANES; lane++)
        vm->link[lane].wanted = false;
}

/**
 * tenants_vm_remove() - Forget a retired VM
 *
 * Return: 0, -EINVAL: not retired, -EBUSY: a worker is still there
 */
int tenants_vm_remove(struct vm *vm)
{
    struct mediator *m = vm->mediator;

    if (!vm->retired)
        return -EINVAL;
    for (int lane = 0; lane < SCHED_LANES; lane++)
        if (vm->link[lane].channel || vm->link[lane].in_flight)
            return -EBUSY;
    m->vm[vm->handle] = NULL;
    m->vm_count--;
    vm_free(vm);
    return 0;
}

/** tenants_free() - Release everything; what is held stays held, journals keep what they have */
void tenants_free(struct mediator *m)
{
    recording_free(m);
    for (uint32_t i = 0; i < m->vm_capacity; i++)
        if (m->vm[i])
            vm_free(m->vm[i]);
    free(m->vm);
    for (int i = 0; i < 256; i++) {
        if (!m->pool[i])
            continue;
        scheduler_pool_remove(&m->scheduler, &m->pool[i]->sched);
        free(m->pool[i]);
    }
}
