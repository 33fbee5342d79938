/*
 * test_engine.c - Workers come, take too long, break the rules, and go
 */
/* sanitizers: address thread */
#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

#include "engine_scene.h"

static void test_wanted(void)
{
    const struct mediator_config config = rig_config();
    struct mediator_event event;
    struct scene s;
    struct fake_worker worker;
    struct worker_unit unit;
    struct vgpu_completion completion;

    scene_new(&s, &config);
    CASE("without work no worker is wanted, and NOPs need none");
    put_nop(&s, 0, 1, 0);
    CHECK(got(&s, 0, 1, VGPU_OK) && !rig_stats(s.m, &s.vm[0]).worker_wanted[0]);

    CASE("the first command wants a worker; refused, it is answered NO_CONTEXT and when to retry");
    put(&s, 0, 2, 0);
    put(&s, 0, 3, 1);
    CHECK(rig_event(s.m, MEDIATOR_WORKERS, &event) && event.vm == s.vm[0].handle && event.a == 0);
    CHECK(rig_stats(s.m, &s.vm[0]).worker_wanted[0] && !rig_stats(s.m, &s.vm[0]).worker_wanted[1]);
    CHECK(RIG_UNTIL(s.m, &s.vm[0], queued, 2));
    CHECK(mediator_worker_refused(s.m, s.vm[0].handle, MEDIATOR_LAUNCH, 12345) == 0);
    for (int i = 0; i < 2; i++) {
        CHECK(rig_ring_take(&s.ring[0], 0, &completion, RIG_LONG_MS));
        CHECK(completion.status == VGPU_NO_CONTEXT && completion.retry_after_us == 12345);
    }
    CHECK(!rig_stats(s.m, &s.vm[0]).worker_wanted[0]);

    CASE("a worker that is attached gets what waits for it");
    put(&s, 0, 4, 0);
    CHECK(rig_event(s.m, MEDIATOR_WORKERS, &event));
    attach(&s, 0, &worker, 5, MEDIATOR_LAUNCH);
    CHECK(rig_stats(s.m, &s.vm[0]).worker_id[0] == 5 && rig_stats(s.m, &s.vm[0]).worker_pid[0]);
    CHECK(!rig_stats(s.m, &s.vm[0]).worker_wanted[0]);
    CHECK(fake_worker_take(&worker, &unit, RIG_LONG_MS));
    fake_worker_done(&worker, &unit, VGPU_OK);
    CHECK(got(&s, 0, 4, VGPU_OK));

    CASE("a second worker of the same lane, a lane or a VM that is not there are refused");
    CHECK(fake_worker_attach(&worker, s.m, s.vm[0].handle, MEDIATOR_LAUNCH) == -EINVAL);
    CHECK(fake_worker_attach(&worker, s.m, s.vm[0].handle, 2) == -EINVAL);
    CHECK(fake_worker_attach(&worker, s.m, 999, MEDIATOR_LAUNCH) == -ENOENT);
    CHECK(works(&s, 0, &worker));
    scene_free(&s);
    fake_worker_free(&worker);
}

