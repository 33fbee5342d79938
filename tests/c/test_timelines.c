/*
 * test_timelines.c - Waiting for values of timelines, moving them, and what is answered at once
 */
/* sanitizers: address thread */
#include <string.h>
#include <unistd.h>

#include "journal_map.h"
#include "keeper.h"
#include "timeline_stage.h"

#define SLOTS 16u

static bool runs(struct stage *s, uint32_t stream, enum vgpu_status status)
{
    struct worker_unit unit;

    if (!fake_worker_take(&s->worker, &unit, RIG_LONG_MS) || unit.stream != stream)
        return false;
    fake_worker_done(&s->worker, &unit, status);
    return true;
}

/* Ask once more when it was too often: a query is limited in its rate, too. */
static struct vgpu_completion ask(struct stage *s, uint32_t what, uint32_t timeline)
{
    struct vgpu_completion c = {.status = VGPU_RATE};

    while (c.status == VGPU_RATE) {
        send_entry(s, rig_query(1, what, timeline));
        if (!rig_ring_take(&s->ring, 0, &c, RIG_LONG_MS))
            c.status = VGPU_STATUS_COUNT;
    }
    CHECK(c.status == VGPU_OK);
    return c;
}

static void test_order(void)
{
    const struct mediator_config config = rig_config();
    struct vgpu_completion c;
    struct stage s;

    CASE(
        "a submission that waits for another stream runs after what moves it, whatever came first");
    stage_new(&s, &config, 64);
    send_entry(&s, waits(&s, rig_command(1, 1), STREAM, 2, 5));
    send_entry(&s, moving(rig_command(2, 2), 4));
    send_entry(&s, moving(rig_command(3, 2), 5));
    CHECK(runs(&s, 2, VGPU_OK) && next_is(&s, 2, VGPU_OK));
    CHECK(runs(&s, 2, VGPU_OK) && next_is(&s, 3, VGPU_OK));
    CHECK(runs(&s, 1, VGPU_OK) && next_is(&s, 1, VGPU_OK));

    CASE("several waits, of streams and of the guest's own timelines, must all be satisfied");
    send_entry(
        &s, waits(&s, waits(&s, waits(&s, rig_nop(4, 3), USER, 9, 1), STREAM, 2, 6), USER, 9, 2));
    signal_user(&s, 9, 1);
    CHECK(next_is(&s, 1009, VGPU_OK));
    send_entry(&s, moving(rig_nop(5, 2), 6));
    CHECK(next_is(&s, 5, VGPU_OK));
    signal_user(&s, 9, 3);
    CHECK(next_is(&s, 1009, VGPU_OK) && next_is(&s, 4, VGPU_OK));

    CASE("what is satisfied already is not waited for, and a value never goes back");
    signal_user(&s, 9, 1);
    CHECK(next_is(&s, 1009, VGPU_OK));
    send_entry(&s, waits(&s, rig_nop(6, 3), USER, 9, 3));
    CHECK(next_is(&s, 6, VGPU_OK));
    c = ask(&s, VGPU_QUERY_TIMELINE, 9);
    CHECK(c.result[0] == 3 && c.result[1] == 0);
    CHECK(ask(&s, VGPU_QUERY_STREAM_TIMELINE, 2).result[0] == 6);
    CHECK(ask(&s, VGPU_QUERY_TIMELINE, 12345).result[0] == 0);

    CASE("a pair's timelines are its own");
    {
        const struct vgpu_submission entry = rig_query(1, VGPU_QUERY_TIMELINE, 9);

        rig_ring_put(&s.ring, 1, &entry);
        CHECK(rig_ring_take(&s.ring, 1, &c, RIG_LONG_MS) && c.result[0] == 0);
    }

    CASE("the clocks of the host are told");
    c = ask(&s, VGPU_QUERY_CLOCKS, 0);
    CHECK(c.result[0] <= rig_now_ns() && c.result[0] + 60000000000ull > rig_now_ns());
    CHECK(c.result[1] > 1700000000ull * 1000000000u);
    stage_free(&s);
}

