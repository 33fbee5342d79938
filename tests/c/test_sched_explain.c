/*
 * test_sched_explain.c - Why a unit waits: each rule by itself, then against what is really picked
 */
#include <string.h>

#include "scheduler_bench.h"
#include "scheduler_life.h"

#define MS 1000000ull

static struct sched_explanation explain_at(struct bench *bench, const struct sched_unit *unit,
                                           uint64_t now_ns)
{
    struct sched_explanation e;

    scheduler_explain(&bench->s, unit, now_ns, &e);
    return e;
}

static struct sched_explanation explain(struct bench *bench, const struct sched_unit *unit)
{
    return explain_at(bench, unit, 0);
}

static bool is(const struct sched_explanation *e, enum sched_hold hold, uint64_t units_ahead,
               uint64_t wait_ns)
{
    if (e->hold == hold && e->units_ahead == units_ahead && e->wait_ns == wait_ns)
        return true;
    fprintf(stderr, "hold %d, %llu units ahead, %llu ns\n", (int)e->hold,
            (unsigned long long)e->units_ahead, (unsigned long long)e->wait_ns);
    return false;
}

/* A tenant of which it is known what its units cost. */
static void known_tenant(struct bench *bench, struct tenant *t, struct sched_pool *pool,
                         uint8_t class, uint32_t weight, uint64_t job_ns)
{
    tenant_init(bench, t, pool, class, weight);
    t->job_ns = job_ns;
    t->vm.party[SCHED_EXEC].estimate_ns = job_ns;
}

