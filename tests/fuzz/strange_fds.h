/*
 * strange_fds.h - Descriptors that nobody asked for, and a way to send them
 */
#ifndef VGPUD_TESTS_FUZZ_STRANGE_FDS_H
#define VGPUD_TESTS_FUZZ_STRANGE_FDS_H

#include <fcntl.h>
#include <sched.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "engine_rig.h"
#include "replay.h"

#define STRANGE_KINDS 10u
#define FDS_LOOKED_AT 512

static inline int strange_memfd(off_t bytes, int seals)
{
    int fd = memfd_create("strange", MFD_CLOEXEC | MFD_ALLOW_SEALING);

    FUZZ_CHECK(fd >= 0 && ftruncate(fd, bytes) == 0);
    FUZZ_CHECK(seals == 0 || fcntl(fd, F_ADD_SEALS, seals) == 0);
    return fd;
}

/* One end of a pair whose other end is gone. */
static inline int strange_end(bool socket, int end)
{
    int fds[2];

    FUZZ_CHECK((socket ? socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds)
                       : pipe2(fds, O_CLOEXEC)) == 0);
    close(fds[!end]);
    return fds[end];
}

static inline int strange_full_eventfd(void)
{
    const uint64_t most = UINT64_MAX - 1;
    int fd = eventfd(0, EFD_CLOEXEC);

    FUZZ_CHECK(write(fd, &most, sizeof(most)) == sizeof(most));
    return fd;
}

/** strange_fd() - A descriptor of a kind below STRANGE_KINDS; the caller's to close */
static inline int strange_fd(uint32_t kind)
{
    switch (kind) {
    case 0:
        return eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    case 1: /* whoever writes to it waits */
        return strange_full_eventfd();
    case 2:
        return strange_memfd(1 << 20, 0);
    case 3:
        return strange_memfd(1 << 20, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE);
    case 4:
        return strange_memfd(4096, F_SEAL_SHRINK);
    case 5:
        return strange_end(true, 0);
    case 6:
        return strange_end(false, 0);
    case 7:
        return strange_end(false, 1);
    case 8:
        return epoll_create1(EPOLL_CLOEXEC);
    default:
        return open("/dev/null", O_RDONLY | O_CLOEXEC);
    }
}

/** send_with_fds() - Send bytes with descriptors, which stay the caller's; does not wait */
static inline ssize_t send_with_fds(int socket, const void *bytes, size_t length, const int *fds,
                                    uint32_t count)
{
    union {
        struct cmsghdr align;
        char space[CMSG_SPACE(32 * sizeof(int))];
    } control = {0};
    struct iovec iov = {(void *)bytes, length};
    struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1};

    if (count) {
        message.msg_control = control.space;
        message.msg_controllen = CMSG_SPACE(count * sizeof(int));
        control.align.cmsg_level = SOL_SOCKET;
        control.align.cmsg_type = SCM_RIGHTS;
        control.align.cmsg_len = CMSG_LEN(count * sizeof(int));
        memcpy(CMSG_DATA(&control.align), fds, count * sizeof(int));
    }
    return sendmsg(socket, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
}

/** count_fds() - How many descriptors this process has open, among the first FDS_LOOKED_AT */
static inline uint32_t count_fds(void)
{
    uint32_t count = 0;

    for (int fd = 0; fd < FDS_LOOKED_AT; fd++)
        count += fcntl(fd, F_GETFD) >= 0;
    return count;
}

/** fds_come_to() - Wait until so many are open: an engine closes some on a thread of its own */
static inline bool fds_come_to(uint32_t count)
{
    uint64_t end_ns = rig_now_ns() + RIG_LONG_MS * 1000000ull;

    while (count_fds() != count) {
        if (rig_now_ns() > end_ns)
            return false;
        sched_yield();
    }
    return true;
}

#endif
