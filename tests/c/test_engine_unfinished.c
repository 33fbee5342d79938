/*
 * test_engine_unfinished.c - Units that come back unfinished: CONTINUE, NEED_BUILD, BOUNCED
 */
/* sanitizers: address thread */
#include <stddef.h>

#include "engine_scene.h"

static void test_continue(void)
{
    const struct mediator_config config = rig_config();
    struct scene s;
    struct fake_worker worker;
    struct worker_unit unit[4], again;

    scene_new(&s, &config);
    attach(&s, 0, &worker, 1, MEDIATOR_LAUNCH);
    CASE("a unit that used up its budget comes again at its op, before what was behind it");
    for (uint32_t i = 0; i < 3; i++)
        put(&s, 0, i, 0);
    for (int i = 0; i < 3; i++)
        CHECK(fake_worker_take(&worker, &unit[i], RIG_LONG_MS));
    fake_worker_back(&worker, &unit[0], WORKER_CONTINUE, 5);
    fake_worker_back(&worker, &unit[1], WORKER_BOUNCED, 0);
    CHECK(nothing_for(&worker, &s, 0)); /* not before all of them are back */
    fake_worker_back(&worker, &unit[2], WORKER_BOUNCED, 0);
    for (int i = 0; i < 3; i++) {
        CHECK(fake_worker_take(&worker, &again, RIG_LONG_MS));
        CHECK(again.token == unit[i].token && again.first_op == (i ? 0 : 5));
        fake_worker_done(&worker, &again, VGPU_OK);
        CHECK(got(&s, 0, (uint64_t)i, VGPU_OK));
    }

    CASE("another stream of the VM goes on meanwhile");
    put(&s, 0, 10, 0);
    put(&s, 0, 11, 0);
    CHECK(fake_worker_take(&worker, &unit[0], RIG_LONG_MS));
    CHECK(fake_worker_take(&worker, &unit[1], RIG_LONG_MS));
    fake_worker_back(&worker, &unit[0], WORKER_CONTINUE, 1);
    put(&s, 0, 12, 1);
    CHECK(fake_worker_take(&worker, &unit[2], RIG_LONG_MS) && unit[2].stream == 1);
    fake_worker_back(&worker, &unit[1], WORKER_BOUNCED, 0);
    fake_worker_done(&worker, &unit[2], VGPU_OK);
    CHECK(got(&s, 0, 12, VGPU_OK));

    CASE("an unfinished unit of a client that is gone is not sent again, nor is its worker blamed");
    CHECK(fake_worker_take(&worker, &unit[0], RIG_LONG_MS));
    CHECK(fake_worker_take(&worker, &unit[1], RIG_LONG_MS));
    rig_ring_leave(&s.ring[0]);
    CHECK(RIG_UNTIL(s.m, &s.vm[0], ring_connected, 0));
    CHECK(rig_ring_attach(&s.ring[0], &s.vm[0]));
    CHECK(rig_ring_accept(&s.ring[0], 1u << VGPU_FEATURE_STREAMS) == VGPU_DEVICE_OK);
    put(&s, 0, 20, 0);
    CHECK(fake_worker_take(&worker, &unit[2], RIG_LONG_MS));
    CHECK(unit[2].generation == unit[1].generation + 1);
    fake_worker_back(&worker, &unit[0], WORKER_CONTINUE, 2);
    fake_worker_back(&worker, &unit[1], WORKER_BOUNCED, 0);
    fake_worker_back(&worker, &unit[2], WORKER_BOUNCED, 0);
    CHECK(fake_worker_take(&worker, &again, RIG_LONG_MS) && again.token == unit[2].token);
    CHECK(!rig_stats(s.m, &s.vm[0]).worker_doomed[0]);
    fake_worker_done(&worker, &again, VGPU_OK);
    CHECK(got(&s, 0, 20, VGPU_OK) && rig_stats(s.m, &s.vm[0]).running == 0);
    scene_free(&s);
    fake_worker_free(&worker);
}

