/*
 * dispatch_main.c - What a scheduling decision costs, beside a queue that decides nothing
 *
 *     dispatch_main QUEUED ROUNDS
 *
 * 4 pools of 1,024 VMs of all classes and weights, aging on, QUEUED requests in all. One operation
 * is: pick the next unit, complete it with what it has cost, queue one of another VM of the same pool
 * and class; so the queue stays as deep and as mixed as it was. Rounds of the rivals take turns:
 *
 *     fifo     the same units in one queue: the first is taken out, and put in at the end
 *     naive    a list of all queued units, searched from end to end for the smallest tag of the
 *              highest class; up to 10,000 only
 *
 * Prints one JSON object: for each the median and the 99th percentile of its batches, in ns for an
 * operation.
 */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "scheduler.h"

#define POOLS     4u
#define POOL_VMS  1024u
#define VMS       (POOLS * POOL_VMS)
#define BATCH     64u
#define NAIVE_MAX 10000u
#define SECTION   (POOL_VMS / SCHED_CLASSES) /* VMs of one class, of a pool */

struct bench_vm {
    struct sched_vm vm;
    struct sched_stream stream;
};

struct naive_unit {
    uint64_t tag;
    uint8_t class;
};

struct bench {
    struct scheduler s;
    struct sched_pool pool[POOLS];
    struct bench_vm *vm;
    struct sched_unit *unit;
    uint32_t queued;
    uint64_t now_ns;
    uint64_t seq;
    uint64_t random;

    struct sched_unit *fifo; /* of the rival: its own units */
    struct sched_stream fifo_stream;
    struct naive_unit *naive;
    uint64_t naive_tag[VMS];
};

static void fail(const char *why)
{
    fprintf(stderr, "dispatch_main: %s\n", why);
    exit(EXIT_FAILURE);
}

static void *must(void *memory)
{
    if (!memory)
        fail("no memory");
    return memory;
}

static uint32_t random_below(struct bench *b, uint32_t below)
{
    b->random = b->random * 6364136223846793005ull + 1442695040888963407ull;
    return (uint32_t)((b->random >> 32) * below >> 32);
}

/* Mostly short, now and then a thousand times as long. */
static uint64_t some_cost(struct bench *b)
{
    uint32_t dice = random_below(b, 1024);

    return 20000 + (uint64_t)dice * dice * 16 / (1 + random_below(b, 64));
}

static uint64_t clock_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* A VM of the same pool and class as @i. */
static uint32_t sibling(struct bench *b, uint32_t i)
{
    uint32_t pool = i / POOL_VMS, class = i % POOL_VMS % SCHED_CLASSES;

    return pool * POOL_VMS + random_below(b, SECTION) * SCHED_CLASSES + class;
}

/* ---- the three ---- */

static void queue_unit(struct bench *b, struct sched_unit *unit, uint32_t vm)
{
    unit->lane = SCHED_EXEC;
    unit->waits = 0;
    unit->seq = b->seq++;
    unit->arrival_ns = b->now_ns;
    scheduler_push(&b->s, &b->vm[vm].stream, unit);
}

static void scheduler_once(struct bench *b)
{
    struct sched_unit *unit = scheduler_pick(&b->s, SCHED_EXEC, b->now_ns);
    uint32_t vm = (uint32_t)((struct bench_vm *)unit->stream->vm - b->vm);
    uint64_t cost_ns = some_cost(b);

    b->now_ns += cost_ns;
    scheduler_complete(&b->s, unit, cost_ns, b->now_ns);
    queue_unit(b, unit, sibling(b, vm));
}

static void fifo_put(struct bench *b, struct sched_unit *unit)
{
    unit->seq = b->seq++;
    unit->arrival_ns = b->now_ns;
    unit->next = NULL;
    unit->prev = b->fifo_stream.tail;
    if (unit->prev)
        unit->prev->next = unit;
    else
        b->fifo_stream.head = unit;
    b->fifo_stream.tail = unit;
}

static void fifo_once(struct bench *b)
{
    struct sched_unit *unit = b->fifo_stream.head;
    uint64_t cost_ns = some_cost(b);

    b->fifo_stream.head = unit->next;
    if (unit->next)
        unit->next->prev = NULL;
    else
        b->fifo_stream.tail = NULL;
    b->now_ns += cost_ns;
    fifo_put(b, unit);
}

static void naive_once(struct bench *b)
{
    uint32_t best = 0;

    for (uint32_t i = 1; i < b->queued; i++)
        if (b->naive[i].class > b->naive[best].class ||
            (b->naive[i].class == b->naive[best].class && b->naive[i].tag < b->naive[best].tag))
            best = i;
    b->naive[best].tag += some_cost(b) * 256 / (1 + best % 100);
}

