/*
 * engine_rig_ring.c - A version 2 client for the test bench
 */
#include "engine_rig.h"

#include <poll.h>
#include <sched.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

static bool hear(int socket, int64_t *value, int *fd)
{
    struct iovec iov = {value, sizeof(*value)};
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control;
    struct msghdr message = {.msg_iov = &iov,
                             .msg_iovlen = 1,
                             .msg_control = control.bytes,
                             .msg_controllen = sizeof(control.bytes)};
    struct cmsghdr *cmsg;

    *fd = -1;
    if (recvmsg(socket, &message, MSG_CMSG_CLOEXEC) != (ssize_t)sizeof(*value))
        return false;
    cmsg = CMSG_FIRSTHDR(&message);
    if (cmsg)
        memcpy(fd, CMSG_DATA(cmsg), sizeof(*fd));
    return true;
}

static bool heard_all(struct rig_ring *ring)
{
    int64_t value;
    int fd;

    if (!hear(ring->socket, &value, &fd) || value != 0 || fd >= 0)
        return false;
    if (!hear(ring->socket, &value, &fd) || value != 1 || fd >= 0)
        return false;
    if (!hear(ring->socket, &value, &ring->memory_fd) || value != -1 || ring->memory_fd < 0)
        return false;
    for (uint32_t i = 0; i < 2 * ring->pairs; i++) {
        if (!hear(ring->socket, &value, &fd) || value != (i < ring->pairs ? 0 : 1) || fd < 0)
            return false;
        (i < ring->pairs ? ring->host_doorbells : ring->guest_doorbells)[i % ring->pairs] = fd;
    }
    return true;
}

void rig_ring_connect(struct rig_ring *ring, const struct rig_vm *vm)
{
    memset(ring, 0, sizeof(*ring));
    ring->memory_fd = -1;
    for (uint32_t i = 0; i < VGPU_QP_MAX; i++)
        ring->host_doorbells[i] = ring->guest_doorbells[i] = -1;
    ring->pairs = vm->pairs;
    ring->bytes = mediator_ring_bytes(vm->pairs, RIG_ENTRIES, RIG_DATA_BYTES);
    ring->socket = rig_connect(vm->ring_path);
}

bool rig_ring_greeted(struct rig_ring *ring)
{
    if (!heard_all(ring))
        return false;
    ring->memory = mmap(NULL, ring->bytes, PROT_READ | PROT_WRITE, MAP_SHARED, ring->memory_fd, 0);
    rig_must(ring->memory != MAP_FAILED, "the memory");
    ring->host = (void *)ring->memory;
    ring->guest = (void *)(ring->memory + VGPU_PAGE_BYTES);
    return true;
}

bool rig_ring_attach(struct rig_ring *ring, const struct rig_vm *vm)
{
    rig_ring_connect(ring, vm);
    return rig_ring_greeted(ring);
}

uint32_t rig_ring_accept(struct rig_ring *ring, uint64_t features)
{
    uint64_t end_ns = rig_now_ns() + RIG_LONG_MS * 1000000ull;
    uint32_t status;

    ring->guest->accepted[0] = features;
    __atomic_store_n(&ring->guest->status, VGPU_GUEST_ACK | VGPU_GUEST_FEATURES_OK,
                     __ATOMIC_RELEASE);
    rig_ring_bell(ring, 0);
    do {
        status = __atomic_load_n(&ring->host->device_status, __ATOMIC_ACQUIRE);
        sched_yield(); /* the host says this in memory alone */
    } while (status == VGPU_DEVICE_WAITING && rig_now_ns() < end_ns);
    return status;
}

void rig_ring_leave(struct rig_ring *ring)
{
    if (ring->memory)
        munmap(ring->memory, ring->bytes);
    if (ring->memory_fd >= 0)
        close(ring->memory_fd);
    for (uint32_t i = 0; i < VGPU_QP_MAX; i++) {
        if (ring->host_doorbells[i] >= 0)
            close(ring->host_doorbells[i]);
        if (ring->guest_doorbells[i] >= 0)
            close(ring->guest_doorbells[i]);
    }
    close(ring->socket);
}

static uint8_t *pair_at(const struct rig_ring *ring, uint32_t qp)
{
    return ring->memory + ring->host->qp_base + ring->host->qp_stride * qp;
}

