/*
 * test_simulator.c - The same calls, the same decisions: from a recording, byte for byte
 */
#include <errno.h>
#include <string.h>

#include "check.h"
#include "recorder.h"
#include "scheduler_life.h"

#define ROOM 400000u

static struct mediator_record *records; /* ROOM of them */

/* Drain what was recorded behind @count records. Return: how many there are now */
static uint32_t drain(struct recorder *recorder, uint32_t count)
{
    return count + recorder_take(recorder, records + count, ROOM - count);
}

static bool is_decision(const struct mediator_record *record)
{
    return record->type == MEDIATOR_RECORD_PICK || record->type == MEDIATOR_RECORD_PICK_MORE ||
           record->type == MEDIATOR_RECORD_TAKE_INSTANT;
}

/* The recording without its decisions. */
static struct mediator_record *blanked(uint32_t count)
{
    struct mediator_record *blank = calloc(count, sizeof(*blank));

    for (uint32_t i = 0; i < count; i++) {
        blank[i] = records[i];
        if (!is_decision(&blank[i]))
            continue;
        blank[i].flags = 0;
        blank[i].unit = 0;
        blank[i].seq = blank[i].cost_ns = 0;
        if (blank[i].type == MEDIATOR_RECORD_PICK)
            blank[i].vm = 0;
        if (blank[i].type != MEDIATOR_RECORD_TAKE_INSTANT)
            blank[i].stream = 0;
    }
    return blank;
}

struct page {
    struct mediator_record *at;
    uint32_t count;
};

static void put(void *argument, const struct mediator_record *record)
{
    struct page *page = argument;

    page->at[page->count++] = *record;
}

/* Is the simulator in the very state that the scheduler is in? */
static bool same_state(struct mediator_simulator *sim, const struct life *life)
{
    struct page is = {calloc(20000, sizeof(struct mediator_record)), 0};
    struct page should = {calloc(20000, sizeof(struct mediator_record)), 0};
    bool same;

    life_state(life, &(struct record_sink){&life_names, put, &should});
    is.count = (uint32_t)mediator_simulator_state(sim, is.at, 20000);
    same = is.count == should.count && memcmp(is.at, should.at, is.count * sizeof(*is.at)) == 0;
    free(is.at);
    free(should.at);
    return same;
}

/* Live, and record from step @begin on, with the state first unless that is 0. Return: records */
static uint32_t record_life(struct life *life, uint64_t seed, uint32_t begin, uint32_t steps)
{
    struct recorder recorder = {0};
    uint32_t count = 0;

    memset(life, 0, sizeof(*life));
    scheduler_init(&life->scheduler, &(struct sched_config){0});
    CHECK(recorder_begin(&recorder, &life_names, 20000) == 0);
    if (begin == 0)
        scheduler_tap(&life->scheduler, recorder_tap, &recorder);
    life_begin(life, seed);
    for (uint32_t i = 0; i < steps; i++) {
        if (begin && i == begin) {
            life_state(life, &(struct record_sink){&life_names, recorder_put, &recorder});
            scheduler_tap(&life->scheduler, recorder_tap, &recorder);
        }
        life_step(life);
        if (i % 1000 == 0)
            count = drain(&recorder, count);
    }
    count = drain(&recorder, count);
    scheduler_tap(&life->scheduler, NULL, NULL);
    CHECK(recorder_lost(&recorder) == 0);
    recorder_free(&recorder);
    return count;
}

static void reproduce(uint64_t seed, uint32_t begin, uint32_t steps)
{
    static struct life life;
    struct mediator_simulator *sim = mediator_simulator_new();
    uint32_t count = record_life(&life, seed, begin, steps), applied;
    struct mediator_record *blank = blanked(count);

    CHECK(count >= 100000 && life.decisions > 15000 && life.aged > 100);
    CHECK(mediator_simulator_apply(sim, blank, count, 0, &applied) == 0 && applied == count);
    CHECK(memcmp(blank, records, count * sizeof(*records)) == 0);
    CHECK(same_state(sim, &life));
    mediator_simulator_free(sim);

    sim = mediator_simulator_new();
    CHECK(mediator_simulator_apply(sim, records, count, 1, &applied) == 0 && applied == count);
    mediator_simulator_free(sim);
    free(blank);
    life_end(&life);
}

static void test_reproduced(void)
{
    CASE("100,000 calls and more from the beginning are decided again byte for byte, and leave the "
         "same "
         "state");
    reproduce(1, 0, 200000);
    CASE("so are those of a recording that began in the middle");
    reproduce(2, 40000, 260000);
    CASE("one more life, from another middle");
    reproduce(3, 77777, 260000);
}

