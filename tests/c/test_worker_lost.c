/*
 * test_worker_lost.c - Work whose worker, build or pool is lost at a bad moment: it ends all the same
 */
/* sanitizers: address thread */
#include <unistd.h>

#include "engine_scene.h"
#include "stub_guest.h"
#include "worker/interrupted.h"

/* The launch worker crashes while a build of its VM is under way, and the builder is then ended. */
static void test_crash_during_build(void)
{
    const struct mediator_config config = rig_config();
    struct fake_worker launch, build, fresh;
    struct worker_unit unit;
    struct scene s;

    CASE(
        "a launch worker that dies during a build: what was built is lost, what is behind goes on");
    scene_new(&s, &config);
    attach(&s, 0, &launch, 1, MEDIATOR_LAUNCH);
    attach(&s, 0, &build, 2, MEDIATOR_BUILD);
    put(&s, 0, 1, 5);
    CHECK(fake_worker_take(&launch, &unit, RIG_LONG_MS));
    fake_worker_back(&launch, &unit, WORKER_NEED_BUILD, 0);
    CHECK(fake_worker_take(&build, &unit, RIG_LONG_MS));
    put(&s, 0, 2, 5);
    CHECK(RIG_UNTIL(s.m, &s.vm[0], queued, 1));
    CHECK(mediator_worker_gone(s.m, s.vm[0].handle, MEDIATOR_LAUNCH, 1, 11) == 0);
    CHECK(mediator_worker_gone(s.m, s.vm[0].handle, MEDIATOR_BUILD, 0, 9) == 0);
    CHECK(got(&s, 0, 1, VGPU_DEVICE_LOST));
    CHECK(rig_stats(s.m, &s.vm[0]).worker_wanted[MEDIATOR_LAUNCH]);
    attach(&s, 0, &fresh, 3, MEDIATOR_LAUNCH);
    CHECK(fake_worker_take(&fresh, &unit, RIG_LONG_MS));
    fake_worker_done(&fresh, &unit, VGPU_OK);
    CHECK(got(&s, 0, 2, VGPU_OK));
    scene_free(&s);
    fake_worker_free(&launch);
    fake_worker_free(&build);
    fake_worker_free(&fresh);

    CASE("a build that ends after its launch worker has is not gone on with on a fresh one");
    scene_new(&s, &config);
    attach(&s, 0, &launch, 1, MEDIATOR_LAUNCH);
    attach(&s, 0, &build, 2, MEDIATOR_BUILD);
    put(&s, 0, 1, 5);
    CHECK(fake_worker_take(&launch, &unit, RIG_LONG_MS));
    fake_worker_back(&launch, &unit, WORKER_NEED_BUILD, 1);
    CHECK(fake_worker_take(&build, &unit, RIG_LONG_MS));
    CHECK(mediator_worker_gone(s.m, s.vm[0].handle, MEDIATOR_LAUNCH, 1, 11) == 0);
    fake_worker_done(&build, &unit, VGPU_OK);
    CHECK(rig_stats(s.m, &s.vm[0]).worker_doomed[MEDIATOR_BUILD]);
    CHECK(mediator_worker_gone(s.m, s.vm[0].handle, MEDIATOR_BUILD, 0, 9) == 0);
    CHECK(got(&s, 0, 1, VGPU_DEVICE_LOST));
    scene_free(&s);
    fake_worker_free(&launch);
    fake_worker_free(&build);
}

/* The build worker ends while what was sent behind the build has not come back yet. */
static void test_builder_dies_early(void)
{
    const struct mediator_config config = rig_config();
    struct fake_worker launch, build;
    struct worker_unit first, second, unit;
    struct vgpu_completion completion;
    struct scene s;

    CASE("a builder that dies while a bounced unit is still out leaves nothing hanging");
    scene_new(&s, &config);
    attach(&s, 0, &launch, 1, MEDIATOR_LAUNCH);
    attach(&s, 0, &build, 2, MEDIATOR_BUILD);
    put(&s, 0, 1, 5);
    put(&s, 0, 2, 5);
    CHECK(fake_worker_take(&launch, &first, RIG_LONG_MS));
    CHECK(fake_worker_take(&launch, &second, RIG_LONG_MS));
    fake_worker_back(&launch, &first, WORKER_NEED_BUILD, 0);
    CHECK(RIG_UNTIL(s.m, &s.vm[0], running, 1));
    CHECK(mediator_worker_gone(s.m, s.vm[0].handle, MEDIATOR_BUILD, 1, 11) == 0);
    fake_worker_back(&launch, &second, WORKER_BOUNCED, 0);
    CHECK(RIG_UNTIL(s.m, &s.vm[0], worker_wanted[MEDIATOR_BUILD], 1));
    CHECK(mediator_worker_refused(s.m, s.vm[0].handle, MEDIATOR_BUILD, 1000) == 0);
    CHECK(rig_ring_take(&s.ring[0], 0, &completion, RIG_LONG_MS));
    CHECK(completion.cookie == 1 && completion.status != VGPU_OK);
    CHECK(fake_worker_take(&launch, &unit, RIG_LONG_MS) && unit.reply_head == 2);
    fake_worker_done(&launch, &unit, VGPU_OK);
    CHECK(got(&s, 0, 2, VGPU_OK));
    scene_free(&s);
    fake_worker_free(&launch);
    fake_worker_free(&build);
}

