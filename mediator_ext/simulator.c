/*
 * simulator.c - The scheduler on the clock of a recording
 *
 * Theory of operation
 *
 * The scheduler is the engine's own object code, and is called as the records say. It makes its own
 * decisions; a record of one says what the engine's was, and if the two differ, either the recording
 * is not of this scheduler or the scheduler is not a function of what it was told.
 *
 * A recording comes from a file, and a file can hold anything. Every record is judged before it is
 * applied: what it names must exist and be in the right state, numbers must be in range, and the clock
 * never goes back. So no sequence of bytes can take the scheduler where the engine could not.
 */
#include <errno.h>
#include <stdlib.h>

#include "sim_parts.h"

/* ---- the data path ---- */

static int push(struct mediator_simulator *sim, const struct mediator_record *record)
{
    struct sim_stream *stream;
    struct sim_unit *unit;
    int rc = sim_stream_get(sim, record, &stream);

    if (rc)
        return rc;
    if (stream->sched.tail && (int64_t)(record->seq - stream->sched.tail->seq) <= 0)
        return -EINVAL;
    rc = sim_unit_add(sim, record, &unit);
    if (rc)
        return rc;
    scheduler_push(&sim->scheduler, &stream->sched, &unit->sched);
    return 0;
}

static int adopt(struct mediator_simulator *sim, const struct mediator_record *record)
{
    struct sim_stream *stream;
    struct sim_unit *unit;
    int rc;

    if (record->lane >= SCHED_LANES || sim->in_flight == SIM_IN_FLIGHT_MAX)
        return -EINVAL;
    rc = sim_stream_get(sim, record, &stream);
    if (rc == 0)
        rc = sim_unit_add(sim, record, &unit);
    if (rc)
        return rc;
    unit->in_flight = true;
    sim->in_flight++;
    scheduler_adopt(&sim->scheduler, &stream->sched, &unit->sched, (enum sched_lane)record->lane);
    return 0;
}

static int satisfied(struct mediator_simulator *sim, const struct mediator_record *record)
{
    struct sim_unit *unit = sim_unit_find(sim, record, false);
    bool settled = record->flags & MEDIATOR_RECORD_SETTLED;

    /* With its last wait it may have become one that is not to run. */
    if (!unit || unit->sched.waits == 0 ||
        record->lane != (settled ? SCHED_INSTANT : unit->sched.lane))
        return -EINVAL;
    unit->sched.lane = record->lane;
    unit->sched.settled = unit->sched.settled || settled;
    scheduler_satisfied(&sim->scheduler, &unit->sched);
    return 0;
}

static int settle(struct mediator_simulator *sim, const struct mediator_record *record)
{
    struct sim_unit *unit = sim_unit_find(sim, record, false);

    if (!unit)
        return -EINVAL;
    scheduler_settle(&sim->scheduler, &unit->sched);
    return 0;
}

static int cancel(struct mediator_simulator *sim, const struct mediator_record *record)
{
    struct sim_unit *unit = sim_unit_find(sim, record, false);

    if (!unit)
        return -EINVAL;
    scheduler_cancel(&sim->scheduler, &unit->sched);
    sim_unit_forget(sim, unit);
    return 0;
}

/* Is another one queued where a unit that comes back would stand? */
static bool place_taken(const struct sched_unit *unit)
{
    const struct sched_unit *at = unit->stream->head;

    while (at && (int64_t)(at->seq - unit->seq) < 0)
        at = at->next;
    return at && at->seq == unit->seq;
}

static int come_back(struct mediator_simulator *sim, const struct mediator_record *record)
{
    struct sim_unit *unit = sim_unit_find(sim, record, true);

    if (!unit || record->cost_ns > SIM_COST_MAX_NS || record->lane >= SCHED_LANES ||
        (record->type == MEDIATOR_RECORD_RETURN && place_taken(&unit->sched)))
        return -EINVAL;
    sim->in_flight--;
    unit->in_flight = false;
    if (record->type == MEDIATOR_RECORD_RETURN) {
        unit->sched.lane = record->lane;
        scheduler_return(&sim->scheduler, &unit->sched, record->cost_ns, record->now_ns);
    } else {
        scheduler_complete(&sim->scheduler, &unit->sched, record->cost_ns, record->now_ns);
        sim_unit_forget(sim, unit);
    }
    return 0;
}

/* ---- decisions ---- */

static bool same_decision(const struct mediator_record *a, const struct mediator_record *b)
{
    return a->flags == b->flags && a->vm == b->vm && a->stream == b->stream && a->unit == b->unit &&
           a->seq == b->seq && a->cost_ns == b->cost_ns;
}

/* A record of a decision as it is before the decision, made from one that has it. */
static struct mediator_record undecided(const struct mediator_record *record)
{
    struct mediator_record asked = {
        .type = record->type, .lane = record->lane, .now_ns = record->now_ns};

    if (record->type != MEDIATOR_RECORD_PICK)
        asked.vm = record->vm;
    if (record->type == MEDIATOR_RECORD_TAKE_INSTANT)
        asked.stream = record->stream;
    return asked;
}

