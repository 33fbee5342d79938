/*
 * test_scheduler_shares.c - Who gets how much of the device, by time
 */
/* sanitizers: address thread */
#include "scheduler_bench.h"

static void shares(const uint32_t weight[3], const uint64_t job_ns[3], bool by_pool)
{
    struct bench bench;
    struct sched_pool third;
    struct tenant t[3];
    bool held = true;

    bench_init(&bench);
    CHECK(scheduler_pool_add(&bench.s, &third, 50, true) == 0);
    for (int i = 0; i < 3; i++) {
        struct sched_pool *pool = by_pool && i == 1   ? &bench.b
                                  : by_pool && i == 2 ? &third
                                                      : &bench.a;

        if (by_pool)
            scheduler_pool_set(&bench.s, pool, weight[i], true);
        tenant_init(&bench, &t[i], pool, SCHED_MEDIUM, by_pool ? 50 : weight[i]);
        t[i].job_ns = job_ns[i];
        push(&bench, &t[i], 0, SCHED_EXEC);
        push(&bench, &t[i], 0, SCHED_EXEC);
    }
    for (int round = 0; held && round < 20000; round++) {
        serve(&bench);
        for (int i = 0; i < 2; i++)
            held = held && (round < 100 /* the estimates are learnt in the first ones */ ||
                            fair(&t[i], weight[i], &t[i + 1], weight[i + 1]));
    }
    CHECK(held);
    for (int i = 0; i < 3; i++)
        tenant_leave(&bench, &t[i]);
    scheduler_pool_remove(&bench.s, &third);
    bench_free(&bench);
}

static void test_shares(void)
{
    CASE("VMs of weight 10, 30 and 60 get 10, 30 and 60 parts of the device");
    shares((uint32_t[]){10, 30, 60}, (uint64_t[]){1000000, 1000000, 1000000}, false);
    CASE("shares go by time, not by count: jobs 10 times as long");
    shares((uint32_t[]){50, 50, 50}, (uint64_t[]){10000000, 1000000, 1000000}, false);
    CASE("shares go by time, not by count: jobs 100 times as long, and weights");
    shares((uint32_t[]){80, 20, 20}, (uint64_t[]){100000000, 1000000, 10000000}, false);
    CASE("pools share by their weights, whatever the weights of their VMs");
    shares((uint32_t[]){10, 30, 60}, (uint64_t[]){1000000, 10000000, 1000000}, true);
}

static void test_depth_buys_nothing(void)
{
    static struct sched_unit flood[10000];
    struct bench bench;
    struct tenant deep, shallow;
    int turns = 0;

    CASE("10,000 queued do not out-share one outstanding beyond every other turn");
    bench_init(&bench);
    tenant_init(&bench, &deep, &bench.a, SCHED_MEDIUM, 50);
    tenant_init(&bench, &shallow, &bench.a, SCHED_MEDIUM, 50);
    for (int i = 0; i < 10000; i++) {
        flood[i] = (struct sched_unit){.seq = (uint64_t)i, .lane = SCHED_EXEC};
        scheduler_push(&bench.s, &deep.stream[0], &flood[i]);
    }
    push(&bench, &shallow, 0, SCHED_EXEC);
    for (int i = 0; i < 2000; i++) {
        struct sched_unit *unit = scheduler_pick(&bench.s, SCHED_EXEC, 0);

        scheduler_complete(&bench.s, unit, 1000000, 0);
        /* A blocking client asks again after its answer, when the next pick has been made. */
        if (tenant_of(unit) == &shallow) {
            unit = scheduler_pick(&bench.s, SCHED_EXEC, 0);
            CHECK(tenant_of(unit) == &deep);
            push(&bench, &shallow, 0, SCHED_EXEC);
            scheduler_complete(&bench.s, unit, 1000000, 0);
            turns++;
        }
    }
    CHECK(turns >= 1998);
    tenant_leave(&bench, &deep);
    tenant_leave(&bench, &shallow);
    bench_free(&bench);
}

