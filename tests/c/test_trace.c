/*
 * test_trace.c - The trace: what an entry says, and what readers of any speed see
 */
/* sanitizers: address thread */
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#include "engine_scene.h"
#include "trace.h"

#define ENTRIES RIG_TRACE_ENTRIES

static const struct mediator_trace_cursor everything = {.vm = -1};

/* All that is asked for from a cursor on. */
static int read_all(struct scene *s, struct mediator_trace_cursor *cursor,
                    struct mediator_trace out[ENTRIES])
{
    return mediator_trace_read(s->m, cursor, out, ENTRIES);
}

static struct mediator_trace last(struct scene *s)
{
    struct mediator_trace_cursor cursor = everything;
    struct mediator_trace entry = {0};

    CHECK(mediator_trace_seek(s->m, &cursor, 1) == 0);
    CHECK(mediator_trace_read(s->m, &cursor, &entry, 1) == 1);
    return entry;
}

static struct mediator_trace one_before_last(struct scene *s)
{
    struct mediator_trace_cursor cursor = everything;
    struct mediator_trace entry = {0};

    CHECK(mediator_trace_seek(s->m, &cursor, 2) == 0);
    CHECK(mediator_trace_read(s->m, &cursor, &entry, 1) == 1);
    return entry;
}

static void submit_entry(struct scene *s, struct vgpu_submission entry)
{
    rig_ring_put(&s->ring[0], 0, &entry);
}

static bool rising(const struct mediator_trace *t)
{
    return t->received_ns && t->received_ns <= t->queued_ns && t->queued_ns <= t->picked_ns &&
           t->picked_ns <= t->started_ns && t->started_ns <= t->ended_ns &&
           t->ended_ns <= t->answered_ns;
}

static void test_entries(void)
{
    const struct mediator_config config = rig_config();
    struct mediator_trace t;
    struct scene s;
    struct fake_worker worker;
    struct worker_unit unit;
    struct worker_reply reply;
    uint64_t begun_ns;

    scene_new(&s, &config);
    CASE("a NOP leaves an entry: whose it was, how it came, when what happened");
    put_nop(&s, 0, 41, 3);
    CHECK(got(&s, 0, 41, VGPU_OK));
    t = last(&s);
    CHECK(t.seq == 1 && t.cookie == 41 && t.stream == 3 && t.qp == 0 && t.vm == s.vm[0].handle);
    CHECK(t.vm_id == 7 && t.pool_id == 'A' && t.priority == 1 && t.transport == MEDIATOR_RING);
    CHECK(t.kind == MEDIATOR_KIND_NOP && t.outcome == MEDIATOR_ANSWERED && t.status == VGPU_OK);
    CHECK(rising(&t) && t.dispatches == 0 && t.device_ns == 0);

    CASE("a command's entry has every dispatch, and the worker's word on its beginning and end");
    attach(&s, 0, &worker, 1, MEDIATOR_LAUNCH);
    put(&s, 0, 42, 0);
    CHECK(fake_worker_take(&worker, &unit, RIG_LONG_MS));
    begun_ns = rig_now_ns();
    reply = (struct worker_reply){
        .token = unit.token, .outcome = WORKER_CONTINUE, .op_index = 5, .start_ns = begun_ns};
    fake_worker_reply(&worker, &reply);
    CHECK(fake_worker_take(&worker, &unit, RIG_LONG_MS));
    reply = (struct worker_reply){.token = unit.token,
                                  .outcome = WORKER_DONE,
                                  .status = VGPU_FAILED,
                                  .op_index = 6,
                                  .native = -54,
                                  .start_ns = rig_now_ns(),
                                  .end_ns = rig_now_ns()};
    fake_worker_reply(&worker, &reply);
    CHECK(got(&s, 0, 42, VGPU_FAILED));
    t = last(&s);
    CHECK(t.seq == 2 && t.request == 2 && t.kind == MEDIATOR_KIND_COMMAND && t.dispatches == 2);
    CHECK(t.status == VGPU_FAILED && t.op_index == 6 && t.native == -54);
    CHECK(rising(&t) && t.started_ns == begun_ns && t.ended_ns == reply.end_ns);
    CHECK(t.device_ns == rig_stats(s.m, &s.vm[0]).device_ns && t.device_ns > 0);

    CASE("a worker's word that cannot be true is not repeated");
    put(&s, 0, 43, 0);
    CHECK(fake_worker_take(&worker, &unit, RIG_LONG_MS));
    reply = (struct worker_reply){
        .token = unit.token, .outcome = WORKER_DONE, .start_ns = 1, .end_ns = UINT64_MAX};
    fake_worker_reply(&worker, &reply);
    CHECK(got(&s, 0, 43, VGPU_OK));
    t = last(&s);
    CHECK(rising(&t) && t.started_ns == t.picked_ns);

    CASE("a refused request was received and answered, nothing else");
    CHECK(mediator_pool_set(s.m, 'A', 50, 0) == 0);
    put(&s, 0, 44, 0);
    CHECK(got(&s, 0, 44, VGPU_POOL_DISABLED));
    t = last(&s);
    CHECK(t.cookie == 44 && t.outcome == MEDIATOR_REFUSED && t.status == VGPU_POOL_DISABLED);
    CHECK(t.received_ns && t.received_ns <= t.answered_ns);
    CHECK(!t.queued_ns && !t.picked_ns && !t.started_ns && !t.ended_ns && !t.dispatches);
    CHECK(mediator_pool_set(s.m, 'A', 50, 1) == 0);

    CASE("what is answered at once was neither queued nor picked; what it cancels was never begun");
    rig_ring_leave(&s.ring[0]);
    CHECK(RIG_UNTIL(s.m, &s.vm[0], ring_connected, 0));
    CHECK(rig_ring_attach(&s.ring[0], &s.vm[0]));
    CHECK(rig_ring_accept(&s.ring[0], 1u << VGPU_FEATURE_TIMELINES) == VGPU_DEVICE_OK);
    submit_entry(&s, (struct vgpu_submission){.cookie = 50, .kind = VGPU_KIND_SIGNAL, .signal = 1});
    CHECK(got(&s, 0, 50, VGPU_OK));
    t = last(&s);
    CHECK(t.cookie == 50 && t.kind == MEDIATOR_KIND_SIGNAL && t.outcome == MEDIATOR_ANSWERED);
    CHECK(t.received_ns && t.received_ns <= t.answered_ns && !t.queued_ns && !t.picked_ns);
    put(&s, 0, 51, 0);
    CHECK(fake_worker_take(&worker, &unit, RIG_LONG_MS));
    put_nop(&s, 0, 52, 0); /* behind it */
    submit_entry(&s,
                 (struct vgpu_submission){.cookie = 53, .kind = VGPU_KIND_CANCEL, .signal = 52});
    CHECK(got(&s, 0, 52, VGPU_CANCELLED) && got(&s, 0, 53, VGPU_OK));
    CHECK(one_before_last(&s).cookie == 52);
    CHECK(one_before_last(&s).queued_ns && !one_before_last(&s).picked_ns);
    fake_worker_done(&worker, &unit, VGPU_OK);
    CHECK(got(&s, 0, 51, VGPU_OK));

    CASE("a request whose client goes away while it waits was dropped, and never begun");
    put(&s, 1, 45, 0); /* there is no worker */
    CHECK(RIG_UNTIL(s.m, &s.vm[1], queued, 1));
    rig_ring_leave(&s.ring[1]);
    CHECK(RIG_UNTIL(s.m, &s.vm[1], dropped, 1));
    t = last(&s);
    CHECK(t.cookie == 45 && t.outcome == MEDIATOR_DROPPED && t.vm_id == 8);
    CHECK(t.queued_ns && !t.picked_ns && !t.started_ns && !t.ended_ns && t.answered_ns);
    CHECK(rig_ring_attach(&s.ring[1], &s.vm[1]));
    scene_free(&s);
    fake_worker_free(&worker);
}

