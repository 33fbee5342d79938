/*
 * fairness_main.c - Who gets how much of a device, and who waits how long, on a virtual clock
 *
 *     fairness_main SECONDS
 *
 * The scheduler that the engine has decides about a device that is never idle for SECONDS of virtual
 * time. As in the engine, one VM has it at a time: after the pick, more units of the same VM follow, as
 * quantum.h allows with a quantum of 2 ms, until a higher class waits. Jobs vary by a half to either
 * side of their length.
 *
 * Prints one JSON object. Of shares, for each scenario: the share (percent) that was farthest from the
 * ideal one in any window of a second, and in any window of max(1 s, 100 n L), with that ideal, and
 * Jain's index of the least equal of the latter. Of waits: from arrival to the device, in lengths of a job.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "quantum.h"
#include "scheduler.h"

#define VMS_MAX    128
#define UNITS_MAX  10016
#define WAITS_MAX  1000000
#define QUANTUM_NS 2000000u
#define MS         1000000ull
#define SECOND     (1000 * MS)

struct tenant {
    struct sched_vm vm;
    struct sched_stream stream;
    struct sched_unit *unit; /* `depth` of them */
    uint32_t depth;          /* kept outstanding; 0 = it asks now and then */
    uint64_t job_ns;
    double window_ns[2]; /* since the window of a second, and the long one, began */
};

/* A share that is far from what it should be, in percent. */
struct far {
    double share;
    double ideal;
};

struct device {
    struct scheduler s;
    struct sched_pool pool;
    struct tenant tenant[VMS_MAX];
    uint32_t tenants;
    uint32_t depth;
    uint64_t now_ns;
    uint64_t random;
    uint64_t seq;

    uint64_t long_window_ns;
    uint64_t window_end_ns[2];
    struct far worst[2];
    double worst_jain; /* of the long windows */

    struct tenant *sparse; /* who asks now and then */
    uint64_t next_ask_ns;
    bool asked; /* and not answered yet: it waits for the answer */
    struct sched_unit sparse_unit;

    uint64_t *wait_ns; /* of the watched class */
    uint64_t waits;
    uint8_t watched;
};

static void fail(const char *why)
{
    fprintf(stderr, "fairness_main: %s\n", why);
    exit(EXIT_FAILURE);
}

static double random_unit(struct device *d)
{
    d->random = d->random * 6364136223846793005ull + 1442695040888963407ull;
    return (double)(d->random >> 11) / 9007199254740992.0;
}

/* ---- setting up ---- */

static void device_init(struct device *d, uint32_t depth, uint32_t aging_share)
{
    const struct sched_config config = {.aging_after_ns = 100 * MS, .aging_share = aging_share};

    memset(d, 0, sizeof(*d));
    d->depth = depth;
    d->now_ns = SECOND;
    d->random = 42;
    d->watched = SCHED_CLASSES;
    d->worst_jain = 1;
    d->wait_ns = calloc(WAITS_MAX, sizeof(*d->wait_ns));
    scheduler_init(&d->s, &config);
    if (!d->wait_ns || scheduler_pool_add(&d->s, &d->pool, 50, true))
        fail("no memory");
}

static void ask(struct device *d, struct tenant *t, struct sched_unit *unit)
{
    *unit = (struct sched_unit){.lane = SCHED_EXEC, .seq = d->seq++, .arrival_ns = d->now_ns};
    scheduler_push(&d->s, &t->stream, unit);
}

static struct tenant *tenant_add(struct device *d, uint8_t class, uint32_t weight, uint64_t job_ns,
                                 uint32_t depth)
{
    struct tenant *t = &d->tenant[d->tenants++];

    t->job_ns = job_ns;
    t->depth = depth;
    t->unit = calloc(depth + 1, sizeof(*t->unit));
    scheduler_vm_init(&d->s, &t->vm);
    scheduler_stream_init(&d->s, &t->stream, &t->vm);
    if (!t->unit || scheduler_vm_set(&d->s, &t->vm, &d->pool, class, weight))
        fail("no memory");
    for (uint32_t i = 0; i < depth; i++)
        ask(d, t, &t->unit[i]);
    return t;
}

static void device_free(struct device *d)
{
    for (uint32_t i = 0; i < d->tenants; i++) {
        if (scheduler_vm_set(&d->s, &d->tenant[i].vm, NULL, 0, 1))
            fail("no memory");
        free(d->tenant[i].unit);
    }
    scheduler_pool_remove(&d->s, &d->pool);
    scheduler_free(&d->s);
    free(d->wait_ns);
}

/* ---- shares ---- */

static double weight_sum(const struct device *d)
{
    double sum = 0;

    for (uint32_t i = 0; i < d->tenants; i++)
        sum += d->tenant[i].vm.weight;
    return sum;
}