static void test_any_beginning(void)
{
    static struct life life;
    bool all = true;

    CASE("a state is taken up exactly, whenever it is written");
    memset(&life, 0, sizeof(life));
    scheduler_init(&life.scheduler, &(struct sched_config){0});
    life_begin(&life, 4);
    for (uint32_t i = 0; i < 20000; i++) {
        struct page page = {records, 0};
        struct mediator_simulator *sim;
        uint32_t applied;

        life_step(&life);
        if (i % 100)
            continue;
        sim = mediator_simulator_new();
        life_state(&life, &(struct record_sink){&life_names, put, &page});
        all = all && mediator_simulator_apply(sim, records, page.count, 1, &applied) == 0 &&
              same_state(sim, &life);
        mediator_simulator_free(sim);
    }
    CHECK(all);
    life_end(&life);
}

static void test_other_decision(void)
{
    static struct life life;
    struct mediator_simulator *sim = mediator_simulator_new();
    uint32_t count = record_life(&life, 5, 0, 3000), applied, at = count;

    CASE("a recording that says another decision is found out where it says so");
    while (!(records[--at].flags & MEDIATOR_RECORD_DECIDED))
        ;
    records[at].cost_ns++;
    CHECK(mediator_simulator_apply(sim, records, count, 1, &applied) == -EILSEQ && applied == at);
    mediator_simulator_free(sim);
    life_end(&life);
}

static void test_gap(void)
{
    static struct life life;
    struct recorder recorder = {0};
    struct mediator_simulator *sim = mediator_simulator_new();
    uint32_t count, applied;

    CASE("a reader that is too slow gets a gap as the last record, and the loss is counted");
    memset(&life, 0, sizeof(life));
    scheduler_init(&life.scheduler, &(struct sched_config){0});
    CHECK(recorder_begin(&recorder, &life_names, 1000) == 0);
    scheduler_tap(&life.scheduler, recorder_tap, &recorder);
    life_begin(&life, 6);
    for (int i = 0; i < 5000; i++)
        life_step(&life);
    count = drain(&recorder, 0);
    CHECK(count == 1024 && recorder_lost(&recorder) > 3000);
    CHECK(records[1023].type == MEDIATOR_RECORD_GAP);
    for (int i = 0; i < 100; i++)
        life_step(&life);
    CHECK(recorder_take(&recorder, records + count, 1) == 0);

    CASE("a simulator goes up to the gap, and says that it is one");
    CHECK(mediator_simulator_apply(sim, records, count, 1, &applied) == -ENODATA);
    CHECK(applied == 1023);
    mediator_simulator_free(sim);
    scheduler_tap(&life.scheduler, NULL, NULL);
    recorder_free(&recorder);
    life_end(&life);
}

/* ---- records that the engine could not have written ---- */

static int apply_one(struct mediator_simulator *sim, struct mediator_record record)
{
    uint32_t applied;

    return mediator_simulator_apply(sim, &record, 1, 0, &applied);
}

static struct mediator_simulator *one_vm(void)
{
    struct mediator_simulator *sim = mediator_simulator_new();

    CHECK(apply_one(sim, (struct mediator_record){.type = MEDIATOR_RECORD_POOL_ADD,
                                                  .pool = 'A',
                                                  .weight = 50,
                                                  .flags = MEDIATOR_RECORD_ON}) == 0);
    CHECK(apply_one(sim, (struct mediator_record){.type = MEDIATOR_RECORD_VM_INIT, .vm = 7}) == 0);
    CHECK(apply_one(sim,
                    (struct mediator_record){
                        .type = MEDIATOR_RECORD_VM_SET, .vm = 7, .pool = 'A', .weight = 1}) == 0);
    CHECK(apply_one(
              sim,
              (struct mediator_record){
                  .type = MEDIATOR_RECORD_PUSH, .vm = 7, .stream = 1, .unit = 3, .seq = 10}) == 0);
    CHECK(apply_one(sim, (struct mediator_record){.type = MEDIATOR_RECORD_PICK, .now_ns = 1000}) ==
          0);
    CHECK(apply_one(
              sim,
              (struct mediator_record){
                  .type = MEDIATOR_RECORD_PUSH, .vm = 7, .stream = 1, .unit = 4, .seq = 11}) == 0);
    return sim;
}

