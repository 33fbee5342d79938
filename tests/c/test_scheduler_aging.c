/*
 * test_scheduler_aging.c - Waiting too long, the classes above the pools, and waits besides the turn
 *
 * On a virtual clock: `now_ns` moves by what each unit costs.
 */
/* sanitizers: address thread */
#include "scheduler_bench.h"

#define MS 1000000ull

static const struct sched_config aging = {
    .aging_after_ns = 100 * MS, .aging_share = 20, .scope = SCHED_SCOPE_POOL};
static const struct sched_config global = {
    .aging_after_ns = 100 * MS, .aging_share = 20, .scope = SCHED_SCOPE_GLOBAL};

struct clock {
    struct bench bench;
    uint64_t now_ns;
};

static void clock_init(struct clock *c, const struct sched_config *config)
{
    *c = (struct clock){.now_ns = 1000 * MS};
    bench_init(&c->bench);
    scheduler_set_config(&c->bench.s, config);
}

static struct sched_unit *ask(struct clock *c, struct tenant *t, int stream)
{
    struct sched_unit *unit = &t->unit[t->made++ % UNITS];

    *unit = (struct sched_unit){.lane = SCHED_EXEC, .seq = t->next_seq++, .arrival_ns = c->now_ns};
    scheduler_push(&c->bench.s, &t->stream[stream], unit);
    return unit;
}

/* Serve one unit to its end. Return: whose it was */
static struct tenant *turn(struct clock *c)
{
    struct sched_unit *unit = scheduler_pick(&c->bench.s, SCHED_EXEC, c->now_ns);
    struct tenant *t = tenant_of(unit);

    c->now_ns += t->job_ns;
    scheduler_complete(&c->bench.s, unit, t->job_ns, c->now_ns);
    t->served_ns += t->job_ns;
    t->served++;
    return t;
}

static void test_share(void)
{
    struct clock c;
    struct tenant high, low;
    uint64_t begin;

    CASE("nothing is aged before its time has come");
    clock_init(&c, &aging);
    tenant_init(&c.bench, &high, &c.bench.a, SCHED_HIGH, 50);
    tenant_init(&c.bench, &low, &c.bench.a, SCHED_LOW, 50);
    high.job_ns = 1 * MS;
    low.job_ns = 3 * MS;
    ask(&c, &low, 0);
    ask(&c, &low, 0);
    ask(&c, &high, 0);
    begin = c.now_ns;
    while (turn(&c) == &high)
        ask(&c, &high, 0);
    CHECK(c.now_ns - begin == 100 * MS + low.job_ns);

    CASE("a saturated high class leaves aged work its share and one unit, and no more");
    high.served_ns = low.served_ns = 0;
    begin = c.now_ns;
    for (int i = 0; i < 20000; i++) {
        struct tenant *t = turn(&c);

        ask(&c, t, 0);
        CHECK(low.served_ns <= (c.now_ns - begin) / 5 + low.job_ns);
    }
    /* One unit each 100 ms: it has to wait that long again. */
    CHECK(low.served_ns * 100 / (c.now_ns - begin) == 2);
    tenant_leave(&c.bench, &high);
    tenant_leave(&c.bench, &low);
    bench_free(&c.bench);
}

/* A high class that is never idle, and many below it. */
static void test_many(void)
{
    enum { LOW = 40 };
    static struct tenant low[LOW];
    struct clock c;
    struct tenant high;
    uint64_t begin, served = 0, least = UINT64_MAX, most = 0;

    CASE("forty starved VMs together get the aged share, each the same part of it");
    clock_init(&c, &aging);
    tenant_init(&c.bench, &high, &c.bench.a, SCHED_HIGH, 50);
    high.job_ns = 1 * MS;
    ask(&c, &high, 0);
    for (int i = 0; i < LOW; i++) {
        tenant_init(&c.bench, &low[i], &c.bench.a, i % 2 ? SCHED_LOW : SCHED_MEDIUM, 50);
        low[i].job_ns = 2 * MS;
        ask(&c, &low[i], 0);
        ask(&c, &low[i], 0);
    }
    begin = c.now_ns;
    for (int i = 0; i < 40000; i++)
        ask(&c, turn(&c), 0);
    for (int i = 0; i < LOW; i++) {
        served += low[i].served_ns;
        least = low[i].served < least ? low[i].served : least;
        most = low[i].served > most ? low[i].served : most;
    }
    CHECK(served <= (c.now_ns - begin) / 5 + 2 * MS && served >= (c.now_ns - begin) / 5 - 50 * MS);
    CHECK(most - least <= 1);
    for (int i = 0; i < LOW; i++)
        tenant_leave(&c.bench, &low[i]);
    tenant_leave(&c.bench, &high);
    bench_free(&c.bench);
}

static void test_depth_buys_nothing(void)
{
    static struct sched_unit flood[10000];
    struct clock c;
    struct tenant high, deep, shallow;

    CASE("high saturated: a low VM 10,000 deep and one with one outstanding are served the same");
    clock_init(&c, &aging);
    tenant_init(&c.bench, &high, &c.bench.a, SCHED_HIGH, 50);
    tenant_init(&c.bench, &deep, &c.bench.a, SCHED_LOW, 50);
    tenant_init(&c.bench, &shallow, &c.bench.a, SCHED_LOW, 50);
    high.job_ns = deep.job_ns = shallow.job_ns = 1 * MS;
    for (int i = 0; i < 10000; i++) {
        flood[i] =
            (struct sched_unit){.seq = (uint64_t)i, .lane = SCHED_EXEC, .arrival_ns = c.now_ns};
        scheduler_push(&c.bench.s, &deep.stream[0], &flood[i]);
    }
    ask(&c, &high, 0);
    ask(&c, &shallow, 0);
    for (int i = 0; i < 100000; i++) {
        struct tenant *t = turn(&c);

        if (t != &deep)
            ask(&c, t, 0);
    }
    CHECK(shallow.served > 500);
    CHECK(deep.served - shallow.served + 1 <= 2);
    while (deep.stream[0].head)
        scheduler_cancel(&c.bench.s, deep.stream[0].head);
    tenant_leave(&c.bench, &high);
    tenant_leave(&c.bench, &deep);
    tenant_leave(&c.bench, &shallow);
    bench_free(&c.bench);
}

