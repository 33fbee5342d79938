/*
 * transport_ivshmem.c - Version 2 rings, reached over the ivshmem server protocol
 *
 * Theory of operation
 *
 * For each VM one server with exactly two peers: vgpud (peer 0) and one client (peer 1), which may be
 * QEMU's ivshmem-doorbell device or a process on the host. The protocol (QEMU, docs/specs/
 * ivshmem-spec): every message is one little-endian int64, some with a descriptor. The server says, in
 * this order: version 0; the client's id; -1 with the shared memory; then for peer 0 and last for the
 * client itself its id with one eventfd for each vector. After that nothing is said; the client's end
 * of the connection is how its going is seen. Vector k belongs to queue pair k, in both directions.
 *
 * The eventfds and the memory belong to the VM, not to the connection, and are held by the spawner,
 * and so is the connection. A client does not notice that vgpud was restarted.
 *
 * An attach resets the device (device.c) and bumps its generation; what an older client had in flight
 * is dropped when it completes.
 */
#include <endian.h>
#include <errno.h>
#include <linux/sockios.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "closer.h"
#include "device.h"
#include "transport.h"

#define IVSHMEM_VERSION 0
#define PEER_HOST       0
#define PEER_CLIENT     1

struct ivshmem;

struct doorbell {
    struct watch watch;
    struct ivshmem *owner;
    uint32_t qp;
    int guest; /* the eventfd that the guest waits for */
};

struct ivshmem {
    struct transport base; /* must be first */
    struct ring_device device;
    struct journal *journal;
    int memory_fd;
    struct watch listener;
    struct watch connection;
    uint32_t first_pair; /* to be looked at in the next turn */
    int leaving;         /* the last client's connection, with a greeting not yet read; -1 = none */
    struct doorbell doorbell[]; /* one for each pair */
};

static struct ivshmem *ivshmem_of(struct transport *t)
{
    return (struct ivshmem *)t;
}

static uint32_t pair_count(const struct ivshmem *v)
{
    return v->device.journal->layout.qp_count;
}

/* Has the client read all that was sent to it? When it is gone, that is gone with it. */
static bool is_read(int connection)
{
    int unread = 0;

    return ioctl(connection, SIOCOUTQ, &unread) < 0 || unread == 0;
}

/*
 * A client that does not read its greeting keeps the descriptors in it in flight, and those count
 * against this account's limit on open files. So it is not let go of before it has read, or closed;
 * and until then the VM gets no other client.
 */
static void leave(struct ivshmem *v, int connection)
{
    if (is_read(connection)) {
        transport_hang_up(&v->base, connection);
        return;
    }
    shutdown(connection, SHUT_RDWR);
    v->leaving = connection;
}

static void disconnect(struct ivshmem *v)
{
    int fd = v->connection.fd;

    if (fd < 0)
        return;
    reactor_unwatch(v->base.reactor, &v->connection);
    leave(v, fd);
    v->device.journal->connected = 0;
    v->base.attachment = 0;
    transport_drop(&v->base);
    transport_detached(&v->base);
    transport_event(&v->base, MEDIATOR_DISCONNECTED, MEDIATOR_RING, 0);
    reactor_change(v->base.reactor, &v->listener, EPOLLIN);
}

/* ---- the server protocol ---- */

static int say(int socket, int64_t value, int fd)
{
    int64_t wire = (int64_t)htole64((uint64_t)value);
    struct iovec iov = {&wire, sizeof(wire)};
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control = {0};
    struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1};
    ssize_t sent;

    if (fd >= 0) {
        struct cmsghdr *cmsg;

        message.msg_control = control.bytes;
        message.msg_controllen = sizeof(control.bytes);
        cmsg = CMSG_FIRSTHDR(&message);
        cmsg->cmsg_level = SOL_SOCKET;
        cmsg->cmsg_type = SCM_RIGHTS;
        cmsg->cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(cmsg), &fd, sizeof(fd));
    }
    do
        sent = sendmsg(socket, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
    while (sent < 0 && errno == EINTR);
    return sent == (ssize_t)sizeof(wire) ? 0 : -EPIPE;
}

/* The whole greeting fits into an empty socket buffer; a client for which it does not is turned away. */
static int greet(struct ivshmem *v, int socket)
{
    int rc = say(socket, IVSHMEM_VERSION, -1);

    if (!rc)
        rc = say(socket, PEER_CLIENT, -1);
    if (!rc)
        rc = say(socket, -1, v->memory_fd);
    for (uint32_t i = 0; !rc && i < pair_count(v); i++)
        rc = say(socket, PEER_HOST, v->doorbell[i].watch.fd);
    for (uint32_t i = 0; !rc && i < pair_count(v); i++)
        rc = say(socket, PEER_CLIENT, v->doorbell[i].guest);
    return rc;
}

/*
 * Nobody reads doorbells (reactor.c), but a client may have left one full, and then no edge would come
 * of it any more. Without waiting whatever the descriptor's flags say: an older client shares them.
 */