static void test_failures(void)
{
    const struct mediator_config config = rig_config();
    struct vgpu_completion c;
    struct stage s;

    CASE("what waits for something that failed is ABORTED, and so is what waits for that");
    stage_new(&s, &config, 64);
    send_entry(&s, moving(waits(&s, rig_command(1, 1), STREAM, 3, 1), 1));
    send_entry(&s, waits(&s, rig_command(2, 2), STREAM, 1, 1));
    send_entry(&s, moving(rig_command(3, 3), 1));
    CHECK(runs(&s, 3, VGPU_FAILED) && next_is(&s, 3, VGPU_FAILED));
    CHECK(next_is(&s, 1, VGPU_ABORTED) && next_is(&s, 2, VGPU_ABORTED));
    c = ask(&s, VGPU_QUERY_STREAM_TIMELINE, 3);
    CHECK(c.result[0] == 1 && c.result[1] == 1);

    CASE("a later success is a success, also for who waits over the failure");
    send_entry(&s, moving(rig_command(4, 3), 2));
    CHECK(runs(&s, 3, VGPU_OK) && next_is(&s, 4, VGPU_OK));
    send_entry(&s, waits(&s, rig_nop(5, 1), STREAM, 3, 2));
    CHECK(next_is(&s, 5, VGPU_OK));
    send_entry(&s, waits(&s, rig_nop(6, 1), STREAM, 3, 1));
    CHECK(next_is(&s, 6, VGPU_ABORTED));

    CASE("an aborted submission keeps its place in its stream");
    send_entry(&s, rig_command(7, 4));
    send_entry(&s, waits(&s, rig_command(8, 4), STREAM, 3, 1));
    CHECK(runs(&s, 4, VGPU_OK) && next_is(&s, 7, VGPU_OK) && next_is(&s, 8, VGPU_ABORTED));

    CASE("what is refused moves nothing");
    send_entry(
        &s, moving(
                (struct vgpu_submission){
                    .cookie = 9, .kind = VGPU_KIND_NOP, .stream = 5, .timeout_ms = 0, .flags = 1},
                7));
    CHECK(next_is(&s, 9, VGPU_INVALID));
    CHECK(ask(&s, VGPU_QUERY_STREAM_TIMELINE, 5).result[0] == 0);
    stage_free(&s);
}

static void test_cancel(void)
{
    const struct mediator_config config = rig_config();
    struct vgpu_completion c;
    struct worker_unit unit;
    struct stage s;
    const struct vgpu_submission cancel = rig_cancel(90, 2);

    CASE("what is queued is cancelled at once");
    stage_new(&s, &config, 64);
    send_entry(&s, rig_command(1, 1));
    send_entry(&s, rig_command(2, 1));
    CHECK(fake_worker_take(&s.worker, &unit, RIG_LONG_MS));
    send_entry(&s, waits(&s, rig_nop(2, 2), USER, 1, 1));
    CHECK(RIG_UNTIL(s.m, &s.vm, queued, 1));
    send_entry(&s, cancel);
    CHECK(next_is(&s, 2, VGPU_CANCELLED));
    CHECK(rig_ring_take(&s.ring, 0, &c, RIG_LONG_MS) && c.cookie == 90 && c.result[0] == 2);
    fake_worker_done(&s.worker, &unit, VGPU_OK);
    CHECK(next_is(&s, 1, VGPU_OK));
    CHECK(fake_worker_take(&s.worker, &unit, RIG_LONG_MS));

    CASE("what runs ends when it comes back");
    fake_worker_back(&s.worker, &unit, WORKER_CONTINUE, 1);
    CHECK(next_is(&s, 2, VGPU_CANCELLED));

    CASE("a cancelled submission does not move its stream past those before it");
    send_entry(&s, moving(rig_command(1, 3), 1));
    CHECK(fake_worker_take(&s.worker, &unit, RIG_LONG_MS));
    CHECK(fake_worker_take(&s.worker, &(struct worker_unit){0}, 0) == false);
    send_entry(&s, moving(waits(&s, rig_command(2, 3), USER, 1, 1), 2));
    send_entry(&s, waits(&s, rig_nop(3, 4), STREAM, 3, 1));
    send_entry(&s, waits(&s, rig_nop(4, 5), STREAM, 3, 2));
    send_entry(&s, cancel);
    CHECK(rig_ring_take(&s.ring, 0, &c, RIG_LONG_MS) && c.cookie == 90 && c.result[0] == 1);
    fake_worker_done(&s.worker, &unit, VGPU_OK);
    CHECK(next_is(&s, 1, VGPU_OK) && next_is(&s, 2, VGPU_CANCELLED));
    CHECK(next_is(&s, 3, VGPU_OK) && next_is(&s, 4, VGPU_ABORTED));

    CASE("nothing of that cookie: nothing happens");
    send_entry(&s, cancel);
    CHECK(rig_ring_take(&s.ring, 0, &c, RIG_LONG_MS) && c.cookie == 90 && c.result[0] == 0);
    stage_free(&s);
}

