/*
 * test_quarantine.c - A VM that does too much wrong is kept out, and only a word of outside lets it in
 */
/* sanitizers: address thread */
#include <poll.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

#include "engine_scene.h"
#include "faults.h"
#include "journal_map.h"
#include "stub_guest.h"

#define THRESHOLD 20u

static struct mediator_config strict_config(void)
{
    struct mediator_config config = rig_config();

    config.fault_threshold = THRESHOLD;
    config.fault_half_life_ms = 3600000;
    return config;
}

/* One malformed submission, which weighs one point. */
static void do_wrong(struct scene *s, int i)
{
    const struct vgpu_submission entry = {.cookie = 666, .kind = 0};

    rig_ring_put(&s->ring[i], 0, &entry);
    CHECK(got(s, i, 666, VGPU_INVALID));
}

static void say(struct scene *s, int i, uint32_t number, uint32_t holds)
{
    s->vm[i].identity.quarantine_number = number;
    s->vm[i].identity.quarantined = holds;
    CHECK(mediator_vm_set(s->m, s->vm[i].handle, &s->vm[i].identity) == 0);
}

static bool nop_is(struct scene *s, int i, enum vgpu_status status)
{
    put_nop(s, i, 77, 50);
    return got(s, i, 77, status);
}

static void test_threshold(void)
{
    const struct mediator_config config = strict_config();
    struct mediator_event event;
    struct mediator_vm_stats stats;
    struct scene s;

    scene_new(&s, &config);
    CASE("faults below the threshold change nothing, and are shown as points");
    for (uint32_t i = 0; i < THRESHOLD - 1; i++)
        do_wrong(&s, 0);
    stats = rig_stats(s.m, &s.vm[0]);
    CHECK(stats.fault_points == THRESHOLD - 1 && stats.faults == THRESHOLD - 1);
    CHECK(!stats.quarantined && stats.quarantine_number == 0 && nop_is(&s, 0, VGPU_OK));

    CASE("the one that reaches it quarantines the VM: level state with the reason, and an event");
    rig_forget_events(s.m);
    do_wrong(&s, 0);
    CHECK(rig_event(s.m, MEDIATOR_QUARANTINED, &event) && event.vm == s.vm[0].handle);
    CHECK(event.a == MEDIATOR_FAULT_ENTRY && event.b == THRESHOLD);
    stats = rig_stats(s.m, &s.vm[0]);
    CHECK(stats.quarantined && stats.quarantine_number == 1);
    CHECK(stats.quarantine_fault == MEDIATOR_FAULT_ENTRY && stats.quarantine_points == THRESHOLD);
    CHECK(stats.quarantine_since_s > 1600000000);

    CASE("from then on its requests are refused, whatever they are, and no other VM notices");
    CHECK(nop_is(&s, 0, VGPU_QUARANTINED));
    put(&s, 0, 3, 0);
    CHECK(got(&s, 0, 3, VGPU_QUARANTINED));
    CHECK(nop_is(&s, 1, VGPU_OK));

    CASE("further faults of it are counted, but neither told nor added up");
    rig_forget_events(s.m);
    do_wrong(&s, 0);
    stats = rig_stats(s.m, &s.vm[0]);
    CHECK(stats.faults == THRESHOLD + 1 && stats.fault_points == THRESHOLD);
    CHECK(mediator_events(s.m, &event, 1) == 0);

    CASE("no change of limits, and no older word, lifts it");
    s.vm[0].identity.max_rate = 5;
    say(&s, 0, 0, 0);
    CHECK(mediator_set_config(s.m, &config) == 0);
    CHECK(nop_is(&s, 0, VGPU_QUARANTINED));

    CASE("word of this very one does, and its faults are forgotten");
    say(&s, 0, 1, 0);
    CHECK(nop_is(&s, 0, VGPU_OK));
    stats = rig_stats(s.m, &s.vm[0]);
    CHECK(!stats.quarantined && stats.fault_points == 0 && stats.quarantine_number == 1);

    CASE("the next one has the next number");
    s.vm[0].identity.max_rate = 0;
    for (uint32_t i = 0; i < THRESHOLD; i++)
        do_wrong(&s, 0);
    CHECK(rig_stats(s.m, &s.vm[0]).quarantine_number == 2);
    say(&s, 0, 1, 0);
    CHECK(nop_is(&s, 0, VGPU_QUARANTINED));

    CASE("a word of outside quarantines, too, without a fault and without an event");
    rig_forget_events(s.m);
    say(&s, 1, 1, 1);
    CHECK(nop_is(&s, 1, VGPU_QUARANTINED));
    stats = rig_stats(s.m, &s.vm[1]);
    CHECK(stats.quarantined && stats.quarantine_fault == 0 && stats.quarantine_since_s > 0);
    CHECK(mediator_events(s.m, &event, 1) == 0);
    scene_free(&s);
}