/* Jain's index of what each has got for its weight in the long window: 1 = all the same. */
static double jain(const struct device *d)
{
    double sum = 0, squares = 0;

    for (uint32_t i = 0; i < d->tenants; i++) {
        double x = d->tenant[i].window_ns[1] / d->tenant[i].vm.weight;

        sum += x;
        squares += x * x;
    }
    return sum * sum / (d->tenants * squares);
}

/* A window is over: who was farthest from his share? */
static void window_ends(struct device *d, int which, uint64_t length_ns)
{
    double all_ns = 0, weights = weight_sum(d);

    if (which == 1)
        d->worst_jain = fmin(d->worst_jain, jain(d));

    for (uint32_t i = 0; i < d->tenants; i++)
        all_ns += d->tenant[i].window_ns[which];
    for (uint32_t i = 0; i < d->tenants; i++) {
        struct tenant *t = &d->tenant[i];
        struct far is = {100 * t->window_ns[which] / all_ns, 100 * t->vm.weight / weights};

        if (fabs(is.share - is.ideal) >= fabs(d->worst[which].share - d->worst[which].ideal))
            d->worst[which] = is;
        t->window_ns[which] = 0;
    }
    d->window_end_ns[which] = d->now_ns + length_ns;
}

static void account(struct device *d, struct tenant *t, uint64_t cost_ns)
{
    for (int which = 0; which < 2; which++) {
        t->window_ns[which] += (double)cost_ns;
        if (d->window_end_ns[which] && d->now_ns >= d->window_end_ns[which])
            window_ends(d, which, which ? d->long_window_ns : SECOND);
    }
}

/* ---- the device ---- */

static void note_start(struct device *d, const struct sched_unit *unit, uint64_t start_ns)
{
    if (unit->stream->vm->class == d->watched && d->waits < WAITS_MAX)
        d->wait_ns[d->waits++] = start_ns - unit->arrival_ns;
}

/* Time goes by; who asks now and then may ask in between. */
static void time_goes_to(struct device *d, uint64_t then_ns)
{
    if (d->sparse && !d->asked && d->next_ask_ns <= then_ns) {
        d->now_ns = d->next_ask_ns > d->now_ns ? d->next_ask_ns : d->now_ns;
        d->asked = true;
        ask(d, d->sparse, &d->sparse_unit);
    }
    d->now_ns = then_ns;
}

static void finished(struct device *d, struct sched_unit *unit, uint64_t cost_ns)
{
    struct tenant *t = (struct tenant *)unit->stream->vm;

    scheduler_complete(&d->s, unit, cost_ns, d->now_ns);
    account(d, t, cost_ns);
    if (t != d->sparse) {
        ask(d, t, unit);
        return;
    }
    d->asked = false;
    d->next_ask_ns = d->now_ns + (uint64_t)(-log(1 - random_unit(d)) * 20 * (double)t->job_ns);
}

/* One VM has the device until it has nothing more out there. */
static void serve(struct device *d)
{
    struct sched_unit *flying[64], *unit = scheduler_pick(&d->s, SCHED_EXEC, d->now_ns);
    uint64_t quantum_end = d->now_ns + QUANTUM_NS;
    uint32_t head = 0, tail = 0;
    struct sched_vm *vm = unit->stream->vm;

    flying[tail++] = unit;
    while (head != tail) {
        uint64_t cost_ns;

        while (quantum_has_room(d->now_ns, quantum_end, tail - head,
                                vm->party[SCHED_EXEC].estimate_ns, d->depth) &&
               (unit = scheduler_pick_more(&d->s, SCHED_EXEC, vm, d->now_ns)))
            flying[tail++ % 64] = unit;
        unit = flying[head++ % 64];
        note_start(d, unit, d->now_ns);
        cost_ns = (uint64_t)((0.5 + random_unit(d)) *
                             (double)((struct tenant *)unit->stream->vm)->job_ns);
        time_goes_to(d, d->now_ns + cost_ns);
        finished(d, unit, cost_ns);
    }
}

static void run(struct device *d, uint64_t seconds)
{
    uint64_t end_ns = d->now_ns + seconds * SECOND;

    d->window_end_ns[0] = d->now_ns + SECOND;
    d->window_end_ns[1] = d->now_ns + d->long_window_ns;
    while (d->now_ns < end_ns)
        serve(d);
}

/* ---- the scenarios ---- */

struct shares {
    const char *name;
    uint32_t tenants;
    uint32_t weight[4];
    uint64_t job_ns[4];
    uint32_t depth[4];
};