static void test_impossible(void)
{
    static const struct mediator_record impossible[] = {
        {.type = 0},
        {.type = MEDIATOR_RECORD_SETTLE + 1},
        {.type = 255},
        {.type = MEDIATOR_RECORD_CONFIG, .weight = 101},
        {.type = MEDIATOR_RECORD_CONFIG, .slot = 2},
        {.type = MEDIATOR_RECORD_POOL_ADD, .pool = 'A', .weight = 50},
        {.type = MEDIATOR_RECORD_POOL_ADD, .pool = 0, .weight = 50},
        {.type = MEDIATOR_RECORD_POOL_ADD, .pool = 'B', .weight = 0},
        {.type = MEDIATOR_RECORD_POOL_SET, .pool = 'B', .weight = 50},
        {.type = MEDIATOR_RECORD_POOL_SET, .pool = 'A', .weight = 101},
        {.type = MEDIATOR_RECORD_POOL_REMOVE, .pool = 'A'}, /* a VM belongs to it */
        {.type = MEDIATOR_RECORD_POOL_REMOVE, .pool = 'B'},
        {.type = MEDIATOR_RECORD_VM_SET, .vm = 8, .pool = 'A', .weight = 1},
        {.type = MEDIATOR_RECORD_VM_SET, .vm = 7, .pool = 'B', .weight = 1},
        {.type = MEDIATOR_RECORD_VM_SET, .vm = 7, .pool = 'A', .weight = 1, .priority = 3},
        {.type = MEDIATOR_RECORD_VM_SET, .vm = 7, .pool = 'A'},
        {.type = MEDIATOR_RECORD_VM_BLOCK, .vm = 7, .lane = 2},
        {.type = MEDIATOR_RECORD_STREAM_INIT, .vm = 7, .stream = 1}, /* it is in use */
        {.type = MEDIATOR_RECORD_STREAM_INIT, .vm = 8},
        {.type = MEDIATOR_RECORD_PUSH, .vm = 8, .unit = 9},
        {.type = MEDIATOR_RECORD_PUSH, .vm = 7, .unit = 9, .lane = 3},
        {.type = MEDIATOR_RECORD_PUSH, .vm = 7, .unit = 4},                         /* queued */
        {.type = MEDIATOR_RECORD_PUSH, .vm = 7, .unit = 3},                         /* in flight */
        {.type = MEDIATOR_RECORD_PUSH, .vm = 7, .stream = 1, .unit = 9, .seq = 11}, /* no order */
        {.type = MEDIATOR_RECORD_SATISFIED, .vm = 7, .unit = 4}, /* it waits for nothing */
        {.type = MEDIATOR_RECORD_SETTLE, .vm = 7, .unit = 3},
        {.type = MEDIATOR_RECORD_PUSH, .vm = 7, .unit = 9, .flags = MEDIATOR_RECORD_SETTLED},
        {.type = MEDIATOR_RECORD_SATISFIED, .vm = 7, .unit = 3},
        {.type = MEDIATOR_RECORD_ADOPT, .vm = 7, .unit = 9, .lane = 2},
        {.type = MEDIATOR_RECORD_RETURN, .vm = 7, .unit = 4, .now_ns = 2000}, /* not in flight */
        {.type = MEDIATOR_RECORD_RETURN, .vm = 7, .unit = 3, .lane = 2, .now_ns = 2000},
        {.type = MEDIATOR_RECORD_COMPLETE, .vm = 7, .unit = 9, .now_ns = 2000},
        {.type = MEDIATOR_RECORD_COMPLETE,
         .vm = 7,
         .unit = 3,
         .cost_ns = 1ull << 60,
         .now_ns = 2000},
        {.type = MEDIATOR_RECORD_PICK, .lane = 2, .now_ns = 2000},
        {.type = MEDIATOR_RECORD_PICK, .now_ns = 1999}, /* the clock goes back */
        {.type = MEDIATOR_RECORD_PICK_MORE, .vm = 8, .now_ns = 2000},
        {.type = MEDIATOR_RECORD_CANCEL, .vm = 7, .unit = 3},
        {.type = MEDIATOR_STATE_VM, .vm = 9, .weight = 1}, /* outside of a state */
        {.type = MEDIATOR_STATE_END},
        {.type = MEDIATOR_STATE_BEGIN},
    };
    struct mediator_simulator *sim = one_vm();

    CASE("a record that the engine cannot have written is refused, and changes nothing");
    for (size_t i = 0; i < sizeof(impossible) / sizeof(impossible[0]); i++) {
        int rc = apply_one(sim, impossible[i]);

        if (rc != -EINVAL)
            fprintf(stderr, "impossible[%zu]: %d\n", i, rc);
        CHECK(rc == -EINVAL);
    }
    CHECK(apply_one(
              sim, (struct mediator_record){
                       .type = MEDIATOR_RECORD_COMPLETE, .vm = 7, .unit = 3, .now_ns = 2000}) == 0);
    CHECK(apply_one(sim, (struct mediator_record){.type = MEDIATOR_RECORD_GAP}) == -ENODATA);
    mediator_simulator_free(sim);
}