static void test_forgotten(void)
{
    struct mediator_config config = strict_config();
    struct mediator_vm_stats stats;
    struct scene s;

    config.fault_half_life_ms = 50;
    scene_new(&s, &config);
    CASE("after a half-life no more than half of a VM's points are left");
    for (uint32_t i = 0; i < THRESHOLD - 1; i++)
        do_wrong(&s, 0);
    (void)poll(NULL, 0, 60); /* time is what this is about */
    stats = rig_stats(s.m, &s.vm[0]);
    CHECK(stats.fault_points <= THRESHOLD / 2 && stats.faults == THRESHOLD - 1);

    CASE("so one that erred long ago is not quarantined for one fault more, nor for a few");
    for (uint32_t i = 0; i < THRESHOLD / 2 - 1; i++)
        do_wrong(&s, 0);
    CHECK(nop_is(&s, 0, VGPU_OK) && !rig_stats(s.m, &s.vm[0]).quarantined);

    CASE("after very many nothing is left");
    config.fault_half_life_ms = 1;
    CHECK(mediator_set_config(s.m, &config) == 0);
    (void)poll(NULL, 0, 60);
    CHECK(rig_stats(s.m, &s.vm[0]).fault_points == 0);
    scene_free(&s);
}

static void test_off(void)
{
    struct mediator_config config = rig_config();
    struct scene s;

    config.fault_half_life_ms = 1000;
    scene_new(&s, &config);
    CASE("with a threshold of 0 nobody is ever quarantined");
    for (int i = 0; i < 300; i++)
        do_wrong(&s, 0);
    CHECK(rig_stats(s.m, &s.vm[0]).faults == 300 && nop_is(&s, 0, VGPU_OK));

    CASE("a threshold that is set later counts what there was, at the next fault");
    config = strict_config();
    CHECK(mediator_set_config(s.m, &config) == 0);
    CHECK(nop_is(&s, 0, VGPU_OK));

    CASE("a threshold without a half-life, or beyond what is counted, is no configuration");
    config.fault_half_life_ms = 0;
    CHECK(mediator_set_config(s.m, &config) < 0);
    config = strict_config();
    config.fault_threshold = FAULT_POINTS_MAX + 1;
    CHECK(mediator_set_config(s.m, &config) < 0);
    scene_free(&s);
}

static void test_what_waits(void)
{
    const struct mediator_config config = strict_config();
    struct fake_worker worker;
    struct worker_unit unit[8];
    struct rig_answer answer;
    struct scene s;
    uint8_t frame[FRAME_MAX];
    int client;

    scene_new(&s, &config);
    client = rig_connect(s.vm[0].stub_path);
    attach(&s, 0, &worker, 1, MEDIATOR_LAUNCH);
    CASE("what is queued is answered QUARANTINED, in the order of its stream, on every way in");
    for (uint32_t i = 0; i < 11; i++)
        put(&s, 0, i, 0);
    for (int i = 0; i < 8; i++)
        CHECK(fake_worker_take(&worker, &unit[i], RIG_LONG_MS));
    CHECK(
        rig_send(client, frame, rig_request(frame, 5, WIRE_OP_VECTOR_ADD, (uint32_t[]){1, 2}, 2)));
    CHECK(RIG_UNTIL(s.m, &s.vm[0], queued, 4));
    say(&s, 0, 1, 1);
    for (uint32_t i = 8; i < 11; i++)
        CHECK(got(&s, 0, i, VGPU_QUARANTINED));
    CHECK(rig_receive(client, &answer) && answer.header.type == WIRE_QUARANTINED);
    CHECK(answer.header.request_id == 5 && answer.header.payload_len == 0);
    CHECK(rig_stats(s.m, &s.vm[0]).queued == 0 && rig_stats(s.m, &s.vm[0]).running == 8);

    CASE("what runs is not cut: it ends and is answered, and its worker stays");
    fake_worker_done(&worker, &unit[0], VGPU_OK);
    CHECK(got(&s, 0, 0, VGPU_OK));
    CHECK(!rig_stats(s.m, &s.vm[0]).worker_doomed[0] && rig_stats(s.m, &s.vm[0]).worker_pid[0]);

    CASE("a chain ends at its next op instead of going on, also one that was to be built");
    fake_worker_back(&worker, &unit[1], WORKER_CONTINUE, 3);
    CHECK(got(&s, 0, 1, VGPU_QUARANTINED));
    for (int i = 2; i < 8; i++)
        fake_worker_back(&worker, &unit[i], WORKER_BOUNCED, 0);
    for (uint32_t i = 2; i < 8; i++)
        CHECK(got(&s, 0, i, VGPU_QUARANTINED));
    CHECK(rig_stats(s.m, &s.vm[0]).running == 0 && rig_stats(s.m, &s.vm[0]).queued == 0);

    CASE("over version 1 a new request is answered with a QUARANTINED frame, a PING with a PONG");
    CHECK(rig_send(client, frame, rig_request(frame, 6, WIRE_OP_NOP, NULL, 0)));
    CHECK(rig_receive(client, &answer) && answer.header.type == WIRE_QUARANTINED &&
          answer.header.request_id == 6);
    CHECK(rig_send(client, frame, rig_frame(frame, WIRE_PING, 0, 0, NULL, 0)));
    CHECK(rig_receive(client, &answer) && answer.header.type == WIRE_PONG);

    CASE("once it is lifted the VM goes on with the worker it had, over the connections it had");
    say(&s, 0, 1, 0);
    CHECK(works(&s, 0, &worker) && nop_works(client, 7));
    close(client);
    scene_free(&s);
    fake_worker_free(&worker);
}