/* Everything is full: a query is answered, and a cancel gets the request @last out. */
static bool urgent_pass(struct stage *s, uint64_t last)
{
    struct vgpu_completion c;

    send_entry(s, rig_query(50, VGPU_QUERY_TIMELINE, 1));
    if (!next_is(s, 50, VGPU_OK))
        return false;
    send_entry(s, rig_cancel(51, last));
    return next_is(s, last, VGPU_CANCELLED) && rig_ring_take(&s->ring, 0, &c, RIG_LONG_MS) &&
           c.cookie == 51 && c.status == VGPU_OK && c.result[0] == 1;
}

static void test_full(void)
{
    struct mediator_config config = rig_config();
    struct vgpu_completion c;
    struct stage s;
    uint32_t refused = 0, done = 0;

    CASE("with everything full of what waits, a signal gets through and sets all of it free");
    stage_new(&s, &config, 32);
    for (uint32_t i = 0; i < RIG_ENTRIES; i++)
        send_entry(&s, waits(&s, rig_nop(i, i % 8), USER, 1, 1));
    CHECK(RIG_UNTIL(s.m, &s.vm, queued, RIG_ENTRIES));
    signal_user(&s, 1, 1);
    CHECK(next_is(&s, 1001, VGPU_OK));
    for (uint32_t i = 0; i < RIG_ENTRIES; i++)
        CHECK(rig_ring_take(&s.ring, 0, &c, RIG_LONG_MS) && c.status == VGPU_OK);
    stage_free(&s);

    CASE("so do a query and a cancel");
    stage_new(&s, &config, 32);
    for (uint32_t i = 0; i < RIG_ENTRIES; i++)
        send_entry(&s, waits(&s, rig_nop(i, i % 8), USER, 1, 1));
    CHECK(RIG_UNTIL(s.m, &s.vm, queued, RIG_ENTRIES));
    CHECK(urgent_pass(&s, RIG_ENTRIES - 1));
    stage_free(&s);

    CASE("and the last slot is theirs, though all others are taken by what waits or runs");
    stage_new(&s, &config, SLOTS);
    for (uint32_t i = 0; i < SLOTS / 2; i++) {
        const struct vgpu_submission entry = rig_command(i, 0);

        rig_ring_put(&s.ring, 1, &entry);
        send_entry(&s, waits(&s, rig_nop(i, 0), USER, 1, 1));
    }
    CHECK(RIG_UNTIL(s.m, &s.vm, submitted, SLOTS));
    CHECK(urgent_pass(&s, SLOTS / 2 - 1));
    stage_free(&s);

    CASE("they pass, too, when all that a VM may have queued waits");
    stage_new(&s, &config, 32);
    s.vm.identity.max_queued = 4;
    CHECK(mediator_vm_set(s.m, s.vm.handle, &s.vm.identity) == 0);
    for (uint32_t i = 0; i < 4; i++)
        send_entry(&s, waits(&s, rig_nop(i, 0), USER, 1, 1));
    CHECK(RIG_UNTIL(s.m, &s.vm, queued, 4));
    CHECK(urgent_pass(&s, 3));
    stage_free(&s);

    CASE(
        "when no slot is left and nothing would free one, others are BUSY, and a signal gets past");
    stage_new(&s, &config, 16);
    s.vm.identity.max_queued = 4;
    CHECK(mediator_vm_set(s.m, s.vm.handle, &s.vm.identity) == 0);
    for (uint32_t i = 0; i < 4; i++)
        send_entry(&s, waits(&s, rig_nop(i, i), USER, 1, 1));
    for (uint32_t i = 4; i < 8; i++)
        send_entry(&s, rig_nop(i, 0));
    signal_user(&s, 1, 1);
    for (uint32_t i = 0; i < 9; i++) {
        CHECK(rig_ring_take(&s.ring, 0, &c, RIG_LONG_MS));
        refused += c.status == VGPU_BUSY;
        done += c.status == VGPU_OK;
        CHECK(c.status == VGPU_BUSY ? c.retry_after_us > 0 : c.retry_after_us == 0);
    }
    CHECK(refused == 4 && done == 5);

    CASE("who is refused for want of a slot is told when to come again, and counted as such");
    CHECK(rig_stats(s.m, &s.vm).refused_by[MEDIATOR_REFUSED_VM_DEPTH] == 4);
    CHECK(rig_stats(s.m, &s.vm).refused == 4);
    stage_free(&s);

    CASE("what waits for ever times out, and what moves it then finds nobody");
    config.queue_timeout_ms = 50;
    stage_new(&s, &config, 64);
    send_entry(&s, waits(&s, rig_command(1, 1), STREAM, 1, 1));
    CHECK(next_is(&s, 1, VGPU_TIMEOUT));
    signal_user(&s, 1, 1);
    CHECK(next_is(&s, 1001, VGPU_OK));
    CHECK(rig_stats(s.m, &s.vm).queued == 0);
    stage_free(&s);
}

