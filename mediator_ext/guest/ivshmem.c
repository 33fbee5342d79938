/*
 * ivshmem.c - The client's half of the ivshmem server protocol
 *
 * What QEMU's ivshmem-doorbell hears from its server: messages of one little-endian int64, some
 * with one descriptor. Protocol version; own id; -1 with the shared memory; then for every peer,
 * own id last, the peer's id once for each vector, with that vector's eventfd. The host is peer 0
 * and the only other one. Nothing marks the end: the host page, readable by then, says how many
 * vectors there must be.
 *
 * A client that is refused sees the connection closed before the first message.
 */
#include "ivshmem.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "link.h"

#define IVSHMEM_VERSION 0
#define IVSHMEM_MEMORY  (-1)
#define IVSHMEM_ID_MAX  65535
#define HOST_PEER       0

/*
 * One message. @fd is -1 when none came. -ENODATA is the end of the connection between two
 * messages; a descriptor too many is closed and makes the message wrong.
 */
static int message_receive(int connection, uint64_t deadline_ns, int64_t *value, int *fd)
{
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(2 * sizeof(int))];
    } control;
    uint8_t raw[sizeof(uint64_t)];
    uint64_t little;
    size_t have = 0;
    int rc;

    *fd = -1;
    while (have < sizeof(raw)) {
        struct iovec iov = {.iov_base = raw + have, .iov_len = sizeof(raw) - have};
        struct msghdr message = {.msg_iov = &iov,
                                 .msg_iovlen = 1,
                                 .msg_control = control.bytes,
                                 .msg_controllen = sizeof(control.bytes)};
        struct pollfd poll_fd = {.fd = connection, .events = POLLIN};
        uint64_t now_ns = vgpu_now_ns();
        bool wrong;
        ssize_t got;

        if (now_ns >= deadline_ns) {
            rc = -ETIMEDOUT;
            goto fail;
        }
        rc = poll(&poll_fd, 1, (int)((deadline_ns - now_ns) / 1000000 + 1));
        if (rc < 0 && errno != EINTR) {
            rc = -errno;
            goto fail;
        }
        if (rc <= 0)
            continue;
        got = recvmsg(connection, &message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
        if (got < 0 && (errno == EAGAIN || errno == EINTR))
            continue;
        if (got <= 0) {
            rc = got < 0 ? -errno : have ? -EPROTO : -ENODATA;
            goto fail;
        }
        wrong = message.msg_flags & MSG_CTRUNC;
        for (struct cmsghdr *c = CMSG_FIRSTHDR(&message); c; c = CMSG_NXTHDR(&message, c)) {
            if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
                continue;
            for (size_t i = 0; i < (c->cmsg_len - CMSG_LEN(0)) / sizeof(int); i++) {
                int received;

                memcpy(&received, CMSG_DATA(c) + i * sizeof(int), sizeof(int));
                if (*fd == -1) {
                    *fd = received;
                } else {
                    close(received);
                    wrong = true;
                }
            }
        }
        if (wrong) {
            rc = -EPROTO;
            goto fail;
        }
        have += (size_t)got;
    }
    memcpy(&little, raw, sizeof(little));
    *value = (int64_t)le64toh(little);
    return 0;

fail:
    if (*fd != -1)
        close(*fd);
    *fd = -1;
    return rc;
}

static int receive_failed(int rc, const char *what, struct vgpu_reason *why)
{
    if (rc == -ETIMEDOUT)
        reason_set(why, "vgpud sent no %s in time: it may be restarting; try again", what);
    else if (rc == -ENODATA)
        reason_set(why,
                   "vgpud closed the connection before it sent the %s: try again, and look at "
                   "its log if that repeats",
                   what);
    else
        reason_set(why, "receiving the %s failed: %s", what, strerror(-rc));
    return rc == -ENODATA ? -ECONNREFUSED : rc;
}

static int unexpected(const char *what, int64_t value, bool with_fd, struct vgpu_reason *why)
{
    reason_set(why,
               "waited for the %s, got %" PRId64 " with%s a descriptor: is this the ring socket "
               "of a VM?",
               what, value, with_fd ? "" : "out");
    return -EPROTO;
}

int ivshmem_greet(int connection, uint64_t deadline_ns, int64_t *id, int *memory_fd,
                  struct vgpu_reason *why)
{
    int64_t value;
    int fd, rc;

    rc = message_receive(connection, deadline_ns, &value, &fd);
    if (rc == -ENODATA || rc == -ECONNRESET) {
        reason_set(why,
                   "vgpud refused this client: either another client is attached to this VM "
                   "(one at a time: end it first), or this user (uid %u) is not the peer that "
                   "the VM was registered with (see vgpu-admin show-vm)",
                   (unsigned)getuid());
        return -ECONNREFUSED;
    }
    if (rc)
        return receive_failed(rc, "protocol version", why);
    if (fd != -1 || value != IVSHMEM_VERSION) {
        if (fd != -1)
            close(fd);
        return unexpected("protocol version 0", value, fd != -1, why);
    }

    rc = message_receive(connection, deadline_ns, id, &fd);
    if (rc)
        return receive_failed(rc, "client id", why);
    if (fd != -1 || *id <= HOST_PEER || *id > IVSHMEM_ID_MAX) {
        if (fd != -1)
            close(fd);
        return unexpected("client id", *id, fd != -1, why);
    }

    rc = message_receive(connection, deadline_ns, &value, &fd);
    if (rc)
        return receive_failed(rc, "shared memory", why);
    if (fd == -1 || value != IVSHMEM_MEMORY) {
        if (fd != -1)
            close(fd);
        return unexpected("shared memory", value, fd != -1, why);
    }
    *memory_fd = fd;
    return 0;
}

/*
 * Is it something like an eventfd? Their kind has no file type. Another descriptor could end us by
 * SIGPIPE, or keep us waiting, when it is written to; an eventfd that blocks is made one that does not.
 */
static bool is_eventfd(int fd)
{
    int flags = fcntl(fd, F_GETFL);
    struct stat facts;

    return fstat(fd, &facts) == 0 && (facts.st_mode & S_IFMT) == 0 && flags >= 0 &&
           (flags & O_NONBLOCK || fcntl(fd, F_SETFL, flags | O_NONBLOCK) == 0);
}

static int vectors_of(int connection, uint64_t deadline_ns, int64_t peer, uint32_t count, int *fds,
                      const char *what, struct vgpu_reason *why)
{
    for (uint32_t i = 0; i < count; i++) {
        int64_t value;
        int rc = message_receive(connection, deadline_ns, &value, &fds[i]);

        if (rc)
            return receive_failed(rc, what, why);
        if (value != peer || fds[i] == -1)
            return unexpected(what, value, fds[i] != -1, why);
        if (!is_eventfd(fds[i])) {
            reason_set(why, "one of the %s is no eventfd: not vgpud's", what);
            return -EPROTO;
        }
    }
    return 0;
}

int ivshmem_vectors(int connection, uint64_t deadline_ns, int64_t id, uint32_t count,
                    int *doorbells, int *vectors, struct vgpu_reason *why)
{
    int rc = vectors_of(connection, deadline_ns, HOST_PEER, count, doorbells, "doorbells", why);

    return rc ? rc : vectors_of(connection, deadline_ns, id, count, vectors, "interrupts", why);
}
