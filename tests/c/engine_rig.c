/*
 * engine_rig.c - An engine on a test bench, and VMs made of descriptors
 */
#include "engine_rig.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

void rig_must(bool held, const char *what)
{
    if (held)
        return;
    fprintf(stderr, "the test bench needs %s: %s\n", what, strerror(errno));
    abort();
}

uint64_t rig_now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

int rig_memfd(uint64_t bytes)
{
    int fd = memfd_create("rig", MFD_CLOEXEC | MFD_ALLOW_SEALING);

    rig_must(fd >= 0 && ftruncate(fd, (off_t)bytes) == 0, "a memfd");
    return fd;
}

void rig_seal(int fd)
{
    rig_must(fcntl(fd, F_ADD_SEALS, F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL) == 0, "seals");
}

struct mediator_config rig_config(void)
{
    return (struct mediator_config){.max_queued_total = 4096,
                                    .units_in_flight = 8,
                                    .max_builds = 2,
                                    .quantum_us = 1000000,
                                    .run_timeout_ms = 60000,
                                    .build_timeout_ms = 60000,
                                    .queue_timeout_ms = 600000,
                                    .trace_entries = RIG_TRACE_ENTRIES};
}

struct vgpu_device_info rig_device(void)
{
    return (struct vgpu_device_info){.size = sizeof(struct vgpu_device_info),
                                     .type = VGPU_DEVICE_TYPE_CPU,
                                     .name = "rig",
                                     .backend = "null",
                                     .module_kinds = 1u << VGPU_MODULE_OPENCL_C};
}

struct mediator *rig_engine(const struct mediator_config *config)
{
    const struct vgpu_device_info device = rig_device();
    struct mediator *m = mediator_new(config);

    rig_must(m && mediator_pool_set(m, 'A', 50, 1) == 0 && mediator_pool_set(m, 'B', 50, 1) == 0 &&
                 mediator_set_device(m, &device, sizeof(device)) == 0,
             "an engine");
    return m;
}

static int listen_at(char path[64], uint32_t vm_id, const char *what)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    snprintf(path, 64, "/tmp/vgpud-rig-%d-%u-%s", (int)getpid(), vm_id, what);
    unlink(path);
    snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
    rig_must(fd >= 0 && bind(fd, (struct sockaddr *)&address, sizeof(address)) == 0 &&
                 listen(fd, 16) == 0,
             "a listener");
    return fd;
}

void rig_vm_new(struct rig_vm *vm, uint32_t vm_id, uint8_t pool, uint8_t priority, uint32_t slots,
                uint32_t pairs)
{
    memset(vm, 0, sizeof(*vm));
    vm->pairs = pairs;
    vm->identity = (struct mediator_vm){.vm_id = vm_id,
                                        .peer_uid = (uint32_t)getuid(),
                                        .weight = 50,
                                        .pool_id = pool,
                                        .priority = priority};
    snprintf(vm->identity.uuid, sizeof(vm->identity.uuid), "00000000-0000-4000-8000-%012u", vm_id);
    vm->journal_fd = rig_memfd(mediator_journal_bytes(slots));
    rig_must(mediator_journal_format(vm->journal_fd, slots, pairs, RIG_ENTRIES, RIG_DATA_BYTES) ==
                 0,
             "a journal");
    rig_seal(vm->journal_fd);
    vm->ring_fd = rig_memfd(mediator_ring_bytes(pairs, RIG_ENTRIES, RIG_DATA_BYTES));
    rig_seal(vm->ring_fd);
    vm->stub_listener = listen_at(vm->stub_path, vm_id, "stub");
    vm->ring_listener = listen_at(vm->ring_path, vm_id, "ring");
    for (uint32_t i = 0; i < pairs; i++) {
        vm->host_doorbells[i] = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
        vm->guest_doorbells[i] = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
        rig_must(vm->host_doorbells[i] >= 0 && vm->guest_doorbells[i] >= 0, "doorbells");
    }
}

void rig_vm_free(struct rig_vm *vm)
{
    close(vm->journal_fd);
    close(vm->ring_fd);
    close(vm->stub_listener);
    close(vm->ring_listener);
    unlink(vm->stub_path);
    unlink(vm->ring_path);
    for (uint32_t i = 0; i < vm->pairs; i++) {
        close(vm->host_doorbells[i]);
        close(vm->guest_doorbells[i]);
    }
}

static int copy_of(int fd)
{
    int copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);

    rig_must(copy >= 0, "a descriptor");
    return copy;
}

void rig_vm_fds(const struct rig_vm *vm, struct mediator_vm_fds *fds)
{
    *fds = (struct mediator_vm_fds){.journal = copy_of(vm->journal_fd),
                                    .ring = copy_of(vm->ring_fd),
                                    .stub_listener = copy_of(vm->stub_listener),
                                    .ring_listener = copy_of(vm->ring_listener),
                                    .stub_connection = -1,
                                    .ring_connection = -1};
    for (uint32_t i = 0; i < VGPU_QP_MAX; i++) {
        fds->host_doorbells[i] = i < vm->pairs ? copy_of(vm->host_doorbells[i]) : -1;
        fds->guest_doorbells[i] = i < vm->pairs ? copy_of(vm->guest_doorbells[i]) : -1;
    }
}

int rig_vm_add(struct rig_vm *vm, struct mediator *m, int stub_connection, int ring_connection)
{
    struct mediator_vm_fds fds;
    int rc;

    rig_vm_fds(vm, &fds);
    fds.stub_connection = stub_connection;
    fds.ring_connection = ring_connection;
    rc = mediator_vm_add(m, &vm->identity, &fds);
    if (rc >= 0)
        vm->handle = (uint32_t)rc;
    return rc;
}

struct mediator_vm_stats rig_stats(struct mediator *m, const struct rig_vm *vm)
{
    struct mediator_vm_stats stats = {0};

    rig_must(mediator_vm_stats(m, vm->handle, &stats) == 0, "the statistics");
    return stats;
}

bool rig_event(struct mediator *m, enum mediator_event_type type, struct mediator_event *event)
{
    uint64_t end_ns = rig_now_ns() + RIG_LONG_MS * 1000000ull;
    struct pollfd poll_fd = {.fd = mediator_event_fd(m), .events = POLLIN};

    while (rig_now_ns() < end_ns) {
        while (mediator_events(m, event, 1) == 1)
            if (event->type == (uint32_t)type)
                return true;
        poll(&poll_fd, 1, 100);
    }
    return false;
}

void rig_forget_events(struct mediator *m)
{
    struct mediator_event event;

    while (mediator_events(m, &event, 1) == 1)
        ;
}

bool rig_until(struct mediator *m, const struct rig_vm *vm, size_t offset, size_t size,
               uint64_t value)
{
    uint64_t end_ns = rig_now_ns() + RIG_LONG_MS * 1000000ull;

    do {
        const struct mediator_vm_stats stats = rig_stats(m, vm);
        uint64_t is = 0;

        memcpy(&is, (const uint8_t *)&stats + offset, size);
        if (is == value)
            return true;
        sched_yield(); /* there is no event for a counter */
    } while (rig_now_ns() < end_ns);
    return false;
}