static void test_gone(void)
{
    struct mediator_config config = rig_config();
    struct mediator_event event;
    struct scene s;
    struct fake_worker worker, next;
    struct worker_unit unit[3];
    const struct worker_reply done = {.outcome = WORKER_DONE};
    struct worker_reply reply;
    uint64_t turns = 0;
    bool served = false;

    scene_new(&s, &config);
    CASE("when a worker dies, what it had finished counts, what it had out is DEVICE_LOST");
    attach(&s, 0, &worker, 1, MEDIATOR_LAUNCH);
    for (uint32_t i = 0; i < 3; i++)
        put(&s, 0, i, 0);
    for (int i = 0; i < 3; i++)
        CHECK(fake_worker_take(&worker, &unit[i], RIG_LONG_MS));
    /* It wrote its reply and died before it could ring. */
    reply = done;
    reply.token = unit[0].token;
    worker.channel->replies[0] = reply;
    __atomic_store_n(&worker.channel->worker.reply_tail, 1, __ATOMIC_SEQ_CST);
    CHECK(mediator_worker_gone(s.m, s.vm[0].handle, MEDIATOR_LAUNCH, 1, 139) == 0);
    CHECK(got(&s, 0, 0, VGPU_OK) && got(&s, 0, 1, VGPU_DEVICE_LOST) &&
          got(&s, 0, 2, VGPU_DEVICE_LOST));
    CHECK(rig_event(s.m, MEDIATOR_FAULT, &event) && event.a == MEDIATOR_FAULT_CRASH &&
          event.b == 139);

    CASE("it is charged for the time it took, no more: its turn comes while another VM is busy");
    fake_worker_free(&worker);
    attach(&s, 0, &next, 2, MEDIATOR_LAUNCH);
    attach(&s, 1, &worker, 3, MEDIATOR_LAUNCH);
    config.units_in_flight = 1;
    CHECK(mediator_set_config(s.m, &config) == 0);
    put(&s, 1, 0, 0);
    put(&s, 1, 1, 0);
    put(&s, 0, 50, 0);
    while (!served && turns < 5000) {
        CHECK(fake_worker_take(&worker, &unit[0], RIG_LONG_MS));
        put(&s, 1, turns + 2, 0);
        fake_worker_done(&worker, &unit[0], VGPU_OK);
        CHECK(got(&s, 1, turns++, VGPU_OK));
        (void)rig_stats(s.m, &s.vm[0]); /* the engine has turned */
        served = fake_worker_take(&next, &unit[1], 0);
    }
    CHECK(served);
    if (!served) /* let both end all the same */
        fake_worker_start(&next, NULL, NULL);
    else
        fake_worker_done(&next, &unit[1], VGPU_OK);
    for (int i = 0; i < 2; i++) {
        CHECK(fake_worker_take(&worker, &unit[0], RIG_LONG_MS));
        fake_worker_done(&worker, &unit[0], VGPU_OK);
        CHECK(got(&s, 1, turns++, VGPU_OK));
    }
    CHECK(got(&s, 0, 50, VGPU_OK));
    if (!served)
        fake_worker_stop(&next);
    fake_worker_free(&worker);
    config.units_in_flight = 8;
    CHECK(mediator_set_config(s.m, &config) == 0);

    CASE("what is queued waits for a fresh worker, which is wanted");
    for (uint32_t i = 0; i < 10; i++)
        put(&s, 0, 100 + i, 0);
    CHECK(fake_worker_take(&next, &unit[0], RIG_LONG_MS) && RIG_UNTIL(s.m, &s.vm[0], queued, 2));
    CHECK(mediator_worker_gone(s.m, s.vm[0].handle, MEDIATOR_LAUNCH, 0, 0) == 0);
    for (uint32_t i = 0; i < 8; i++)
        CHECK(got(&s, 0, 100 + i, VGPU_DEVICE_LOST));
    CHECK(rig_stats(s.m, &s.vm[0]).queued == 2 && rig_stats(s.m, &s.vm[0]).worker_wanted[0]);
    fake_worker_free(&next);
    attach(&s, 0, &next, 3, MEDIATOR_LAUNCH);
    for (uint32_t i = 8; i < 10; i++) {
        CHECK(fake_worker_take(&next, &unit[0], RIG_LONG_MS));
        fake_worker_done(&next, &unit[0], VGPU_OK);
        CHECK(got(&s, 0, 100 + i, VGPU_OK));
    }
    CHECK(rig_stats(s.m, &s.vm[0]).faults == 1); /* the second one did not die by itself */
    scene_free(&s);
    fake_worker_free(&next);
}