/* A state in which one record was changed or left out: taken up or refused, never half believed. */
static void test_corrupt_state(void)
{
    static struct life life;
    struct mediator_record *state = calloc(20000, sizeof(*state));
    struct page page = {state, 0};
    uint32_t refused = 0, tries = 0;

    CASE("a state with a record left out or changed is refused, or is a state");
    memset(&life, 0, sizeof(life));
    scheduler_init(&life.scheduler, &(struct sched_config){0});
    life_begin(&life, 8);
    for (int i = 0; i < 3000; i++)
        life_step(&life);
    life_state(&life, &(struct record_sink){&life_names, put, &page});
    for (uint32_t i = 0; i < page.count; i++) {
        for (uint32_t how = 0; how < 3; how++) {
            struct mediator_simulator *sim = mediator_simulator_new();
            uint32_t count = page.count, applied;
            int rc;

            memcpy(records, state, count * sizeof(*state));
            if (how == 0)
                memmove(records + i, records + i + 1, (--count - i) * sizeof(*state));
            else
                ((uint8_t *)&records[i])[life_random(&life, sizeof(*state))] ^=
                    (uint8_t)(1u << life_random(&life, 8));
            rc = mediator_simulator_apply(sim, records, count, 1, &applied);
            CHECK(rc == 0 || rc == -EINVAL);
            CHECK(rc == 0 || count == applied + 1 ||
                  apply_one(sim, records[applied + 1]) == -EINVAL);
            tries++;
            refused += rc != 0;
            if (mediator_simulator_state(sim, NULL, 0) < 0)
                rc = -EINVAL; /* it was the end that is missing */
            for (int k = 0; rc == 0 && k < 50; k++)
                CHECK(apply_one(sim, (struct mediator_record){.type = MEDIATOR_RECORD_PICK,
                                                              .now_ns = life.now_ns}) == 0);
            mediator_simulator_free(sim);
        }
    }
    CHECK(refused > tries / 10);
    free(state);
    life_end(&life);
}

/* Bytes that are often nearly right: small numbers, true types. */
static void test_random_bytes(void)
{
    static struct life life = {.random = 9};
    uint64_t taken = 0;

    CASE("random bytes are refused or applied, and break nothing");
    for (int round = 0; round < 400; round++) {
        struct mediator_simulator *sim = mediator_simulator_new();

        for (int i = 0; i < 500; i++) {
            struct mediator_record record;
            uint8_t *bytes = (uint8_t *)&record;
            int rc;

            for (size_t k = 0; k < sizeof(record); k++)
                bytes[k] = (uint8_t)(life_random(&life, 50) ? 0 : life_random(&life, 256));
            record.type =
                (uint8_t)(round % 2 ? 1 + life_random(&life, 18) : 64 + life_random(&life, 16));
            if (i == 0)
                record.type = round % 2 ? MEDIATOR_RECORD_POOL_ADD : MEDIATOR_STATE_BEGIN;
            record.pool = life_random(&life, 2) ? 'A' : record.pool;
            record.lane = life_random(&life, 9) ? (uint8_t)life_random(&life, 3) : record.lane;
            record.weight = life_random(&life, 9) ? 1 + life_random(&life, 100) : record.weight;
            record.unit = life_random(&life, 9) ? life_random(&life, 4) : record.unit;
            record.now_ns = (uint64_t)i * 1000;
            record.seq = (uint64_t)i;
            rc = apply_one(sim, record);
            CHECK(rc == 0 || rc == -EINVAL);
            taken += rc == 0;
        }
        mediator_simulator_free(sim);
    }
    CHECK(taken > 10000);
}

int main(void)
{
    records = calloc(ROOM, sizeof(*records));
    test_reproduced();
    test_any_beginning();
    test_other_decision();
    test_gap();
    test_impossible();
    test_corrupt_state();
    test_random_bytes();
    free(records);
    return check_done();
}
