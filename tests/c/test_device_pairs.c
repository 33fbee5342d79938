/*
 * test_device_pairs.c - Queue pairs at work: doorbells, room, re-attach, and guests that scribble
 */
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#include "fake_worker.h"
#include "ring_guest.h"

#define STREAMS_PER_VM 64u

static bool interrupted(const struct rig_ring *ring, uint32_t qp)
{
    struct pollfd poll_fd = {.fd = ring->guest_doorbells[qp], .events = POLLIN};
    uint64_t count;

    return poll(&poll_fd, 1, 0) == 1 && read(poll_fd.fd, &count, sizeof(count)) == sizeof(count);
}

static void test_doorbells(struct mediator *m, struct rig_vm *vm)
{
    struct rig_ring ring;
    struct vgpu_submission entry;

    join(&ring, vm);
    CASE("an idle pair asks for its doorbell; an interrupt comes at the index asked for, once");
    CHECK(nop_works(&ring, 0, 1));
    (void)rig_stats(m, vm);
    CHECK(rig_pair_host(&ring, 0)->sq_need_doorbell == 1);
    (void)interrupted(&ring, 0);
    rig_pair_guest(&ring, 0)->cq_event = rig_pair_host(&ring, 0)->cq_tail + 2;
    for (uint32_t i = 0; i < 5; i++) {
        uint32_t tail = rig_pair_host(&ring, 0)->cq_tail;

        entry = rig_nop(i, 0);
        rig_ring_put(&ring, 0, &entry);
        CHECK(RIG_UNTIL(m, vm, queued, 0));
        while (__atomic_load_n(&rig_pair_host(&ring, 0)->cq_tail, __ATOMIC_ACQUIRE) == tail)
            (void)rig_stats(m, vm);
        (void)rig_stats(m, vm); /* the end of that turn */
        CHECK(interrupted(&ring, 0) == (i == 2));
    }
    leave(&ring, m, vm);

    CASE("the completion ring bounds what is taken, and taking goes on when it is read");
    join(&ring, vm);
    for (uint32_t i = 0; i < RIG_ENTRIES; i++) {
        entry = rig_nop(i, 0);
        rig_ring_put(&ring, 0, &entry);
    }
    while (__atomic_load_n(&rig_pair_host(&ring, 0)->cq_tail, __ATOMIC_ACQUIRE) < RIG_ENTRIES)
        (void)rig_stats(m, vm);
    for (uint32_t i = 0; i < RIG_ENTRIES; i++) {
        entry = rig_nop(RIG_ENTRIES + i, 0);
        rig_ring_put(&ring, 0, &entry);
    }
    (void)rig_stats(m, vm);
    (void)rig_stats(m, vm);
    CHECK(rig_pair_host(&ring, 0)->cq_tail == RIG_ENTRIES &&
          rig_pair_host(&ring, 0)->sq_head == RIG_ENTRIES);
    for (uint32_t i = 0; i < 2 * RIG_ENTRIES; i++) {
        struct vgpu_completion completion;

        CHECK(rig_ring_take(&ring, 0, &completion, RIG_LONG_MS) && completion.cookie == i);
    }
    leave(&ring, m, vm);
}

static void test_short_of_slots(struct mediator *m, struct rig_vm *vm, struct fake_worker *worker)
{
    struct rig_ring ring;
    struct worker_unit unit;
    struct vgpu_completion completion;
    struct mediator_vm_stats stats;

    CASE("entries that wait for a free slot stay in the ring, and are taken when there is one");
    vm->identity.max_queued = 2;
    CHECK(mediator_vm_set(m, vm->handle, &vm->identity) == 0);
    join(&ring, vm);
    for (uint32_t i = 0; i < 10; i++) {
        struct vgpu_submission entry = rig_command(i, 0);

        rig_ring_put(&ring, 0, &entry);
    }
    for (uint32_t i = 0; i < 10; i++) {
        if (!fake_worker_take(worker, &unit, RIG_LONG_MS)) {
            CHECK(!"every entry reaches the worker");
            break;
        }
        stats = rig_stats(m, vm);
        CHECK(stats.queued + stats.running <= 2);
        fake_worker_done(worker, &unit, VGPU_OK);
        CHECK(rig_ring_take(&ring, 0, &completion, RIG_LONG_MS) && completion.cookie == i);
    }
    vm->identity.max_queued = 0;
    CHECK(mediator_vm_set(m, vm->handle, &vm->identity) == 0);
    leave(&ring, m, vm);
}