static int decide(struct mediator_simulator *sim, struct mediator_record *record, bool compare)
{
    struct mediator_record mine = undecided(record);
    struct sim_stream *stream;
    struct sim_vm *vm;
    struct sched_unit *unit;

    if (record->lane >= SCHED_LANES)
        return -EINVAL;
    if (record->type == MEDIATOR_RECORD_TAKE_INSTANT) {
        stream = (struct sim_stream *)sim_find(&sim->table, SIM_STREAM, mine.vm, mine.stream);
        unit = stream ? scheduler_take_instant(&sim->scheduler, &stream->sched) : NULL;
    } else if (sim->in_flight == SIM_IN_FLIGHT_MAX) {
        return -EINVAL;
    } else if (record->type == MEDIATOR_RECORD_PICK_MORE) {
        vm = sim_vm_find(sim, mine.vm);
        if (!vm)
            return -EINVAL;
        unit = scheduler_pick_more(&sim->scheduler, (enum sched_lane)mine.lane, &vm->sched,
                                   mine.now_ns);
    } else {
        unit = scheduler_pick(&sim->scheduler, (enum sched_lane)mine.lane, mine.now_ns);
    }
    record_decision(&sim_names, unit, &mine);
    if (unit && record->type == MEDIATOR_RECORD_TAKE_INSTANT) {
        sim_unit_forget(sim, sim_unit_of(unit));
    } else if (unit) {
        sim_unit_of(unit)->in_flight = true;
        sim->in_flight++;
    }
    if (compare)
        return same_decision(&mine, record) ? 0 : -EILSEQ;
    *record = mine;
    return 0;
}

/* ---- the contract ---- */

static int apply_one(struct mediator_simulator *sim, struct mediator_record *record, bool compare)
{
    switch (record->type) {
    case MEDIATOR_RECORD_CONFIG:
        return sim_config(sim, record);
    case MEDIATOR_RECORD_POOL_ADD:
        return sim_pool_add(sim, record);
    case MEDIATOR_RECORD_POOL_SET:
        return sim_pool_set(sim, record);
    case MEDIATOR_RECORD_POOL_REMOVE:
        return sim_pool_remove(sim, record);
    case MEDIATOR_RECORD_VM_INIT:
        return sim_vm_add(sim, record);
    case MEDIATOR_RECORD_VM_SET:
        return sim_vm_set(sim, record);
    case MEDIATOR_RECORD_VM_BLOCK:
        return sim_vm_block(sim, record);
    case MEDIATOR_RECORD_STREAM_INIT:
        return sim_stream_init(sim, record);
    case MEDIATOR_RECORD_PUSH:
        return push(sim, record);
    case MEDIATOR_RECORD_SATISFIED:
        return satisfied(sim, record);
    case MEDIATOR_RECORD_ADOPT:
        return adopt(sim, record);
    case MEDIATOR_RECORD_RETURN:
    case MEDIATOR_RECORD_COMPLETE:
        return come_back(sim, record);
    case MEDIATOR_RECORD_PICK:
    case MEDIATOR_RECORD_PICK_MORE:
    case MEDIATOR_RECORD_TAKE_INSTANT:
        return decide(sim, record, compare);
    case MEDIATOR_RECORD_CANCEL:
        return cancel(sim, record);
    case MEDIATOR_RECORD_SETTLE:
        return settle(sim, record);
    case MEDIATOR_RECORD_GAP:
        return -ENODATA;
    default:
        return -EINVAL;
    }
}

static bool has_clock(const struct mediator_record *record)
{
    return record->type == MEDIATOR_RECORD_PICK || record->type == MEDIATOR_RECORD_PICK_MORE ||
           record->type == MEDIATOR_RECORD_RETURN || record->type == MEDIATOR_RECORD_COMPLETE;
}

int mediator_simulator_apply(struct mediator_simulator *sim, struct mediator_record *records,
                             uint32_t count, int compare, uint32_t *applied)
{
    int rc = 0;

    for (*applied = 0; rc == 0 && *applied < count; ++*applied) {
        struct mediator_record *record = &records[*applied];

        if (record->type >= MEDIATOR_STATE_BEGIN || sim->in_state || sim->broken) {
            rc = sim_state_apply(sim, record);
        } else if (has_clock(record) && record->now_ns < sim->now_ns) {
            rc = -EINVAL;
        } else {
            if (has_clock(record))
                sim->now_ns = record->now_ns;
            rc = apply_one(sim, record, compare);
        }
        if (rc)
            break;
    }
    return rc;
}

struct mediator_simulator *mediator_simulator_new(void)
{
    const struct sched_config nothing = {0};
    struct mediator_simulator *sim = calloc(1, sizeof(*sim));

    if (sim)
        scheduler_init(&sim->scheduler, &nothing);
    return sim;
}

void mediator_simulator_free(struct mediator_simulator *sim)
{
    if (!sim)
        return;
    sim_forget(sim);
    free(sim);
}