static void test_by_workers(void)
{
    struct mediator_config config = strict_config();
    struct fake_worker worker;
    struct worker_unit unit;
    struct mediator_event event;
    struct scene s;

    config.run_timeout_ms = 50;
    config.units_in_flight = 1;
    scene_new(&s, &config);
    CASE("two units that ran too long are enough here; what waits behind the second is answered");
    for (uint32_t i = 1; i <= 3; i++)
        put(&s, 0, i, i);
    for (uint32_t i = 1; i <= 2; i++) {
        attach(&s, 0, &worker, i, MEDIATOR_LAUNCH);
        CHECK(fake_worker_take(&worker, &unit, RIG_LONG_MS));
        CHECK(rig_event(s.m, MEDIATOR_FAULT, &event) && event.a == MEDIATOR_FAULT_RUN_TIMEOUT);
        if (i == 2)
            CHECK(got(&s, 0, 3, VGPU_QUARANTINED));
        CHECK(mediator_worker_gone(s.m, s.vm[0].handle, MEDIATOR_LAUNCH, 0, 0) == 0);
        CHECK(got(&s, 0, i, VGPU_TIMEOUT));
        fake_worker_free(&worker);
    }
    CHECK(rig_stats(s.m, &s.vm[0]).quarantine_fault == MEDIATOR_FAULT_RUN_TIMEOUT);

    CASE("a quarantined VM wants no worker");
    CHECK(!rig_stats(s.m, &s.vm[0]).worker_wanted[0] && !rig_stats(s.m, &s.vm[0]).worker_wanted[1]);

    CASE("a worker that dies of its work counts, and what it had is DEVICE_LOST, what waited "
         "QUARANTINED");
    for (uint32_t i = 0; i < 2; i++) {
        attach(&s, 1, &worker, 20 + i, MEDIATOR_LAUNCH);
        put(&s, 1, 1, 0);
        CHECK(fake_worker_take(&worker, &unit, RIG_LONG_MS));
        CHECK(mediator_worker_gone(s.m, s.vm[1].handle, MEDIATOR_LAUNCH, 1, 11) == 0);
        CHECK(got(&s, 1, 1, VGPU_DEVICE_LOST));
        fake_worker_free(&worker);
    }
    CHECK(rig_stats(s.m, &s.vm[1]).quarantine_fault == MEDIATOR_FAULT_CRASH);
    CHECK(nop_is(&s, 1, VGPU_QUARANTINED));
    scene_free(&s);
}

static void test_no_faults(void)
{
    const struct mediator_config config = strict_config();
    struct fake_worker worker;
    struct worker_unit unit;
    struct rig_answer answer;
    struct scene s;
    uint8_t frame[FRAME_MAX];
    int client;

    scene_new(&s, &config);
    client = rig_connect(s.vm[0].stub_path);
    attach(&s, 0, &worker, 1, MEDIATOR_LAUNCH);
    CASE("an error of the guest's program, a refusal, or what is not offered are no faults");
    put(&s, 0, 1, 0);
    CHECK(fake_worker_take(&worker, &unit, RIG_LONG_MS));
    fake_worker_done(&worker, &unit, VGPU_BUILD_FAILED);
    CHECK(got(&s, 0, 1, VGPU_BUILD_FAILED));
    put(&s, 0, 1, 0);
    CHECK(fake_worker_take(&worker, &unit, RIG_LONG_MS));
    fake_worker_done(&worker, &unit, VGPU_INVALID);
    CHECK(got(&s, 0, 1, VGPU_INVALID));
    rig_ring_put(&s.ring[0], 0, &(struct vgpu_submission){.cookie = 2, .kind = VGPU_KIND_QUERY});
    CHECK(got(&s, 0, 2, VGPU_UNSUPPORTED));
    CHECK(rig_send(client, frame, rig_request(frame, 3, 0x1234, NULL, 0)));
    CHECK(answered(client, 3, WIRE_UNSUPPORTED, &answer));
    CHECK(mediator_pool_set(s.m, 'A', 50, 0) == 0);
    CHECK(nop_is(&s, 0, VGPU_POOL_DISABLED));
    CHECK(rig_stats(s.m, &s.vm[0]).faults == 0 && rig_stats(s.m, &s.vm[0]).fault_points == 0);
    close(client);
    scene_free(&s);
    fake_worker_free(&worker);
}

