/*
 * test_own_timeout.c - Requests that bring a limit of their own
 */
/* sanitizers: address thread */
#include <stddef.h>
#include <unistd.h>

#include "engine_scene.h"
#include "journal.h"
#include "journal_map.h"
#include "keeper.h"

#define FOR_EVER_MS 86400000u

static void put_within(struct scene *s, int i, uint64_t cookie, uint32_t stream,
                       uint32_t timeout_ms)
{
    struct vgpu_submission entry = rig_command(cookie, stream);

    entry.timeout_ms = timeout_ms;
    rig_ring_put(&s->ring[i], 0, &entry);
}

/* TIMEOUT, and was it while it waited (native 0) or while it ran (native 1)? */
static bool timed_out(struct rig_ring *ring, uint64_t cookie, int32_t native)
{
    struct vgpu_completion completion;

    return rig_ring_take(ring, 0, &completion, RIG_LONG_MS) && completion.cookie == cookie &&
           completion.status == VGPU_TIMEOUT && completion.native == native;
}

static void test_waiting(void)
{
    struct mediator_config config = rig_config();
    struct fake_worker worker;
    struct worker_unit unit;
    struct vgpu_submission entry = rig_nop(9, 0);
    uint64_t since_ns;
    struct scene s;

    config.units_in_flight = 1;
    scene_new(&s, &config);
    CASE("a request is answered TIMEOUT once it has waited as long as it says, not before");
    since_ns = rig_now_ns();
    put_within(&s, 0, 1, 0, 60);
    CHECK(timed_out(&s.ring[0], 1, 0));
    CHECK(rig_now_ns() - since_ns >= 60000000u);

    CASE("the smallest limit among those that wait ends first, in whatever order they came");
    put_within(&s, 0, 1, 1, FOR_EVER_MS);
    put_within(&s, 0, 2, 2, 90);
    put_within(&s, 0, 3, 3, 30);
    put_within(&s, 0, 4, 4, 0);
    CHECK(timed_out(&s.ring[0], 3, 0) && timed_out(&s.ring[0], 2, 0));
    CHECK(rig_stats(s.m, &s.vm[0]).queued == 2);

    CASE("each VM has its own, also when they end together with others'");
    put_within(&s, 1, 5, 0, 20);
    put_within(&s, 0, 6, 5, 20);
    CHECK(timed_out(&s.ring[1], 5, 0) && timed_out(&s.ring[0], 6, 0));

    CASE("a hundred limits of a millisecond are all kept");
    for (uint32_t i = 0; i < 100; i++) {
        put_within(&s, 1, 100 + i, i % 4, 1);
        CHECK(timed_out(&s.ring[1], 100 + i, 0));
    }

    CASE("a NOP that waits behind a command that runs may have one, and it is no fault");
    attach(&s, 1, &worker, 1, MEDIATOR_LAUNCH);
    put(&s, 1, 8, 0);
    CHECK(fake_worker_take(&worker, &unit, RIG_LONG_MS));
    entry.timeout_ms = 30;
    rig_ring_put(&s.ring[1], 0, &entry);
    CHECK(timed_out(&s.ring[1], 9, 0));
    fake_worker_done(&worker, &unit, VGPU_OK);
    CHECK(got(&s, 1, 8, VGPU_OK));
    CHECK(rig_stats(s.m, &s.vm[1]).faults == 0);

    CASE("one that is begun and done in time is answered as ever, whatever the limit");
    put_within(&s, 1, 10, 0, UINT32_MAX);
    CHECK(fake_worker_take(&worker, &unit, RIG_LONG_MS));
    fake_worker_done(&worker, &unit, VGPU_OK);
    CHECK(got(&s, 1, 10, VGPU_OK));

    CASE("a limit above the host's does not lengthen it");
    config.queue_timeout_ms = 50;
    CHECK(mediator_set_config(s.m, &config) == 0);
    put_within(&s, 0, 11, 6, FOR_EVER_MS);
    for (int i = 0; i < 3; i++) { /* those of above as well */
        struct vgpu_completion completion;

        CHECK(rig_ring_take(&s.ring[0], 0, &completion, RIG_LONG_MS) &&
              completion.status == VGPU_TIMEOUT);
    }
    scene_free(&s);
    fake_worker_free(&worker);
}