/* Send an entry as fast as the ring takes it. Return: was it refused, at last, for its rate? */
static bool is_limited(struct stage *s, struct vgpu_submission entry)
{
    struct vgpu_completion c;
    bool limited = false;

    for (uint32_t i = 0; i < 4000 && !limited; i++) {
        for (uint32_t k = 0; k < RIG_ENTRIES; k++)
            send_entry(s, entry);
        for (uint32_t k = 0; k < RIG_ENTRIES; k++) {
            CHECK(rig_ring_take(&s->ring, 0, &c, RIG_LONG_MS));
            CHECK(c.status == VGPU_OK || c.status == VGPU_RATE);
            if (c.status != VGPU_RATE)
                continue;
            CHECK(c.retry_after_us > 0 && c.retry_after_us <= 1001);
            limited = true;
        }
    }
    return limited;
}

static void test_limits(void)
{
    const struct mediator_config config = rig_config();
    struct vgpu_completion c;
    struct stage s;
    uint32_t busy = 0;

    CASE("a VM has VGPU_TIMELINES_MAX timelines; one more is BUSY, and told when to come again");
    stage_new(&s, &config, 64);
    for (uint32_t i = 0; i < VGPU_TIMELINES_MAX + 8; i++) {
        do {
            signal_user(&s, i, 1);
            CHECK(rig_ring_take(&s.ring, 0, &c, RIG_LONG_MS));
        } while (c.status == VGPU_RATE);
        busy += c.status == VGPU_BUSY;
        CHECK(c.status != VGPU_BUSY || c.retry_after_us > 0);
    }
    CHECK(busy == 8);
    CHECK(rig_stats(s.m, &s.vm).refused_by[MEDIATOR_REFUSED_TIMELINES] == 8);
    CHECK(rig_stats(s.m, &s.vm).refused_by[MEDIATOR_REFUSED_STREAMS] == 0);
    CHECK(ask(&s, VGPU_QUERY_TIMELINE, VGPU_TIMELINES_MAX - 1).result[0] == 1);

    CASE("urgent requests of every kind are limited in their rate, and told when to come again");
    CHECK(is_limited(&s, signalling(1, 1)));
    CHECK(is_limited(&s, rig_query(2, VGPU_QUERY_TIMELINE, 1)));
    CHECK(is_limited(&s, rig_query(3, VGPU_QUERY_CLOCKS, 0)));
    CHECK(is_limited(&s, rig_cancel(4, 5)));

    CASE("without the feature, waits, signals and SIGNAL are UNSUPPORTED");
    rig_ring_leave(&s.ring);
    CHECK(rig_ring_attach(&s.ring, &s.vm));
    CHECK(rig_ring_accept(&s.ring, 1u << VGPU_FEATURE_STREAMS) == VGPU_DEVICE_OK);
    s.wait_off = 0;
    send_entry(&s, waits(&s, rig_nop(1, 1), USER, 1, 1));
    CHECK(next_is(&s, 1, VGPU_UNSUPPORTED));
    signal_user(&s, 1, 1);
    CHECK(next_is(&s, 1001, VGPU_UNSUPPORTED));

    CASE("an entry of another generation is dropped without an answer");
    send_entry(&s,
               (struct vgpu_submission){.cookie = 5, .kind = VGPU_KIND_NOP, .generation = 0xdead});
    send_entry(&s, rig_nop(6, 0));
    CHECK(next_is(&s, 6, VGPU_OK));
    CHECK(!rig_ring_take(&s.ring, 0, &c, 0));
    stage_free(&s);
}

