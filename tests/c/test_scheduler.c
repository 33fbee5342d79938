/*
 * test_scheduler.c - Order and states of the scheduler
 */
/* sanitizers: address thread */
#include "scheduler_bench.h"

static void test_order_in_streams(void)
{
    struct bench bench;
    struct tenant t;
    struct sched_unit *unit[5];

    CASE("a stream is served first in, first out");
    bench_init(&bench);
    tenant_init(&bench, &t, &bench.a, SCHED_MEDIUM, 50);
    for (int i = 0; i < 5; i++)
        unit[i] = push(&bench, &t, 0, SCHED_EXEC);
    for (int i = 0; i < 5; i++) {
        CHECK(scheduler_pick(&bench.s, SCHED_EXEC, 0) == unit[i]);
        scheduler_complete(&bench.s, unit[i], 1000, 0);
    }
    CHECK(!scheduler_pick(&bench.s, SCHED_EXEC, 0));

    CASE("units that are pipelined behind the first one keep their order");
    for (int i = 0; i < 5; i++)
        unit[i] = push(&bench, &t, 0, SCHED_EXEC);
    CHECK(scheduler_pick(&bench.s, SCHED_EXEC, 0) == unit[0]);
    for (int i = 1; i < 5; i++)
        CHECK(scheduler_pick_more(&bench.s, SCHED_EXEC, &t.vm, 0) == unit[i]);
    CHECK(!scheduler_pick_more(&bench.s, SCHED_EXEC, &t.vm, 0));
    CHECK(t.stream[0].in_flight == 5);
    for (int i = 0; i < 5; i++)
        scheduler_complete(&bench.s, unit[i], 1000, 0);
    CHECK(t.stream[0].in_flight == 0);

    CASE("the ready streams of a VM take turns");
    for (int i = 0; i < 12; i++)
        unit[i % 3 == 0 ? 0 : 1] = push(&bench, &t, i % 3, SCHED_EXEC);
    for (int i = 0; i < 12; i++) {
        struct sched_unit *picked = scheduler_pick(&bench.s, SCHED_EXEC, 0);

        CHECK(picked && picked->stream == &t.stream[i % 3]);
        if (picked)
            scheduler_complete(&bench.s, picked, 1000, 0);
    }
    tenant_leave(&bench, &t);
    bench_free(&bench);
}

static void test_classes(void)
{
    struct bench bench;
    struct tenant low, medium, high;
    int order[30], count = 0;
    struct sched_unit *unit;

    CASE("a lower class is served only when no higher one of its pool waits");
    bench_init(&bench);
    tenant_init(&bench, &low, &bench.a, SCHED_LOW, 100);
    tenant_init(&bench, &medium, &bench.a, SCHED_MEDIUM, 50);
    tenant_init(&bench, &high, &bench.a, SCHED_HIGH, 1);
    for (int i = 0; i < 10; i++) {
        push(&bench, &low, 0, SCHED_EXEC);
        push(&bench, &medium, 0, SCHED_EXEC);
        push(&bench, &high, 0, SCHED_EXEC);
    }
    while ((unit = scheduler_pick(&bench.s, SCHED_EXEC, 0))) {
        order[count++] = tenant_of(unit)->vm.class;
        scheduler_complete(&bench.s, unit, 1000, 0);
    }
    CHECK(count == 30);
    for (int i = 0; i < count; i++)
        CHECK(order[i] == (i < 10 ? SCHED_HIGH : i < 20 ? SCHED_MEDIUM : SCHED_LOW));

    CASE("nothing is pipelined behind a VM once a higher class of its pool waits");
    push(&bench, &medium, 0, SCHED_EXEC);
    push(&bench, &medium, 0, SCHED_EXEC);
    unit = scheduler_pick(&bench.s, SCHED_EXEC, 0);
    CHECK(unit && tenant_of(unit) == &medium);
    push(&bench, &high, 0, SCHED_EXEC);
    CHECK(!scheduler_pick_more(&bench.s, SCHED_EXEC, &medium.vm, 0));
    scheduler_complete(&bench.s, unit, 1000, 0);
    unit = scheduler_pick(&bench.s, SCHED_EXEC, 0);
    CHECK(unit && tenant_of(unit) == &high);
    push(&bench, &low, 0, SCHED_EXEC);
    push(&bench, &high, 0, SCHED_EXEC);
    CHECK(scheduler_pick_more(&bench.s, SCHED_EXEC, &high.vm, 0)); /* lower ones do not matter */
    tenant_leave(&bench, &low);
    tenant_leave(&bench, &medium);
    tenant_leave(&bench, &high);
    bench_free(&bench);
}