static void test_timeouts(void)
{
    struct mediator_config config = rig_config();
    struct mediator_event event;
    struct scene s;
    struct fake_worker worker, builder;
    struct worker_unit unit;

    config.run_timeout_ms = config.build_timeout_ms = 50;
    scene_new(&s, &config);
    CASE("a unit that runs too long dooms its worker; then it is TIMEOUT, what is behind "
         "DEVICE_LOST");
    attach(&s, 0, &worker, 1, MEDIATOR_LAUNCH);
    put(&s, 0, 1, 0);
    put(&s, 0, 2, 0);
    CHECK(rig_event(s.m, MEDIATOR_FAULT, &event) && event.a == MEDIATOR_FAULT_RUN_TIMEOUT);
    CHECK(rig_stats(s.m, &s.vm[0]).worker_doomed[0] == 1);
    CHECK(fake_worker_take(&worker, &unit, RIG_LONG_MS));
    fake_worker_done(&worker, &unit, VGPU_OK); /* too late: it is not listened to */
    (void)rig_stats(s.m, &s.vm[0]);
    CHECK(rig_stats(s.m, &s.vm[0]).running == 2);
    CHECK(mediator_worker_gone(s.m, s.vm[0].handle, MEDIATOR_LAUNCH, 1, 9) == 0);
    CHECK(got(&s, 0, 1, VGPU_TIMEOUT) && got(&s, 0, 2, VGPU_DEVICE_LOST));
    CHECK(rig_stats(s.m, &s.vm[0]).faults == 1);
    fake_worker_free(&worker);

    CASE("so does a build that takes too long");
    attach(&s, 0, &worker, 2, MEDIATOR_LAUNCH);
    attach(&s, 0, &builder, 3, MEDIATOR_BUILD);
    put(&s, 0, 3, 0);
    CHECK(fake_worker_take(&worker, &unit, RIG_LONG_MS));
    fake_worker_back(&worker, &unit, WORKER_NEED_BUILD, 0);
    CHECK(rig_event(s.m, MEDIATOR_FAULT, &event) && event.a == MEDIATOR_FAULT_BUILD_TIMEOUT);
    CHECK(rig_stats(s.m, &s.vm[0]).worker_doomed[1] == 1);
    CHECK(mediator_worker_gone(s.m, s.vm[0].handle, MEDIATOR_BUILD, 0, 9) == 0);
    CHECK(got(&s, 0, 3, VGPU_TIMEOUT));
    CHECK(works(&s, 0, &worker));
    scene_free(&s);
    fake_worker_free(&worker);
    fake_worker_free(&builder);
}

static void test_queue_timeout(void)
{
    struct mediator_config config = rig_config();
    struct scene s;
    struct fake_worker worker;
    struct worker_unit unit;

    config.queue_timeout_ms = 80;
    scene_new(&s, &config);
    CASE("a request that is never begun is TIMEOUT, also behind one that runs, which goes on");
    attach(&s, 0, &worker, 1, MEDIATOR_LAUNCH);
    put(&s, 0, 1, 0);
    CHECK(fake_worker_take(&worker, &unit, RIG_LONG_MS));
    put(&s, 1, 2, 0); /* the other VM has no worker */
    CHECK(got(&s, 1, 2, VGPU_TIMEOUT));
    fake_worker_done(&worker, &unit, VGPU_OK);
    CHECK(got(&s, 0, 1, VGPU_OK));
    scene_free(&s);
    fake_worker_free(&worker);
}

enum crime {
    WRONG_TOKEN,
    OUT_OF_ORDER,
    TAIL_TOO_FAR,
    TAIL_BACKWARDS,
    UNKNOWN_OUTCOME,
    CONTINUE_WITHOUT_PROGRESS,
    CONTINUE_BEYOND_THE_END,
    BUILD_OF_AN_OP_THAT_IS_DONE,
    BOUNCED_FOR_NOTHING,
    CRIMES
};