/* An engine ends with requests that wait; the next one goes on with them. */
static void test_restart(void)
{
    struct keeper k;
    struct stage s = {0};

    CASE("timelines and what waits for them survive the engine");
    keeper_new(&k);
    rig_vm_new(&s.vm, 7, 'A', 1, 64, 1);
    s.m = new_engine(&s.vm, &k, NULL, NULL);
    CHECK(rig_ring_attach(&s.ring, &s.vm));
    CHECK(rig_ring_accept(&s.ring, FEATURES) == VGPU_DEVICE_OK);
    signal_user(&s, 1, 5);
    CHECK(next_is(&s, 1001, VGPU_OK));
    send_entry(&s, waits(&s, moving(rig_nop(1, 1), 3), USER, 1, 6));
    send_entry(&s, waits(&s, rig_nop(2, 2), STREAM, 1, 3));
    send_entry(&s, waits(&s, rig_command(3, 3), STREAM, 1, 3));
    CHECK(RIG_UNTIL(s.m, &s.vm, queued, 3));
    keeper_listen(&k);
    mediator_free(s.m);
    s.m = new_engine(&s.vm, &k, NULL, NULL);
    CHECK(ask(&s, VGPU_QUERY_TIMELINE, 1).result[0] == 5);
    CHECK(rig_stats(s.m, &s.vm).queued == 3);
    signal_user(&s, 1, 6);
    CHECK(next_is(&s, 1001, VGPU_OK) && next_is(&s, 1, VGPU_OK) && next_is(&s, 2, VGPU_OK));
    CHECK(RIG_UNTIL(s.m, &s.vm, worker_wanted[MEDIATOR_LAUNCH], 1));
    fake_worker_new(&s.worker, 4);
    CHECK(fake_worker_attach(&s.worker, s.m, s.vm.handle, MEDIATOR_LAUNCH) == 0);
    CHECK(runs(&s, 3, VGPU_OK) && next_is(&s, 3, VGPU_OK));

    CASE("a client that comes anew finds all timelines at 0");
    rig_ring_leave(&s.ring);
    CHECK(rig_ring_attach(&s.ring, &s.vm));
    CHECK(rig_ring_accept(&s.ring, FEATURES) == VGPU_DEVICE_OK);
    CHECK(ask(&s, VGPU_QUERY_TIMELINE, 1).result[0] == 0);
    stage_free(&s);
    keeper_free(&k);
}

int main(void)
{
    test_order();
    test_failures();
    test_cancel();
    test_full();
    test_limits();
    test_restart();
    return check_done();
}