static void test_idle_saves_nothing(void)
{
    struct bench bench;
    struct tenant busy, idle;

    CASE("a party that was idle has saved nothing up");
    bench_init(&bench);
    tenant_init(&bench, &busy, &bench.a, SCHED_MEDIUM, 50);
    tenant_init(&bench, &idle, &bench.a, SCHED_MEDIUM, 50);
    busy.job_ns = idle.job_ns = 1000000;
    push(&bench, &busy, 0, SCHED_EXEC);
    push(&bench, &busy, 0, SCHED_EXEC);
    for (int i = 0; i < 1000; i++)
        CHECK(serve(&bench) == &busy);
    busy.served_ns = 0;
    push(&bench, &idle, 0, SCHED_EXEC);
    push(&bench, &idle, 0, SCHED_EXEC);
    for (int i = 0; i < 100; i++)
        serve(&bench);
    CHECK(fair(&busy, 50, &idle, 50));

    CASE("a pool that was disabled or idle has saved nothing up");
    CHECK(scheduler_vm_set(&bench.s, &idle.vm, &bench.b, SCHED_MEDIUM, 50) == 0);
    scheduler_pool_set(&bench.s, &bench.b, 50, false);
    for (int i = 0; i < 1000; i++)
        CHECK(serve(&bench) == &busy);
    scheduler_pool_set(&bench.s, &bench.b, 50, true);
    busy.served_ns = idle.served_ns = 0;
    for (int i = 0; i < 100; i++)
        serve(&bench);
    CHECK(fair(&busy, 50, &idle, 50));
    tenant_leave(&bench, &busy);
    tenant_leave(&bench, &idle);
    bench_free(&bench);
}

static void test_charging(void)
{
    struct bench bench;
    struct tenant liar, honest;
    struct sched_unit *unit;

    CASE("what a unit has cost replaces the estimate when it is complete");
    bench_init(&bench);
    tenant_init(&bench, &liar, &bench.a, SCHED_MEDIUM, 50);
    tenant_init(&bench, &honest, &bench.a, SCHED_MEDIUM, 50);
    liar.job_ns = 1000;
    honest.job_ns = 1000;
    for (int i = 0; i < 2; i++) {
        push(&bench, &liar, 0, SCHED_EXEC);
        push(&bench, &honest, 0, SCHED_EXEC);
    }
    for (int i = 0; i < 200; i++)
        serve(&bench);
    /* A long job after many short ones is paid for before the next one. */
    do {
        unit = scheduler_pick(&bench.s, SCHED_EXEC, 0);
        scheduler_complete(&bench.s, unit, tenant_of(unit) == &liar ? 100000 : 1000, 0);
        push(&bench, tenant_of(unit), 0, SCHED_EXEC);
    } while (tenant_of(unit) != &liar);
    for (int i = 0; i < 95; i++)
        CHECK(serve(&bench) == &honest);
    tenant_leave(&bench, &liar);
    tenant_leave(&bench, &honest);
    bench_free(&bench);
}

static void test_wrap_around(void)
{
    struct bench bench;
    struct tenant t[2];

    CASE("shares hold while the virtual times wrap around");
    bench_init(&bench);
    bench.s.lane[SCHED_EXEC].virtual_time[0] = 0u - (100000000ull << 8);
    bench.a.lane[SCHED_EXEC].level[SCHED_MEDIUM].virtual_time = 0u - (3000000ull << 8);
    bench.a.lane[SCHED_EXEC].turn[0].key = bench.s.lane[SCHED_EXEC].virtual_time[0];
    for (int i = 0; i < 2; i++) {
        tenant_init(&bench, &t[i], &bench.a, SCHED_MEDIUM, i ? 20 : 80);
        t[i].job_ns = 1000000;
        push(&bench, &t[i], 0, SCHED_EXEC);
        push(&bench, &t[i], 0, SCHED_EXEC);
    }
    for (int i = 0; i < 10000; i++)
        serve(&bench);
    CHECK(fair(&t[0], 80, &t[1], 20));
    tenant_leave(&bench, &t[0]);
    tenant_leave(&bench, &t[1]);
    bench_free(&bench);
}

