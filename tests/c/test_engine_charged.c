/*
 * test_engine_charged.c - However a unit ends, its VM pays for the time that it had the device
 */
/* sanitizers: address thread */
#include <stddef.h>
#include <time.h>

#include "engine_scene.h"

#define HELD_NS      20000000u
#define TURN_NS      2000000u
#define RUN_LIMIT_MS 20u
#define OWN_LIMIT_MS 15u /* below HELD_NS */
#define AN_HOUR_NS   3600000000000ull
#define HELD_COOKIE  1u
#define OTHER_COOKIE 100u

/* VM 0 has the device with one unit; VM 1, of the same weight, has not asked for anything yet. */
struct bill {
    struct scene s;
    struct fake_worker worker[2];
    struct worker_unit unit;
    uint64_t put_ns;
    uint64_t taken_ns;
};

static void bill_new(struct bill *b, struct mediator_config config, uint32_t timeout_ms)
{
    struct vgpu_submission entry = rig_command(HELD_COOKIE, 0);

    config.units_in_flight = 1;
    scene_new(&b->s, &config);
    for (int i = 0; i < 2; i++)
        attach(&b->s, i, &b->worker[i], 1 + (uint32_t)i, MEDIATOR_LAUNCH);
    entry.timeout_ms = timeout_ms;
    b->put_ns = rig_now_ns();
    rig_ring_put(&b->s.ring[0], 0, &entry);
    CHECK(fake_worker_take(&b->worker[0], &b->unit, RIG_LONG_MS));
    b->taken_ns = rig_now_ns();
}

static void bill_free(struct bill *b)
{
    scene_free(&b->s);
    for (int i = 0; i < 2; i++)
        fake_worker_free(&b->worker[i]);
}

static void hold(uint32_t ns)
{
    const struct timespec time = {.tv_nsec = ns};

    CHECK(nanosleep(&time, NULL) == 0);
}

static uint64_t pool_device_ns(struct mediator *m, uint8_t pool_id)
{
    struct mediator_pool_stats pools[4];
    int count = mediator_pools_stats(m, pools, 4);

    for (int i = 0; i < count; i++)
        if (pools[i].pool_id == pool_id)
            return pools[i].device_ns;
    return 0;
}

/*
 * VM 1 always has work, of TURN_NS each, and VM 0 asks for one more unit.
 * Return: the time that VM 1 has had when it is VM 0's turn; UINT64_MAX = after @turns it is not
 */
static uint64_t time_of_the_other(struct bill *b, uint64_t turns)
{
    struct scene *s = &b->s;
    uint64_t next = OTHER_COOKIE, done = next, end = next + turns;
    struct worker_unit unit;

    put(s, 1, next++, 0);
    put(s, 1, next++, 0);
    CHECK(fake_worker_take(&b->worker[1], &unit, RIG_LONG_MS));
    CHECK(RIG_UNTIL(s->m, &s->vm[1], queued, 1));
    put(s, 0, 2, 0);
    CHECK(RIG_UNTIL(s->m, &s->vm[0], queued, 1));
    while (done < end) {
        uint64_t end_ns = rig_now_ns() + RIG_LONG_MS * 1000000ull;

        put(s, 1, next++, 0);
        hold(TURN_NS);
        fake_worker_done(&b->worker[1], &unit, VGPU_OK);
        CHECK(got(s, 1, done++, VGPU_OK));
        while (!fake_worker_take(&b->worker[1], &unit, 1)) {
            if (fake_worker_take(&b->worker[0], &unit, 1))
                return rig_stats(s->m, &s->vm[1]).device_ns;
            if (rig_now_ns() > end_ns)
                return UINT64_MAX;
        }
    }
    return UINT64_MAX;
}

/* VM 0's unit is answered: it has been charged what it took, and waits its turn for as long. */
static void check_paid(struct bill *b, uint64_t at_least_ns)
{
    uint64_t answered_ns = rig_now_ns();
    uint64_t charged_ns = rig_stats(b->s.m, &b->s.vm[0]).device_ns, other_ns;

    CHECK(charged_ns >= at_least_ns && charged_ns <= answered_ns - b->put_ns);
    CHECK(pool_device_ns(b->s.m, 'A') == charged_ns);
    other_ns = time_of_the_other(b, charged_ns / TURN_NS + 2);
    CHECK(other_ns >= charged_ns);
    CHECK(other_ns != UINT64_MAX);
}

