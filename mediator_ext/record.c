/*
 * record.c - The scheduler's calls and its state, written down without pointers
 *
 * Theory of operation
 *
 * A record is complete by itself: all that the scheduler's next decisions depend on is in numbers.
 * What follows from the rest is left out: who is in which heap and which streams are ready. The order
 * of equals is not left out: tags have the order in which their owners came, ready streams the place
 * in their VM's ring, pools their place in the list. How a heap is laid out in memory decides nothing,
 * as no two keys in it are the same.
 */
#include "record.h"

#include <string.h>

_Static_assert((int)SCHED_CALL_CONFIG == (int)MEDIATOR_RECORD_CONFIG &&
                   (int)SCHED_CALL_VM_INIT == (int)MEDIATOR_RECORD_VM_INIT &&
                   (int)SCHED_CALL_PUSH == (int)MEDIATOR_RECORD_PUSH &&
                   (int)SCHED_CALL_PICK == (int)MEDIATOR_RECORD_PICK &&
                   (int)SCHED_CALL_SETTLE == (int)MEDIATOR_RECORD_SETTLE,
               "a call and its record have one number");
_Static_assert(sizeof(struct mediator_record) == 88, "a record has no holes");

static void name_vm(const struct record_names *names, const struct sched_vm *vm,
                    struct mediator_record *out)
{
    out->vm = names->vm(vm);
}

static void name_stream(const struct record_names *names, const struct sched_stream *stream,
                        struct mediator_record *out)
{
    name_vm(names, stream->vm, out);
    out->stream = names->stream(stream);
}

static void name_unit(const struct record_names *names, const struct sched_unit *unit,
                      struct mediator_record *out)
{
    name_stream(names, unit->stream, out);
    out->unit = names->unit(unit);
    out->seq = unit->seq;
}

/* What its owner has set. */
static void describe_unit(const struct sched_unit *unit, struct mediator_record *out)
{
    out->lane = unit->lane;
    out->flags |= unit->settled ? MEDIATOR_RECORD_SETTLED : 0;
    out->arrival_ns = unit->arrival_ns;
    out->waits = unit->waits;
}

static void describe_pool(const struct record_names *names, const struct sched_pool *pool,
                          struct mediator_record *out)
{
    out->pool = names->pool(pool);
    out->weight = pool->weight;
    out->flags = pool->enabled ? MEDIATOR_RECORD_ON : 0;
}

static void describe_vm(const struct record_names *names, const struct sched_vm *vm,
                        struct mediator_record *out)
{
    name_vm(names, vm, out);
    out->pool = vm->pool ? names->pool(vm->pool) : 0;
    out->priority = vm->class;
    out->weight = vm->weight;
}

static void describe_config(const struct scheduler *s, struct mediator_record *out)
{
    out->weight = s->config.aging_share;
    out->slot = (uint8_t)s->config.scope;
    out->value[0] = s->config.aging_after_ns;
}

void record_decision(const struct record_names *names, const struct sched_unit *unit,
                     struct mediator_record *out)
{
    if (!unit)
        return;
    name_unit(names, unit, out);
    out->flags = MEDIATOR_RECORD_DECIDED | (unit->aged ? MEDIATOR_RECORD_AGED : 0);
    out->cost_ns = unit->charged_ns;
}

void record_call(const struct record_names *names, const struct scheduler *s,
                 const struct sched_call *call, struct mediator_record *out)
{
    memset(out, 0, sizeof(*out));
    out->type = (uint8_t)call->type;
    out->lane = (uint8_t)call->lane;
    out->cost_ns = call->cost_ns;
    out->now_ns = call->now_ns;
    switch (call->type) {
    case SCHED_CALL_CONFIG:
        describe_config(s, out);
        break;
    case SCHED_CALL_POOL_ADD:
    case SCHED_CALL_POOL_SET:
        describe_pool(names, call->pool, out);
        break;
    case SCHED_CALL_POOL_REMOVE:
        out->pool = names->pool(call->pool);
        break;
    case SCHED_CALL_VM_INIT:
        name_vm(names, call->vm, out);
        break;
    case SCHED_CALL_VM_SET:
        describe_vm(names, call->vm, out);
        break;
    case SCHED_CALL_VM_BLOCK:
        name_vm(names, call->vm, out);
        out->flags = call->vm->party[call->lane].blocked ? MEDIATOR_RECORD_ON : 0;
        break;
    case SCHED_CALL_STREAM_INIT:
        name_stream(names, call->stream, out);
        break;
    case SCHED_CALL_PUSH:
    case SCHED_CALL_ADOPT:
        name_unit(names, call->unit, out);
        describe_unit(call->unit, out);
        break;
    case SCHED_CALL_RETURN:
        name_unit(names, call->unit, out);
        out->lane = call->unit->lane;
        break;
    case SCHED_CALL_SATISFIED:
        name_unit(names, call->unit, out);
        out->lane = call->unit->lane;
        out->flags = call->unit->settled ? MEDIATOR_RECORD_SETTLED : 0;
        break;
    case SCHED_CALL_COMPLETE:
    case SCHED_CALL_CANCEL:
    case SCHED_CALL_SETTLE:
        name_unit(names, call->unit, out);
        break;
    case SCHED_CALL_PICK:
        record_decision(names, call->unit, out);
        break;
    case SCHED_CALL_PICK_MORE:
        name_vm(names, call->vm, out);
        record_decision(names, call->unit, out);
        break;
    case SCHED_CALL_TAKE_INSTANT:
        name_stream(names, call->stream, out);
        record_decision(names, call->unit, out);
        break;
    }
}