static void test_not_by_others(void)
{
    struct bench bench;
    struct tenant t;
    struct sched_unit *first, *second, *third, *nop;
    struct sched_explanation e;

    bench_init(&bench);
    known_tenant(&bench, &t, &bench.a, SCHED_MEDIUM, 50, MS);
    first = push(&bench, &t, 0, SCHED_EXEC);
    second = push(&bench, &t, 0, SCHED_EXEC);
    third = push(&bench, &t, 0, SCHED_EXEC);

    CASE("a unit that nothing holds is next");
    e = explain(&bench, first);
    CHECK(is(&e, SCHED_HOLD_NOTHING, 0, 0) && e.vms_ahead == 0 && e.pools_ahead == 0);

    CASE("a unit behind others of its stream waits for them, and as long as they take");
    e = explain(&bench, third);
    CHECK(is(&e, SCHED_HOLD_STREAM, 2, 2 * MS) && e.stream_ahead == 2);

    CASE("a VM without a pool, or of a disabled one, is not served, nobody knows until when");
    CHECK(scheduler_vm_set(&bench.s, &t.vm, NULL, SCHED_MEDIUM, 50) == 0);
    e = explain(&bench, second);
    CHECK(is(&e, SCHED_HOLD_NO_POOL, 1, SCHED_UNKNOWN_NS) && e.stream_ahead == 1);
    CHECK(scheduler_vm_set(&bench.s, &t.vm, &bench.a, SCHED_MEDIUM, 50) == 0);
    scheduler_pool_set(&bench.s, &bench.a, 50, false);
    e = explain(&bench, first);
    CHECK(is(&e, SCHED_HOLD_POOL_DISABLED, 0, SCHED_UNKNOWN_NS));
    scheduler_pool_set(&bench.s, &bench.a, 50, true);

    CASE("nor is one that has no worker in that lane");
    scheduler_vm_block(&bench.s, &t.vm, SCHED_BUILD, true);
    e = explain(&bench, first);
    CHECK(is(&e, SCHED_HOLD_NOTHING, 0, 0));
    scheduler_vm_block(&bench.s, &t.vm, SCHED_EXEC, true);
    e = explain(&bench, first);
    CHECK(is(&e, SCHED_HOLD_BLOCKED, 0, SCHED_UNKNOWN_NS));
    scheduler_vm_block(&bench.s, &t.vm, SCHED_EXEC, false);

    CASE("what waits for something besides its turn says so; what stands behind it knows no end");
    first->waits = 1;
    sched_stream_update(&bench.s, &t.stream[0]);
    e = explain(&bench, first);
    CHECK(is(&e, SCHED_HOLD_WAITS, 0, SCHED_UNKNOWN_NS));
    e = explain(&bench, second);
    CHECK(is(&e, SCHED_HOLD_STREAM, 1, SCHED_UNKNOWN_NS));
    scheduler_satisfied(&bench.s, first);

    CASE("while a unit that came back holds the stream, what is in flight must come back first");
    CHECK(scheduler_pick(&bench.s, SCHED_EXEC, 0) == first);
    CHECK(scheduler_pick(&bench.s, SCHED_EXEC, 0) == second);
    e = explain(&bench, third);
    CHECK(is(&e, SCHED_HOLD_NOTHING, 0, 0));
    scheduler_return(&bench.s, first, MS, 0);
    e = explain(&bench, first);
    CHECK(is(&e, SCHED_HOLD_IN_FLIGHT, 0, 0));
    scheduler_complete(&bench.s, second, MS, 0);
    e = explain(&bench, first);
    CHECK(is(&e, SCHED_HOLD_NOTHING, 0, 0));

    CASE("what needs nothing but its turn waits for its stream alone");
    nop = push(&bench, &t, 1, SCHED_INSTANT);
    e = explain(&bench, nop);
    CHECK(is(&e, SCHED_HOLD_NOTHING, 0, 0));
    second = push(&bench, &t, 2, SCHED_EXEC);
    CHECK(scheduler_pick(&bench.s, SCHED_EXEC, 0) == first);
    CHECK(scheduler_pick(&bench.s, SCHED_EXEC, 0) == second);
    nop = push(&bench, &t, 2, SCHED_INSTANT);
    e = explain(&bench, nop);
    CHECK(e.hold == SCHED_HOLD_IN_FLIGHT);

    CASE("what is not to run any more waits for its stream alone, not for its pool");
    CHECK(scheduler_vm_set(&bench.s, &t.vm, NULL, SCHED_MEDIUM, 50) == 0);
    scheduler_settle(&bench.s, nop);
    e = explain(&bench, nop);
    CHECK(is(&e, SCHED_HOLD_IN_FLIGHT, 0, SCHED_UNKNOWN_NS));
    scheduler_complete(&bench.s, second, MS, 0);
    e = explain(&bench, nop);
    CHECK(is(&e, SCHED_HOLD_NOTHING, 0, 0));
    CHECK(scheduler_take_instant(&bench.s, &t.stream[2]) == nop);
    CHECK(scheduler_vm_set(&bench.s, &t.vm, &bench.a, SCHED_MEDIUM, 50) == 0);

    CASE("the streams of a VM have their turns before each other");
    scheduler_complete(&bench.s, first, MS, 0);
    second = push(&bench, &t, 3, SCHED_EXEC);
    e = explain(&bench, second);
    CHECK(is(&e, SCHED_HOLD_STREAMS, 1, MS));
    tenant_leave(&bench, &t);
    bench_free(&bench);
}