static void test_disabled_pool(void)
{
    struct bench bench;
    struct tenant t, other;
    struct sched_unit *first, *second;

    CASE("a disabled pool is not picked from, and nothing is lost");
    bench_init(&bench);
    tenant_init(&bench, &t, &bench.a, SCHED_HIGH, 50);
    tenant_init(&bench, &other, &bench.b, SCHED_LOW, 50);
    first = push(&bench, &t, 0, SCHED_EXEC);
    second = push(&bench, &t, 0, SCHED_EXEC);
    CHECK(scheduler_pick(&bench.s, SCHED_EXEC, 0) == first);
    scheduler_pool_set(&bench.s, &bench.a, 50, false);
    CHECK(!scheduler_pick_more(&bench.s, SCHED_EXEC, &t.vm, 0));
    CHECK(!scheduler_pick(&bench.s, SCHED_EXEC, 0));
    push(&bench, &other, 0, SCHED_EXEC);
    CHECK(tenant_of(scheduler_pick(&bench.s, SCHED_EXEC, 0)) == &other);
    scheduler_complete(&bench.s, first, 1000, 0); /* what runs finishes */
    CHECK(!scheduler_pick(&bench.s, SCHED_EXEC, 0));
    scheduler_pool_set(&bench.s, &bench.a, 50, true);
    CHECK(scheduler_pick(&bench.s, SCHED_EXEC, 0) == second);

    CASE("a VM that is blocked is not picked, one without a pool neither");
    first = push(&bench, &t, 0, SCHED_EXEC);
    scheduler_vm_block(&bench.s, &t.vm, SCHED_EXEC, true);
    CHECK(!scheduler_pick(&bench.s, SCHED_EXEC, 0) &&
          !scheduler_pick_more(&bench.s, SCHED_EXEC, &t.vm, 0));
    CHECK(scheduler_vm_set(&bench.s, &t.vm, NULL, SCHED_HIGH, 50) == 0);
    scheduler_vm_block(&bench.s, &t.vm, SCHED_EXEC, false);
    CHECK(!scheduler_pick(&bench.s, SCHED_EXEC, 0) &&
          !scheduler_pick_more(&bench.s, SCHED_EXEC, &t.vm, 0));
    CHECK(scheduler_vm_set(&bench.s, &t.vm, &bench.b, SCHED_HIGH, 50) == 0);
    CHECK(scheduler_pick(&bench.s, SCHED_EXEC, 0) == first);
    tenant_leave(&bench, &t);
    tenant_leave(&bench, &other);
    bench_free(&bench);
}

static void test_returned_units(void)
{
    struct bench bench;
    struct tenant t;
    struct sched_unit *unit[4];

    CASE("a unit that comes back unfinished holds its stream until all in flight are back");
    bench_init(&bench);
    tenant_init(&bench, &t, &bench.a, SCHED_MEDIUM, 50);
    for (int i = 0; i < 4; i++)
        unit[i] = push(&bench, &t, 0, SCHED_EXEC);
    CHECK(scheduler_pick(&bench.s, SCHED_EXEC, 0) == unit[0]);
    CHECK(scheduler_pick_more(&bench.s, SCHED_EXEC, &t.vm, 0) == unit[1]);
    CHECK(scheduler_pick_more(&bench.s, SCHED_EXEC, &t.vm, 0) == unit[2]);
    scheduler_return(&bench.s, unit[0], 2000, 0);
    CHECK(!scheduler_pick(&bench.s, SCHED_EXEC, 0));
    scheduler_return(&bench.s, unit[1], 0, 0);
    CHECK(!scheduler_pick(&bench.s, SCHED_EXEC, 0));
    scheduler_return(&bench.s, unit[2], 0, 0);

    CASE("units that came back are served again in their old order");
    CHECK(scheduler_pick(&bench.s, SCHED_EXEC, 0) == unit[0]);
    for (int i = 1; i < 4; i++)
        CHECK(scheduler_pick_more(&bench.s, SCHED_EXEC, &t.vm, 0) == unit[i]);
    for (int i = 0; i < 4; i++)
        scheduler_complete(&bench.s, unit[i], 1000, 0);

    CASE("a unit that needs a build waits in the build lane, and its stream behind it");
    unit[0] = push(&bench, &t, 0, SCHED_EXEC);
    unit[1] = push(&bench, &t, 0, SCHED_EXEC);
    unit[2] = push(&bench, &t, 1, SCHED_EXEC);
    CHECK(scheduler_pick(&bench.s, SCHED_EXEC, 0) == unit[0]);
    unit[0]->lane = SCHED_BUILD;
    scheduler_return(&bench.s, unit[0], 1000, 0);
    CHECK(scheduler_pick(&bench.s, SCHED_EXEC, 0) == unit[2]); /* the other stream goes on */
    CHECK(!scheduler_pick_more(&bench.s, SCHED_EXEC, &t.vm, 0));
    CHECK(scheduler_pick(&bench.s, SCHED_BUILD, 0) == unit[0]);
    CHECK(!scheduler_pick(&bench.s, SCHED_EXEC, 0) && !scheduler_pick(&bench.s, SCHED_BUILD, 0));
    unit[0]->lane = SCHED_EXEC;
    scheduler_return(&bench.s, unit[0], 5000, 0);
    CHECK(scheduler_pick(&bench.s, SCHED_EXEC, 0) == unit[0]);
    CHECK(scheduler_pick_more(&bench.s, SCHED_EXEC, &t.vm, 0) == unit[1]);
    for (int i = 0; i < 3; i++)
        scheduler_complete(&bench.s, unit[i], 1000, 0);

    CASE("a stream whose head moves to another lane waits until what is in flight is back");
    unit[0] = push(&bench, &t, 0, SCHED_EXEC);
    unit[1] = push(&bench, &t, 0, SCHED_BUILD);
    CHECK(scheduler_pick(&bench.s, SCHED_EXEC, 0) == unit[0]);
    CHECK(!scheduler_pick(&bench.s, SCHED_BUILD, 0));
    scheduler_complete(&bench.s, unit[0], 1000, 0);
    CHECK(scheduler_pick(&bench.s, SCHED_BUILD, 0) == unit[1]);
    scheduler_complete(&bench.s, unit[1], 1000, 0);
    tenant_leave(&bench, &t);
    bench_free(&bench);
}

