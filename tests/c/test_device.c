/*
 * test_device.c - The ring as an interface: layout, handshake, entries
 */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "device.h"
#include "fake_worker.h"
#include "ring_guest.h"

static void test_layout(void)
{
    struct journal_layout layout = {.qp_count = 3, .entries = 64, .data_bytes = 1 << 20};
    struct ring_geometry g = device_geometry(&layout);

    CASE(
        "every part of a ring starts on 64 KiB, pairs do not overlap, the whole is a power of two");
    CHECK(device_layout_valid(&layout));
    CHECK(g.qp_base % 65536 == 0 && g.qp_stride % 65536 == 0 && g.sq_offset % 65536 == 0);
    CHECK(g.cq_offset % 65536 == 0 && g.data_offset % 65536 == 0);
    CHECK(g.sq_offset + 64 * 64 <= g.cq_offset && g.cq_offset + 64 * 64 <= g.data_offset);
    CHECK(g.data_offset + layout.data_bytes == g.qp_stride);
    CHECK(g.qp_base + 3 * g.qp_stride <= g.bytes && (g.bytes & (g.bytes - 1)) == 0);
    CHECK(mediator_ring_bytes(3, 64, 1 << 20) == g.bytes);

    CASE("layouts that the interface does not allow are refused");
    CHECK(mediator_ring_bytes(0, 64, 1 << 20) == 0 && mediator_ring_bytes(65, 64, 1 << 20) == 0);
    CHECK(mediator_ring_bytes(1, 48, 1 << 20) == 0 && mediator_ring_bytes(1, 8, 1 << 20) == 0);
    CHECK(mediator_ring_bytes(1, 65536, 1 << 20) == 0 && mediator_ring_bytes(1, 16, 1000) == 0);
    CHECK(mediator_ring_bytes(1, 16, 0) == 0 && mediator_ring_bytes(64, 16, 1ull << 37) == 0);
    CHECK(mediator_ring_bytes(64, 32768, 1ull << 36) != 0);
}

static void test_adding(struct mediator *m)
{
    struct mediator_vm_fds fds;
    struct rig_vm vm;
    int unsealed;

    CASE("a ring of another size, or one that its holder could shrink, is refused");
    rig_vm_new(&vm, 31, 'A', 1, 16, 1);
    rig_vm_fds(&vm, &fds);
    close(fds.ring);
    fds.ring = rig_memfd(65536);
    CHECK(mediator_vm_add(m, &vm.identity, &fds) == -EPROTO);
    rig_vm_fds(&vm, &fds);
    close(fds.ring);
    unsealed = rig_memfd(mediator_ring_bytes(1, RIG_ENTRIES, 65536));
    fds.ring = unsealed;
    CHECK(mediator_vm_add(m, &vm.identity, &fds) == -EPROTO);

    CASE("what is handed over with a call that fails is closed, and nothing else");
    for (int what = 0; what < 5; what++) {
        int before = dup(0), after;

        close(before);
        rig_vm_fds(&vm, &fds);
        if (what == 0) {
            vm.identity.weight = 0;
        } else if (what == 1) {
            close(fds.journal);
            fds.journal = rig_memfd(100);
        } else if (what == 2) {
            close(fds.stub_listener);
            fds.stub_listener = -1;
        } else if (what == 3) {
            close(fds.ring_listener);
            fds.ring_listener = -1;
        } else {
            close(fds.host_doorbells[0]);
            fds.host_doorbells[0] = -1;
        }
        CHECK(mediator_vm_add(m, &vm.identity, &fds) < 0);
        vm.identity.weight = 50;
        after = dup(0);
        CHECK(before == after);
        close(after);
    }
    rig_vm_free(&vm);
}