static void test_build(void)
{
    const struct mediator_config config = rig_config();
    struct mediator_event event;
    struct scene s;
    struct fake_worker worker, builder;
    struct worker_unit unit, build, again;

    scene_new(&s, &config);
    attach(&s, 0, &worker, 1, MEDIATOR_LAUNCH);
    CASE("a unit that needs a build wants a build worker, goes there, and comes back as built");
    put(&s, 0, 1, 0);
    put_nop(&s, 0, 2, 0);
    CHECK(fake_worker_take(&worker, &unit, RIG_LONG_MS) && unit.flags == 0);
    rig_forget_events(s.m);
    fake_worker_back(&worker, &unit, WORKER_NEED_BUILD, 3);
    CHECK(rig_event(s.m, MEDIATOR_WORKERS, &event) && event.a == MEDIATOR_BUILD);
    attach(&s, 0, &builder, 2, MEDIATOR_BUILD);
    CHECK(fake_worker_take(&builder, &build, RIG_LONG_MS));
    CHECK(build.token == unit.token && build.first_op == 3);

    CASE("a build does not hold the device");
    CHECK(works(&s, 0, &worker));
    fake_worker_done(&builder, &build, VGPU_OK);
    CHECK(fake_worker_take(&worker, &again, RIG_LONG_MS));
    CHECK(again.token == unit.token && again.first_op == 3 && again.flags == WORKER_UNIT_BUILT);
    fake_worker_done(&worker, &again, VGPU_OK);
    CHECK(got(&s, 0, 1, VGPU_OK) && got(&s, 0, 2, VGPU_OK));
    CHECK(rig_stats(s.m, &s.vm[0]).build_ns > 0);

    CASE("a build that could not be done is the answer");
    put(&s, 0, 3, 0);
    CHECK(fake_worker_take(&worker, &unit, RIG_LONG_MS));
    fake_worker_back(&worker, &unit, WORKER_NEED_BUILD, 0);
    CHECK(fake_worker_take(&builder, &build, RIG_LONG_MS));
    fake_worker_done(&builder, &build, VGPU_NO_MEMORY);
    CHECK(got(&s, 0, 3, VGPU_NO_MEMORY));

    CASE("a build for which there is no worker is answered NO_CONTEXT");
    CHECK(mediator_worker_gone(s.m, s.vm[0].handle, MEDIATOR_BUILD, 0, 0) == 0);
    put(&s, 0, 4, 0);
    CHECK(fake_worker_take(&worker, &unit, RIG_LONG_MS));
    fake_worker_back(&worker, &unit, WORKER_NEED_BUILD, 0);
    CHECK(RIG_UNTIL(s.m, &s.vm[0], queued, 1));
    CHECK(mediator_worker_refused(s.m, s.vm[0].handle, MEDIATOR_BUILD, 1) == 0);
    CHECK(got(&s, 0, 4, VGPU_NO_CONTEXT) && works(&s, 0, &worker));

    CASE("what the launch worker has begun is lost with it, what it has not seen is not");
    put(&s, 0, 5, 0);
    put(&s, 0, 6, 0);
    CHECK(fake_worker_take(&worker, &unit, RIG_LONG_MS));
    CHECK(fake_worker_take(&worker, &again, RIG_LONG_MS));
    fake_worker_back(&worker, &unit, WORKER_NEED_BUILD, 0);
    fake_worker_back(&worker, &again, WORKER_BOUNCED, 0);
    CHECK(RIG_UNTIL(s.m, &s.vm[0], queued, 2));
    CHECK(mediator_worker_gone(s.m, s.vm[0].handle, MEDIATOR_LAUNCH, 0, 0) == 0);
    CHECK(got(&s, 0, 5, VGPU_DEVICE_LOST) && rig_stats(s.m, &s.vm[0]).queued == 1);
    fake_worker_free(&worker);
    attach(&s, 0, &worker, 4, MEDIATOR_LAUNCH);
    CHECK(fake_worker_take(&worker, &again, RIG_LONG_MS) && again.first_op == 0);
    fake_worker_done(&worker, &again, VGPU_OK);
    CHECK(got(&s, 0, 6, VGPU_OK));
    scene_free(&s);
    fake_worker_free(&worker);
    fake_worker_free(&builder);
}

int main(void)
{
    test_continue();
    test_build();
    return check_done();
}