static void test_running(void)
{
    struct mediator_config config = rig_config();
    struct fake_worker worker, builder;
    struct worker_unit unit[2];
    struct mediator_event event;
    struct scene s;
    struct vgpu_completion completion = {0};
    uint64_t since_ns, end_ns;
    uint32_t runs = 0;

    config.quantum_us = 2000;
    scene_new(&s, &config);
    CASE("a unit that runs longer than its request says dooms its worker, as by the host's limit");
    attach(&s, 0, &worker, 1, MEDIATOR_LAUNCH);
    put_within(&s, 0, 1, 0, 40);
    put_within(&s, 0, 2, 1, 0);
    CHECK(fake_worker_take(&worker, &unit[0], RIG_LONG_MS));
    CHECK(rig_event(s.m, MEDIATOR_FAULT, &event) && event.a == MEDIATOR_FAULT_RUN_TIMEOUT);
    CHECK(mediator_worker_gone(s.m, s.vm[0].handle, MEDIATOR_LAUNCH, 0, 0) == 0);
    CHECK(timed_out(&s.ring[0], 1, 1) && got(&s, 0, 2, VGPU_DEVICE_LOST));
    fake_worker_free(&worker);

    CASE("one that waits its turn behind another on the device has not begun to run");
    /* Of a VM whose units are not known to be long: those are not queued behind one another. */
    attach(&s, 1, &worker, 2, MEDIATOR_LAUNCH);
    put_within(&s, 1, 3, 0, 90);
    put_within(&s, 1, 4, 0, 1);
    CHECK(fake_worker_take(&worker, &unit[0], RIG_LONG_MS));
    CHECK(fake_worker_take(&worker, &unit[1], RIG_LONG_MS));
    CHECK(unit[0].budget_us == 2000 && unit[1].budget_us == 1000);
    CHECK(rig_event(s.m, MEDIATOR_FAULT, &event) && event.a == MEDIATOR_FAULT_RUN_TIMEOUT);
    CHECK(mediator_worker_gone(s.m, s.vm[1].handle, MEDIATOR_LAUNCH, 0, 0) == 0);
    CHECK(timed_out(&s.ring[1], 3, 1) && got(&s, 1, 4, VGPU_DEVICE_LOST));
    fake_worker_free(&worker);

    CASE("a chain that comes back again and again ends by it at an op, and its worker lives on");
    config.quantum_us = 1000000; /* so long an op may take to come back */
    CHECK(mediator_set_config(s.m, &config) == 0);
    attach(&s, 0, &worker, 3, MEDIATOR_LAUNCH);
    put_within(&s, 0, 5, 0, 50);
    end_ns = rig_now_ns() + RIG_LONG_MS * 1000000ull;
    while (!rig_ring_take(&s.ring[0], 0, &completion, 0) && rig_now_ns() < end_ns) {
        if (!fake_worker_take(&worker, &unit[0], 10))
            continue; /* it is being answered */
        since_ns = rig_now_ns();
        while (rig_now_ns() - since_ns < 2000000u) /* each of its ops takes so long */
            ;
        fake_worker_back(&worker, &unit[0], WORKER_CONTINUE, ++runs);
    }
    CHECK(completion.cookie == 5 && completion.status == VGPU_TIMEOUT && completion.native == 1);
    CHECK(completion.op_index == runs);
    CHECK(!rig_stats(s.m, &s.vm[0]).worker_doomed[0]);
    CHECK(works(&s, 0, &worker));

    CASE("a build is bounded by it, too");
    config.quantum_us = 2000;
    CHECK(mediator_set_config(s.m, &config) == 0);
    attach(&s, 0, &builder, 4, MEDIATOR_BUILD);
    put_within(&s, 0, 6, 0, 40);
    CHECK(fake_worker_take(&worker, &unit[0], RIG_LONG_MS));
    fake_worker_back(&worker, &unit[0], WORKER_NEED_BUILD, 0);
    CHECK(rig_event(s.m, MEDIATOR_FAULT, &event) && event.a == MEDIATOR_FAULT_BUILD_TIMEOUT);
    CHECK(mediator_worker_gone(s.m, s.vm[0].handle, MEDIATOR_BUILD, 0, 0) == 0);
    CHECK(timed_out(&s.ring[0], 6, 1));
    CHECK(works(&s, 0, &worker));
    scene_free(&s);
    fake_worker_free(&worker);
    fake_worker_free(&builder);
}

