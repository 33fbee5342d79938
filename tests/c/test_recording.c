/*
 * test_recording.c - What an engine with workers and guests has decided, a simulator decides again
 */
/* sanitizers: address thread */
#include <errno.h>
#include <stddef.h>
#include <string.h>

#include "engine_scene.h"

#define RECORDS 65536u

static struct mediator_record records[RECORDS];

static uint32_t read_recording(struct mediator *m, struct mediator_record *out)
{
    uint32_t count = 0;
    int taken;

    while ((taken = mediator_record_read(m, out + count, RECORDS - count)) > 0)
        count += (uint32_t)taken;
    return count;
}

/* Units that stand in all places: queued, in flight, in a build, in a stream that is held. */
static void set_the_scene(struct scene *s, struct fake_worker worker[3])
{
    struct worker_unit unit;

    attach(s, 0, &worker[0], 1, MEDIATOR_LAUNCH);
    attach(s, 0, &worker[1], 2, MEDIATOR_BUILD);
    for (uint32_t i = 0; i < 6; i++)
        put(s, 0, i, i % 3);
    put(s, 1, 9, 0); /* nobody is there to do it */
    CHECK(fake_worker_take(&worker[0], &unit, RIG_LONG_MS));
    fake_worker_back(&worker[0], &unit, WORKER_NEED_BUILD, 0);
    CHECK(fake_worker_take(&worker[1], &unit, RIG_LONG_MS)); /* a build that takes its time */
    CHECK(RIG_UNTIL(s->m, &s->vm[1], queued, 1));
}

/* All that a guest, a worker and an administrator do. */
static void live(struct scene *s, struct fake_worker worker[3])
{
    struct worker_unit unit;

    put_nop(s, 0, 50, 7);
    put_nop(s, 0, 51, 0);
    for (uint32_t i = 0; i < 4; i++)
        put(s, 0, 60 + i, 5);
    s->vm[0].identity.weight = 90;
    CHECK(mediator_vm_set(s->m, s->vm[0].handle, &s->vm[0].identity) == 0);
    for (uint32_t i = 0; i < 4; i++) {
        CHECK(fake_worker_take(&worker[0], &unit, RIG_LONG_MS));
        if (i == 1)
            fake_worker_back(&worker[0], &unit, WORKER_CONTINUE, 1);
        else
            fake_worker_done(&worker[0], &unit, VGPU_OK);
    }
    attach(s, 1, &worker[2], 3, MEDIATOR_LAUNCH);
    CHECK(mediator_pool_set(s->m, 'B', 20, 1) == 0);
    s->vm[1].identity.pool_id = 'B';
    s->vm[1].identity.priority = 2;
    CHECK(mediator_vm_set(s->m, s->vm[1].handle, &s->vm[1].identity) == 0);
    CHECK(mediator_pool_set(s->m, 'C', 30, 0) == 0 && mediator_pool_remove(s->m, 'C') == 0);
}

/* The last units are there, whatever order the scheduler found; all are answered. */
static void bring_to_an_end(struct scene *s, struct fake_worker worker[3])
{
    struct worker_unit unit;

    CHECK(mediator_worker_gone(s->m, s->vm[0].handle, MEDIATOR_BUILD, 1, 0) == 0);
    for (uint64_t end_ns = rig_now_ns() + RIG_LONG_MS * 1000000ull;
         rig_stats(s->m, &s->vm[0]).queued + rig_stats(s->m, &s->vm[0]).running +
             rig_stats(s->m, &s->vm[1]).queued + rig_stats(s->m, &s->vm[1]).running &&
         rig_now_ns() < end_ns;) {
        if (fake_worker_take(&worker[0], &unit, 1))
            fake_worker_done(&worker[0], &unit, VGPU_OK);
        if (fake_worker_take(&worker[2], &unit, 1))
            fake_worker_done(&worker[2], &unit, VGPU_OK);
    }
    CHECK(RIG_UNTIL(s->m, &s->vm[0], queued, 0) && RIG_UNTIL(s->m, &s->vm[0], running, 0));
    CHECK(RIG_UNTIL(s->m, &s->vm[1], queued, 0) && RIG_UNTIL(s->m, &s->vm[1], running, 0));
}

int main(void)
{
    static struct mediator_record again[RECORDS], state[RECORDS];
    struct mediator_config config = rig_config();
    struct mediator_simulator *sim = mediator_simulator_new();
    struct scene s;
    struct fake_worker worker[3];
    uint32_t count, applied, picks = 0;

    config.units_in_flight = 2;
    config.aging_after_ms = 1;
    config.aging_share = 20;
    scene_new(&s, &config);
    CHECK(decided_again(s.m)); /* this test records for itself */
    CASE("a recording is begun once at a time, with a room that makes sense");
    CHECK(mediator_record_read(s.m, records, 1) == 0 && mediator_record_lost(s.m) == 0);
    CHECK(mediator_record_start(s.m, 1048577) == -EINVAL);
    set_the_scene(&s, worker);
    CHECK(mediator_record_start(s.m, 20000) == 0);
    CHECK(mediator_record_start(s.m, 20000) == -EALREADY);

    CASE("begun amid work of all kinds, it is decided again in the same way");
    live(&s, worker);
    bring_to_an_end(&s, worker);
    CHECK(mediator_record_stop(s.m) == 0 && mediator_record_lost(s.m) == 0);
    count = read_recording(s.m, records);
    for (uint32_t i = 0; i < count; i++)
        picks += records[i].flags & MEDIATOR_RECORD_DECIDED && records[i].type < 64;
    CHECK(records[0].type == MEDIATOR_STATE_BEGIN && picks >= 8);
    CHECK(mediator_simulator_apply(sim, records, count, 1, &applied) == 0 && applied == count);

    CASE("and leaves the state in which the engine is");
    CHECK(mediator_record_start(s.m, 0) == 0 && mediator_record_stop(s.m) == 0);
    CHECK(read_recording(s.m, again) > 0); /* maybe a pick of nothing, behind the state */
    count = (uint32_t)mediator_simulator_state(sim, state, RECORDS);
    CHECK(count > 0 && again[count - 1].type == MEDIATOR_STATE_END);
    CHECK(memcmp(again, state, count * sizeof(*again)) == 0);

    CASE("what comes after is decided again, too");
    mediator_simulator_free(sim);
    record_from_now(s.m);
    scene_free(&s);
    for (int i = 0; i < 3; i++)
        fake_worker_free(&worker[i]);
    return check_done();
}
