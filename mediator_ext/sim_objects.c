/*
 * sim_objects.c - The simulator's pools, VMs, streams and units: made, changed and found as records say
 *
 * Theory of operation
 *
 * Each is an object of the scheduler and the number that recordings know it by. Pools have a table by
 * their one-byte id, all others are in sim_table.c. A function that takes a record judges it first:
 * -EINVAL, and nothing has changed, if the engine could not have said it.
 */
#include <errno.h>
#include <stdlib.h>

#include "sim_parts.h"

/* ---- objects and their numbers ---- */

static struct sim_vm *vm_of(const struct sched_vm *vm)
{
    return (struct sim_vm *)((char *)(uintptr_t)vm - offsetof(struct sim_vm, sched));
}

static struct sim_stream *stream_of(const struct sched_stream *stream)
{
    return (struct sim_stream *)((char *)(uintptr_t)stream - offsetof(struct sim_stream, sched));
}

/** sim_unit_of() - The simulator's part of a unit */
struct sim_unit *sim_unit_of(const struct sched_unit *unit)
{
    return (struct sim_unit *)((char *)(uintptr_t)unit - offsetof(struct sim_unit, sched));
}

static uint8_t pool_name(const struct sched_pool *pool)
{
    return ((const struct sim_pool *)pool)->id;
}

static uint32_t vm_name(const struct sched_vm *vm)
{
    return vm_of(vm)->object.vm;
}

static uint32_t stream_name(const struct sched_stream *stream)
{
    return stream_of(stream)->object.id;
}

static uint32_t unit_name(const struct sched_unit *unit)
{
    return sim_unit_of(unit)->object.id;
}

const struct record_names sim_names = {pool_name, vm_name, stream_name, unit_name};

/** sim_pool_find() - The pool of an id, NULL = there is none */
struct sim_pool *sim_pool_find(const struct mediator_simulator *sim, uint8_t id)
{
    return sim->pool[id];
}

/** sim_vm_find() - The VM of a handle, NULL = there is none */
struct sim_vm *sim_vm_find(const struct mediator_simulator *sim, uint32_t vm)
{
    return (struct sim_vm *)sim_find(&sim->table, SIM_VM, vm, 0);
}

/** sim_unit_find() - The unit that a record names, if it is queued, or is in flight, as it should be */
struct sim_unit *sim_unit_find(const struct mediator_simulator *sim,
                               const struct mediator_record *record, bool in_flight)
{
    struct sim_unit *unit =
        (struct sim_unit *)sim_find(&sim->table, SIM_UNIT, record->vm, record->unit);

    return unit && unit->in_flight == in_flight ? unit : NULL;
}

static void *object_new(struct mediator_simulator *sim, size_t bytes, struct sim_object what)
{
    struct sim_object *object = calloc(1, bytes);

    if (!object)
        return NULL;
    *object = what;
    if (sim_insert(&sim->table, object)) {
        free(object);
        return NULL;
    }
    return object;
}

/** sim_unit_forget() - It is in no stream and not in flight any more */
void sim_unit_forget(struct mediator_simulator *sim, struct sim_unit *unit)
{
    sim_remove(&sim->table, &unit->object);
    free(unit);
}

static bool weight_valid(uint32_t weight)
{
    return weight >= SCHED_WEIGHT_MIN && weight <= SCHED_WEIGHT_MAX;
}

/* ---- set-up ---- */

/** sim_config() - How it decides. Return: 0, -EINVAL */
int sim_config(struct mediator_simulator *sim, const struct mediator_record *record)
{
    struct sched_config config = {
        .aging_after_ns = record->value[0], .aging_share = record->weight, .scope = record->slot};

    if (config.aging_share > 100 || config.scope > SCHED_SCOPE_GLOBAL)
        return -EINVAL;
    scheduler_set_config(&sim->scheduler, &config);
    return 0;
}

/** sim_pool_add() - A new pool. Return: 0, -EINVAL, -ENOMEM */
int sim_pool_add(struct mediator_simulator *sim, const struct mediator_record *record)
{
    struct sim_pool *pool;
    int rc;

    if (record->pool == 0 || sim_pool_find(sim, record->pool) || !weight_valid(record->weight))
        return -EINVAL;
    pool = calloc(1, sizeof(*pool));
    if (!pool)
        return -ENOMEM;
    pool->id = record->pool;
    rc = scheduler_pool_add(&sim->scheduler, &pool->sched, record->weight,
                            record->flags & MEDIATOR_RECORD_ON);
    if (rc)
        free(pool);
    else
        sim->pool[pool->id] = pool;
    return rc;
}

/** sim_pool_set() - As the record says. Return: 0, -EINVAL */
int sim_pool_set(struct mediator_simulator *sim, const struct mediator_record *record)
{
    struct sim_pool *pool = sim_pool_find(sim, record->pool);

    if (!pool || !weight_valid(record->weight))
        return -EINVAL;
    scheduler_pool_set(&sim->scheduler, &pool->sched, record->weight,
                       record->flags & MEDIATOR_RECORD_ON);
    return 0;
}

/** sim_pool_remove() - As the record says. Return: 0, -EINVAL */
int sim_pool_remove(struct mediator_simulator *sim, const struct mediator_record *record)
{
    struct sim_pool *pool = sim_pool_find(sim, record->pool);

    if (!pool || pool->vms)
        return -EINVAL;
    scheduler_pool_remove(&sim->scheduler, &pool->sched);
    sim->pool[pool->id] = NULL;
    free(pool);
    return 0;
}