static void test_by_others(void)
{
    struct bench bench;
    struct tenant mine, other, high, far;
    struct sched_unit *unit;
    struct sched_explanation e;

    CASE("other VMs of the class are ahead by their tags, each as far as its weight goes");
    bench_init(&bench);
    known_tenant(&bench, &mine, &bench.a, SCHED_MEDIUM, 50, MS);
    known_tenant(&bench, &other, &bench.a, SCHED_MEDIUM, 100, 2 * MS);
    push(&bench, &mine, 0, SCHED_EXEC);
    scheduler_complete(&bench.s, scheduler_pick(&bench.s, SCHED_EXEC, 0), 4 * MS, 0);
    unit = push(&bench, &mine, 0, SCHED_EXEC); /* 4 ms / 50 ahead: 4 units of 2 ms / 100 */
    mine.vm.party[SCHED_EXEC].estimate_ns = MS;
    for (int i = 0; i < 10; i++)
        push(&bench, &other, 0, SCHED_EXEC);
    e = explain(&bench, unit);
    CHECK(is(&e, SCHED_HOLD_VMS, 4, 8 * MS) && e.vms_ahead == 1);

    CASE("but with no more than they have queued");
    while (other.stream[0].queued > 3)
        scheduler_cancel(&bench.s, other.stream[0].tail);
    e = explain(&bench, unit);
    CHECK(is(&e, SCHED_HOLD_VMS, 3, 6 * MS));

    CASE("a higher class is ahead with all that it has");
    known_tenant(&bench, &high, &bench.a, SCHED_HIGH, 1, 10 * MS);
    for (int i = 0; i < 5; i++)
        push(&bench, &high, i % 2, SCHED_EXEC);
    e = explain(&bench, unit);
    CHECK(is(&e, SCHED_HOLD_CLASS, 8, 56 * MS) && e.vms_ahead == 2);

    CASE("another pool is ahead by its tag, with a share of the time that goes by the weights");
    known_tenant(&bench, &far, &bench.b, SCHED_LOW, 50, MS);
    for (int i = 0; i < 60; i++)
        push(&bench, &far, 0, SCHED_EXEC);
    e = explain(&bench, unit);
    CHECK(e.hold == SCHED_HOLD_CLASS && e.pools_ahead == 1);
    CHECK(e.wait_ns > 110 * MS && e.wait_ns <= 118 * MS);
    while (high.stream[0].head)
        scheduler_cancel(&bench.s, high.stream[0].head);
    while (high.stream[1].head)
        scheduler_cancel(&bench.s, high.stream[1].head);
    e = explain(&bench, unit);
    CHECK(e.hold == SCHED_HOLD_POOLS && e.pools_ahead == 1);
    CHECK(e.wait_ns >= 10 * MS && e.wait_ns <= 16 * MS);

    CASE("with scope global a lower class of another pool is not ahead, whatever its tag");
    scheduler_set_config(&bench.s, &(struct sched_config){.scope = SCHED_SCOPE_GLOBAL});
    e = explain(&bench, unit);
    CHECK(is(&e, SCHED_HOLD_VMS, 3, 6 * MS) && e.pools_ahead == 0);
    CASE("and a higher one is");
    e = explain(&bench, far.stream[0].head);
    CHECK(is(&e, SCHED_HOLD_CLASS, 4, 7 * MS) && e.vms_ahead == 2);
    tenant_leave(&bench, &mine);
    tenant_leave(&bench, &other);
    tenant_leave(&bench, &high);
    tenant_leave(&bench, &far);
    bench_free(&bench);
}

static void test_aged(void)
{
    struct bench bench;
    struct tenant low, high;
    struct sched_unit *aged, *unit;
    struct sched_explanation e;

    CASE("what has waited too long is next, though a higher class waits");
    bench_init(&bench);
    scheduler_set_config(&bench.s,
                         &(struct sched_config){.aging_after_ns = 100 * MS, .aging_share = 20});
    known_tenant(&bench, &low, &bench.a, SCHED_LOW, 50, MS);
    known_tenant(&bench, &high, &bench.a, SCHED_HIGH, 50, MS);
    aged = push(&bench, &low, 0, SCHED_EXEC);
    unit = push(&bench, &high, 0, SCHED_EXEC);
    e = explain_at(&bench, aged, 99 * MS);
    CHECK(is(&e, SCHED_HOLD_CLASS, 1, MS));
    e = explain_at(&bench, aged, 100 * MS);
    CHECK(is(&e, SCHED_HOLD_NOTHING, 0, 0));
    CASE("and holds the higher class for as long");
    e = explain_at(&bench, unit, 100 * MS);
    CHECK(e.hold == SCHED_HOLD_AGED);
    CHECK(scheduler_pick(&bench.s, SCHED_EXEC, 100 * MS) == aged);
    tenant_leave(&bench, &low);
    tenant_leave(&bench, &high);
    bench_free(&bench);
}

/* ---- against what happens ---- */

static bool is_flying(const struct life *life, const struct life_unit *unit)
{
    for (uint32_t i = 0; i < life->in_flight; i++)
        if (life->flying[i] == unit)
            return true;
    return false;
}

/* Of all queued units, the one that is said to be next in a lane; @said: how many are. */
static struct sched_unit *said_to_be_next(struct life *life, uint8_t lane, uint32_t *said)
{
    struct sched_unit *next = NULL;
    struct sched_explanation e;

