/*
 * sim_state.c - The simulator's whole state: taken up from records, and written as records
 *
 * Theory of operation
 *
 * The records come in the order of record.h. Objects are made by the scheduler's own calls, streams are
 * filled without a word to the scheduler, and then made ready in the recorded order, so that rings are
 * as they were. Tags are different: whoever begins to compete gets one of now. So the recorded ones
 * are kept aside, and at the end all competitors are taken out, given their tags, and put back.
 *
 * At the end, exactly those streams must be ready that may be picked from.
 */
#include <errno.h>
#include <stdlib.h>

#include "sched_parts.h"
#include "sim_parts.h"

static bool account_valid(int64_t account_ns)
{
    return account_ns >= -SIM_ACCOUNT_MAX_NS && account_ns <= SIM_ACCOUNT_MAX_NS;
}

static int state_lane(struct mediator_simulator *sim, const struct mediator_record *record)
{
    int64_t account_ns = (int64_t)record->value[1];

    if (record->lane >= SCHED_LANES || record->slot >= SCHED_CLASSES || !account_valid(account_ns))
        return -EINVAL;
    sim->scheduler.lane[record->lane].virtual_time[record->slot] = record->value[0];
    sim->scheduler.lane[record->lane].aging_ns = account_ns;
    return 0;
}

static int state_pool(struct mediator_simulator *sim, const struct mediator_record *record)
{
    int rc = record->value[0] ? sim_pool_add(sim, record) : -EINVAL;

    if (rc == 0)
        sim->pool[record->pool]->sched.number = record->value[0];
    return rc;
}

static int state_place(struct mediator_simulator *sim, const struct mediator_record *record)
{
    struct sim_pool *pool = sim_pool_find(sim, record->pool);

    if (!pool || record->lane >= SCHED_LANES || record->slot >= SCHED_CLASSES)
        return -EINVAL;
    pool->turn[record->lane][record->slot] = (struct sim_tag){record->value[0], record->value[1]};
    pool->sched.lane[record->lane].level[record->slot].virtual_time = record->value[2];
    return 0;
}

static int state_account(struct mediator_simulator *sim, const struct mediator_record *record)
{
    struct sim_pool *pool = sim_pool_find(sim, record->pool);
    int64_t account_ns = (int64_t)record->value[0];

    if (!pool || record->lane >= SCHED_LANES || !account_valid(account_ns))
        return -EINVAL;
    pool->sched.lane[record->lane].aging_ns = account_ns;
    return 0;
}

static int state_vm(struct mediator_simulator *sim, const struct mediator_record *record)
{
    int rc = sim_vm_find(sim, record->vm) ? -EINVAL : sim_vm_add(sim, record);

    return rc ? rc : sim_vm_set(sim, record);
}

static int state_party(struct mediator_simulator *sim, const struct mediator_record *record)
{
    struct sim_vm *vm = sim_vm_find(sim, record->vm);
    struct sim_tag tag = {record->value[0], record->value[1]};
    struct sched_party *party;

    if (!vm || record->lane >= SCHED_LANES)
        return -EINVAL;
    party = &vm->sched.party[record->lane];
    if (record->type == MEDIATOR_STATE_AGE) {
        vm->age[record->lane] = tag;
        party->served_ns = record->value[2];
        return 0;
    }
    if (record->value[2] == 0 || record->value[2] > SIM_COST_MAX_NS)
        return -EINVAL;
    vm->turn[record->lane] = tag;
    party->estimate_ns = record->value[2];
    scheduler_vm_block(&sim->scheduler, &vm->sched, (enum sched_lane)record->lane,
                       record->flags & MEDIATOR_RECORD_ON);
    return 0;
}

static int state_stream(struct mediator_simulator *sim, const struct mediator_record *record)
{
    struct sim_stream *stream;
    int rc = sim_find(&sim->table, SIM_STREAM, record->vm, record->stream)
                 ? -EINVAL
                 : sim_stream_get(sim, record, &stream);

    if (rc == 0)
        stream->sched.held = record->flags & MEDIATOR_RECORD_ON;
    return rc;
}

/* A unit of a stream that was named before. */
static int state_unit(struct mediator_simulator *sim, const struct mediator_record *record,
                      struct sim_unit **out)
{
    struct sim_stream *stream =
        (struct sim_stream *)sim_find(&sim->table, SIM_STREAM, record->vm, record->stream);
    int rc = stream ? sim_unit_add(sim, record, out) : -EINVAL;