/* ---- the run ---- */

static void set_up(struct bench *b, uint32_t queued)
{
    const struct sched_config config = {
        .aging_after_ns = 100000000, .aging_share = 20, .scope = SCHED_SCOPE_POOL};

    b->queued = queued;
    b->random = 1;
    b->now_ns = 1000000000;
    b->vm = must(calloc(VMS, sizeof(*b->vm)));
    b->unit = must(calloc(queued, sizeof(*b->unit)));
    b->fifo = must(calloc(queued, sizeof(*b->fifo)));
    b->naive = must(calloc(queued, sizeof(*b->naive)));
    scheduler_init(&b->s, &config);
    for (uint32_t i = 0; i < POOLS; i++)
        if (scheduler_pool_add(&b->s, &b->pool[i], 10 + 20 * i, true))
            fail("no memory");
    for (uint32_t i = 0; i < VMS; i++) {
        struct bench_vm *vm = &b->vm[i];

        scheduler_vm_init(&b->s, &vm->vm);
        scheduler_stream_init(&b->s, &vm->stream, &vm->vm);
        if (scheduler_vm_set(&b->s, &vm->vm, &b->pool[i / POOL_VMS],
                             (uint8_t)(i % POOL_VMS % SCHED_CLASSES), 1 + i % 100))
            fail("no memory");
    }
    for (uint32_t i = 0; i < queued; i++) {
        queue_unit(b, &b->unit[i], sibling(b, random_below(b, VMS)));
        fifo_put(b, &b->fifo[i]);
        b->naive[i] = (struct naive_unit){random_below(b, 1000000), (uint8_t)(i % SCHED_CLASSES)};
    }
}

/* Operations in a random order of memory: as they come to lie when they have been served for long. */
static void warm_up(struct bench *b)
{
    for (uint32_t i = 0; i < 4 * b->queued + 100000; i++)
        scheduler_once(b);
    b->fifo_stream = (struct sched_stream){0};
    for (uint32_t i = b->queued; i-- > 1;) { /* shuffled, by who is the neighbour of whom */
        uint32_t other = random_below(b, i + 1);
        struct sched_unit swap = b->fifo[i];

        b->fifo[i] = b->fifo[other];
        b->fifo[other] = swap;
    }
    for (uint32_t i = 0; i < b->queued; i++)
        fifo_put(b, &b->fifo[(uint64_t)i * 2654435761u % b->queued]);
}

static uint64_t batch_ns(struct bench *b, void (*once)(struct bench *b), uint32_t count)
{
    uint64_t start_ns = clock_ns();

    for (uint32_t i = 0; i < count; i++)
        once(b);
    return (clock_ns() - start_ns) * 1000 / count; /* ps */
}

static int by_value(const void *a, const void *b)
{
    const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return (x > y) - (x < y);
}

static void print_series(const char *name, uint64_t *took_ps, uint64_t rounds, bool last)
{
    qsort(took_ps, rounds, sizeof(*took_ps), by_value);
    printf("\"%s\": {\"p50_ns\": %.2f, \"p99_ns\": %.2f}%s", name,
           (double)took_ps[rounds / 2] / 1e3, (double)took_ps[rounds - 1 - rounds / 100] / 1e3,
           last ? "}\n" : ", ");
}

int main(int argc, char **argv)
{
    static struct bench b;
    uint64_t queued = argc == 3 ? strtoull(argv[1], NULL, 10) : 0, *took_ps[3];
    uint64_t rounds = argc == 3 ? strtoull(argv[2], NULL, 10) : 0;
    bool naive = queued <= NAIVE_MAX;

    if (queued < 1 || queued > 10000000 || rounds < 1 || rounds > 1000000)
        fail("usage: dispatch_main QUEUED ROUNDS");
    set_up(&b, (uint32_t)queued);
    warm_up(&b);
    for (int i = 0; i < 3; i++)
        took_ps[i] = must(calloc(rounds, sizeof(*took_ps[i])));
    for (uint64_t round = 0; round < rounds; round++) {
        took_ps[0][round] = batch_ns(&b, scheduler_once, BATCH);
        took_ps[1][round] = batch_ns(&b, fifo_once, BATCH);
        took_ps[2][round] = naive ? batch_ns(&b, naive_once, queued > 1000 ? 1 : 8) : 0;
    }
    putchar('{');
    print_series("scheduler", took_ps[0], rounds, false);
    if (naive)
        print_series("naive", took_ps[2], rounds, false);
    print_series("fifo", took_ps[1], rounds, true);
    for (int i = 0; i < 3; i++)
        free(took_ps[i]);
    return EXIT_SUCCESS;
}