static void empty_doorbells(struct ivshmem *v)
{
    uint64_t count;
    struct iovec iov = {&count, sizeof(count)};

    for (uint32_t i = 0; i < pair_count(v); i++)
        while (preadv2(v->doorbell[i].watch.fd, &iov, 1, -1, RWF_NOWAIT) < 0 && errno == EINTR)
            ;
}

static void connection_ready(struct watch *watch, uint32_t events)
{
    struct ivshmem *v = (struct ivshmem *)((char *)watch - offsetof(struct ivshmem, connection));
    char scrap[256];
    struct iovec iov = {scrap, sizeof(scrap)};
    struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1};
    ssize_t length = 0;

    /* A client has nothing to say. What it says all the same is thrown away. */
    if (events & EPOLLIN)
        length = closer_receive(transport_closer(&v->base), watch->fd, &message);
    if ((events & EPOLLIN && length == 0) || (length < 0 && errno != EAGAIN && errno != EINTR) ||
        (!(events & EPOLLIN) && events & (EPOLLERR | EPOLLHUP)))
        disconnect(v);
}

static void listener_ready(struct watch *watch, uint32_t events)
{
    struct ivshmem *v = (struct ivshmem *)((char *)watch - offsetof(struct ivshmem, listener));
    int pid = 0, fd;

    (void)events;
    if (v->connection.fd >= 0 && transport_peer_left(v->connection.fd))
        disconnect(v); /* who comes now may be its successor */
    if (v->leaving >= 0 && is_read(v->leaving)) {
        transport_hang_up(&v->base, v->leaving);
        v->leaving = -1;
    }
    fd = transport_accept(&v->base, watch->fd, v->connection.fd >= 0 || v->leaving >= 0, &pid);
    if (fd == -EAGAIN || fd == -EACCES)
        return;
    if (fd < 0) {
        /* See transport_unix.c. */
        reactor_change(v->base.reactor, &v->listener, fd == -EBUSY ? 0 : EPOLLIN | EPOLLET);
        return;
    }
    reactor_change(v->base.reactor, &v->listener, EPOLLIN);
    empty_doorbells(v);
    device_attach(&v->device, transport_identity(&v->base), transport_device(&v->base));
    if (transport_hold(&v->base, fd)) {
        transport_hang_up(&v->base, fd);
        return;
    }
    if (reactor_watch(v->base.reactor, &v->connection, fd, EPOLLIN, connection_ready)) {
        v->connection.fd = -1;
        transport_drop(&v->base);
        transport_hang_up(&v->base, fd);
        return;
    }
    v->base.attachment = v->device.journal->attachment;
    if (greet(v, fd)) {
        disconnect(v);
        return;
    }
    /* From here on a successor goes on with it; half greeted it would wait for ever. */
    __atomic_store_n(&v->device.journal->connected, 1, __ATOMIC_RELEASE);
    transport_event(&v->base, MEDIATOR_CONNECTED, MEDIATOR_RING, (uint64_t)pid);
}

/* ---- doorbells and turns ---- */

/* As if the client had gone and come again, but for the connection. */
static void reset(struct ivshmem *v)
{
    v->base.attachment = 0;
    transport_detached(&v->base);
    device_attach(&v->device, transport_identity(&v->base), transport_device(&v->base));
    v->base.attachment = v->device.journal->attachment;
    v->device.pair[0].attention = true;
}

static void doorbell_ready(struct watch *watch, uint32_t events)
{
    struct doorbell *bell = (struct doorbell *)((char *)watch - offsetof(struct doorbell, watch));
    struct ivshmem *v = bell->owner;

    (void)events;
    if (v->base.attachment == 0)
        return; /* rung by a client that is gone */
    if (bell->qp == 0 && device_reset_wanted(&v->device))
        reset(v);
    device_take(&v->device, &v->base, bell->qp);
    transport_wake(&v->base);
}

static void ivshmem_flush(struct transport *t)
{
    struct ivshmem *v = ivshmem_of(t);

    if (t->attachment == 0)
        return;
    for (uint32_t i = 0; i < pair_count(v); i++) {
        uint32_t qp = (v->first_pair + i) % pair_count(v);

        if (device_interrupt_due(&v->device, qp) && transport_interrupt(t, v->doorbell[qp].guest)) {
            transport_fault(t, MEDIATOR_FAULT_RING, qp);
            v->device.pair[qp].attention = true; /* it is told with the next thing that happens */
        }
        if (!v->device.pair[qp].active)
            continue;
        if (device_arm(&v->device, t, qp)) {
            device_take(&v->device, t, qp);
            transport_wake(t);
        }
    }
    v->first_pair++;
    v->device.budget = DEVICE_ENTRIES_PER_TURN;
}

static void ivshmem_answer(struct transport *t, struct journal_slot *slot)
{
    struct ivshmem *v = ivshmem_of(t);

    device_answer(&v->device, slot);
    transport_wake(t);
}

static void ivshmem_repost(struct transport *t, struct journal_slot *slot)
{
    device_repost(&ivshmem_of(t)->device, slot);
}