/* What runs was begun so long ago. */
static void begun_before(const struct rig_vm *vm, uint64_t ms)
{
    struct journal *journal;
    uint64_t bytes;

    rig_must(journal_map(vm->journal_fd, &journal, &bytes) == 0, "the journal");
    journal->link[MEDIATOR_LAUNCH].replied_ns = 0;
    for (uint32_t i = 0; i < journal->slots_used; i++)
        if (journal->slot[i].state == REQUEST_RUNNING)
            journal->slot[i].dispatch_ns -= ms * 1000000;
    journal_unmap(journal, bytes);
}

static void test_restart(void)
{
    struct keeper k;
    struct vgpu_submission entry = rig_command(1, 0);
    struct fake_worker launch, build;
    struct worker_unit unit;
    struct mediator_event event;
    struct mediator *m;
    struct rig_ring ring;
    struct rig_vm vm;

    CASE("a limit on waiting survives the engine that took the request");
    keeper_new(&k);
    rig_vm_new(&vm, 3, 'A', 1, 64, 1);
    m = new_engine(&vm, &k, NULL, NULL);
    CHECK(rig_ring_attach(&ring, &vm));
    CHECK(rig_ring_accept(&ring, 1u << VGPU_FEATURE_STREAMS) == VGPU_DEVICE_OK);
    entry.timeout_ms = 100;
    rig_ring_put(&ring, 0, &entry);
    CHECK(RIG_UNTIL(m, &vm, queued, 1));
    mediator_free(m);
    keeper_listen(&k);
    m = new_engine(&vm, &k, NULL, NULL);
    CHECK(timed_out(&ring, 1, 0));

    CASE("so does one on running, and nothing is put behind what the last engine has begun");
    entry.cookie = 2;
    fake_worker_new(&launch, 1);
    fake_worker_new(&build, 2);
    CHECK(fake_worker_attach(&launch, m, vm.handle, MEDIATOR_LAUNCH) == 0);
    rig_ring_put(&ring, 0, &entry);
    CHECK(fake_worker_take(&launch, &unit, RIG_LONG_MS));
    mediator_free(m);
    keeper_listen(&k);
    m = new_engine(&vm, &k, &launch, &build);
    entry = rig_command(3, 1);
    entry.timeout_ms = 1;
    rig_ring_put(&ring, 0, &entry);
    CHECK(timed_out(&ring, 3, 0) && !fake_worker_take(&launch, &unit, 0));
    CHECK(rig_event(m, MEDIATOR_FAULT, &event) && event.a == MEDIATOR_FAULT_RUN_TIMEOUT);
    CHECK(mediator_worker_gone(m, vm.handle, MEDIATOR_LAUNCH, 0, 0) == 0);
    CHECK(timed_out(&ring, 2, 1));
    mediator_free(m);
    fake_worker_free(&launch);
    fake_worker_free(&build);

    CASE(
        "a unit that ran for too long before its engine died is given no new time by the next one");
    entry = rig_command(4, 0);
    fake_worker_new(&launch, 3);
    fake_worker_new(&build, 4);
    keeper_listen(&k);
    m = new_engine(&vm, &k, &launch, &build);
    rig_ring_put(&ring, 0, &entry);
    CHECK(fake_worker_take(&launch, &unit, RIG_LONG_MS));
    mediator_free(m);
    begun_before(&vm, rig_config().run_timeout_ms);
    keeper_listen(&k);
    m = new_engine(&vm, &k, &launch, &build);
    CHECK(rig_event(m, MEDIATOR_FAULT, &event) && event.a == MEDIATOR_FAULT_RUN_TIMEOUT);
    CHECK(mediator_worker_gone(m, vm.handle, MEDIATOR_LAUNCH, 0, 0) == 0);
    CHECK(timed_out(&ring, 4, 1));
    CHECK(rig_stats(m, &vm).device_ns < rig_config().run_timeout_ms * 1000000ull);
    mediator_free(m);
    fake_worker_free(&launch);
    fake_worker_free(&build);
    rig_ring_leave(&ring);
    keeper_listen(&k);
    keeper_free(&k);
    rig_vm_free(&vm);
}

int main(void)
{
    test_waiting();
    test_running();
    test_restart();
    return check_done();
}