/* The worker is gone; VM 0 gets another one. */
static void next_worker(struct bill *b, int crashed)
{
    CHECK(mediator_worker_gone(b->s.m, b->s.vm[0].handle, MEDIATOR_LAUNCH, crashed, 11) == 0);
    fake_worker_free(&b->worker[0]);
    attach(&b->s, 0, &b->worker[0], 3, MEDIATOR_LAUNCH);
}

static void test_lost(void)
{
    struct mediator_config config = rig_config();
    struct mediator_event event;
    uint64_t held_ns;
    struct bill b;

    CASE(
        "a unit whose worker crashes is charged the time until then, and its VM's turn is as late");
    bill_new(&b, config, 0);
    hold(HELD_NS);
    held_ns = rig_now_ns() - b.taken_ns;
    next_worker(&b, 1);
    CHECK(got(&b.s, 0, HELD_COOKIE, VGPU_DEVICE_LOST));
    check_paid(&b, held_ns);
    bill_free(&b);

    CASE("so is one that has run too long, the time that it took to end its worker included");
    config.run_timeout_ms = RUN_LIMIT_MS;
    bill_new(&b, config, 0);
    CHECK(rig_event(b.s.m, MEDIATOR_FAULT, &event) && event.a == MEDIATOR_FAULT_RUN_TIMEOUT);
    hold(TURN_NS);
    held_ns = rig_now_ns() - b.taken_ns;
    next_worker(&b, 0);
    CHECK(got(&b.s, 0, HELD_COOKIE, VGPU_TIMEOUT));
    config.run_timeout_ms = rig_config().run_timeout_ms;
    config.units_in_flight = 1;
    CHECK(mediator_set_config(b.s.m, &config) == 0);
    CHECK(rig_stats(b.s.m, &b.s.vm[0]).device_ns >= RUN_LIMIT_MS * 1000000u);
    check_paid(&b, held_ns);
    bill_free(&b);
}

static void test_ended_at_an_op(void)
{
    const struct vgpu_submission cancel = rig_cancel(90, HELD_COOKIE);
    uint64_t held_ns;
    struct bill b;

    CASE("a unit that is cancelled while it runs is charged until it comes back");
    bill_new(&b, rig_config(), 0);
    rig_ring_put(&b.s.ring[0], 0, &cancel);
    CHECK(got(&b.s, 0, 90, VGPU_OK));
    hold(HELD_NS);
    held_ns = rig_now_ns() - b.taken_ns;
    fake_worker_back(&b.worker[0], &b.unit, WORKER_CONTINUE, 1);
    CHECK(got(&b.s, 0, HELD_COOKIE, VGPU_CANCELLED));
    check_paid(&b, held_ns);
    bill_free(&b);

    CASE("so is one that comes back over its own limit");
    bill_new(&b, rig_config(), OWN_LIMIT_MS);
    hold(HELD_NS);
    held_ns = rig_now_ns() - b.taken_ns;
    fake_worker_back(&b.worker[0], &b.unit, WORKER_CONTINUE, 1);
    CHECK(got(&b.s, 0, HELD_COOKIE, VGPU_TIMEOUT));
    check_paid(&b, held_ns);
    bill_free(&b);
}

static void test_false_times(void)
{
    const uint64_t future_ns = rig_now_ns() + AN_HOUR_NS;
    const uint64_t claim[][2] = {{1, 2}, {future_ns, future_ns + 1}, {1, future_ns}};
    uint64_t held_ns;
    struct bill b;

    CASE("what a worker says of when its unit began and ended makes it neither cheaper nor dearer");
    for (uint32_t i = 0; i < sizeof(claim) / sizeof(claim[0]); i++) {
        struct worker_reply reply = {
            .outcome = WORKER_DONE, .start_ns = claim[i][0], .end_ns = claim[i][1]};

        bill_new(&b, rig_config(), 0);
        reply.token = b.unit.token;
        hold(HELD_NS);
        held_ns = rig_now_ns() - b.taken_ns;
        fake_worker_reply(&b.worker[0], &reply);
        CHECK(got(&b.s, 0, HELD_COOKIE, VGPU_OK));
        check_paid(&b, held_ns);
        bill_free(&b);
    }
}

int main(void)
{
    test_lost();
    test_ended_at_an_op();
    test_false_times();
    return check_done();
}