    if (rc == 0)
        (*out)->sched.stream = &stream->sched;
    return rc;
}

static int state_queued(struct mediator_simulator *sim, const struct mediator_record *record)
{
    struct sched_stream *stream;
    struct sim_unit *unit;
    int rc = state_unit(sim, record, &unit);

    if (rc)
        return rc;
    stream = unit->sched.stream;
    /* Before it goes in: one that is refused must not stand in a stream. */
    if (stream->ready_lane != SCHED_LANES ||
        (stream->tail && (int64_t)(record->seq - stream->tail->seq) <= 0)) {
        sim_unit_forget(sim, unit);
        return -EINVAL;
    }
    sched_fifo_insert_after(stream, stream->tail, &unit->sched);
    return 0;
}

static int state_flying(struct mediator_simulator *sim, const struct mediator_record *record)
{
    struct sim_unit *unit;
    int rc;

    if (sim->in_flight == SIM_IN_FLIGHT_MAX || record->picked_lane >= SCHED_LANES ||
        record->slot >= SCHED_CLASSES || record->priority >= SCHED_CLASSES ||
        record->cost_ns > SIM_COST_MAX_NS)
        return -EINVAL;
    rc = state_unit(sim, record, &unit);
    if (rc)
        return rc;
    unit->sched.picked_lane = record->picked_lane;
    unit->sched.charged_pool = record->value[0];
    unit->sched.charged_class = record->priority;
    unit->sched.charged_slot = record->slot;
    unit->sched.charged_ns = record->cost_ns;
    unit->sched.aged = record->flags & MEDIATOR_RECORD_AGED;
    unit->sched.stream->in_flight++;
    unit->in_flight = true;
    sim->in_flight++;
    return 0;
}

static int state_ready(struct mediator_simulator *sim, const struct mediator_record *record)
{
    struct sim_stream *stream =
        (struct sim_stream *)sim_find(&sim->table, SIM_STREAM, record->vm, record->stream);

    if (!stream || record->lane >= SCHED_LANES || stream->sched.ready_lane != SCHED_LANES)
        return -EINVAL;
    sched_stream_update(&sim->scheduler, &stream->sched);
    return stream->sched.ready_lane == record->lane ? 0 : -EINVAL;
}

/* ---- the end: who competes gets the tag that was recorded ---- */

static void tag_node(struct sched_heap *heap, struct sched_node *node, const struct sim_tag *tag)
{
    bool competes = sched_node_in_heap(node);

    sched_heap_remove(heap, node);
    node->key = tag->key;
    node->order = tag->order;
    /* Marked, until all are out: a heap of old and new tags would not be one. */
    node->owner = competes ? node->owner : NULL;
}

static void put_back(struct sched_heap *heap, struct sched_node *node, void *owner)
{
    if (node->owner)
        sched_heap_insert(heap, node);
    node->owner = owner;
}

static void each_pool(struct mediator_simulator *sim, bool back)
{
    for (int id = 0; id < 256; id++)
        for (int i = 0; sim->pool[id] && i < SCHED_LANES * SCHED_CLASSES; i++) {
            int lane = i / SCHED_CLASSES, slot = i % SCHED_CLASSES;
            struct sched_heap *heap = &sim->scheduler.lane[lane].turns[slot];
            struct sched_node *node = &sim->pool[id]->sched.lane[lane].turn[slot];

            if (back)
                put_back(heap, node, &sim->pool[id]->sched);
            else
                tag_node(heap, node, &sim->pool[id]->turn[lane][slot]);
        }
}

static void each_vm(struct mediator_simulator *sim, bool back)
{
    for (uint32_t i = 0; i < sim->table.capacity; i++) {
        struct sim_vm *vm = (struct sim_vm *)sim->table.at[i];

        if (!vm || vm->object.kind != SIM_VM)
            continue;
        for (int lane = 0; lane < SCHED_LANES; lane++) {
            struct sched_party *party = &vm->sched.party[lane];
            struct sched_heap nowhere = {0};
            struct sched_level *level =
                vm->sched.pool ? sched_level_of(&vm->sched, (enum sched_lane)lane) : NULL;

            if (back) {
                put_back(level ? &level->turns : &nowhere, &party->turn, &vm->sched);
                put_back(level ? &level->waiting : &nowhere, &party->age, &vm->sched);
            } else {
                tag_node(level ? &level->turns : &nowhere, &party->turn, &vm->turn[lane]);
                tag_node(level ? &level->waiting : &nowhere, &party->age, &vm->age[lane]);
            }
        }
    }
}