static void ivshmem_taken(struct transport *t, const struct request_received *what)
{
    device_taken(&ivshmem_of(t)->device, what->qp);
}

static void ivshmem_listen(struct transport *t)
{
    reactor_change(t->reactor, &ivshmem_of(t)->listener, EPOLLIN);
}

static void ivshmem_identity_changed(struct transport *t, const struct mediator_vm *vm)
{
    device_identity(&ivshmem_of(t)->device, vm);
    ivshmem_listen(t);
}

static void ivshmem_hang_up(struct transport *t)
{
    struct ivshmem *v = ivshmem_of(t);
    int fd = v->connection.fd;

    reactor_unwatch(t->reactor, &v->connection);
    if (fd >= 0)
        transport_hang_up(t, fd);
}

static void ivshmem_free(struct transport *t)
{
    struct ivshmem *v = ivshmem_of(t);
    int fds[3] = {v->listener.fd, v->connection.fd, v->leaving};

    reactor_unwatch(t->reactor, &v->listener);
    reactor_unwatch(t->reactor, &v->connection);
    for (int i = 0; i < 3; i++)
        if (fds[i] >= 0)
            close(fds[i]);
    for (uint32_t i = 0; i < pair_count(v); i++) {
        int bell = v->doorbell[i].watch.fd;

        reactor_unwatch(t->reactor, &v->doorbell[i].watch);
        if (bell >= 0)
            close(bell);
        if (v->doorbell[i].guest >= 0)
            close(v->doorbell[i].guest);
    }
    device_unmap(&v->device);
    close(v->memory_fd);
    free(v);
}

static const struct transport_ops ivshmem_ops = {
    .name = "ring",
    .id = MEDIATOR_RING,
    .answer = ivshmem_answer,
    .taken = ivshmem_taken,
    .flush = ivshmem_flush,
    .listen = ivshmem_listen,
    .identity_changed = ivshmem_identity_changed,
    .repost = ivshmem_repost,
    .hang_up = ivshmem_hang_up,
    .free = ivshmem_free,
};

static void resume(struct ivshmem *v, int connection)
{
    struct journal_ring *j = v->device.journal;

    if (connection < 0 || !j->connected ||
        reactor_watch(v->base.reactor, &v->connection, connection, EPOLLIN, connection_ready)) {
        v->connection.fd = -1;
        if (connection >= 0)
            transport_hang_up(&v->base, connection);
        j->connected = 0;
        transport_drop(&v->base);
        return;
    }
    v->base.attachment = j->attachment;
    for (uint32_t i = 0; i < v->journal->slots_used; i++) {
        struct journal_slot *slot = &v->journal->slot[i];

        if (slot->state == REQUEST_POSTING && slot->transport == MEDIATOR_RING &&
            slot->attachment == j->attachment && slot->qp < j->layout.qp_count)
            device_repost(&v->device, slot);
    }
    device_resume(&v->device, v->journal);
    transport_wake(&v->base);
}

/**
 * transport_ivshmem_new() - The version 2 way into a VM
 * @journal: mapped and checked, its layout valid
 * @fds: ring, ring_listener, ring_connection and the doorbells are consumed on success
 *
 * Return: 0, or a negative errno
 */
int transport_ivshmem_new(struct transport **out, struct vm *vm, struct reactor *reactor,
                          struct journal *journal, const struct mediator_vm_fds *fds)
{
    uint32_t pairs = journal->ring.layout.qp_count, watched = 0;
    struct ivshmem *v = calloc(1, sizeof(*v) + pairs * sizeof(v->doorbell[0]));
    int rc;

    if (!v)
        return -ENOMEM;
    v->base = (struct transport){.ops = &ivshmem_ops, .vm = vm, .reactor = reactor};
    v->journal = journal;
    v->connection.fd = -1;
    v->listener.fd = v->leaving = -1;
    v->memory_fd = fds->ring;
    rc = device_map(&v->device, &journal->ring, fds->ring);
    if (rc)
        goto out;
    for (; watched < pair_count(v); watched++) {
        struct doorbell *bell = &v->doorbell[watched];

        rc = fds->guest_doorbells[watched] < 0 ? -EBADF : 0;
        if (rc)
            goto out;

        bell->owner = v;
        bell->qp = watched;
        bell->guest = fds->guest_doorbells[watched];
        rc = reactor_watch(reactor, &bell->watch, fds->host_doorbells[watched], EPOLLIN | EPOLLET,
                           doorbell_ready);
        if (rc)
            goto out;
    }
    transport_listens(fds->ring_listener);
    rc = reactor_watch(reactor, &v->listener, fds->ring_listener, EPOLLIN, listener_ready);
    if (rc)
        goto out;
    *out = &v->base;
    resume(v, fds->ring_connection);
    return 0;
out:
    while (watched--)
        reactor_unwatch(reactor, &v->doorbell[watched].watch);
    device_unmap(&v->device);
    free(v);
    return rc;
}
