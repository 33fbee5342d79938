/*
 * attach.c - Attaching to a VM's shared memory
 *
 *     connect ─► ivshmem.c: version, id, memory ─► map ─► host_page.c: check a copy of the host
 * page ─► ivshmem.c: doorbells, interrupts ─► write the guest page ─► ring pair 0 ─► wait for
 * device_status ─► VGPU_DEVICE_OK
 *
 * The connection stays open: its end is the only sign that vgpud gave up the attachment. A restart
 * of vgpud is not seen here; requests merely take longer.
 *
 * Every pair's guest indices are set to where the host says it is before features are accepted:
 * nothing is taken from a ring before that, so what an earlier client left there does no harm.
 *
 * The host may interrupt pair 0 when device_status changes, but need not: we look again after
 * growing pauses, at most STATUS_PAUSE_MAX_MS apart.
 */
#include "vgpu.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "host_page.h"
#include "ivshmem.h"
#include "link.h"

#define STATUS_PAUSE_MAX_MS 50

/* What it waits for is a place among those who wait to be accepted: poll() does not tell of that. */
static int limit_sending(int fd, int timeout_ms)
{
    struct timeval limit = {.tv_sec = timeout_ms / 1000, .tv_usec = timeout_ms % 1000 * 1000};

    return setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit)) < 0 ? -errno : 0;
}

int unix_connect(const char *path, const char *what, int timeout_ms, struct vgpu_reason *why)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd, rc;

    if (strlen(path) >= sizeof(address.sun_path)) {
        reason_set(why, "the path of the %s socket is longer than %zu bytes", what,
                   sizeof(address.sun_path) - 1);
        return -ENAMETOOLONG;
    }
    memcpy(address.sun_path, path, strlen(path) + 1);
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        rc = -errno;
        reason_set(why, "cannot make a socket: %s", strerror(-rc));
        return rc;
    }
    rc = limit_sending(fd, timeout_ms > 0 ? timeout_ms : 1);
    if (!rc && connect(fd, (const struct sockaddr *)&address, sizeof(address)) < 0)
        rc = errno == EAGAIN ? -ETIMEDOUT : -errno;
    if (!rc)
        rc = limit_sending(fd, 0); /* no limit */
    if (!rc)
        return fd;
    close(fd);
    if (rc == -ETIMEDOUT)
        reason_set(why,
                   "vgpud accepts nobody on the %s socket %s, and others wait already: it may be "
                   "restarting; try again",
                   what, path);
    else if (rc == -ENOENT)
        reason_set(why,
                   "there is no %s socket at %s: is the VM registered (vgpu-admin list-vms) "
                   "and vgpud running?",
                   what, path);
    else if (rc == -ECONNREFUSED)
        reason_set(why, "nobody listens on the %s socket %s: start vgpud", what, path);
    else if (rc == -EACCES)
        reason_set(why,
                   "this user (uid %u) may not open the %s socket %s: only the VM's peer may "
                   "(see vgpu-admin show-vm)",
                   (unsigned)getuid(), what, path);
    else
        reason_set(why, "cannot connect to the %s socket %s: %s", what, path, strerror(-rc));
    return rc;
}

static int map_memory(struct vgpu_link *link, int memory_fd, struct vgpu_reason *why)
{
    struct stat facts;
    int seals;
    void *region;

    if (fstat(memory_fd, &facts) < 0) {
        int rc = -errno;

        reason_set(why, "cannot look at the shared memory: %s", strerror(-rc));
        return rc;
    }
    seals = fcntl(memory_fd, F_GET_SEALS);
    if (seals < 0 || !(seals & F_SEAL_SHRINK)) {
        /* Whoever holds it could cut it off, and our next access would be a SIGBUS. */
        reason_set(why, "the shared memory is not sealed against shrinking: not vgpud's");
        return -EPROTO;
    }
    if (facts.st_size < (off_t)(2 * VGPU_PAGE_BYTES)) {
        reason_set(why, "the shared memory has only %lld bytes", (long long)facts.st_size);
        return -EPROTO;
    }
    region = mmap(NULL, (size_t)facts.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, memory_fd, 0);
    if (region == MAP_FAILED) {
        int rc = -errno;

        reason_set(why, "cannot map the shared memory: %s", strerror(-rc));
        return rc;
    }
    link->region = region;
    link->mapped_bytes = (uint64_t)facts.st_size;
    memcpy(&link->page, region, sizeof(link->page));
    return host_page_check(&link->page, link->mapped_bytes, why);
}