static void test_moves(void)
{
    struct bench bench;
    struct tenant mover, stayer;
    struct sched_unit *unit;

    CASE("a VM that changes its pool takes its queue and its debt along");
    bench_init(&bench);
    tenant_init(&bench, &mover, &bench.a, SCHED_MEDIUM, 50);
    tenant_init(&bench, &stayer, &bench.b, SCHED_MEDIUM, 50);
    mover.job_ns = stayer.job_ns = 1000000;
    push(&bench, &stayer, 0, SCHED_EXEC);
    push(&bench, &stayer, 0, SCHED_EXEC);
    for (int i = 0; i < 50; i++)
        CHECK(serve(&bench) == &stayer);
    push(&bench, &mover, 0, SCHED_EXEC);
    push(&bench, &mover, 0, SCHED_EXEC);
    do /* one very long unit of the mover */
        unit = scheduler_pick(&bench.s, SCHED_EXEC, 0),
        scheduler_complete(&bench.s, unit, tenant_of(unit) == &mover ? 20000000 : 1000000, 0),
        push(&bench, tenant_of(unit), 0, SCHED_EXEC);
    while (tenant_of(unit) != &mover);
    CHECK(scheduler_vm_set(&bench.s, &mover.vm, &bench.b, SCHED_MEDIUM, 50) == 0);
    for (int i = 0; i < 18; i++)
        CHECK(serve(&bench) == &stayer);
    mover.served = 0;
    for (int i = 0; i < 8; i++)
        serve(&bench);
    CHECK(mover.served >= 3);

    CASE("a VM that changes its class competes there at once, ahead of the lower one");
    CHECK(scheduler_vm_set(&bench.s, &mover.vm, &bench.b, SCHED_HIGH, 50) == 0);
    for (int i = 0; i < 20; i++)
        CHECK(serve(&bench) == &mover);

    CASE("a VM that changes to a class that was never served is not locked out");
    CHECK(scheduler_vm_set(&bench.s, &mover.vm, &bench.b, SCHED_LOW, 50) == 0);
    CHECK(scheduler_vm_set(&bench.s, &stayer.vm, &bench.b, SCHED_LOW, 50) == 0);
    mover.served_ns = stayer.served_ns = 0;
    for (int i = 0; i < 100; i++)
        serve(&bench);
    CHECK(mover.served_ns > 40 * 1000000ull && stayer.served_ns > 40 * 1000000ull);

    CASE("a new weight counts from the next unit on");
    CHECK(scheduler_vm_set(&bench.s, &mover.vm, &bench.b, SCHED_LOW, 10) == 0);
    CHECK(scheduler_vm_set(&bench.s, &stayer.vm, &bench.b, SCHED_LOW, 90) == 0);
    mover.served_ns = stayer.served_ns = 0;
    for (int i = 0; i < 1000; i++)
        serve(&bench);
    CHECK(fair(&mover, 10, &stayer, 90));
    tenant_leave(&bench, &mover);
    tenant_leave(&bench, &stayer);
    bench_free(&bench);
}

/* Serve one long unit of @t, at whatever weight, then give it 100; how long until its next one? */
static uint64_t wait_after_raise(struct bench *bench, struct tenant *t, struct tenant *other,
                                 bool of_pool)
{
    struct sched_unit *unit;
    uint64_t before_ns;

    do {
        unit = scheduler_pick(&bench->s, SCHED_EXEC, 0);
        scheduler_complete(&bench->s, unit, tenant_of(unit) == t ? 100000000 : 1000000, 0);
        push(bench, tenant_of(unit), 0, SCHED_EXEC);
    } while (tenant_of(unit) != t);
    if (of_pool)
        scheduler_pool_set(&bench->s, t->vm.pool, 100, true);
    else
        CHECK(scheduler_vm_set(&bench->s, &t->vm, t->vm.pool, SCHED_MEDIUM, 100) == 0);
    before_ns = other->served_ns;
    while (serve(bench) != t)
        ;
    return other->served_ns - before_ns;
}