static void nops(struct scene *s, int i, uint64_t first, uint32_t count)
{
    for (uint32_t k = 0; k < count; k++) {
        put_nop(s, i, first + k, 0);
        CHECK(got(s, i, first + k, VGPU_OK));
    }
}

static void test_readers(void)
{
    const struct mediator_config config = rig_config();
    struct mediator_trace_cursor fast = everything, slow = everything, one = {.vm = -1};
    static struct mediator_trace out[ENTRIES];
    struct scene s;

    scene_new(&s, &config);
    CASE("a reader sees every entry once, in order, however many it takes at a time");
    CHECK(read_all(&s, &fast, out) == 0 && fast.left == 0 && fast.missed == 0);
    nops(&s, 0, 0, 10);
    CHECK(mediator_trace_read(s.m, &fast, out, 4) == 4 && fast.left == 6);
    CHECK(mediator_trace_read(s.m, &fast, out + 4, 60) == 6 && fast.left == 0);
    for (uint32_t i = 0; i < 10; i++)
        CHECK(out[i].cookie == i && out[i].seq == i + 1);
    CHECK(read_all(&s, &fast, out) == 0);

    CASE(
        "a reader that was too slow is told how many it missed, once, and goes on with the oldest");
    nops(&s, 0, 10, ENTRIES + 5);
    CHECK(read_all(&s, &slow, out) == (int)ENTRIES && slow.missed == 15);
    CHECK(out[0].cookie == 15 && out[ENTRIES - 1].cookie == 78);
    CHECK(read_all(&s, &slow, out) == 0 && slow.missed == 0);
    CHECK(read_all(&s, &fast, out) == (int)ENTRIES && fast.missed == 5);

    CASE("a reader of one VM sees that VM's alone, and can start with its last ones");
    nops(&s, 1, 200, 3);
    nops(&s, 0, 300, 20);
    one.vm = (int32_t)s.vm[1].handle;
    CHECK(mediator_trace_seek(s.m, &one, 2) == 0);
    CHECK(read_all(&s, &one, out) == 2 && out[0].cookie == 201 && out[1].cookie == 202);
    CHECK(mediator_trace_seek(s.m, &one, 50) == 0);
    CHECK(read_all(&s, &one, out) == 3 && one.missed == 0 && one.left == 0);
    CHECK(mediator_trace_seek(s.m, &one, 0) == 0 && read_all(&s, &one, out) == 0);
    one.position = UINT64_MAX; /* no such entry: as at the end */
    CHECK(read_all(&s, &one, out) == 0 && one.missed == 0 && one.left == 0);
    scene_free(&s);
}