static void commit(struct fake_worker *worker, const struct worker_unit unit[2], enum crime crime)
{
    const struct worker_reply nothing = {.token = unit[0].token, .outcome = 77};
    struct worker_unit other = unit[0];

    switch (crime) {
    case WRONG_TOKEN:
        other.token ^= 1ull << 33;
        fake_worker_done(worker, &other, VGPU_OK);
        break;
    case OUT_OF_ORDER:
        fake_worker_done(worker, &unit[1], VGPU_OK);
        break;
    case TAIL_TOO_FAR:
        worker->replied += 2;
        fake_worker_done(worker, &unit[0], VGPU_OK);
        break;
    case TAIL_BACKWARDS:
        worker->replied -= 2;
        fake_worker_done(worker, &unit[0], VGPU_OK);
        break;
    case UNKNOWN_OUTCOME:
        fake_worker_reply(worker, &nothing);
        break;
    case CONTINUE_WITHOUT_PROGRESS:
        fake_worker_back(worker, &unit[0], WORKER_CONTINUE, 0);
        break;
    case CONTINUE_BEYOND_THE_END:
        fake_worker_back(worker, &unit[0], WORKER_CONTINUE, VGPU_COMMAND_OPS_MAX);
        break;
    case BUILD_OF_AN_OP_THAT_IS_DONE:
        fake_worker_back(worker, &unit[0], WORKER_NEED_BUILD, UINT32_MAX);
        break;
    default:
        fake_worker_back(worker, &unit[0], WORKER_BOUNCED, 0);
        break;
    }
}

static void test_crimes(void)
{
    const struct mediator_config config = rig_config();
    struct mediator_event event;
    struct scene s;
    struct fake_worker worker, honest;
    struct worker_unit unit[2];

    CASE("a worker that breaks the channel's rules in any way is doomed, and hurts its own VM "
         "alone");
    scene_new(&s, &config);
    attach(&s, 1, &honest, 100, MEDIATOR_LAUNCH);
    for (int crime = 0; crime < CRIMES; crime++) {
        attach(&s, 0, &worker, 1 + (uint32_t)crime, MEDIATOR_LAUNCH);
        put(&s, 0, 1, 0);
        put(&s, 0, 2, 1);
        for (int i = 0; i < 2; i++)
            CHECK(fake_worker_take(&worker, &unit[i], RIG_LONG_MS));
        commit(&worker, unit, (enum crime)crime);
        if (!rig_event(s.m, MEDIATOR_FAULT, &event) || event.a != MEDIATOR_FAULT_WORKER ||
            event.vm != s.vm[0].handle) {
            fprintf(stderr, "crime %d was not seen\n", crime);
            CHECK(!"seen");
            break;
        }
        CHECK(rig_stats(s.m, &s.vm[0]).worker_doomed[0]);
        CHECK(mediator_worker_gone(s.m, s.vm[0].handle, MEDIATOR_LAUNCH, 0, 0) == 0);
        CHECK(got(&s, 0, 1, VGPU_DEVICE_LOST) && got(&s, 0, 2, VGPU_DEVICE_LOST));
        fake_worker_free(&worker);
        CHECK(works(&s, 1, &honest));
    }
    CHECK(!rig_stats(s.m, &s.vm[1]).worker_doomed[0] && rig_stats(s.m, &s.vm[1]).faults == 0);

    CASE("a channel that its worker could shrink is refused");
    fake_worker_new(&worker, 50);
    close(worker.channel_fd);
    worker.channel_fd = rig_memfd(WORKER_CHANNEL_BYTES);
    CHECK(fake_worker_attach(&worker, s.m, s.vm[0].handle, MEDIATOR_LAUNCH) == -EPROTO);
    fake_worker_free(&worker);
    scene_free(&s);
    fake_worker_free(&honest);
}

int main(void)
{
    test_wanted();
    test_gone();
    test_timeouts();
    test_queue_timeout();
    test_crimes();
    return check_done();
}