static void test_handshake(struct mediator *m, struct rig_vm *vm)
{
    struct mediator_event event;
    struct vgpu_completion completion;
    struct rig_ring ring, second;
    uint32_t generation;

    CASE("a client is greeted with version, id, memory and doorbells, as the protocol says");
    CHECK(rig_ring_attach(&ring, vm));
    CHECK(rig_event(m, MEDIATOR_CONNECTED, &event) && event.vm == vm->handle &&
          event.a == MEDIATOR_RING && event.b == (uint64_t)getpid());

    CASE("the host page says what there is, and who the VM is");
    CHECK(ring.host->magic == VGPU_RING_MAGIC && ring.host->major == 2);
    CHECK(ring.host->page_bytes == 128 && ring.host->qp_count == vm->pairs);
    CHECK(ring.host->region_bytes == ring.bytes && ring.host->sq_entries == RIG_ENTRIES);
    CHECK(ring.host->features[0] ==
              (RING_FEATURES | 1u << VGPU_FEATURE_TIMELINES | 1u << VGPU_FEATURE_QUERY) &&
          ring.host->features[1] == 0);
    CHECK(ring.host->device_status == VGPU_DEVICE_WAITING && ring.host->device_count == 1);
    CHECK(ring.host->vm_id == vm->identity.vm_id && ring.host->pool_id == 'A' &&
          ring.host->priority == 1);

    CASE("the memory that a client gets cannot be resized");
    CHECK(ftruncate(ring.memory_fd, 4096) < 0 && ftruncate(ring.memory_fd, 1 << 30) < 0);

    CASE("nothing is taken from a ring before the features are agreed on");
    rig_ring_put(&ring, 0, &(struct vgpu_submission){.cookie = 1, .kind = VGPU_KIND_NOP});
    rig_ring_bell(&ring, 0);
    (void)rig_stats(m, vm);
    (void)rig_stats(m, vm);
    CHECK(rig_pair_host(&ring, 0)->sq_head == 0);
    CHECK(rig_ring_accept(&ring, 1u << VGPU_FEATURE_STREAMS) == VGPU_DEVICE_OK);
    CHECK(rig_ring_take(&ring, 0, &completion, RIG_LONG_MS) && completion.cookie == 1);
    CHECK(nop_works(&ring, 0, 2));

    CASE("a change of identity is shown to the guest at once");
    vm->identity.priority = 2;
    CHECK(mediator_vm_set(m, vm->handle, &vm->identity) == 0 && ring.host->priority == 2);
    vm->identity.priority = 1;
    CHECK(mediator_vm_set(m, vm->handle, &vm->identity) == 0 && ring.host->priority == 1);

    CASE("a second client of a ring is refused");
    CHECK(!rig_ring_attach(&second, vm));
    rig_ring_leave(&second);
    CHECK(rig_event(m, MEDIATOR_SECOND_CLIENT, &event) && event.a == MEDIATOR_RING);
    generation = ring.host->generation;
    leave(&ring, m, vm);

    CASE("a feature that was not offered fails the device until the next attach");
    CHECK(rig_ring_attach(&ring, vm));
    CHECK(ring.host->generation == generation + 1);
    CHECK(rig_ring_accept(&ring, RING_FEATURES | 1u << VGPU_FEATURE_PTX) == VGPU_DEVICE_FAILED);
    rig_ring_put(&ring, 0, &(struct vgpu_submission){.cookie = 1, .kind = VGPU_KIND_NOP});
    rig_ring_bell(&ring, 0);
    ring.guest->accepted[0] = RING_FEATURES; /* too late */
    rig_ring_bell(&ring, 0);
    (void)rig_stats(m, vm);
    CHECK(ring.host->device_status == VGPU_DEVICE_FAILED && rig_pair_host(&ring, 0)->sq_head == 0);
    leave(&ring, m, vm);
    CHECK(rig_ring_attach(&ring, vm));
    ring.guest->accepted[1] = 1;
    CHECK(rig_ring_accept(&ring, 0) == VGPU_DEVICE_FAILED);
    leave(&ring, m, vm);
}

