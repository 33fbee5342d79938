/*
 * test_engine_leaks.c - What an engine that lives for years must not gather
 *
 * The same thing is done once, so that tables have their size, and then a thousand times. Afterwards
 * there are no more descriptors and mappings than before, and not a byte more is allocated.
 */
#include <dirent.h>
#include <malloc.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "check.h"
#include "engine_rig.h"
#include "fake_worker.h"
#include "stub_guest.h"

#define TIMES    1000
#define AT_ONCE  50 /* VMs */
#define PIPELINE 4

/* Of the sanitizers that bring an allocator of their own. */
extern size_t __sanitizer_get_current_allocated_bytes(void) __attribute__((weak));

struct weight {
    size_t heap_bytes;
    uint32_t fds;
    uint32_t mappings; /* of memfds: journals, rings, channels */
};

static size_t heap_bytes(void)
{
    if (__sanitizer_get_current_allocated_bytes)
        return __sanitizer_get_current_allocated_bytes();
    return mallinfo2().uordblks;
}

static uint32_t count_fds(void)
{
    DIR *directory = opendir("/proc/self/fd");
    uint32_t count = 0;

    rig_must(directory, "the descriptors");
    while (readdir(directory))
        count++;
    closedir(directory);
    return count;
}

static uint32_t count_mappings(void)
{
    FILE *maps = fopen("/proc/self/maps", "re");
    char line[512];
    uint32_t count = 0;

    rig_must(maps, "the mappings");
    while (fgets(line, sizeof(line), maps))
        count += strstr(line, "memfd:") != NULL;
    fclose(maps);
    return count;
}

/* In this order: what looks must not be seen. */
static struct weight weigh(void)
{
    struct weight now = {.fds = count_fds(), .mappings = count_mappings()};

    now.heap_bytes = heap_bytes();
    return now;
}

/*
 * Connections are closed by a thread of the engine, so that it may take a moment; and so @before may
 * have counted two or three that were on their way out.
 */
static bool is_back_at(const struct weight *before)
{
    uint64_t end_ns = rig_now_ns() + RIG_LONG_MS * 1000000ull;
    struct weight now;

    do {
        now = weigh();
        if (now.heap_bytes <= before->heap_bytes && now.fds <= before->fds &&
            now.mappings <= before->mappings)
            return true;
        sched_yield();
    } while (rig_now_ns() < end_ns);
    fprintf(stderr, "heap %zu -> %zu bytes, descriptors %u -> %u, mappings %u -> %u\n",
            before->heap_bytes, now.heap_bytes, before->fds, now.fds, before->mappings,
            now.mappings);
    return false;
}

static void remove_vm(struct mediator *m, struct rig_vm *vm)
{
    CHECK(mediator_vm_retire(m, vm->handle) == 0);
    CHECK(mediator_vm_remove(m, vm->handle) == 0);
}

static void vms_come_and_go(struct mediator *m)
{
    static struct rig_vm vm[AT_ONCE];

    for (uint32_t i = 0; i < AT_ONCE; i++) {
        rig_vm_new(&vm[i], 100 + i, 'A', 1, 16, 1);
        CHECK(rig_vm_add(&vm[i], m, -1, -1) >= 0);
    }
    for (uint32_t i = 0; i < AT_ONCE; i++) {
        remove_vm(m, &vm[i]);
        rig_vm_free(&vm[i]);
    }
}

/* Clients are connected, one unit runs and others are queued when the VM is taken out. */
static void a_busy_vm_goes(struct mediator *m)
{
    const struct vgpu_submission command = rig_command(1, 0);
    const uint32_t params[2] = {1, 2};
    uint8_t frame[FRAME_MAX];
    struct fake_worker worker[2];
    struct worker_unit unit;
    struct rig_ring ring;
    struct rig_vm vm;
    int client;

    rig_vm_new(&vm, 100, 'A', 1, 16, 2);
    CHECK(rig_vm_add(&vm, m, -1, -1) >= 0);
    for (int lane = 0; lane < 2; lane++) {
        fake_worker_new(&worker[lane], (uint32_t)lane + 1);
        CHECK(fake_worker_attach(&worker[lane], m, vm.handle, lane) == 0);
    }
    client = rig_connect(vm.stub_path);
    for (uint32_t i = 0; i < PIPELINE; i++)
        CHECK(rig_send(client, frame, rig_request(frame, i, WIRE_OP_VECTOR_ADD, params, 2)));
    CHECK(rig_ring_attach(&ring, &vm));
    CHECK(rig_ring_accept(&ring, 1u << VGPU_FEATURE_STREAMS) == VGPU_DEVICE_OK);
    rig_ring_put(&ring, 0, &command);
    CHECK(fake_worker_take(&worker[0], &unit, RIG_LONG_MS));
    fake_worker_back(&worker[0], &unit, WORKER_CONTINUE, 1);
    CHECK(mediator_vm_retire(m, vm.handle) == 0);
    for (int lane = 0; lane < 2; lane++)
        CHECK(mediator_worker_gone(m, vm.handle, lane, 0, 0) == 0);
    CHECK(mediator_vm_remove(m, vm.handle) == 0);
    close(client);
    rig_ring_leave(&ring);
    fake_worker_free(&worker[0]);
    fake_worker_free(&worker[1]);
    rig_vm_free(&vm);
}