static void test_build_lane(void)
{
    struct bench bench;
    struct tenant builder, other;

    CASE("what a VM builds does not count against what it runs");
    bench_init(&bench);
    tenant_init(&bench, &builder, &bench.a, SCHED_MEDIUM, 50);
    tenant_init(&bench, &other, &bench.a, SCHED_MEDIUM, 50);
    builder.job_ns = other.job_ns = 1000000;
    for (int i = 0; i < 10; i++) {
        push(&bench, &builder, 1, SCHED_BUILD);
        scheduler_complete(&bench.s, scheduler_pick(&bench.s, SCHED_BUILD, 0), 1000000000, 0);
    }
    for (int i = 0; i < 2; i++) {
        push(&bench, &builder, 0, SCHED_EXEC);
        push(&bench, &other, 0, SCHED_EXEC);
    }
    for (int i = 0; i < 100; i++)
        serve(&bench);
    CHECK(fair(&builder, 50, &other, 50));
    tenant_leave(&bench, &builder);
    tenant_leave(&bench, &other);
    bench_free(&bench);
}

static void test_instant_units(void)
{
    struct bench bench;
    struct tenant t;
    struct sched_unit *run, *nop;

    CASE("an instant unit is taken only at the head of a stream with nothing in flight");
    bench_init(&bench);
    tenant_init(&bench, &t, &bench.a, SCHED_MEDIUM, 50);
    run = push(&bench, &t, 0, SCHED_EXEC);
    nop = push(&bench, &t, 0, SCHED_INSTANT);
    CHECK(!scheduler_take_instant(&bench.s, &t.stream[0]));
    CHECK(scheduler_pick(&bench.s, SCHED_EXEC, 0) == run);
    CHECK(!scheduler_take_instant(&bench.s, &t.stream[0]));
    CHECK(!scheduler_pick(&bench.s, SCHED_EXEC, 0));
    scheduler_complete(&bench.s, run, 1000, 0);
    CHECK(scheduler_take_instant(&bench.s, &t.stream[0]) == nop);
    CHECK(!scheduler_take_instant(&bench.s, &t.stream[0]));

    CASE("an instant unit of a disabled pool, or of no pool, waits");
    nop = push(&bench, &t, 0, SCHED_INSTANT);
    scheduler_pool_set(&bench.s, &bench.a, 50, false);
    CHECK(!scheduler_take_instant(&bench.s, &t.stream[0]));
    CHECK(scheduler_vm_set(&bench.s, &t.vm, NULL, SCHED_MEDIUM, 50) == 0);
    CHECK(!scheduler_take_instant(&bench.s, &t.stream[0]));
    CHECK(scheduler_vm_set(&bench.s, &t.vm, &bench.b, SCHED_MEDIUM, 50) == 0);
    CHECK(scheduler_take_instant(&bench.s, &t.stream[0]) == nop);
    tenant_leave(&bench, &t);
    bench_free(&bench);
}

static void test_cancel(void)
{
    struct bench bench;
    struct tenant t;
    struct sched_unit *unit[3];

    CASE("a queued unit is cancelled wherever it stands, and the last one ends the contest");
    bench_init(&bench);
    tenant_init(&bench, &t, &bench.a, SCHED_MEDIUM, 50);
    for (int i = 0; i < 3; i++)
        unit[i] = push(&bench, &t, 0, SCHED_EXEC);
    scheduler_cancel(&bench.s, unit[1]);
    scheduler_cancel(&bench.s, unit[0]);
    CHECK(scheduler_pick(&bench.s, SCHED_EXEC, 0) == unit[2]);
    scheduler_complete(&bench.s, unit[2], 1000, 0);
    unit[0] = push(&bench, &t, 0, SCHED_EXEC);
    scheduler_cancel(&bench.s, unit[0]);
    CHECK(!scheduler_pick(&bench.s, SCHED_EXEC, 0));
    CHECK(bench.s.lane[SCHED_EXEC].turns[0].count == 0 && !t.stream[0].head && !t.stream[0].tail);
    tenant_leave(&bench, &t);
    bench_free(&bench);
}

int main(void)
{
    test_order_in_streams();
    test_classes();
    test_disabled_pool();
    test_returned_units();
    test_build_lane();
    test_instant_units();
    test_cancel();
    return check_done();
}