static void start_indices(struct vgpu_link *link)
{
    for (uint32_t i = 0; i < link->page.qp_count; i++) {
        const struct vgpu_pair_host *host = (const struct vgpu_pair_host *)link_pair(link, i);
        struct vgpu_pair_guest *guest =
            (struct vgpu_pair_guest *)(link_pair(link, i) + VGPU_PAGE_BYTES);
        uint32_t sq_head = __atomic_load_n(&host->sq_head, __ATOMIC_RELAXED);
        uint32_t cq_tail = __atomic_load_n(&host->cq_tail, __ATOMIC_RELAXED);

        __atomic_store_n(&guest->sq_tail, sq_head, __ATOMIC_RELAXED);
        __atomic_store_n(&guest->cq_head, cq_tail, __ATOMIC_RELAXED);
        __atomic_store_n(&guest->cq_event, cq_tail - 1, __ATOMIC_RELAXED);
        __atomic_store_n(&guest->reserved, 0, __ATOMIC_RELAXED);
    }
}

static uint32_t device_status(const struct vgpu_link *link)
{
    const struct vgpu_host_page *page = (const struct vgpu_host_page *)link->region;

    return __atomic_load_n(&page->device_status, __ATOMIC_ACQUIRE);
}

/* Wait until the host has answered our features. */
static int await_device(struct vgpu_link *link, uint64_t deadline_ns, struct vgpu_reason *why)
{
    int pause_ms = 1;

    for (;;) {
        struct pollfd vector = {.fd = link->vectors[0], .events = POLLIN};
        uint32_t status = device_status(link);
        uint64_t seen;

        if (status == VGPU_DEVICE_OK)
            return 0;
        if (status == VGPU_DEVICE_FAILED) {
            reason_set(why, "the host refused the features that were accepted");
            return -EPROTO;
        }
        if (status != VGPU_DEVICE_WAITING) {
            reason_set(why, "the host page has device status %u", (unsigned)status);
            return -EPROTO;
        }
        if (link_alive(link)) {
            reason_set(why, "vgpud closed the connection while features were agreed on");
            return -ECONNREFUSED;
        }
        if (vgpu_now_ns() >= deadline_ns) {
            reason_set(why, "vgpud did not answer the accepted features in time: it may be "
                            "restarting; try again");
            return -ETIMEDOUT;
        }
        if (poll(&vector, 1, pause_ms) > 0 && read(vector.fd, &seen, sizeof(seen)) < 0 &&
            errno != EAGAIN && errno != EINTR) {
            int rc = -errno;

            reason_set(why, "cannot read pair 0's interrupt: %s", strerror(-rc));
            return rc;
        }
        pause_ms = pause_ms * 2 > STATUS_PAUSE_MAX_MS ? STATUS_PAUSE_MAX_MS : pause_ms * 2;
    }
}

static int agree(struct vgpu_link *link, uint64_t features, uint64_t deadline_ns,
                 struct vgpu_reason *why)
{
    struct vgpu_guest_page *guest = (struct vgpu_guest_page *)(link->region + VGPU_PAGE_BYTES);
    int rc;

    link->accepted = link->page.features[0] & features & VGPU_FEATURES_ALL;
    start_indices(link);
    __atomic_store_n(&guest->accepted[0], link->accepted, __ATOMIC_RELAXED);
    __atomic_store_n(&guest->accepted[1], 0, __ATOMIC_RELAXED);
    __atomic_store_n(&guest->reserved, 0, __ATOMIC_RELAXED);
    __atomic_store_n(&guest->status, VGPU_GUEST_ACK | VGPU_GUEST_FEATURES_OK, __ATOMIC_RELEASE);
    rc = link_ring(link, 0);
    if (rc) {
        reason_set(why, "cannot ring pair 0's doorbell: %s", strerror(-rc));
        return rc;
    }
    return await_device(link, deadline_ns, why);
}

