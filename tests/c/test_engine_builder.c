/*
 * test_engine_builder.c - The build worker: let go of when idle, dying of a program, and given up
 */
/* sanitizers: address thread */
#include <errno.h>
#include <stddef.h>

#include "engine_scene.h"
#include "keeper.h"

/* A command of the VM goes to its build worker, which has it now. */
static struct worker_unit building(struct scene *s, int i, struct fake_worker *worker,
                                   struct fake_worker *builder, uint64_t cookie)
{
    struct worker_unit unit = {0};

    put(s, i, cookie, 0);
    CHECK(fake_worker_take(worker, &unit, RIG_LONG_MS));
    fake_worker_back(worker, &unit, WORKER_NEED_BUILD, 0);
    CHECK(fake_worker_take(builder, &unit, RIG_LONG_MS));
    return unit;
}

static void test_dismissed(void)
{
    const struct mediator_config config = rig_config();
    struct mediator_event event;
    struct scene s;
    struct fake_worker worker, builder;
    struct worker_unit unit;

    scene_new(&s, &config);
    attach(&s, 0, &worker, 1, MEDIATOR_LAUNCH);
    CASE("a build worker that is not there, one of no lane or of no VM cannot be let go of");
    CHECK(mediator_worker_dismiss(s.m, s.vm[0].handle, MEDIATOR_BUILD) == 0);
    CHECK(mediator_worker_dismiss(s.m, s.vm[0].handle, 2) == -EINVAL);
    CHECK(mediator_worker_dismiss(s.m, 999, MEDIATOR_BUILD) == -ENOENT);

    CASE("one that builds is kept");
    attach(&s, 0, &builder, 2, MEDIATOR_BUILD);
    unit = building(&s, 0, &worker, &builder, 1);
    CHECK(mediator_worker_dismiss(s.m, s.vm[0].handle, MEDIATOR_BUILD) == 0);
    CHECK(rig_stats(s.m, &s.vm[0]).worker_id[1] == 2);

    CASE("an idle one is let go of, which is nobody's fault, and costs no request");
    fake_worker_done(&builder, &unit, VGPU_OK);
    CHECK(fake_worker_take(&worker, &unit, RIG_LONG_MS));
    fake_worker_done(&worker, &unit, VGPU_OK);
    CHECK(got(&s, 0, 1, VGPU_OK));
    CHECK(mediator_worker_dismiss(s.m, s.vm[0].handle, MEDIATOR_BUILD) == 1);
    CHECK(rig_stats(s.m, &s.vm[0]).worker_id[1] == 0 && rig_stats(s.m, &s.vm[0]).faults == 0);
    fake_worker_free(&builder);

    CASE("the next build wants a fresh one");
    put(&s, 0, 2, 0);
    CHECK(fake_worker_take(&worker, &unit, RIG_LONG_MS));
    rig_forget_events(s.m);
    fake_worker_back(&worker, &unit, WORKER_NEED_BUILD, 0);
    CHECK(rig_event(s.m, MEDIATOR_WORKERS, &event) && event.a == MEDIATOR_BUILD);
    attach(&s, 0, &builder, 3, MEDIATOR_BUILD);
    CHECK(fake_worker_take(&builder, &unit, RIG_LONG_MS));
    fake_worker_done(&builder, &unit, VGPU_OK);
    CHECK(fake_worker_take(&worker, &unit, RIG_LONG_MS));
    fake_worker_done(&worker, &unit, VGPU_OK);
    CHECK(got(&s, 0, 2, VGPU_OK));
    scene_free(&s);
    fake_worker_free(&worker);
    fake_worker_free(&builder);
}

static void test_dies(void)
{
    const struct mediator_config config = rig_config();
    struct vgpu_completion completion;
    struct scene s;
    struct fake_worker worker, builder;

    scene_new(&s, &config);
    attach(&s, 0, &worker, 1, MEDIATOR_LAUNCH);
    CASE("a build worker that dies of a program is that build's failure: no object is lost");
    attach(&s, 0, &builder, 2, MEDIATOR_BUILD);
    (void)building(&s, 0, &worker, &builder, 1);
    CHECK(mediator_worker_gone(s.m, s.vm[0].handle, MEDIATOR_BUILD, 1, 11) == 0);
    CHECK(rig_ring_take(&s.ring[0], 0, &completion, RIG_LONG_MS));
    CHECK(completion.cookie == 1 && completion.status == VGPU_BUILD_FAILED);
    CHECK(completion.native == 11 && works(&s, 0, &worker));
    fake_worker_free(&builder);

    CASE("with the launch worker the build is lost as well, whichever end is reported first");
    attach(&s, 0, &builder, 3, MEDIATOR_BUILD);
    (void)building(&s, 0, &worker, &builder, 2);
    CHECK(mediator_worker_gone(s.m, s.vm[0].handle, MEDIATOR_LAUNCH, 1, 9) == 0);
    CHECK(rig_stats(s.m, &s.vm[0]).worker_doomed[1] == 1);
    CHECK(mediator_worker_gone(s.m, s.vm[0].handle, MEDIATOR_BUILD, 0, 9) == 0);
    CHECK(got(&s, 0, 2, VGPU_DEVICE_LOST));
    scene_free(&s);
    fake_worker_free(&worker);
    fake_worker_free(&builder);
}