static int state_end(struct mediator_simulator *sim)
{
    for (uint32_t i = 0; i < sim->table.capacity; i++) {
        struct sim_stream *stream = (struct sim_stream *)sim->table.at[i];
        uint8_t lane;

        if (!stream || stream->object.kind != SIM_STREAM)
            continue;
        lane = stream->sched.ready_lane;
        sched_stream_update(&sim->scheduler, &stream->sched);
        if (stream->sched.ready_lane != lane ||
            (stream->sched.held && stream->sched.in_flight == 0))
            return -EINVAL;
    }
    each_pool(sim, false);
    each_vm(sim, false);
    each_pool(sim, true);
    each_vm(sim, true);
    sim->scheduler.next_order = sim->next_order;
    sim->in_state = false;
    return 0;
}

static int begin(struct mediator_simulator *sim, const struct mediator_record *record)
{
    sim_forget(sim);
    sim->next_order = record->value[0];
    sim->in_state = true;
    return 0;
}

static int apply(struct mediator_simulator *sim, const struct mediator_record *record)
{
    switch (record->type) {
    case MEDIATOR_RECORD_CONFIG:
        return sim_config(sim, record);
    case MEDIATOR_STATE_LANE:
        return state_lane(sim, record);
    case MEDIATOR_STATE_POOL:
        return state_pool(sim, record);
    case MEDIATOR_STATE_PLACE:
        return state_place(sim, record);
    case MEDIATOR_STATE_ACCOUNT:
        return state_account(sim, record);
    case MEDIATOR_STATE_VM:
        return state_vm(sim, record);
    case MEDIATOR_STATE_TURN:
    case MEDIATOR_STATE_AGE:
        return state_party(sim, record);
    case MEDIATOR_STATE_STREAM:
        return state_stream(sim, record);
    case MEDIATOR_STATE_QUEUED:
        return state_queued(sim, record);
    case MEDIATOR_STATE_FLYING:
        return state_flying(sim, record);
    case MEDIATOR_STATE_READY:
        return state_ready(sim, record);
    case MEDIATOR_STATE_END:
        return state_end(sim);
    default:
        return -EINVAL;
    }
}

/** sim_state_apply() - A record of the state, or any one while a state is not at its end
 *
 * After one that was refused the simulator is no use before another state begins.
 *
 * Return: 0, -EINVAL, -ENOMEM
 */
int sim_state_apply(struct mediator_simulator *sim, const struct mediator_record *record)
{
    int rc;

    if (record->type == MEDIATOR_STATE_BEGIN)
        return record->value[0] && record->value[0] <= SIM_ORDER_MAX ? begin(sim, record) : -EINVAL;
    rc = sim->in_state && !sim->broken ? apply(sim, record) : -EINVAL;
    if (rc && sim->in_state)
        sim->broken = true;
    return rc;
}

/* ---- out ---- */

struct buffer {
    struct mediator_record *out;
    uint32_t max;
    uint64_t count;
};

static void put(void *argument, const struct mediator_record *record)
{
    struct buffer *buffer = argument;

    if (buffer->count < buffer->max)
        buffer->out[buffer->count] = *record;
    buffer->count++;
}

int64_t mediator_simulator_state(struct mediator_simulator *sim, struct mediator_record *out,
                                 uint32_t max)
{
    struct buffer buffer = {.out = out, .max = max};
    const struct record_sink sink = {&sim_names, put, &buffer};
    struct sim_object **all = sim_sorted(&sim->table);
    const struct sim_vm *vm = NULL;

    if (sim->in_state || (!all && sim->table.count)) {
        free(all);
        return sim->in_state ? -EINVAL : -ENOMEM;
    }
    record_scheduler(&sink, &sim->scheduler);
    for (uint32_t i = 0; i < sim->table.count; i++) {
        if (all[i]->kind == SIM_VM) {
            if (vm)
                record_ready(&sink, &vm->sched);
            vm = (struct sim_vm *)all[i];
            record_vm(&sink, &vm->sched);
        } else if (all[i]->kind == SIM_STREAM) {
            record_stream(&sink, &((struct sim_stream *)all[i])->sched);
        } else if (((struct sim_unit *)all[i])->in_flight) {
            record_flying(&sink, &((struct sim_unit *)all[i])->sched);
        }
    }
    if (vm)
        record_ready(&sink, &vm->sched);
    record_end(&sink);
    free(all);
    return (int64_t)buffer.count;
}