struct vgpu_pair_host *rig_pair_host(const struct rig_ring *ring, uint32_t qp)
{
    return (void *)pair_at(ring, qp);
}

struct vgpu_pair_guest *rig_pair_guest(const struct rig_ring *ring, uint32_t qp)
{
    return (void *)(pair_at(ring, qp) + VGPU_PAGE_BYTES);
}

void rig_ring_bell(struct rig_ring *ring, uint32_t qp)
{
    const uint64_t one = 1;

    rig_must(write(ring->host_doorbells[qp], &one, sizeof(one)) == sizeof(one), "a doorbell");
}

void rig_ring_put(struct rig_ring *ring, uint32_t qp, const struct vgpu_submission *entry)
{
    struct vgpu_pair_guest *guest = rig_pair_guest(ring, qp);
    uint32_t tail = guest->sq_tail;
    uint8_t *at = pair_at(ring, qp) + ring->host->sq_offset;

    struct vgpu_submission filled = *entry;

    if (!filled.generation)
        filled.generation = ring->host->generation;
    memcpy(at + (tail % RIG_ENTRIES) * sizeof(filled), &filled, sizeof(filled));
    __atomic_store_n(&guest->sq_tail, tail + 1, __ATOMIC_SEQ_CST);
    if (__atomic_load_n(&rig_pair_host(ring, qp)->sq_need_doorbell, __ATOMIC_SEQ_CST))
        rig_ring_bell(ring, qp);
}

bool rig_ring_take(struct rig_ring *ring, uint32_t qp, struct vgpu_completion *completion,
                   int timeout_ms)
{
    struct vgpu_pair_guest *guest = rig_pair_guest(ring, qp);
    uint32_t head = guest->cq_head;
    const uint8_t *at = pair_at(ring, qp) + ring->host->cq_offset;
    uint64_t end_ns = rig_now_ns() + (uint64_t)timeout_ms * 1000000u;
    struct pollfd poll_fd = {.fd = ring->guest_doorbells[qp], .events = POLLIN};
    bool crowded;

    /* Ask for an interrupt at this index, look once more, then wait for it. */
    __atomic_store_n(&guest->cq_event, head, __ATOMIC_SEQ_CST);
    while (__atomic_load_n(&rig_pair_host(ring, qp)->cq_tail, __ATOMIC_SEQ_CST) == head) {
        uint64_t now_ns = rig_now_ns(), count;

        if (now_ns >= end_ns)
            return false;
        if (poll(&poll_fd, 1, (int)((end_ns - now_ns) / 1000000 + 1)) == 1)
            rig_must(read(poll_fd.fd, &count, sizeof(count)) == sizeof(count), "an interrupt");
    }
    memcpy(completion, at + (head % (2 * RIG_ENTRIES)) * sizeof(*completion), sizeof(*completion));
    crowded = guest->sq_tail - head > RIG_ENTRIES;
    __atomic_store_n(&guest->cq_head, head + 1, __ATOMIC_SEQ_CST);
    if (crowded && __atomic_load_n(&rig_pair_host(ring, qp)->sq_need_doorbell, __ATOMIC_SEQ_CST))
        rig_ring_bell(ring, qp);
    return true;
}

struct vgpu_submission rig_nop(uint64_t cookie, uint32_t stream)
{
    return (struct vgpu_submission){.cookie = cookie, .kind = VGPU_KIND_NOP, .stream = stream};
}

struct vgpu_submission rig_command(uint64_t cookie, uint32_t stream)
{
    return (struct vgpu_submission){
        .cookie = cookie, .kind = VGPU_KIND_COMMAND, .stream = stream, .cmd_len = 8};
}

struct vgpu_submission rig_query(uint64_t cookie, uint32_t what, uint32_t timeline)
{
    return (struct vgpu_submission){
        .cookie = cookie, .kind = VGPU_KIND_QUERY, .cmd_seg = what, .stream = timeline};
}

struct vgpu_submission rig_cancel(uint64_t cookie, uint64_t meant)
{
    return (struct vgpu_submission){.cookie = cookie, .kind = VGPU_KIND_CANCEL, .signal = meant};
}
