/*
 * test_explain.c - An engine says why a request waits
 */
/* sanitizers: address thread */
#include <errno.h>
#include <stddef.h>

#include "engine_scene.h"

#define OLDEST UINT64_MAX

/* What the engine says of a VM's request; one that it knows nothing of holds nothing. */
static struct mediator_explanation explain(struct scene *s, int i, uint64_t seq)
{
    struct mediator_explanation e = {.hold = UINT32_MAX};

    CHECK(mediator_explain(s->m, s->vm[i].handle, seq, &e) == 0);
    return e;
}

int main(void)
{
    struct mediator_config config = rig_config();
    struct mediator_explanation e;
    struct scene s;
    struct fake_worker worker[2];
    struct worker_unit unit;
    uint64_t first;

    config.units_in_flight = 1;
    scene_new(&s, &config);
    CASE("of a VM that is not there, or has nothing queued, there is nothing to say");
    CHECK(mediator_explain(s.m, 99, OLDEST, &e) == -ENOENT);
    CHECK(mediator_explain(s.m, s.vm[0].handle, OLDEST, &e) == -ENODATA);

    CASE("a request of a VM without a worker waits for one");
    for (uint32_t i = 0; i < 3; i++)
        put(&s, 0, i, 0);
    CHECK(RIG_UNTIL(s.m, &s.vm[0], queued, 3));
    e = explain(&s, 0, OLDEST);
    first = e.seq;
    CHECK(e.hold == MEDIATOR_HOLD_NO_WORKER && e.lane == 0 && e.wait_ns == UINT64_MAX);
    CHECK(e.running == 0 && e.units_ahead == 0);

    CASE("what is out is part of the wait, and those before it in the stream");
    attach(&s, 0, &worker[0], 1, MEDIATOR_LAUNCH);
    CHECK(fake_worker_take(&worker[0], &unit, RIG_LONG_MS));
    e = explain(&s, 0, first + 2);
    CHECK(e.hold == MEDIATOR_HOLD_STREAM && e.stream_ahead == 1 && e.seq == first + 2);
    CHECK(e.running == 1 && e.wait_ns == 2 * 50000);
    CHECK(explain(&s, 0, OLDEST).hold == MEDIATOR_HOLD_NOTHING);
    CHECK(explain(&s, 0, OLDEST).seq == first + 1 && explain(&s, 0, OLDEST).wait_ns == 50000);
    CHECK(mediator_explain(s.m, s.vm[0].handle, first, &e) == -ENODATA); /* it runs */

    CASE("a VM of a lower priority waits for the higher one");
    attach(&s, 1, &worker[1], 2, MEDIATOR_LAUNCH);
    s.vm[1].identity.priority = 0;
    CHECK(mediator_vm_set(s.m, s.vm[1].handle, &s.vm[1].identity) == 0);
    put(&s, 1, 7, 0);
    CHECK(RIG_UNTIL(s.m, &s.vm[1], queued, 1));
    e = explain(&s, 1, OLDEST);
    CHECK(e.hold == MEDIATOR_HOLD_CLASS && e.vms_ahead == 1 && e.units_ahead == 2);
    CHECK(e.wait_ns == 3 * 50000);

    CASE("a disabled pool, and none at all, hold it for an unknown time");
    CHECK(mediator_pool_set(s.m, 'A', 50, 0) == 0);
    e = explain(&s, 1, OLDEST);
    CHECK(e.hold == MEDIATOR_HOLD_POOL_DISABLED && e.wait_ns == UINT64_MAX);
    s.vm[1].identity.pool_id = 0;
    CHECK(mediator_vm_set(s.m, s.vm[1].handle, &s.vm[1].identity) == 0);
    CHECK(explain(&s, 1, OLDEST).hold == MEDIATOR_HOLD_NO_POOL);
    s.vm[1].identity.pool_id = 'B';
    CHECK(mediator_vm_set(s.m, s.vm[1].handle, &s.vm[1].identity) == 0);
    CHECK(mediator_pool_set(s.m, 'A', 50, 1) == 0);

    CASE("while the engine drains, that is what holds everything");
    CHECK(mediator_drain(s.m, 0) == 0);
    e = explain(&s, 0, OLDEST);
    CHECK(e.hold == MEDIATOR_HOLD_DRAINING && e.wait_ns == UINT64_MAX);
    scene_free(&s);
    fake_worker_free(&worker[0]);
    fake_worker_free(&worker[1]);
    return check_done();
}