static void test_streams(struct mediator *m, struct rig_vm *vm, struct fake_worker *worker)
{
    struct rig_ring ring;
    struct worker_unit unit;
    struct vgpu_completion completion;
    uint64_t refused = rig_stats(m, vm).refused;
    uint32_t busy = 0;

    CASE("of more streams at once than there are places for, the last are answered BUSY");
    join(&ring, vm);
    for (uint32_t i = 0; i < 5 * RIG_ENTRIES; i++) {
        struct vgpu_submission entry = rig_command(i, i);

        rig_ring_put(&ring, i / RIG_ENTRIES, &entry);
    }
    CHECK(RIG_UNTIL(m, vm, refused, refused + 5 * RIG_ENTRIES - STREAMS_PER_VM));
    for (uint32_t i = 0; i < STREAMS_PER_VM; i++) {
        CHECK(fake_worker_take(worker, &unit, RIG_LONG_MS));
        fake_worker_done(worker, &unit, VGPU_OK);
    }
    for (uint32_t i = 0; i < 5 * RIG_ENTRIES; i++) {
        CHECK(rig_ring_take(&ring, i / RIG_ENTRIES, &completion, RIG_LONG_MS));
        busy += completion.status == VGPU_BUSY;
        CHECK((completion.status == VGPU_BUSY) == (completion.retry_after_us > 0));
    }
    CHECK(busy == 5 * RIG_ENTRIES - STREAMS_PER_VM);
    CHECK(rig_stats(m, vm).refused_by[MEDIATOR_REFUSED_STREAMS] == busy);

    CASE("a NOP waits for what stands before it in its stream, and for nothing else");
    rig_ring_put(&ring, 0, &(struct vgpu_submission){.cookie = 1, .kind = 1, .cmd_len = 8});
    rig_ring_put(&ring, 0, &(struct vgpu_submission){.cookie = 2, .kind = 2});
    rig_ring_put(&ring, 0, &(struct vgpu_submission){.cookie = 3, .kind = 2, .stream = 1});
    CHECK(rig_ring_take(&ring, 0, &completion, RIG_LONG_MS) && completion.cookie == 3);
    CHECK(fake_worker_take(worker, &unit, RIG_LONG_MS) && rig_stats(m, vm).queued == 1);
    fake_worker_done(worker, &unit, VGPU_OK);
    CHECK(rig_ring_take(&ring, 0, &completion, RIG_LONG_MS) && completion.cookie == 1);
    CHECK(rig_ring_take(&ring, 0, &completion, RIG_LONG_MS) && completion.cookie == 2);
    leave(&ring, m, vm);
}

static void test_reattach(struct mediator *m, struct rig_vm *vm, struct fake_worker *worker)
{
    struct rig_ring ring;
    struct vgpu_submission entry = rig_command(11, 0);
    struct vgpu_completion completion;
    struct worker_unit unit, next;
    uint32_t generation;
    uint64_t dropped = rig_stats(m, vm).dropped;

    CASE(
        "what an older client had in flight is dropped when it completes, not told to the new one");
    join(&ring, vm);
    generation = ring.host->generation;
    rig_ring_put(&ring, 0, &entry);
    CHECK(fake_worker_take(worker, &unit, RIG_LONG_MS));
    leave(&ring, m, vm);
    join(&ring, vm);
    CHECK(ring.host->generation == generation + 1 && rig_pair_guest(&ring, 0)->sq_tail == 0);
    entry.cookie = 12;
    rig_ring_put(&ring, 0, &entry);
    fake_worker_done(worker, &unit, VGPU_OK);
    CHECK(fake_worker_take(worker, &next, RIG_LONG_MS) && next.token != unit.token);
    fake_worker_done(worker, &next, VGPU_OK);
    CHECK(rig_ring_take(&ring, 0, &completion, RIG_LONG_MS));
    CHECK(completion.cookie == 12 && completion.generation == generation + 1);
    CHECK(!rig_ring_take(&ring, 0, &completion, 0));
    CHECK(rig_stats(m, vm).dropped == dropped + 1 && rig_stats(m, vm).running == 0);
    leave(&ring, m, vm);
}

