/*
 * test_engine_spare.c - A launch worker is let go of only when nothing of its VM ends with it
 */
/* sanitizers: address thread */
#include <errno.h>

#include "engine_scene.h"

static void say(struct fake_worker *worker, uint32_t objects)
{
    __atomic_store_n(&worker->channel->worker.objects, objects, __ATOMIC_RELEASE);
}

static int dismiss(const struct scene *s)
{
    int spare = (int)rig_stats(s->m, &s->vm[0]).worker_spare[0];
    int rc = mediator_worker_dismiss(s->m, s->vm[0].handle, MEDIATOR_LAUNCH);

    CHECK(rc == spare); /* what is shown is what is decided */
    return rc;
}

static void test_objects(void)
{
    const struct mediator_config config = rig_config();
    struct fake_worker worker, builder, second;
    struct mediator_event event;
    struct worker_unit unit = {0};
    struct scene s;

    scene_new(&s, &config);
    CASE("who is not there cannot be let go of");
    CHECK(dismiss(&s) == 0);

    CASE("one that has not said how much it holds is kept, and so is one that holds something");
    attach(&s, 0, &worker, 1, MEDIATOR_LAUNCH);
    CHECK(dismiss(&s) == 0);
    say(&worker, 2);
    CHECK(dismiss(&s) == 0);
    say(&worker, UINT32_MAX);
    CHECK(dismiss(&s) == 0);

    CASE("one that holds nothing but has work is kept");
    say(&worker, 1);
    put(&s, 0, 1, 0);
    CHECK(fake_worker_take(&worker, &unit, RIG_LONG_MS));
    CHECK(dismiss(&s) == 0);

    CASE("so is one whose VM has something built for it");
    attach(&s, 0, &builder, 2, MEDIATOR_BUILD);
    fake_worker_back(&worker, &unit, WORKER_NEED_BUILD, 0);
    CHECK(fake_worker_take(&builder, &unit, RIG_LONG_MS));
    CHECK(dismiss(&s) == 0);
    fake_worker_done(&builder, &unit, VGPU_OK);
    CHECK(fake_worker_take(&worker, &unit, RIG_LONG_MS));
    CHECK(dismiss(&s) == 0);
    fake_worker_done(&worker, &unit, VGPU_OK);
    CHECK(got(&s, 0, 1, VGPU_OK));

    CASE("one that holds nothing and has nothing to do is let go of, which is nobody's fault");
    CHECK(rig_stats(s.m, &s.vm[0]).worker_used_ns[0] > 0);
    CHECK(dismiss(&s) == 1);
    CHECK(rig_stats(s.m, &s.vm[0]).worker_id[0] == 0 && rig_stats(s.m, &s.vm[0]).faults == 0);

    CASE("its build worker goes with it");
    CHECK(rig_stats(s.m, &s.vm[0]).worker_doomed[1] == 1);
    CHECK(mediator_worker_gone(s.m, s.vm[0].handle, MEDIATOR_BUILD, 0, 0) == 0);
    fake_worker_free(&builder);

    CASE("it is never taken back, as it stands where no engine knows of");
    CHECK(fake_worker_attach(&worker, s.m, s.vm[0].handle, MEDIATOR_LAUNCH) == -ESTALE);
    fake_worker_free(&worker);

    CASE("the next command wants a fresh one, and is served by it");
    rig_forget_events(s.m);
    put(&s, 0, 2, 0);
    CHECK(rig_event(s.m, MEDIATOR_WORKERS, &event) && event.a == MEDIATOR_LAUNCH);
    attach(&s, 0, &second, 3, MEDIATOR_LAUNCH);
    CHECK(fake_worker_take(&second, &unit, RIG_LONG_MS));
    fake_worker_done(&second, &unit, VGPU_OK);
    CHECK(got(&s, 0, 2, VGPU_OK));
    fake_worker_free(&second);
    scene_free(&s);
}

int main(void)
{
    test_objects();
    return check_done();
}
