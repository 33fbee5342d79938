/*
 * fake_ring_host.c - The host's side of a ring, for tests of the guest's side
 *
 * Written from ring_abi.h alone, not from libvgpu: that the two agree is what the tests show. On a
 * thread it sleeps in poll() on the doorbells, and asks for them (sq_need_doorbell) only while it
 * sleeps, so that suppression is exercised too.
 */
#include "fake_ring_host.h"

#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static void must(bool right, const char *what)
{
    if (!right) {
        perror(what);
        abort();
    }
}

static uint64_t align(uint64_t bytes)
{
    return (bytes + VGPU_PART_ALIGN - 1) / VGPU_PART_ALIGN * VGPU_PART_ALIGN;
}

static uint64_t now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

void fake_host_new(struct fake_host *host, struct fake_shape shape, fake_handler *handler,
                   void *context)
{
    struct vgpu_host_page page = {.magic = VGPU_RING_MAGIC,
                                  .major = VGPU_RING_MAJOR,
                                  .page_bytes = sizeof(page),
                                  .generation = FAKE_GENERATION,
                                  .features = {1u << VGPU_FEATURE_OPENCL_C, 0},
                                  .qp_count = shape.pairs,
                                  .device_count = 1,
                                  .sq_entries = shape.sq_entries,
                                  .cq_entries = shape.cq_entries,
                                  .qp_base = VGPU_PART_ALIGN,
                                  .sq_offset = VGPU_PART_ALIGN,
                                  .data_bytes = shape.data_bytes,
                                  .vm_id = 5,
                                  .pool_id = 'A',
                                  .priority = 2};
    int ends[2];

    memset(host, 0, sizeof(*host));
    host->shape = shape;
    host->handler = handler;
    host->context = context;
    page.cq_offset = page.sq_offset + align((uint64_t)shape.sq_entries * 64);
    page.data_offset = page.cq_offset + align((uint64_t)shape.cq_entries * 64);
    page.qp_stride = align(page.data_offset + shape.data_bytes);
    page.region_bytes = page.qp_base + shape.pairs * page.qp_stride;

    host->memory_fd = memfd_create("fake-ring", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    must(host->memory_fd >= 0, "memfd_create");
    must(ftruncate(host->memory_fd, (off_t)page.region_bytes) == 0, "ftruncate");
    must(fcntl(host->memory_fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) == 0,
         "F_ADD_SEALS");
    host->mapping =
        mmap(NULL, page.region_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, host->memory_fd, 0);
    must(host->mapping != MAP_FAILED, "mmap");
    host->region = host->mapping;
    host->mapped_bytes = page.region_bytes;
    host->page = (struct vgpu_host_page *)host->region;
    *host->page = page;
    for (uint32_t i = 0; i < shape.pairs; i++) {
        host->doorbells[i] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        host->vectors[i] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        must(host->doorbells[i] >= 0 && host->vectors[i] >= 0, "eventfd");
        host->sq_head[i] = host->cq_tail[i] = shape.first_index;
        *fake_pair_host(host, i) = (struct vgpu_pair_host){
            .sq_head = shape.first_index, .sq_need_doorbell = 1, .cq_tail = shape.first_index};
    }
    must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0, "socketpair");
    host->connection = ends[0];
    host->client_end = ends[1];
    host->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    must(host->stop_fd >= 0, "eventfd");
}

void fake_host_free(struct fake_host *host)
{
    fake_host_stop(host);
    fake_host_hang_up(host);
    munmap(host->mapping, host->mapped_bytes);
    close(host->memory_fd);
    close(host->stop_fd);
    for (uint32_t i = 0; i < host->shape.pairs; i++) {
        close(host->doorbells[i]);
        close(host->vectors[i]);
    }
}

void fake_host_message(struct fake_host *host, int64_t value, int fd)
{
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control = {0};
    struct iovec iov = {.iov_base = &value, .iov_len = sizeof(value)};
    struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1};

    if (fd != -1) {
        message.msg_control = control.bytes;
        message.msg_controllen = sizeof(control.bytes);
        control.align.cmsg_level = SOL_SOCKET;
        control.align.cmsg_type = SCM_RIGHTS;
        control.align.cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(&control.align), &fd, sizeof(fd));
    }
    must(sendmsg(host->connection, &message, MSG_NOSIGNAL) == sizeof(value), "sendmsg");
}

void fake_host_greet(struct fake_host *host)
{
    fake_host_message(host, 0, -1);
    fake_host_message(host, FAKE_CLIENT_ID, -1);
    fake_host_message(host, -1, host->memory_fd);
    for (uint32_t i = 0; i < host->shape.pairs; i++)
        fake_host_message(host, 0, host->doorbells[i]);
    for (uint32_t i = 0; i < host->shape.pairs; i++)
        fake_host_message(host, FAKE_CLIENT_ID, host->vectors[i]);
}

void fake_host_hang_up(struct fake_host *host)
{
    if (host->connection != -1)
        close(host->connection);
    host->connection = -1;
}

void fake_host_share(struct fake_host *host, uint8_t *region)
{
    host->region = region;
    host->page = (struct vgpu_host_page *)region;
}

static uint8_t *pair_base(struct fake_host *host, uint32_t pair)
{
    return host->region + host->page->qp_base + pair * host->page->qp_stride;
}

struct vgpu_pair_host *fake_pair_host(struct fake_host *host, uint32_t pair)
{
    return (struct vgpu_pair_host *)pair_base(host, pair);
}