static void test_reset(struct mediator *m, struct rig_vm *vm, struct fake_worker *worker)
{
    struct rig_ring ring;
    struct vgpu_submission entry = rig_command(11, 0);
    struct vgpu_completion completion;
    struct worker_unit unit;
    uint64_t end_ns = rig_now_ns() + RIG_LONG_MS * 1000000ull;
    uint32_t generation;

    CASE("a guest that asks for a reset gets a device as after an attach, without one");
    join(&ring, vm);
    generation = ring.host->generation;
    CHECK(nop_works(&ring, 1, 10));
    rig_ring_put(&ring, 0, &entry);
    CHECK(fake_worker_take(worker, &unit, RIG_LONG_MS));
    __atomic_store_n(&ring.guest->status, VGPU_GUEST_RESET, __ATOMIC_RELEASE);
    rig_ring_bell(&ring, 0);
    while (__atomic_load_n(&ring.guest->status, __ATOMIC_ACQUIRE) && rig_now_ns() < end_ns)
        (void)rig_stats(m, vm);
    CHECK(ring.guest->status == 0 && ring.host->generation == generation + 1);
    CHECK(ring.host->device_status == VGPU_DEVICE_WAITING);
    CHECK(rig_pair_host(&ring, 1)->cq_tail == 0 && rig_pair_guest(&ring, 1)->sq_tail == 0);

    CASE("what was in flight at a reset is answered to nobody, and the device is usable again");
    CHECK(rig_ring_accept(&ring, RING_FEATURES) == VGPU_DEVICE_OK);
    fake_worker_done(worker, &unit, VGPU_OK);
    CHECK(RIG_UNTIL(m, vm, running, 0) && !rig_ring_take(&ring, 0, &completion, 0));
    CHECK(nop_works(&ring, 0, 12) && rig_stats(m, vm).ring_connected);
    leave(&ring, m, vm);
}

static void test_scribbling(struct mediator *m, struct rig_vm *vm, const struct rig_vm *other)
{
    struct mediator_event event;
    struct rig_ring ring;
    uint64_t random = 99;

    CASE("an impossible sq_tail puts its pair into the error state, and that pair alone");
    join(&ring, vm);
    rig_forget_events(m);
    rig_pair_guest(&ring, 1)->sq_tail = RIG_ENTRIES + 1;
    rig_ring_bell(&ring, 1);
    CHECK(rig_event(m, MEDIATOR_FAULT, &event) && event.a == MEDIATOR_FAULT_RING && event.b == 1);
    CHECK(rig_pair_host(&ring, 1)->state == VGPU_PAIR_ERROR);
    CHECK(nop_works(&ring, 0, 1));
    rig_pair_guest(&ring, 1)->sq_tail = 1;
    rig_ring_bell(&ring, 1);
    (void)rig_stats(m, vm);
    CHECK(rig_pair_host(&ring, 1)->sq_head == 0);
    CHECK(neighbour_is_well(other, m));
    leave(&ring, m, vm);

    CASE("so does a cq_head that was never posted, and an attach makes all well again");
    join(&ring, vm);
    CHECK(nop_works(&ring, 1, 7));
    rig_pair_guest(&ring, 1)->cq_head = 2;
    rig_ring_bell(&ring, 1);
    CHECK(rig_event(m, MEDIATOR_FAULT, &event) && event.a == MEDIATOR_FAULT_RING && event.b == 1);
    CHECK(rig_pair_host(&ring, 1)->state == VGPU_PAIR_ERROR);
    leave(&ring, m, vm);
    join(&ring, vm);
    CHECK(rig_pair_host(&ring, 1)->state == VGPU_PAIR_OK && nop_works(&ring, 1, 8));

    CASE("what a guest writes into the host's parts changes nothing for the host");
    rig_pair_host(&ring, 0)->sq_head = 0x55555555;
    rig_pair_host(&ring, 0)->cq_tail = 0x66666666;
    ring.host->device_status = VGPU_DEVICE_FAILED;
    rig_pair_guest(&ring, 0)->cq_head = rig_pair_guest(&ring, 0)->sq_tail;
    rig_ring_put(&ring, 0, &(struct vgpu_submission){.cookie = 3, .kind = VGPU_KIND_NOP});
    rig_ring_bell(&ring, 0);
    CHECK(RIG_UNTIL(m, vm, queued, 0));
    (void)rig_stats(m, vm);
    CHECK(rig_pair_host(&ring, 0)->sq_head == rig_pair_guest(&ring, 0)->sq_tail);
    leave(&ring, m, vm);

    CASE("random bytes anywhere, again and again, harm neither the engine nor a neighbour");
    for (int round = 0; round < 20; round++) {
        join(&ring, vm);
        for (int burst = 0; burst < 50; burst++) {
            for (int i = 0; i < 200; i++) {
                random = random * 6364136223846793005ull + 1442695040888963407ull;
                ring.memory[(random >> 20) % (burst % 2 ? 0x60000 : ring.bytes)] =
                    (uint8_t)(random >> 56);
            }
            for (uint32_t qp = 0; qp < vm->pairs; qp++)
                rig_ring_bell(&ring, qp);
        }
        (void)rig_stats(m, vm);
        leave(&ring, m, vm);
    }
    CHECK(neighbour_is_well(other, m));
    join(&ring, vm);
    CHECK(nop_works(&ring, 0, 4));
    leave(&ring, m, vm);
}