static void test_entries(struct mediator *m, struct rig_vm *vm, struct fake_worker *worker)
{
    struct rig_ring ring;
    struct vgpu_submission entry;
    struct vgpu_completion completion;
    struct worker_unit unit;
    struct worker_reply reply = {.outcome = WORKER_DONE};

    join(&ring, vm);
    CASE("a NOP is answered by the engine, on every pair");
    for (uint32_t qp = 0; qp < vm->pairs; qp++) {
        completion = ask_on(&ring, qp, rig_nop(0x1234567890abcdefull + qp, 5));
        CHECK(completion.cookie == 0x1234567890abcdefull + qp && completion.status == VGPU_OK);
        CHECK(completion.generation == ring.host->generation && completion.retry_after_us == 0);
        CHECK(completion.end_ns >= completion.start_ns && completion.start_ns > 0);
    }

    CASE("a command goes to the VM's worker as it was submitted, and its answer comes back whole");
    entry = rig_command(42, 3);
    entry.ctx = 9;
    entry.cmd_off = 65536 - 24;
    entry.cmd_len = 24;
    rig_ring_put(&ring, 1, &entry);
    CHECK(fake_worker_take(worker, &unit, RIG_LONG_MS));
    CHECK(unit.kind == WORKER_UNIT_COMMAND && unit.qp == 1 && unit.ctx == 9 && unit.stream == 3);
    CHECK(unit.cmd_off == 65536 - 24 && unit.cmd_len == 24 && unit.first_op == 0 &&
          unit.flags == 0 && unit.budget_us == rig_config().quantum_us);
    reply = (struct worker_reply){.token = unit.token,
                                  .outcome = WORKER_DONE,
                                  .status = VGPU_BUILD_FAILED,
                                  .op_index = 2,
                                  .native = -11,
                                  .out_len = 77,
                                  .result = {5, 6}};
    fake_worker_reply(worker, &reply);
    CHECK(rig_ring_take(&ring, 1, &completion, RIG_LONG_MS));
    CHECK(completion.cookie == 42 && completion.status == VGPU_BUILD_FAILED &&
          completion.op_index == 2 && completion.native == -11 && completion.out_len == 77 &&
          completion.result[0] == 5 && completion.result[1] == 6);

    CASE("a status that does not exist becomes FAILED");
    rig_ring_put(&ring, 0, &(struct vgpu_submission){.cookie = 1, .kind = 1, .cmd_len = 8});
    CHECK(fake_worker_take(worker, &unit, RIG_LONG_MS));
    fake_worker_done(worker, &unit, (enum vgpu_status)999);
    CHECK(rig_ring_take(&ring, 0, &completion, RIG_LONG_MS) && completion.status == VGPU_FAILED);
    leave(&ring, m, vm);
}

struct bad_entry {
    struct vgpu_submission entry;
    enum vgpu_status status;
};