static void test_dies_after_a_restart(void)
{
    const struct vgpu_submission entry = rig_command(1, 0);
    struct keeper k;
    struct vgpu_completion completion;
    struct fake_worker worker, builder;
    struct worker_unit unit;
    struct rig_ring ring;
    struct rig_vm vm;
    struct mediator *m;

    CASE("a build that was lost with its launch worker is lost also for the next engine");
    keeper_new(&k);
    rig_vm_new(&vm, 7, 'A', 1, 64, 1);
    fake_worker_new(&worker, 1);
    fake_worker_new(&builder, 2);
    m = new_engine(&vm, &k, &worker, &builder);
    CHECK(rig_ring_attach(&ring, &vm));
    CHECK(rig_ring_accept(&ring, 0) == VGPU_DEVICE_OK);
    rig_ring_put(&ring, 0, &entry);
    CHECK(fake_worker_take(&worker, &unit, RIG_LONG_MS));
    fake_worker_back(&worker, &unit, WORKER_NEED_BUILD, 0);
    CHECK(fake_worker_take(&builder, &unit, RIG_LONG_MS));
    CHECK(mediator_worker_gone(m, vm.handle, MEDIATOR_LAUNCH, 1, 9) == 0);
    keeper_listen(&k);
    mediator_free(m);

    m = new_engine(&vm, &k, NULL, NULL);
    CHECK(mediator_worker_gone(m, vm.handle, MEDIATOR_BUILD, 0, 9) == 0);
    CHECK(rig_ring_take(&ring, 0, &completion, RIG_LONG_MS));
    CHECK(completion.cookie == 1 && completion.status == VGPU_DEVICE_LOST);
    mediator_free(m);
    rig_ring_leave(&ring);
    rig_vm_free(&vm);
    fake_worker_free(&worker);
    fake_worker_free(&builder);
    keeper_free(&k);
}

/* The ring's client goes away while its build runs. */
static void leave(struct scene *s, int i)
{
    rig_ring_leave(&s->ring[i]);
    CHECK(RIG_UNTIL(s->m, &s->vm[i], ring_connected, 0));
}

static void come_again(struct scene *s, int i)
{
    CHECK(rig_ring_attach(&s->ring[i], &s->vm[i]));
    CHECK(rig_ring_accept(&s->ring[i], 1u << VGPU_FEATURE_STREAMS) == VGPU_DEVICE_OK);
}

static void test_abandoned(void)
{
    struct mediator_config config = rig_config();
    struct scene s;
    struct fake_worker worker[2], builder[2];
    struct worker_unit unit;

    config.max_builds = 1;
    scene_new(&s, &config);
    for (int i = 0; i < 2; i++) {
        attach(&s, i, &worker[i], 1 + (uint32_t)i, MEDIATOR_LAUNCH);
        attach(&s, i, &builder[i], 3 + (uint32_t)i, MEDIATOR_BUILD);
    }
    CASE("a build whose client has left goes on while nobody waits for its place");
    (void)building(&s, 0, &worker[0], &builder[0], 1);
    leave(&s, 0);
    CHECK(rig_stats(s.m, &s.vm[0]).worker_doomed[1] == 0);

    CASE("once another VM waits, it is given up, without a fault; then the other one builds");
    put(&s, 1, 2, 0);
    CHECK(fake_worker_take(&worker[1], &unit, RIG_LONG_MS));
    fake_worker_back(&worker[1], &unit, WORKER_NEED_BUILD, 0);
    CHECK(RIG_UNTIL(s.m, &s.vm[0], worker_doomed[1], 1));
    CHECK(mediator_worker_gone(s.m, s.vm[0].handle, MEDIATOR_BUILD, 0, 9) == 0);
    CHECK(fake_worker_take(&builder[1], &unit, RIG_LONG_MS));
    CHECK(rig_stats(s.m, &s.vm[0]).faults == 0);

    CASE("a build that is waited for is never given up for another");
    come_again(&s, 0);
    fake_worker_free(&builder[0]);
    attach(&s, 0, &builder[0], 5, MEDIATOR_BUILD);
    put(&s, 0, 3, 0);
    CHECK(fake_worker_take(&worker[0], &unit, RIG_LONG_MS));
    fake_worker_back(&worker[0], &unit, WORKER_NEED_BUILD, 0);
    CHECK(RIG_UNTIL(s.m, &s.vm[0], queued, 1));
    CHECK(rig_stats(s.m, &s.vm[1]).worker_doomed[1] == 0);

    CASE("nor does its own VM wait for a build that it left behind");
    leave(&s, 1);
    CHECK(RIG_UNTIL(s.m, &s.vm[1], worker_doomed[1], 1));
    CHECK(mediator_worker_gone(s.m, s.vm[1].handle, MEDIATOR_BUILD, 0, 9) == 0);
    CHECK(fake_worker_take(&builder[0], &unit, RIG_LONG_MS));
    leave(&s, 0);
    come_again(&s, 0);
    put(&s, 0, 4, 0); /* in the same stream */
    CHECK(RIG_UNTIL(s.m, &s.vm[0], worker_doomed[1], 1));
    scene_free(&s);
    for (int i = 0; i < 2; i++) {
        fake_worker_free(&worker[i]);
        fake_worker_free(&builder[i]);
    }
}

int main(void)
{
    test_dismissed();
    test_dies();
    test_dies_after_a_restart();
    test_abandoned();
    return check_done();
}
