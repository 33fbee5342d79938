/*
 * test_scheduler_random.c - Thousands of parties, and all that can happen to them, against naive models
 */
/* sanitizers: address thread */
#include <stdlib.h>

#include "scheduler_bench.h"

static uint32_t random_next(uint64_t *state)
{
    *state = *state * 6364136223846793005ull + 1442695040888963407ull;
    return (uint32_t)(*state >> 33);
}

static void test_heap(void)
{
    enum { PARTIES = 3000 };
    static struct sched_node node[PARTIES];
    struct sched_heap heap = {0};
    uint64_t random = 1;

    CASE("the heap agrees with a naive search over thousands of parties and random changes");
    CHECK(sched_heap_reserve(&heap, PARTIES) == 0);
    for (uint32_t i = 0; i < PARTIES; i++)
        node[i] = (struct sched_node){.index = SCHED_NOT_IN_HEAP, .order = i};
    for (int step = 0; step < 40000; step++) {
        struct sched_node *p = &node[random_next(&random) % PARTIES];
        bool in = p->index != SCHED_NOT_IN_HEAP;

        /* around the wrap of the tags */
        if (!in) {
            p->key = random_next(&random) % 5000 - 2500ull;
            sched_heap_insert(&heap, p);
        } else if (random_next(&random) % 2) {
            sched_heap_remove(&heap, p);
        } else {
            p->key = random_next(&random) % 5000 - 2500ull;
            sched_heap_rekey(&heap, p);
        }
        if (step % 40)
            continue;
        const struct sched_node *first = NULL;
        uint32_t count = 0;

        for (uint32_t i = 0; i < PARTIES; i++) {
            const struct sched_node *x = &node[i];

            if (x->index == SCHED_NOT_IN_HEAP)
                continue;
            count++;
            CHECK(heap.at[x->index] == x);
            if (!first || (int64_t)(x->key - first->key) < 0 ||
                (x->key == first->key && x->order < first->order))
                first = x;
        }
        CHECK(count == heap.count && (!count || heap.at[0] == first));
    }
    free(heap.at);
}

/* All that can happen, at random; after each step the scheduler must pick iff something is ready. */
static void test_random_life(void)
{
    enum { VMS = 40 };
    static struct tenant t[VMS];
    struct bench bench;
    struct sched_pool *pools[3] = {NULL, &bench.a, &bench.b};
    struct sched_unit *flying[VMS * UNITS];
    uint32_t in_flight = 0;
    uint64_t random = 7, last_seq;

    CASE("whatever happens, in whatever order, the scheduler is work-conserving and keeps order");
    bench_init(&bench);
    for (int i = 0; i < VMS; i++)
        tenant_init(&bench, &t[i], pools[1 + i % 2], (uint8_t)(i % 3), 1 + (uint32_t)i);
    for (int step = 0; step < 60000; step++) {
        struct tenant *x = &t[random_next(&random) % VMS];
        uint32_t dice = random_next(&random) % 100;
        struct sched_unit *unit;

        if (dice < 35 && x->made < 1000000) {
            struct sched_unit *spare = NULL;

            for (int i = 0; i < UNITS && !spare; i++)
                if (!x->unit[i].stream)
                    spare = &x->unit[i];
            if (!spare)
                continue;
            *spare = (struct sched_unit){.seq = x->next_seq++,
                                         .lane = dice < 33 ? SCHED_EXEC : SCHED_BUILD};
            scheduler_push(&bench.s, &x->stream[dice % STREAMS], spare);
        } else if (dice < 65) {
            uint8_t lane = dice < 62 ? SCHED_EXEC : SCHED_BUILD;
            bool ready = false;

            for (int i = 0; i < VMS && !ready; i++)
                ready = t[i].vm.party[lane].ready_count && !t[i].vm.party[lane].blocked &&
                        t[i].vm.pool && t[i].vm.pool->enabled;
            unit = scheduler_pick(&bench.s, lane, 0);
            CHECK(ready == (unit != NULL));
            if (unit) {
                CHECK(!unit->stream->head || unit->stream->head->seq > unit->seq);
                flying[in_flight++] = unit;
            }
        } else if (dice < 90 && in_flight) {
            uint32_t which = random_next(&random) % in_flight;

            unit = flying[which];
            flying[which] = flying[--in_flight];
            if (dice < 75) {
                unit->lane = dice < 73 ? SCHED_EXEC : SCHED_BUILD;
                scheduler_return(&bench.s, unit, dice * 1000, 0);
            } else {
                scheduler_complete(&bench.s, unit, random_next(&random) % 1000000, 0);
                unit->stream = NULL;
            }
        } else if (dice < 94) {
            CHECK(scheduler_vm_set(&bench.s, &x->vm, pools[random_next(&random) % 3],
                                   (uint8_t)(random_next(&random) % 3),
                                   1 + random_next(&random) % 100) == 0);
        } else if (dice < 96) {
            scheduler_pool_set(&bench.s, pools[1 + dice % 2], 1 + random_next(&random) % 100,
                               random_next(&random) % 3 != 0);
        } else if (dice < 98) {
            scheduler_vm_block(&bench.s, &x->vm, random_next(&random) % 2,
                               random_next(&random) % 2);
        } else if (x->stream[0].tail) {
            unit = x->stream[0].tail;
            scheduler_cancel(&bench.s, unit);
            unit->stream = NULL;
        }
    }
    for (int i = 0; i < VMS; i++)
        for (int k = 0; k < STREAMS; k++) {
            last_seq = 0;
            for (struct sched_unit *u = t[i].stream[k].head; u; last_seq = u->seq, u = u->next)
                CHECK(u == t[i].stream[k].head || u->seq > last_seq);
        }
    for (int i = 0; i < VMS; i++)
        tenant_leave(&bench, &t[i]);
    CHECK(!bench.s.lane[SCHED_EXEC].turns[0].count);
    CHECK(!bench.s.lane[SCHED_BUILD].turns[0].count);
    bench_free(&bench);
}

int main(void)
{
    test_heap();
    test_random_life();
    return check_done();
}