    *said = 0;
    for (uint32_t i = 0; i < LIFE_VMS; i++)
        for (uint32_t k = 0; k < LIFE_UNITS; k++) {
            struct life_unit *unit = &life->vm[i].unit[k];

            if (!unit->used || unit->sched.lane != lane || is_flying(life, unit))
                continue;
            scheduler_explain(&life->scheduler, &unit->sched, life->now_ns, &e);
            if (e.hold != SCHED_HOLD_NOTHING)
                continue;
            next = &unit->sched;
            ++*said;
        }
    return next;
}

static void test_next_is_picked(void)
{
    static struct life life;
    uint32_t picked = 0, said;
    bool right = true;

    CASE("in a life where everything happens, exactly what is picked next is said to be next");
    scheduler_init(&life.scheduler, &(struct sched_config){0});
    life_begin(&life, 11);
    for (uint32_t i = 0; i < 30000; i++) {
        uint8_t lane = (uint8_t)(i % 40 == 0 ? SCHED_BUILD : SCHED_EXEC);
        struct sched_unit *next, *unit;

        life_step(&life);
        if (i % 20)
            continue;
        next = said_to_be_next(&life, lane, &said);
        unit = scheduler_pick(&life.scheduler, (enum sched_lane)lane, life.now_ns);
        right = right && unit == next && said == (unit != NULL);
        if (!unit)
            continue;
        picked++;
        scheduler_complete(&life.scheduler, unit, 1000, life.now_ns);
        ((struct life_unit *)unit)->used = false;
    }
    CHECK(right && picked > 150);
    life_end(&life);
}

/* Serve all that is queued. Return: how much time goes by before @unit is picked */
static uint64_t served_before(struct bench *bench, const struct sched_unit *unit)
{
    uint64_t ns = 0;

    for (;;) {
        struct sched_unit *next = scheduler_pick(&bench->s, SCHED_EXEC, 0);

        if (!next || next == unit)
            return next ? ns : UINT64_MAX;
        ns += tenant_of(next)->job_ns;
        scheduler_complete(&bench->s, next, tenant_of(next)->job_ns, 0);
    }
}

static void test_estimate(void)
{
    enum { TENANTS = 12 };
    static struct tenant t[TENANTS];
    struct life dice = {.random = 12};
    bool right = true;

    CASE(
        "when nothing new comes, a unit is served when it was said, to about a unit of each party");
    for (int round = 0; round < 300; round++) {
        struct bench bench;
        uint64_t slack_ns = 0, really_ns;
        struct sched_explanation e;
        struct sched_unit *unit;

        bench_init(&bench);
        scheduler_set_config(&bench.s, &(struct sched_config){.scope = (uint32_t)round % 2});
        scheduler_pool_set(&bench.s, &bench.a, 1 + life_random(&dice, 100), true);
        for (int i = 0; i < TENANTS; i++) {
            known_tenant(&bench, &t[i], i % 3 ? &bench.a : &bench.b,
                         (uint8_t)life_random(&dice, SCHED_CLASSES), 1 + life_random(&dice, 100),
                         (1 + life_random(&dice, 10)) * MS);
            for (uint32_t k = life_random(&dice, 30); k-- > 0;)
                push(&bench, &t[i], (int)life_random(&dice, STREAMS), SCHED_EXEC);
            slack_ns += t[i].job_ns;
        }
        for (uint32_t k = life_random(&dice, 20); k-- > 0;) {
            unit = scheduler_pick(&bench.s, SCHED_EXEC, 0);
            if (unit)
                scheduler_complete(&bench.s, unit, tenant_of(unit)->job_ns, 0);
        }
        unit = NULL;
        for (int i = 0; i < TENANTS && !unit; i++)
            unit = t[(i + round) % TENANTS].stream[round % STREAMS].tail;
        if (unit) {
            e = explain(&bench, unit);
            really_ns = served_before(&bench, unit);
            right = right && e.wait_ns <= really_ns + slack_ns && really_ns <= e.wait_ns + slack_ns;
        }
        for (int i = 0; i < TENANTS; i++)
            tenant_leave(&bench, &t[i]);
        bench_free(&bench);
    }
    CHECK(right);
}

int main(void)
{
    test_not_by_others();
    test_by_others();
    test_aged();
    test_next_is_picked();
    test_estimate();
    return check_done();
}
