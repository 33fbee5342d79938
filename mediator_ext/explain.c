/*
 * explain.c - Why a request of a VM waits, as the engine knows it
 *
 * Theory of operation
 *
 * The scheduler explains a unit by its rules (sched_explain.c). The engine finds the unit, and knows
 * what the scheduler does not: that it drains, and what is out in the lane, which is taken to need as
 * long again as its VM's units did lately. Builds run beside each other, max_builds of them.
 */
#include "engine.h"

#include <errno.h>

#include "tenants.h"

_Static_assert((int)SCHED_HOLD_NOTHING == (int)MEDIATOR_HOLD_NOTHING &&
                   (int)SCHED_HOLD_BLOCKED == (int)MEDIATOR_HOLD_NO_WORKER &&
                   (int)SCHED_HOLD_CLASS == (int)MEDIATOR_HOLD_CLASS &&
                   (int)SCHED_HOLD_STREAMS == (int)MEDIATOR_HOLD_STREAMS,
               "what holds a unit has one number");
_Static_assert(SCHED_UNKNOWN_NS == UINT64_MAX, "an unknown wait has one number");

struct explain_call {
    uint32_t handle;
    uint64_t seq;
    struct mediator_explanation *out;
};

/* The queued unit of a number, or with UINT64_MAX the oldest; heads are the oldest of their streams. */
static const struct sched_unit *find_unit(const struct vm *vm, uint64_t seq)
{
    const struct sched_unit *found = NULL;

    for (uint64_t left = vm->streams_used; left; left &= left - 1) {
        const struct sched_unit *unit = vm->stream[__builtin_ctzll(left)].sched.head;

        while (unit && seq != UINT64_MAX && unit->seq != seq)
            unit = unit->next;
        if (unit && (!found || unit->seq < found->seq))
            found = unit;
    }
    return found;
}

static uint64_t estimate_of(const struct vm *vm, enum sched_lane lane)
{
    return vm->sched.party[lane].estimate_ns;
}

/* Add what is out in the lane. */
static void add_running(const struct mediator *m, struct mediator_explanation *out)
{
    if (out->lane == SCHED_EXEC && m->device.vm) {
        out->running = m->device.in_flight;
        out->wait_ns += out->running * estimate_of(m->device.vm, SCHED_EXEC);
    } else if (out->lane == SCHED_BUILD) {
        out->running = m->builds;
        for (uint32_t i = 0; m->builds >= m->config.max_builds && i < m->builds; i++)
            out->wait_ns += estimate_of(m->building[i], SCHED_BUILD);
        out->wait_ns /= m->config.max_builds;
    }
}

static int call_explain(struct mediator *m, void *argument)
{
    const struct explain_call *call = argument;
    struct mediator_explanation *out = call->out;
    const struct vm *vm = tenants_vm(m, call->handle);
    const struct sched_unit *unit = vm ? find_unit(vm, call->seq) : NULL;
    uint64_t now_ns = engine_now_ns();
    struct sched_explanation said;

    if (!unit)
        return vm ? -ENODATA : -ENOENT;
    scheduler_explain(&m->scheduler, unit, now_ns, &said);
    *out = (struct mediator_explanation){
        .hold = m->draining ? MEDIATOR_HOLD_DRAINING : (uint32_t)said.hold,
        .lane = unit->lane,
        .seq = unit->seq,
        .waited_ns = now_ns - unit->arrival_ns,
        .wait_ns = m->draining ? UINT64_MAX : said.wait_ns,
        .units_ahead = said.units_ahead,
        .stream_ahead = said.stream_ahead,
        .vms_ahead = said.vms_ahead,
        .pools_ahead = said.pools_ahead,
    };
    if (out->wait_ns != UINT64_MAX)
        add_running(m, out);
    return 0;
}

int mediator_explain(struct mediator *m, uint32_t handle, uint64_t seq,
                     struct mediator_explanation *out)
{
    struct explain_call call = {.handle = handle, .seq = seq, .out = out};

    return control_call(&m->control, call_explain, &call);
}