static void test_bad_entries(struct mediator *m, struct rig_vm *vm)
{
    static const struct bad_entry table[] = {
        {{.kind = 0}, VGPU_INVALID},
        {{.kind = 7}, VGPU_INVALID},
        {{.kind = 255}, VGPU_INVALID},
        {{.kind = 2, .flags = 1}, VGPU_INVALID},
        {{.kind = 2, .reserved0 = 1}, VGPU_INVALID},
        {{.kind = 2, .reserved1 = 1}, VGPU_INVALID},
        {{.kind = 2, .wait_count = 17}, VGPU_INVALID},
        {{.kind = 2, .lane = 3}, VGPU_INVALID},
        {{.kind = 1, .cmd_len = 0}, VGPU_INVALID},
        {{.kind = 1, .cmd_len = 12}, VGPU_INVALID},
        {{.kind = 1, .cmd_len = 65544}, VGPU_INVALID},
        {{.kind = 1, .cmd_len = 0xfffffff8u}, VGPU_INVALID},
        {{.kind = 1, .cmd_len = 8, .cmd_off = 4}, VGPU_INVALID},
        {{.kind = 1, .cmd_len = 8, .cmd_off = 65536}, VGPU_INVALID},
        {{.kind = 1, .cmd_len = 16, .cmd_off = 65528}, VGPU_INVALID},
        {{.kind = 1, .cmd_len = 8, .cmd_off = 0xfffffffffffffff8ull}, VGPU_INVALID},
        {{.kind = 1, .cmd_len = 8, .cmd_seg = 1}, VGPU_UNSUPPORTED},
        {{.kind = 1, .cmd_len = 8, .lane = 2}, VGPU_UNSUPPORTED},
        {{.kind = 1, .cmd_len = 8, .wait_count = 16}, VGPU_UNSUPPORTED},
        {{.kind = 2, .signal = 1}, VGPU_UNSUPPORTED},
        {{.kind = 3, .signal = 1}, VGPU_UNSUPPORTED},
        {{.kind = 3, .lane = 1}, VGPU_INVALID},
        {{.kind = 4, .timeout_ms = 1}, VGPU_INVALID},
        {{.kind = 6, .signal = 1}, VGPU_INVALID},
        {{.kind = 2, .wait_off = 8}, VGPU_INVALID},
        {{.kind = 2, .wait_count = 1, .wait_off = 4}, VGPU_INVALID},
        {{.kind = 2, .wait_count = 1, .wait_off = 65528}, VGPU_INVALID},
        {{.kind = 2, .cmd_len = 8}, VGPU_INVALID},
        {{.kind = 2, .cmd_off = 8}, VGPU_INVALID},
        {{.kind = 2, .cmd_seg = 1}, VGPU_INVALID},
        {{.kind = 5}, VGPU_UNSUPPORTED},
        {{.kind = 6}, VGPU_UNSUPPORTED},
    };
    struct mediator_vm_stats before = rig_stats(m, vm), after;
    struct rig_ring ring;
    uint32_t invalid = 0;

    CASE("an entry that is malformed or asks for what is not offered is refused with its cookie");
    join(&ring, vm);
    for (uint32_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        struct vgpu_submission entry = table[i].entry;
        struct vgpu_completion completion;

        entry.cookie = 1000 + i;
        completion = ask_on(&ring, 0, entry);
        if (completion.status != table[i].status)
            fprintf(stderr, "entry %u: status %u\n", i, completion.status);
        CHECK(completion.status == table[i].status && completion.cookie == 1000 + i);
        invalid += table[i].status == VGPU_INVALID;
    }
    after = rig_stats(m, vm);
    CHECK(after.faults == before.faults + invalid);
    CHECK(after.refused == before.refused + sizeof(table) / sizeof(table[0]));
    CHECK(nop_works(&ring, 0, 1));

    CASE("a ring of a disabled pool is answered POOL_DISABLED");
    CHECK(mediator_pool_set(m, 'A', 50, 0) == 0);
    CHECK(ask_on(&ring, 0, rig_nop(1, 0)).status == VGPU_POOL_DISABLED);
    CHECK(mediator_pool_set(m, 'A', 50, 1) == 0);
    leave(&ring, m, vm);
}

int main(void)
{
    const struct mediator_config config = rig_config();
    struct mediator *m = rig_engine(&config);
    struct rig_vm vm;
    struct fake_worker worker;

    test_layout();
    test_adding(m);
    rig_vm_new(&vm, 7, 'A', 1, 128, 5);
    CHECK(rig_vm_add(&vm, m, -1, -1) >= 0);
    CHECK(mediator_start(m) == 0);
    fake_worker_new(&worker, 1);
    CHECK(fake_worker_attach(&worker, m, vm.handle, MEDIATOR_LAUNCH) == 0);
    test_handshake(m, &vm);
    test_entries(m, &vm, &worker);
    test_bad_entries(m, &vm);
    mediator_free(m);
    fake_worker_free(&worker);
    rig_vm_free(&vm);
    return check_done();
}
