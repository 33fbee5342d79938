/*
 * fuzz_simulator.c - The simulator on recordings that no engine has written
 *
 * The input is a list of records: a byte says which, and of which numbers the fields are made. One that
 * is impossible must be refused and change nothing that matters. At the end, the state that the
 * simulator gives must be one that another takes up, and gives back byte for byte, and both must
 * decide the same from then on.
 */
#include <errno.h>
#include <string.h>

#include "input.h"
#include "mediator_record.h"
#include "replay.h"

#define STATE_MAX 65536u
#define PICKS     64

static const uint8_t types[] = {
    MEDIATOR_RECORD_CONFIG,      MEDIATOR_RECORD_POOL_ADD,    MEDIATOR_RECORD_POOL_SET,
    MEDIATOR_RECORD_POOL_REMOVE, MEDIATOR_RECORD_VM_INIT,     MEDIATOR_RECORD_VM_SET,
    MEDIATOR_RECORD_VM_BLOCK,    MEDIATOR_RECORD_STREAM_INIT, MEDIATOR_RECORD_PUSH,
    MEDIATOR_RECORD_SATISFIED,   MEDIATOR_RECORD_ADOPT,       MEDIATOR_RECORD_RETURN,
    MEDIATOR_RECORD_PICK,        MEDIATOR_RECORD_PICK_MORE,   MEDIATOR_RECORD_TAKE_INSTANT,
    MEDIATOR_RECORD_COMPLETE,    MEDIATOR_RECORD_CANCEL,      MEDIATOR_RECORD_SETTLE,
    MEDIATOR_RECORD_GAP,         MEDIATOR_STATE_BEGIN,        MEDIATOR_STATE_LANE,
    MEDIATOR_STATE_POOL,         MEDIATOR_STATE_PLACE,        MEDIATOR_STATE_ACCOUNT,
    MEDIATOR_STATE_VM,           MEDIATOR_STATE_TURN,         MEDIATOR_STATE_AGE,
    MEDIATOR_STATE_STREAM,       MEDIATOR_STATE_QUEUED,       MEDIATOR_STATE_FLYING,
    MEDIATOR_STATE_READY,        MEDIATOR_STATE_END,          0,
};

/* A number that may mean something, or any. */
static uint64_t number(struct input *in)
{
    uint64_t first = take(in, 1);

    if (first < 0xf0)
        return first;
    return first == 0xf0 ? UINT64_MAX - take(in, 1) : take(in, 8);
}

static uint64_t clock_ns;

static struct mediator_record record_of(struct input *in)
{
    struct mediator_record record = {.type = types[take_small(in, sizeof(types))]};
    uint32_t what = (uint32_t)take(in, 1);

    record.lane = what % 4;
    record.pool = 'A' + what / 4 % 4;
    record.priority = what / 16 % 4;
    record.flags = what / 64 | (what & 1 ? MEDIATOR_RECORD_SETTLED : 0);
    record.picked_lane = what / 8 % 4;
    record.slot = what / 32 % 4;
    record.vm = take_small(in, 8);
    record.stream = take_small(in, 4);
    record.unit = (uint32_t)number(in);
    record.seq = number(in);
    record.weight = (uint32_t)number(in);
    record.waits = record.weight % 3;
    record.cost_ns = number(in) << what / 8 % 32;
    clock_ns += number(in) % 1000000;
    record.now_ns = record.arrival_ns = clock_ns;
    if (record.type >= MEDIATOR_STATE_BEGIN || record.type == MEDIATOR_RECORD_CONFIG)
        for (int i = 0; i < 3; i++)
            record.value[i] = number(in);
    return record;
}

static uint32_t state_of(struct mediator_simulator *sim, struct mediator_record *out)
{
    int64_t count = mediator_simulator_state(sim, out, STATE_MAX);

    if (count == -EINVAL)
        return 0; /* its last state has no end */
    FUZZ_CHECK(count > 0 && count <= STATE_MAX);
    return (uint32_t)count;
}

/* What both decide next, with completions of a millisecond in between. */
static void same_decisions(struct mediator_simulator *one, struct mediator_simulator *other)
{
    for (int i = 0; i < PICKS; i++) {
        struct mediator_record a = {
            .type = MEDIATOR_RECORD_PICK, .lane = i % 2, .now_ns = clock_ns};
        struct mediator_record b = a;
        uint32_t applied;
        int rc = mediator_simulator_apply(one, &a, 1, 0, &applied);

        FUZZ_CHECK(rc == 0 || rc == -EINVAL);
        FUZZ_CHECK(mediator_simulator_apply(other, &b, 1, 0, &applied) == rc);
        FUZZ_CHECK(memcmp(&a, &b, sizeof(a)) == 0);
        if (rc || !(a.flags & MEDIATOR_RECORD_DECIDED))
            continue;
        clock_ns += 1000000;
        a = (struct mediator_record){.type = MEDIATOR_RECORD_COMPLETE,
                                     .vm = a.vm,
                                     .unit = a.unit,
                                     .cost_ns = 1000000,
                                     .now_ns = clock_ns};
        b = a;
        FUZZ_CHECK(mediator_simulator_apply(one, &a, 1, 1, &applied) == 0);
        FUZZ_CHECK(mediator_simulator_apply(other, &b, 1, 1, &applied) == 0);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct mediator_record should[STATE_MAX], is[STATE_MAX];
    struct input in = {data, size};
    struct mediator_simulator *sim = mediator_simulator_new(), *other;
    uint32_t count, applied;

    clock_ns = 1000000000;
    while (in.left) {
        struct mediator_record record = record_of(&in);
        int rc = mediator_simulator_apply(sim, &record, 1, 0, &applied);

        FUZZ_CHECK(rc == 0 || rc == -EINVAL || rc == -ENODATA);
        FUZZ_CHECK(applied == (rc == 0));
    }
    count = state_of(sim, should);
    if (count) {
        other = mediator_simulator_new();
        FUZZ_CHECK(mediator_simulator_apply(other, should, count, 1, &applied) == 0);
        FUZZ_CHECK(state_of(other, is) == count);
        FUZZ_CHECK(memcmp(should, is, count * sizeof(*is)) == 0);
        same_decisions(sim, other);
        mediator_simulator_free(other);
    }
    mediator_simulator_free(sim);
    return 0;
}