static void test_global(void)
{
    struct clock c;
    struct tenant high, low, low2;
    struct sched_unit *unit;

    CASE("scope global: a higher class comes first whatever the pool");
    clock_init(&c, &global);
    scheduler_pool_set(&c.bench.s, &c.bench.b, 1, true);
    tenant_init(&c.bench, &low, &c.bench.a, SCHED_LOW, 50);
    tenant_init(&c.bench, &high, &c.bench.b, SCHED_HIGH, 50);
    high.job_ns = low.job_ns = 1 * MS;
    ask(&c, &low, 0);
    ask(&c, &low, 0);
    for (int i = 0; i < 50; i++) {
        ask(&c, &high, 0);
        CHECK(turn(&c) == &high);
    }
    CASE("scope global: while one VM is served, a higher class of another pool stops its run");
    unit = scheduler_pick(&c.bench.s, SCHED_EXEC, c.now_ns);
    CHECK(tenant_of(unit) == &low);
    ask(&c, &high, 0);
    CHECK(!scheduler_pick_more(&c.bench.s, SCHED_EXEC, &low.vm, c.now_ns));
    scheduler_complete(&c.bench.s, unit, 1 * MS, c.now_ns += MS);
    ask(&c, &low, 0);

    CASE("scope global: what has waited too long in any pool comes first, for the share of all");
    low.served_ns = 0;
    for (int i = 0; i < 5000; i++)
        ask(&c, turn(&c), 0);
    CHECK(low.served_ns >= 40 * MS && low.served_ns <= 1000 * MS);

    CASE("a change of scope while all wait keeps everybody in the race");
    tenant_init(&c.bench, &low2, &c.bench.b, SCHED_LOW, 50);
    low2.job_ns = 1 * MS;
    ask(&c, &low2, 0);
    scheduler_set_config(&c.bench.s, &aging);
    low.served = high.served = low2.served = 0;
    for (int i = 0; i < 2020; i++)
        ask(&c, turn(&c), 0);
    CHECK(low.served >= 1970 && low.served <= 1985); /* of 2020, by weights 50 and 1 */
    CHECK(high.served >= 30);
    scheduler_set_config(&c.bench.s, &global);
    low.served = high.served = low2.served = 0;
    for (int i = 0; i < 1000; i++)
        ask(&c, turn(&c), 0);
    CHECK(high.served >= 800);
    tenant_leave(&c.bench, &low);
    tenant_leave(&c.bench, &low2);
    tenant_leave(&c.bench, &high);
    bench_free(&c.bench);
}

static void test_waits(void)
{
    struct clock c;
    struct tenant t;
    struct sched_unit *first, *second, *other;

    CASE("a unit that waits for more than its turn is not picked, and holds its own stream alone");
    clock_init(&c, &aging);
    tenant_init(&c.bench, &t, &c.bench.a, SCHED_LOW, 50);
    first = &t.unit[t.made++];
    *first = (struct sched_unit){.lane = SCHED_EXEC, .seq = t.next_seq++, .waits = 2};
    scheduler_push(&c.bench.s, &t.stream[0], first);
    second = ask(&c, &t, 0);
    CHECK(!scheduler_pick(&c.bench.s, SCHED_EXEC, c.now_ns));
    other = ask(&c, &t, 1);
    CHECK(scheduler_pick(&c.bench.s, SCHED_EXEC, c.now_ns) == other);
    scheduler_complete(&c.bench.s, other, MS, c.now_ns);
    scheduler_satisfied(&c.bench.s, first);
    CHECK(!scheduler_pick(&c.bench.s, SCHED_EXEC, c.now_ns));
    scheduler_satisfied(&c.bench.s, first);
    CHECK(scheduler_pick(&c.bench.s, SCHED_EXEC, c.now_ns) == first);
    CHECK(scheduler_pick_more(&c.bench.s, SCHED_EXEC, &t.vm, c.now_ns) == second);
    scheduler_complete(&c.bench.s, first, MS, c.now_ns);
    scheduler_complete(&c.bench.s, second, MS, c.now_ns);

    CASE("an instant waits too");
    first = &t.unit[t.made++];
    *first = (struct sched_unit){.lane = SCHED_INSTANT, .seq = t.next_seq++, .waits = 1};
    scheduler_push(&c.bench.s, &t.stream[0], first);
    CHECK(!scheduler_take_instant(&c.bench.s, &t.stream[0]));
    scheduler_satisfied(&c.bench.s, first);
    CHECK(scheduler_take_instant(&c.bench.s, &t.stream[0]) == first);
    tenant_leave(&c.bench, &t);
    bench_free(&c.bench);
}

int main(void)
{
    test_share();
    test_many();
    test_depth_buys_nothing();
    test_global();
    test_waits();
    return check_done();
}