int vgpu_attach_connected(int connection, uint64_t features, int timeout_ms, struct vgpu_link **out,
                          struct vgpu_reason *why)
{
    uint64_t deadline_ns = vgpu_now_ns() + (uint64_t)(timeout_ms > 0 ? timeout_ms : 0) * 1000000u;
    struct vgpu_link *link = calloc(1, sizeof(*link));
    int memory_fd = -1, rc;
    int64_t id;

    reason_set(why, "%s", "out of memory");
    if (!link) {
        close(connection);
        return -ENOMEM;
    }
    link->connection = connection;
    for (uint32_t i = 0; i < VGPU_QP_MAX; i++)
        link->doorbells[i] = link->vectors[i] = -1;

    rc = ivshmem_greet(connection, deadline_ns, &id, &memory_fd, why);
    if (rc)
        goto out;
    rc = map_memory(link, memory_fd, why);
    if (rc)
        goto out;
    rc = ivshmem_vectors(connection, deadline_ns, id, link->page.qp_count, link->doorbells,
                         link->vectors, why);
    if (rc)
        goto out;
    rc = agree(link, features, deadline_ns, why);

out:
    if (memory_fd != -1)
        close(memory_fd);
    if (rc) {
        vgpu_detach(link);
        return rc;
    }
    reason_set(why, "%s", "");
    *out = link;
    return 0;
}

int vgpu_attach(const char *path, uint64_t features, int timeout_ms, struct vgpu_link **link,
                struct vgpu_reason *why)
{
    uint64_t start_ns = vgpu_now_ns();
    int connection = unix_connect(path, "ring", timeout_ms, why);
    int64_t left_ms;

    if (connection < 0)
        return connection;
    left_ms = timeout_ms - (int64_t)((vgpu_now_ns() - start_ns) / 1000000u);
    return vgpu_attach_connected(connection, features, left_ms > 0 ? (int)left_ms : 0, link, why);
}

void vgpu_detach(struct vgpu_link *link)
{
    if (!link)
        return;
    for (uint32_t i = 0; i < VGPU_QP_MAX; i++) {
        if (link->doorbells[i] != -1)
            close(link->doorbells[i]);
        if (link->vectors[i] != -1)
            close(link->vectors[i]);
    }
    if (link->region)
        munmap(link->region, link->mapped_bytes);
    close(link->connection);
    free(link);
}

void vgpu_link_facts(const struct vgpu_link *link, struct vgpu_link_facts *facts)
{
    const struct vgpu_host_page *live = (const struct vgpu_host_page *)link->region;
    const struct vgpu_host_page *page = &link->page;

    *facts = (struct vgpu_link_facts){
        .major = page->major,
        .minor = page->minor,
        .generation = page->generation,
        .pair_count = page->qp_count,
        .device_count = page->device_count,
        .sq_entries = page->sq_entries,
        .cq_entries = page->cq_entries,
        .region_bytes = page->region_bytes,
        .data_bytes = page->data_bytes,
        .offered = page->features[0],
        .accepted = link->accepted,
        .vm_id = __atomic_load_n(&live->vm_id, __ATOMIC_RELAXED),
        .pool_id = (char)__atomic_load_n(&live->pool_id, __ATOMIC_RELAXED),
        .priority = __atomic_load_n(&live->priority, __ATOMIC_RELAXED),
    };
}

int link_alive(struct vgpu_link *link)
{
    char dropped[64];
    ssize_t got;

    if (__atomic_load_n(&link->closed, __ATOMIC_RELAXED))
        return -EPIPE;
    /* Descriptors that came along are closed by the kernel: there is no place to receive them. */
    got = recv(link->connection, dropped, sizeof(dropped), MSG_DONTWAIT);
    if (got > 0 || (got < 0 && (errno == EAGAIN || errno == EINTR)))
        return 0;
    __atomic_store_n(&link->closed, 1, __ATOMIC_RELAXED);
    return -EPIPE;
}

int link_ring(const struct vgpu_link *link, uint32_t pair)
{
    const uint64_t one = 1;

    for (;;) {
        if (write(link->doorbells[pair], &one, sizeof(one)) == sizeof(one))
            return 0;
        /* EAGAIN: the counter is full, so the doorbell is rung already. */
        if (errno == EAGAIN)
            return 0;
        if (errno != EINTR)
            return -errno;
    }
}