static void test_restarted_idle(struct mediator *m, struct rig_vm *vm)
{
    const struct mediator_config config = rig_config();
    struct mediator *next = rig_engine(&config);
    struct mediator_stats before, after;
    struct rig_ring ring;

    CASE("entries before the features are agreed on do not keep a restarted engine busy");
    CHECK(rig_ring_attach(&ring, vm));
    rig_pair_guest(&ring, 0)->sq_tail = 5;
    mediator_stop(m);
    CHECK(rig_vm_add(vm, next, -1, dup(ring.socket)) >= 0);
    CHECK(mediator_start(next) == 0 && mediator_stats(next, &before) == 0);
    (void)poll(NULL, 0, 50); /* nothing is to happen in this time */
    CHECK(mediator_stats(next, &after) == 0 && after.turns - before.turns < 10);
    CHECK(rig_ring_accept(&ring, RING_FEATURES) == VGPU_DEVICE_OK);
    mediator_free(next);
    rig_ring_leave(&ring);
}

static void test_full_doorbell(struct mediator *m, struct rig_vm *vm, struct rig_vm *other)
{
    const uint64_t full = UINT64_MAX - 1;
    struct vgpu_completion completion;
    struct vgpu_submission entry = rig_nop(1, 0);
    struct rig_ring ring, polite;
    uint64_t count;
    int bell;

    CASE("a guest that fills its own doorbell and makes it blocking is served, and so are others");
    join(&ring, vm);
    join(&polite, other);
    bell = ring.guest_doorbells[0];
    (void)!read(bell, &count, sizeof(count));
    CHECK(fcntl(bell, F_SETFL, fcntl(bell, F_GETFL) & ~O_NONBLOCK) == 0);
    CHECK(write(bell, &full, sizeof(full)) == sizeof(full));
    rig_pair_guest(&ring, 0)->cq_event = 0;
    rig_ring_put(&ring, 0, &entry);
    CHECK(RIG_UNTIL(m, vm, completed, rig_stats(m, vm).completed));
    rig_ring_put(&polite, 0, &entry);
    CHECK(rig_ring_take(&polite, 0, &completion, RIG_LONG_MS) && completion.cookie == 1);
    CHECK(read(bell, &count, sizeof(count)) == sizeof(count) && count >= full);
    CHECK(fcntl(bell, F_SETFL, fcntl(bell, F_GETFL) | O_NONBLOCK) == 0);
    leave(&polite, m, other);
    leave(&ring, m, vm);
}

static void test_doorbell_left_full(struct mediator *m, struct rig_vm *vm)
{
    const uint64_t full = UINT64_MAX - 1;
    struct rig_ring ring;
    uint64_t count;

    CASE("a doorbell that a client has left full rings for the next one");
    join(&ring, vm);
    CHECK(read(ring.host_doorbells[0], &count, sizeof(count)) == sizeof(count));
    CHECK(write(ring.host_doorbells[0], &full, sizeof(full)) == sizeof(full));
    leave(&ring, m, vm);
    join(&ring, vm);
    CHECK(nop_works(&ring, 0, 1));
    leave(&ring, m, vm);
}

int main(void)
{
    const struct mediator_config config = rig_config();
    struct mediator *m = rig_engine(&config);
    struct rig_vm vm, other;
    struct fake_worker worker;

    rig_vm_new(&vm, 7, 'A', 1, 128, 5);
    rig_vm_new(&other, 8, 'B', 1, 64, 1);
    CHECK(rig_vm_add(&vm, m, -1, -1) >= 0 && rig_vm_add(&other, m, -1, -1) >= 0);
    CHECK(mediator_start(m) == 0);
    fake_worker_new(&worker, 1);
    CHECK(fake_worker_attach(&worker, m, vm.handle, MEDIATOR_LAUNCH) == 0);
    test_doorbells(m, &vm);
    test_short_of_slots(m, &vm, &worker);
    test_streams(m, &vm, &worker);
    test_reattach(m, &vm, &worker);
    test_reset(m, &vm, &worker);
    test_full_doorbell(m, &vm, &other);
    test_doorbell_left_full(m, &vm);
    test_scribbling(m, &vm, &other);
    test_restarted_idle(m, &vm);
    mediator_free(m);
    fake_worker_free(&worker);
    rig_vm_free(&vm);
    rig_vm_free(&other);
    return check_done();
}