/* An engine that takes the place of the scene's, for the clients anew. */
static void next_engine(struct scene *s, const struct mediator_config *config)
{
    mediator_free(s->m);
    s->m = rig_engine(config);
    for (int i = 0; i < 2; i++) {
        rig_ring_leave(&s->ring[i]);
        CHECK(rig_vm_add(&s->vm[i], s->m, -1, -1) >= 0);
    }
    CHECK(mediator_start(s->m) == 0);
    for (int i = 0; i < 2; i++) {
        CHECK(rig_ring_attach(&s->ring[i], &s->vm[i]));
        CHECK(rig_ring_accept(&s->ring[i], 1u << VGPU_FEATURE_STREAMS) == VGPU_DEVICE_OK);
    }
}

static void test_restart(void)
{
    const struct mediator_config config = strict_config();
    struct mediator_vm_stats stats;
    struct scene s;

    scene_new(&s, &config);
    CASE("the next engine knows the points, and a quarantine that was never heard of outside");
    for (uint32_t i = 0; i < THRESHOLD; i++)
        do_wrong(&s, 0);
    for (uint32_t i = 0; i < THRESHOLD - 1; i++)
        do_wrong(&s, 1);
    next_engine(&s, &config);
    CHECK(nop_is(&s, 0, VGPU_QUARANTINED) && nop_is(&s, 1, VGPU_OK));
    stats = rig_stats(s.m, &s.vm[0]);
    CHECK(stats.quarantine_number == 1 && stats.quarantine_fault == MEDIATOR_FAULT_ENTRY &&
          stats.quarantine_points == THRESHOLD);
    do_wrong(&s, 1);
    CHECK(nop_is(&s, 1, VGPU_QUARANTINED));

    CASE("one that was lifted while no engine was there is lifted when the VM is added");
    s.vm[0].identity.quarantine_number = 1;
    s.vm[0].identity.quarantined = 0;
    next_engine(&s, &config);
    CHECK(nop_is(&s, 0, VGPU_OK) && nop_is(&s, 1, VGPU_QUARANTINED));

    CASE("one that the journal has lost holds when the VM is added, before anything is served");
    s.vm[0].identity.quarantine_number = 3;
    s.vm[0].identity.quarantined = 1;
    next_engine(&s, &config);
    CHECK(nop_is(&s, 0, VGPU_QUARANTINED) && rig_stats(s.m, &s.vm[0]).quarantine_number == 3);
    scene_free(&s);
}

static void test_death(void)
{
    const struct mediator_config config = strict_config();
    struct journal *journal;
    struct scene s;
    uint64_t bytes;
    int connection;

    scene_new(&s, &config);
    CASE("an engine that died between the quarantine and the answers is made good by the next");
    put(&s, 0, 1, 0);
    put(&s, 0, 2, 0);
    CHECK(RIG_UNTIL(s.m, &s.vm[0], queued, 2));
    connection = dup(s.ring[0].socket); /* stands for the engine's end, which is held */
    mediator_free(s.m);
    rig_must(journal_map(s.vm[0].journal_fd, &journal, &bytes) == 0, "the journal");
    journal->quarantine.word = 1u << 1 | 1u;
    s.m = rig_engine(&config);
    CHECK(rig_vm_add(&s.vm[0], s.m, -1, connection) >= 0);
    CHECK(rig_vm_add(&s.vm[1], s.m, -1, -1) >= 0);
    CHECK(mediator_start(s.m) == 0);
    CHECK(got(&s, 0, 1, VGPU_QUARANTINED) && got(&s, 0, 2, VGPU_QUARANTINED));
    CHECK(rig_stats(s.m, &s.vm[0]).queued == 0);
    journal_unmap(journal, bytes);
    scene_free(&s);
}

int main(void)
{
    test_threshold();
    test_forgotten();
    test_off();
    test_what_waits();
    test_by_workers();
    test_no_faults();
    test_restart();
    test_death();
    return check_done();
}