static void test_begun_in_disabled_pool(void)
{
    struct mediator_config config = rig_config();
    struct fake_worker launch;
    struct worker_unit unit;
    struct scene s;

    CASE("a command that was begun and whose pool is disabled waits, but not for ever");
    config.queue_timeout_ms = 100;
    scene_new(&s, &config);
    attach(&s, 0, &launch, 1, MEDIATOR_LAUNCH);
    put(&s, 0, 1, 5);
    CHECK(fake_worker_take(&launch, &unit, RIG_LONG_MS));
    CHECK(mediator_pool_set(s.m, 'A', 50, 0) == 0);
    fake_worker_back(&launch, &unit, WORKER_CONTINUE, 1);
    CHECK(got(&s, 0, 1, VGPU_TIMEOUT));

    CASE("and the next command of its stream runs");
    CHECK(mediator_pool_set(s.m, 'A', 50, 1) == 0);
    CHECK(works(&s, 0, &launch));
    scene_free(&s);
    fake_worker_free(&launch);
}

/* Both ways in of a VM are served by one worker, which keeps order by pair and stream. */
static void test_both_ways_in(void)
{
    const struct mediator_config config = rig_config();
    struct interrupted table = {.count = 0};
    uint8_t frame[FRAME_MAX];
    const uint32_t params[2] = {1, 2};
    struct fake_worker launch;
    struct worker_unit unit;
    struct scene s;
    int client;

    CASE("a vector add that needs a build does not hold back a ring's stream of the same number");
    scene_new(&s, &config);
    client = rig_connect(s.vm[0].stub_path);
    CHECK(rig_send(client, frame, rig_request(frame, 1, WIRE_OP_VECTOR_ADD, params, 2)));
    CHECK(RIG_UNTIL(s.m, &s.vm[0], queued, 1));
    put(&s, 0, 2, 0);
    CHECK(RIG_UNTIL(s.m, &s.vm[0], queued, 2));
    attach(&s, 0, &launch, 1, MEDIATOR_LAUNCH);
    for (uint32_t i = 0; i < 2; i++) {
        CHECK(fake_worker_take(&launch, &unit, RIG_LONG_MS));
        if (interrupted_blocks(&table, &unit)) {
            fake_worker_back(&launch, &unit, WORKER_BOUNCED, 0);
        } else if (unit.kind == WORKER_UNIT_VECTOR_ADD) {
            interrupted_add(&table, &unit, i);
            fake_worker_back(&launch, &unit, WORKER_NEED_BUILD, 0);
        } else {
            fake_worker_done(&launch, &unit, VGPU_OK);
        }
    }
    CHECK(got(&s, 0, 2, VGPU_OK));
    CHECK(!rig_stats(s.m, &s.vm[0]).worker_doomed[MEDIATOR_LAUNCH]);
    CHECK(rig_stats(s.m, &s.vm[0]).faults == 0);
    close(client);
    scene_free(&s);
    fake_worker_free(&launch);
}

static void test_event_flood(void)
{
    const struct mediator_config config = rig_config();
    struct mediator_event events[64];
    struct mediator_stats stats;
    struct rig_answer answer;
    uint8_t frame[FRAME_MAX];
    struct scene s;
    int client, told = 0, count;

    CASE("a VM's faults are all counted, and told to the control plane at a bounded rate");
    scene_new(&s, &config);
    rig_forget_events(s.m);
    client = rig_connect(s.vm[0].stub_path);
    for (uint32_t i = 0; i < 1000; i++) {
        CHECK(rig_send(client, frame, rig_frame(frame, 0x99, 0, i, NULL, 0)));
        CHECK(rig_receive(client, &answer));
    }
    CHECK(RIG_UNTIL(s.m, &s.vm[0], faults, 1000));
    while ((count = mediator_events(s.m, events, 64)) > 0)
        for (int i = 0; i < count; i++)
            told += events[i].type == MEDIATOR_FAULT;
    CHECK(told > 0 && told < 200);
    CHECK(mediator_stats(s.m, &stats) == 0 && stats.events_dropped == 0);
    close(client);
    scene_free(&s);
}

int main(void)
{
    test_crash_during_build();
    test_builder_dies_early();
    test_begun_in_disabled_pool();
    test_both_ways_in();
    test_event_flood();
    return check_done();
}