static const struct shares all_shares[] = {
    {"weights_10_30_60", 3, {10, 30, 60}, {MS, MS, MS}, {16, 16, 16}},
    {"weights_80_20", 2, {80, 20}, {MS, MS}, {16, 16}},
    {"lengths_10_to_1", 2, {50, 50}, {10 * MS, MS}, {16, 16}},
    {"lengths_100_to_1", 2, {50, 50}, {100 * MS, MS}, {16, 16}},
    {"flooder", 4, {50, 50, 50, 50}, {MS, MS, MS, MS}, {10000, 16, 16, 16}},
};

static void print_shares(const char *name, struct device *d)
{
    printf("\"%s\": {\"second\": {\"share\": %.4f, \"ideal\": %.4f}, "
           "\"long\": {\"seconds\": %.2f, \"share\": %.4f, \"ideal\": %.4f}, \"jain\": %.6f}, ",
           name, d->worst[0].share, d->worst[0].ideal, (double)d->long_window_ns / SECOND,
           d->worst[1].share, d->worst[1].ideal, d->worst_jain);
}

static uint64_t long_window(uint64_t tenants, uint64_t job_ns)
{
    uint64_t ns = 100 * tenants * job_ns * 3 / 2; /* jobs are up to half as long again */

    return ns > SECOND ? ns : SECOND;
}

static void run_shares(struct device *d, const struct shares *what, uint64_t seconds)
{
    uint64_t longest_ns = 0;

    device_init(d, 8, 0);
    for (uint32_t i = 0; i < what->tenants; i++) {
        tenant_add(d, SCHED_MEDIUM, what->weight[i], what->job_ns[i], what->depth[i]);
        longest_ns = what->job_ns[i] > longest_ns ? what->job_ns[i] : longest_ns;
    }
    d->long_window_ns = long_window(what->tenants, longest_ns);
    run(d, seconds);
    print_shares(what->name, d);
    device_free(d);
}

static void run_equals(struct device *d, uint64_t seconds)
{
    device_init(d, 8, 0);
    for (int i = 0; i < 64; i++)
        tenant_add(d, SCHED_MEDIUM, 50, MS, 16);
    d->long_window_ns = long_window(64, MS);
    run(d, seconds);
    print_shares("equals_64", d);
    device_free(d);
}

static int by_value(const void *a, const void *b)
{
    const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return (x > y) - (x < y);
}

static void print_waits(const char *name, struct device *d, bool last)
{
    if (d->waits == 0)
        fail("nobody waited");
    qsort(d->wait_ns, d->waits, sizeof(*d->wait_ns), by_value);
    printf("\"%s\": {\"count\": %llu, \"p50\": %.3f, \"p99\": %.3f, \"max\": %.3f}%s", name,
           (unsigned long long)d->waits, (double)d->wait_ns[d->waits / 2] / MS,
           (double)d->wait_ns[d->waits - 1 - d->waits / 100] / MS,
           (double)d->wait_ns[d->waits - 1] / MS, last ? "}\n" : ", ");
}

/* Three low VMs that are never idle, and a high one that asks now and then. */
static void run_high_wait(struct device *d, const char *name, uint32_t depth, uint64_t seconds)
{
    device_init(d, depth, 20);
    for (int i = 0; i < 3; i++)
        tenant_add(d, SCHED_LOW, 50, MS, 16);
    d->sparse = tenant_add(d, SCHED_HIGH, 50, MS, 0);
    d->watched = SCHED_HIGH;
    d->next_ask_ns = d->now_ns;
    run(d, seconds);
    print_waits(name, d, false);
    device_free(d);
}

/* A high VM that is never idle, and low ones with one request outstanding each. */
static void run_low_wait(struct device *d, const char *name, int lows, uint64_t seconds, bool last)
{
    device_init(d, 8, 20);
    tenant_add(d, SCHED_HIGH, 50, MS, 16);
    for (int i = 0; i < lows; i++)
        tenant_add(d, SCHED_LOW, 50, MS, 1);
    d->watched = SCHED_LOW;
    run(d, seconds);
    print_waits(name, d, last);
    device_free(d);
}

int main(int argc, char **argv)
{
    static struct device d;
    uint64_t seconds = argc == 2 ? strtoull(argv[1], NULL, 10) : 0;

    if (seconds < 1 || seconds > 100000)
        fail("usage: fairness_main SECONDS");
    putchar('{');
    for (size_t i = 0; i < sizeof(all_shares) / sizeof(all_shares[0]); i++)
        run_shares(&d, &all_shares[i], seconds);
    run_equals(&d, seconds);
    run_high_wait(&d, "high_wait_depth_1", 1, seconds);
    run_high_wait(&d, "high_wait_depth_8", 8, seconds);
    run_low_wait(&d, "low_wait_10", 10, seconds, false);
    run_low_wait(&d, "low_wait_100", 100, seconds, true);
    return EXIT_SUCCESS;
}