/* ---- the state ---- */

static void put(const struct record_sink *sink, const struct mediator_record *record)
{
    sink->put(sink->argument, record);
}

static void record_pool(const struct record_sink *sink, const struct sched_pool *pool)
{
    struct mediator_record record = {.type = MEDIATOR_STATE_POOL, .value = {pool->number}};

    describe_pool(sink->names, pool, &record);
    put(sink, &record);
    for (int lane = 0; lane < SCHED_LANES; lane++) {
        const struct sched_pool_lane *pl = &pool->lane[lane];

        for (int slot = 0; slot < SCHED_CLASSES; slot++)
            put(sink, &(struct mediator_record){.type = MEDIATOR_STATE_PLACE,
                                                .pool = record.pool,
                                                .lane = (uint8_t)lane,
                                                .slot = (uint8_t)slot,
                                                .value = {pl->turn[slot].key, pl->turn[slot].order,
                                                          pl->level[slot].virtual_time}});
        put(sink, &(struct mediator_record){.type = MEDIATOR_STATE_ACCOUNT,
                                            .pool = record.pool,
                                            .lane = (uint8_t)lane,
                                            .value = {(uint64_t)pl->aging_ns}});
    }
}

/* Each was put before those that were there: so they are recorded from the last one on. */
static void record_pools(const struct record_sink *sink, const struct sched_pool *first)
{
    const struct sched_pool *done = NULL;

    while (done != first) {
        const struct sched_pool *pool = first;

        while (pool->next != done)
            pool = pool->next;
        record_pool(sink, pool);
        done = pool;
    }
}

void record_scheduler(const struct record_sink *sink, const struct scheduler *s)
{
    struct mediator_record record = {.type = MEDIATOR_RECORD_CONFIG};

    put(sink, &(struct mediator_record){.type = MEDIATOR_STATE_BEGIN, .value = {s->next_order}});
    describe_config(s, &record);
    put(sink, &record);
    for (int lane = 0; lane < SCHED_LANES; lane++)
        for (int slot = 0; slot < SCHED_CLASSES; slot++)
            put(sink, &(struct mediator_record){.type = MEDIATOR_STATE_LANE,
                                                .lane = (uint8_t)lane,
                                                .slot = (uint8_t)slot,
                                                .value = {s->lane[lane].virtual_time[slot],
                                                          (uint64_t)s->lane[lane].aging_ns}});
    record_pools(sink, s->pools);
}

void record_vm(const struct record_sink *sink, const struct sched_vm *vm)
{
    struct mediator_record record = {.type = MEDIATOR_STATE_VM};

    describe_vm(sink->names, vm, &record);
    put(sink, &record);
    for (int lane = 0; lane < SCHED_LANES; lane++) {
        const struct sched_party *party = &vm->party[lane];

        put(sink, &(struct mediator_record){
                      .type = MEDIATOR_STATE_TURN,
                      .vm = record.vm,
                      .lane = (uint8_t)lane,
                      .flags = party->blocked ? MEDIATOR_RECORD_ON : 0,
                      .value = {party->turn.key, party->turn.order, party->estimate_ns}});
        put(sink, &(struct mediator_record){
                      .type = MEDIATOR_STATE_AGE,
                      .vm = record.vm,
                      .lane = (uint8_t)lane,
                      .value = {party->age.key, party->age.order, party->served_ns}});
    }
}

void record_stream(const struct record_sink *sink, const struct sched_stream *stream)
{
    struct mediator_record record = {.type = MEDIATOR_STATE_STREAM,
                                     .flags = stream->held ? MEDIATOR_RECORD_ON : 0};

    if (!stream->head && stream->in_flight == 0)
        return;
    name_stream(sink->names, stream, &record);
    put(sink, &record);
    for (const struct sched_unit *unit = stream->head; unit; unit = unit->next) {
        record = (struct mediator_record){.type = MEDIATOR_STATE_QUEUED};
        name_unit(sink->names, unit, &record);
        describe_unit(unit, &record);
        put(sink, &record);
    }
}

void record_flying(const struct record_sink *sink, const struct sched_unit *unit)
{
    struct mediator_record record = {.type = MEDIATOR_STATE_FLYING,
                                     .picked_lane = unit->picked_lane,
                                     .slot = unit->charged_slot,
                                     .priority = unit->charged_class,
                                     .flags = unit->aged ? MEDIATOR_RECORD_AGED : 0,
                                     .cost_ns = unit->charged_ns,
                                     .value = {unit->charged_pool}};

    name_unit(sink->names, unit, &record);
    describe_unit(unit, &record);
    put(sink, &record);
}

void record_ready(const struct record_sink *sink, const struct sched_vm *vm)
{
    for (int lane = 0; lane < SCHED_LANES; lane++) {
        const struct sched_stream *first = vm->party[lane].ready, *stream = first;

        while (stream) {
            struct mediator_record record = {.type = MEDIATOR_STATE_READY, .lane = (uint8_t)lane};

            name_stream(sink->names, stream, &record);
            put(sink, &record);
            stream = stream->ready_next == first ? NULL : stream->ready_next;
        }
    }
}

void record_end(const struct record_sink *sink)
{
    put(sink, &(struct mediator_record){.type = MEDIATOR_STATE_END});
}