static void test_raised_weight(void)
{
    struct bench bench;
    struct tenant raised, other;

    CASE("a VM that has paid for a long unit at weight 1 waits by its new weight, when it has one");
    bench_init(&bench);
    tenant_init(&bench, &raised, &bench.a, SCHED_MEDIUM, 1);
    tenant_init(&bench, &other, &bench.a, SCHED_MEDIUM, 100);
    raised.job_ns = other.job_ns = 1000000;
    for (int i = 0; i < 2; i++) {
        push(&bench, &raised, 0, SCHED_EXEC);
        push(&bench, &other, 0, SCHED_EXEC);
    }
    CHECK(wait_after_raise(&bench, &raised, &other, false) <= 103000000);
    CASE("a pool does so too");
    CHECK(scheduler_vm_set(&bench.s, &other.vm, &bench.b, SCHED_MEDIUM, 50) == 0);
    scheduler_pool_set(&bench.s, &bench.a, 1, true);
    scheduler_pool_set(&bench.s, &bench.b, 100, true);
    CHECK(wait_after_raise(&bench, &raised, &other, true) <= 103000000);
    tenant_leave(&bench, &raised);
    tenant_leave(&bench, &other);
    bench_free(&bench);
}

/* A unit in flight is charged to where it was picked, whatever its VM is when it completes. */
static void test_moves_in_flight(void)
{
    struct bench bench;
    struct tenant mover, stayer;
    struct sched_unit *unit;
    uint64_t before;

    CASE("a VM that moves with a unit in flight gives its new pool no time for nothing");
    bench_init(&bench);
    tenant_init(&bench, &mover, &bench.a, SCHED_MEDIUM, 50);
    tenant_init(&bench, &stayer, &bench.b, SCHED_MEDIUM, 50);
    mover.job_ns = 1000000000;
    stayer.job_ns = 1000000;
    push(&bench, &mover, 0, SCHED_EXEC);
    for (int i = 0; i < 60; i++) /* it learns that its jobs are long */
        serve(&bench);
    unit = scheduler_pick(&bench.s, SCHED_EXEC, 0);
    before = bench.b.lane[SCHED_EXEC].turn[0].key;
    CHECK(scheduler_vm_set(&bench.s, &mover.vm, &bench.b, SCHED_MEDIUM, 50) == 0);
    scheduler_complete(&bench.s, unit, 1000, 0); /* and now it was short */
    CHECK((int64_t)(bench.b.lane[SCHED_EXEC].turn[0].key - before) >= 0);

    CASE("nor to a pool that was made in the same place when its own was gone");
    CHECK(scheduler_vm_set(&bench.s, &mover.vm, &bench.a, SCHED_MEDIUM, 50) == 0);
    push(&bench, &mover, 0, SCHED_EXEC);
    unit = scheduler_pick(&bench.s, SCHED_EXEC, 0);
    CHECK(scheduler_vm_set(&bench.s, &mover.vm, NULL, SCHED_MEDIUM, 50) == 0);
    scheduler_pool_remove(&bench.s, &bench.a);
    CHECK(scheduler_pool_add(&bench.s, &bench.a, 50, true) == 0);
    CHECK(scheduler_vm_set(&bench.s, &mover.vm, &bench.a, SCHED_MEDIUM, 50) == 0);
    before = bench.a.lane[SCHED_EXEC].turn[0].key;
    scheduler_complete(&bench.s, unit, 1000, 0);
    CHECK((int64_t)(bench.a.lane[SCHED_EXEC].turn[0].key - before) >= 0);
    CHECK(scheduler_vm_set(&bench.s, &mover.vm, &bench.b, SCHED_MEDIUM, 50) == 0);

    CASE("a weight that changes with a unit in flight does not turn its correction into credit");
    push(&bench, &mover, 0, SCHED_EXEC);
    CHECK(scheduler_vm_set(&bench.s, &mover.vm, &bench.b, SCHED_MEDIUM, 100) == 0);
    before = mover.vm.party[SCHED_EXEC].turn.key;
    unit = scheduler_pick(&bench.s, SCHED_EXEC, 0);
    CHECK(scheduler_vm_set(&bench.s, &mover.vm, &bench.b, SCHED_MEDIUM, 1) == 0);
    scheduler_complete(&bench.s, unit, 1000, 0);
    CHECK((int64_t)(mover.vm.party[SCHED_EXEC].turn.key - before) >= 0);
    tenant_leave(&bench, &mover);
    tenant_leave(&bench, &stayer);
    bench_free(&bench);
}

int main(void)
{
    test_shares();
    test_depth_buys_nothing();
    test_idle_saves_nothing();
    test_charging();
    test_wrap_around();
    test_moves();
    test_raised_weight();
    test_moves_in_flight();
    return check_done();
}