/* The last VM of this handle is gone, and all that was of it. */
static void vm_forget(struct mediator_simulator *sim, struct sim_vm *vm)
{
    struct sim_object **all = sim_sorted(&sim->table);
    uint32_t number = vm->object.vm, count = sim->table.count;

    if (vm->sched.pool)
        ((struct sim_pool *)vm->sched.pool)->vms--;
    (void)scheduler_vm_set(&sim->scheduler, &vm->sched, NULL, vm->sched.class, vm->sched.weight);
    for (uint32_t i = 0; all && i < count; i++) {
        struct sim_object *object = all[i];

        if (object->vm != number)
            continue;
        if (object->kind == SIM_UNIT && ((struct sim_unit *)object)->in_flight)
            sim->in_flight--;
        sim_remove(&sim->table, object);
        free(object);
    }
    free(all);
}

/** sim_vm_add() - A VM without a pool, whoever had the handle before. Return: 0, -ENOMEM */
int sim_vm_add(struct mediator_simulator *sim, const struct mediator_record *record)
{
    struct sim_vm *vm = sim_vm_find(sim, record->vm);

    if (vm)
        vm_forget(sim, vm);
    if (sim_vm_find(sim, record->vm)) /* there was no memory to forget it */
        return -ENOMEM;
    vm = object_new(sim, sizeof(*vm), (struct sim_object){SIM_VM, record->vm, 0});
    if (!vm)
        return -ENOMEM;
    scheduler_vm_init(&sim->scheduler, &vm->sched);
    return 0;
}

/** sim_vm_set() - Pool, class and weight of a VM. Return: 0, -EINVAL, -ENOMEM */
int sim_vm_set(struct mediator_simulator *sim, const struct mediator_record *record)
{
    struct sim_vm *vm = sim_vm_find(sim, record->vm);
    struct sim_pool *pool = sim_pool_find(sim, record->pool), *before;
    int rc;

    if (!vm || (record->pool && !pool) || record->priority >= SCHED_CLASSES ||
        !weight_valid(record->weight))
        return -EINVAL;
    before = (struct sim_pool *)vm->sched.pool;
    rc = scheduler_vm_set(&sim->scheduler, &vm->sched, pool ? &pool->sched : NULL, record->priority,
                          record->weight);
    if (rc)
        return rc;
    if (before)
        before->vms--;
    if (pool)
        pool->vms++;
    return 0;
}

/** sim_vm_block() - As the record says. Return: 0, -EINVAL */
int sim_vm_block(struct mediator_simulator *sim, const struct mediator_record *record)
{
    struct sim_vm *vm = sim_vm_find(sim, record->vm);

    if (!vm || record->lane >= SCHED_LANES)
        return -EINVAL;
    scheduler_vm_block(&sim->scheduler, &vm->sched, (enum sched_lane)record->lane,
                       record->flags & MEDIATOR_RECORD_ON);
    return 0;
}

/* ---- streams and units ---- */

/** sim_stream_get() - A VM's stream of a number, made if need be. Return: 0, -EINVAL, -ENOMEM */
int sim_stream_get(struct mediator_simulator *sim, const struct mediator_record *record,
                   struct sim_stream **out)
{
    struct sim_vm *vm = sim_vm_find(sim, record->vm);
    const struct sim_object what = {SIM_STREAM, record->vm, record->stream};

    if (!vm)
        return -EINVAL;
    *out = (struct sim_stream *)sim_find(&sim->table, SIM_STREAM, what.vm, what.id);
    if (*out)
        return 0;
    *out = object_new(sim, sizeof(**out), what);
    if (!*out)
        return -ENOMEM;
    scheduler_stream_init(&sim->scheduler, &(*out)->sched, &vm->sched);
    return 0;
}

/** sim_stream_init() - As the record says. Return: 0, -EINVAL */
int sim_stream_init(struct mediator_simulator *sim, const struct mediator_record *record)
{
    struct sim_stream *stream;
    int rc = sim_stream_get(sim, record, &stream);

    if (rc)
        return rc;
    if (stream->sched.head || stream->sched.in_flight)
        return -EINVAL;
    scheduler_stream_init(&sim->scheduler, &stream->sched, stream->sched.vm);
    return 0;
}

/** sim_unit_add() - A new unit, in no stream yet. Return: 0, -EINVAL, -ENOMEM */
int sim_unit_add(struct mediator_simulator *sim, const struct mediator_record *record,
                 struct sim_unit **out)
{
    bool settled = record->flags & MEDIATOR_RECORD_SETTLED;

    if (!sim_vm_find(sim, record->vm) || record->lane > SCHED_INSTANT ||
        (settled && record->lane != SCHED_INSTANT) ||
        sim_find(&sim->table, SIM_UNIT, record->vm, record->unit))
        return -EINVAL;
    *out = object_new(sim, sizeof(**out), (struct sim_object){SIM_UNIT, record->vm, record->unit});
    if (!*out)
        return -ENOMEM;
    (*out)->sched = (struct sched_unit){.lane = record->lane,
                                        .seq = record->seq,
                                        .arrival_ns = record->arrival_ns,
                                        .waits = record->waits,
                                        .settled = settled};
    return 0;
}

/** sim_forget() - Everything: as if it were new */
void sim_forget(struct mediator_simulator *sim)
{
    const struct sched_config config = {0};

    for (uint32_t i = 0; i < sim->table.capacity; i++)
        free(sim->table.at[i]);
    free(sim->table.at);
    for (int i = 0; i < 256; i++)
        if (sim->pool[i]) {
            scheduler_pool_remove(&sim->scheduler, &sim->pool[i]->sched);
            free(sim->pool[i]);
        }
    scheduler_free(&sim->scheduler);
    *sim = (struct mediator_simulator){0};
    scheduler_init(&sim->scheduler, &config);
}