static void clients_come_and_go(struct mediator *m, struct rig_vm *vm)
{
    struct rig_ring ring;
    int client = rig_connect(vm->stub_path);

    CHECK(nop_works(client, 1));
    close(client);
    CHECK(RIG_UNTIL(m, vm, stub_connected, 0));
    CHECK(rig_ring_attach(&ring, vm));
    rig_ring_leave(&ring);
    CHECK(RIG_UNTIL(m, vm, ring_connected, 0));
}

static void workers_come_and_go(struct mediator *m, struct rig_vm *vm, int client)
{
    const uint32_t params[2] = {1, 2};
    uint8_t frame[FRAME_MAX];
    struct fake_worker worker;
    struct rig_answer answer;
    struct worker_unit unit;

    fake_worker_new(&worker, 1);
    CHECK(fake_worker_attach(&worker, m, vm->handle, MEDIATOR_LAUNCH) == 0);
    CHECK(rig_send(client, frame, rig_request(frame, 1, WIRE_OP_VECTOR_ADD, params, 2)));
    CHECK(fake_worker_take(&worker, &unit, RIG_LONG_MS));
    CHECK(mediator_worker_gone(m, vm->handle, MEDIATOR_LAUNCH, 1, 0) == 0);
    CHECK(answered(client, 1, WIRE_DEVICE_LOST, &answer));
    fake_worker_free(&worker);
}

static void pools_and_failures(struct mediator *m, struct rig_vm *vm)
{
    struct mediator_vm_fds fds;
    const uint64_t junk = UINT64_MAX;

    CHECK(mediator_pool_set(m, 'C', 50, 1) == 0 && mediator_pool_remove(m, 'C') == 0);
    /* Everything it was given is closed, whatever was wrong with it. */
    rig_vm_fds(vm, &fds);
    CHECK(pwrite(fds.journal, &junk, sizeof(junk), 0) == sizeof(junk));
    CHECK(mediator_vm_add(m, &vm->identity, &fds) < 0);
}

static void engines_come_and_go(void)
{
    const struct mediator_config config = rig_config();
    struct mediator *m = rig_engine(&config);

    CHECK(mediator_start(m) == 0);
    mediator_stop(m);
    mediator_free(m);
}

static void test_vms(struct mediator *m)
{
    struct weight before;

    CASE("a thousand VMs that were added and removed leave nothing behind");
    vms_come_and_go(m);
    before = weigh();
    for (int i = 0; i < TIMES / AT_ONCE; i++)
        vms_come_and_go(m);
    CHECK(is_back_at(&before));

    CASE("nor do VMs that are removed with clients, workers and requests");
    a_busy_vm_goes(m);
    before = weigh();
    for (int i = 0; i < TIMES / 5; i++)
        a_busy_vm_goes(m);
    CHECK(is_back_at(&before));
}

static void test_visitors(struct mediator *m, struct rig_vm *vm)
{
    struct weight before;
    struct rig_vm spare;
    int client;

    CASE("a thousand clients of both kinds leave nothing behind");
    clients_come_and_go(m, vm);
    before = weigh();
    for (int i = 0; i < TIMES; i++)
        clients_come_and_go(m, vm);
    CHECK(is_back_at(&before));

    CASE("nor do a thousand workers that die of their work");
    client = rig_connect(vm->stub_path);
    workers_come_and_go(m, vm, client);
    before = weigh();
    for (int i = 0; i < TIMES; i++)
        workers_come_and_go(m, vm, client);
    CHECK(is_back_at(&before));
    close(client);

    CASE("nor pools, nor VMs that are refused");
    rig_vm_new(&spare, 3, 'A', 1, 16, 2);
    pools_and_failures(m, &spare);
    before = weigh();
    for (int i = 0; i < TIMES; i++)
        pools_and_failures(m, &spare);
    CHECK(is_back_at(&before));
    rig_vm_free(&spare);
}

int main(void)
{
    const struct mediator_config config = rig_config();
    struct mediator *m = rig_engine(&config);
    struct weight before;
    struct rig_vm vm;

    rig_vm_new(&vm, 1, 'A', 1, 32, 1);
    CHECK(rig_vm_add(&vm, m, -1, -1) >= 0);
    CHECK(mediator_start(m) == 0);
    test_vms(m);
    test_visitors(m, &vm);
    mediator_free(m);
    rig_vm_free(&vm);

    CASE("engines that were started and freed leave nothing behind");
    engines_come_and_go();
    before = weigh();
    for (int i = 0; i < TIMES / 10; i++)
        engines_come_and_go();
    CHECK(is_back_at(&before));
    return check_done();
}