static bool told(struct mediator *m)
{
    struct pollfd poll_fd = {.fd = mediator_event_fd(m), .events = POLLIN};

    return poll(&poll_fd, 1, 0) == 1;
}

static void test_following(void)
{
    const struct mediator_config config = rig_config();
    struct mediator_trace_cursor cursor = everything;
    static struct mediator_trace out[ENTRIES];
    struct mediator_event event;
    struct scene s;

    scene_new(&s, &config);
    rig_forget_events(s.m);
    CASE("nobody is told of entries that nobody waits for");
    nops(&s, 0, 0, 3);
    CHECK(read_all(&s, &cursor, out) == 3);
    nops(&s, 0, 3, 1);
    CHECK(!told(s.m));

    CASE("who has seen everything and follows is told of the next entry, once for however many");
    cursor.follow = 1;
    CHECK(mediator_trace_read(s.m, &cursor, out, 0) == 0 && cursor.left == 1);
    nops(&s, 0, 4, 1);
    CHECK(!told(s.m)); /* it has not seen everything */
    CHECK(read_all(&s, &cursor, out) == 2 && cursor.left == 0);
    CHECK(!told(s.m));
    nops(&s, 0, 5, 9);
    CHECK(rig_event(s.m, MEDIATOR_TRACED, &event) && event.time_ns);
    CHECK(!told(s.m));
    CHECK(read_all(&s, &cursor, out) == 9);
    scene_free(&s);
}

static void test_sizes(void)
{
    struct mediator_config config = rig_config();
    struct mediator_trace_cursor cursor = {.vm = -1, .follow = 1, .position = 9};
    struct mediator_trace out[1];
    struct scene s;

    CASE("no trace is kept when none is asked for, and reading it finds nothing");
    config.trace_entries = 0;
    scene_new(&s, &config);
    rig_forget_events(s.m);
    nops(&s, 0, 0, 3);
    CHECK(mediator_trace_read(s.m, &cursor, out, 1) == 0 && cursor.missed == 0);
    CHECK(mediator_trace_seek(s.m, &cursor, 5) == 0);
    CHECK(mediator_trace_read(s.m, &cursor, out, 1) == 0);
    nops(&s, 0, 3, 1);
    CHECK(!told(s.m));
    scene_free(&s);

    CASE("a number of entries that is no power of two, or too many, are refused");
    config.trace_entries = 100;
    CHECK(mediator_new(&config) == NULL && errno == EINVAL);
    config.trace_entries = 2 * TRACE_ENTRIES_MAX;
    CHECK(mediator_new(&config) == NULL && errno == EINVAL);

    CASE("a trace of one entry has the last one");
    config.trace_entries = 1;
    scene_new(&s, &config);
    nops(&s, 0, 0, 3);
    CHECK(last(&s).cookie == 2);
    scene_free(&s);
}

/* Without an engine: more than one call looks at. */
static void test_long(void)
{
    static struct mediator_trace out[TRACE_ENTRIES_MAX];
    struct mediator_trace_cursor cursor = {.vm = 1};
    struct trace trace;
    uint32_t count, calls = 0, wanted = 20;

    CASE("one call looks at a bounded number of entries, and several find them all");
    CHECK(trace_init(&trace, TRACE_ENTRIES_MAX) == 0);
    for (uint64_t i = 0; i < TRACE_ENTRIES_MAX + 10ull; i++, trace.next++)
        *trace_next(&trace) = (struct mediator_trace){.seq = trace.next, .vm = i % 1000 == 0};
    count = 0;
    do {
        count += trace_read(&trace, &cursor, out + count, TRACE_ENTRIES_MAX - count);
        calls++;
    } while (cursor.left);
    CHECK(calls == TRACE_ENTRIES_MAX / TRACE_LOOK_AT && count == TRACE_ENTRIES_MAX / 1000);
    CHECK(cursor.missed == 10 && out[0].seq == 1001 && out[1].seq == 2001);
    cursor.vm = -1;
    cursor.position = 0;
    CHECK(trace_read(&trace, &cursor, out, TRACE_ENTRIES_MAX) == TRACE_COPY);

    cursor = (struct mediator_trace_cursor){.vm = 1, .position = UINT64_MAX};
    calls = 1;
    while (trace_seek(&trace, &cursor, &wanted))
        calls++;
    CHECK(wanted == 0 && calls == 1 + 20 * 1000 / TRACE_LOOK_AT);
    CHECK(trace_read(&trace, &cursor, out, 1) == 1 && out[0].seq == 46001);
    trace_free(&trace);
}

int main(void)
{
    test_entries();
    test_readers();
    test_following();
    test_sizes();
    test_long();
    return check_done();
}