struct vgpu_pair_guest *fake_pair_guest(struct fake_host *host, uint32_t pair)
{
    return (struct vgpu_pair_guest *)(pair_base(host, pair) + VGPU_PAGE_BYTES);
}

uint8_t *fake_pair_data(struct fake_host *host, uint32_t pair)
{
    return pair_base(host, pair) + host->page->data_offset;
}

void fake_host_answer(struct fake_host *host, uint32_t pair,
                      const struct vgpu_completion *completion)
{
    struct vgpu_completion *ring =
        (struct vgpu_completion *)(pair_base(host, pair) + host->page->cq_offset);
    uint32_t old = host->cq_tail[pair]++;
    uint32_t event;
    const uint64_t one = 1;

    ring[old & (host->shape.cq_entries - 1)] = *completion;
    __atomic_store_n(&fake_pair_host(host, pair)->cq_tail, old + 1, __ATOMIC_SEQ_CST);
    event = __atomic_load_n(&fake_pair_guest(host, pair)->cq_event, __ATOMIC_SEQ_CST);
    if (event == old) {
        must(write(host->vectors[pair], &one, sizeof(one)) == sizeof(one), "interrupt");
        host->interrupts++;
    }
}

uint32_t fake_host_step(struct fake_host *host, uint32_t pair)
{
    const struct vgpu_submission *ring =
        (const struct vgpu_submission *)(pair_base(host, pair) + host->page->sq_offset);
    uint32_t tail = __atomic_load_n(&fake_pair_guest(host, pair)->sq_tail, __ATOMIC_SEQ_CST);
    uint32_t taken = 0;

    while (host->sq_head[pair] != tail) {
        struct vgpu_submission entry = ring[host->sq_head[pair] & (host->shape.sq_entries - 1)];
        uint32_t cq_head = __atomic_load_n(&fake_pair_guest(host, pair)->cq_head, __ATOMIC_ACQUIRE);
        struct vgpu_completion completion = {
            .cookie = entry.cookie, .generation = FAKE_GENERATION, .start_ns = now_ns()};

        if (host->cq_tail[pair] - cq_head == host->shape.cq_entries)
            break; /* no credit */
        host->sq_head[pair]++;
        __atomic_store_n(&fake_pair_host(host, pair)->sq_head, host->sq_head[pair],
                         __ATOMIC_RELEASE);
        taken++;
        if (!host->handler)
            continue;
        completion.end_ns = completion.start_ns;
        if (host->handler(host->context, &entry, fake_pair_data(host, pair), &completion))
            fake_host_answer(host, pair, &completion);
    }
    return taken;
}

static void latch_features(struct fake_host *host)
{
    struct vgpu_guest_page *guest = (struct vgpu_guest_page *)(host->region + VGPU_PAGE_BYTES);
    uint32_t status = __atomic_load_n(&guest->status, __ATOMIC_ACQUIRE);
    uint64_t accepted = __atomic_load_n(&guest->accepted[0], __ATOMIC_RELAXED);

    if (status != (VGPU_GUEST_ACK | VGPU_GUEST_FEATURES_OK))
        return;
    __atomic_store_n(&host->page->device_status,
                     accepted & ~host->page->features[0] ? VGPU_DEVICE_FAILED : VGPU_DEVICE_OK,
                     __ATOMIC_RELEASE);
}

/* Serve everything, and ask for doorbells again; look once more after that. */
static void serve(struct fake_host *host)
{
    bool more = true;

    if (__atomic_load_n(&host->page->device_status, __ATOMIC_RELAXED) != VGPU_DEVICE_OK)
        latch_features(host);
    if (__atomic_load_n(&host->page->device_status, __ATOMIC_RELAXED) != VGPU_DEVICE_OK)
        return;
    for (uint32_t i = 0; i < host->shape.pairs; i++)
        __atomic_store_n(&fake_pair_host(host, i)->sq_need_doorbell, 0, __ATOMIC_RELAXED);
    while (more) {
        more = false;
        for (uint32_t i = 0; i < host->shape.pairs; i++) {
            while (fake_host_step(host, i))
                ;
            __atomic_store_n(&fake_pair_host(host, i)->sq_need_doorbell, 1, __ATOMIC_SEQ_CST);
            if (fake_host_step(host, i))
                more = true;
        }
    }
}

static void *serve_thread(void *argument)
{
    struct fake_host *host = argument;
    struct pollfd fds[VGPU_QP_MAX + 1];

    for (;;) {
        uint64_t rung;

        for (uint32_t i = 0; i < host->shape.pairs; i++)
            fds[i] = (struct pollfd){.fd = host->doorbells[i], .events = POLLIN};
        fds[host->shape.pairs] = (struct pollfd){.fd = host->stop_fd, .events = POLLIN};
        poll(fds, host->shape.pairs + 1u, -1);
        if (fds[host->shape.pairs].revents)
            return NULL;
        for (uint32_t i = 0; i < host->shape.pairs; i++) {
            if (fds[i].revents && read(fds[i].fd, &rung, sizeof(rung)) == sizeof(rung))
                host->doorbells_seen += rung;
        }
        serve(host);
    }
}

void fake_host_start(struct fake_host *host)
{
    must(pthread_create(&host->thread, NULL, serve_thread, host) == 0, "pthread_create");
    host->running = true;
}

void fake_host_stop(struct fake_host *host)
{
    uint64_t count = 1;

    if (!host->running)
        return;
    must(write(host->stop_fd, &count, sizeof(count)) == sizeof(count), "stop");
    pthread_join(host->thread, NULL);
    must(read(host->stop_fd, &count, sizeof(count)) == sizeof(count), "stopped");
    host->running = false;
}
