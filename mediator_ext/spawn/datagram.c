/*
 * datagram.c - One message in, one message out, with descriptors
 *
 * The kernel hands over descriptors before anybody can judge the message they came with. So they
 * are collected first, in every case, and closed again unless everything about the datagram is in
 * order. MSG_CTRUNC means that some were lost on the way (too many, or no room in our table): the
 * rest then is not what the sender meant.
 */
#include "spawn/datagram.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

union control {
    char bytes[CMSG_SPACE(sizeof(int) * SPAWN_MAX_FDS)];
    struct cmsghdr align;
};

/* Return: false if there were more than fit */
static bool collect_fds(struct datagram *datagram, struct msghdr *header)
{
    bool fit = true;

    for (struct cmsghdr *part = CMSG_FIRSTHDR(header); part; part = CMSG_NXTHDR(header, part)) {
        uint32_t count;

        if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_RIGHTS) {
            continue;
        }
        count = (uint32_t)((part->cmsg_len - CMSG_LEN(0)) / sizeof(int));
        for (uint32_t i = 0; i < count; i++) {
            int fd;

            memcpy(&fd, CMSG_DATA(part) + i * sizeof(fd), sizeof(fd));
            if (datagram->fd_count < SPAWN_MAX_FDS) {
                datagram->fds[datagram->fd_count++] = fd;
            } else {
                close(fd);
                fit = false;
            }
        }
    }
    return fit;
}

int datagram_receive(int fd, struct datagram *datagram)
{
    union control control;
    struct iovec body = {.iov_base = &datagram->message, .iov_len = sizeof(datagram->message)};
    struct msghdr header = {
        .msg_iov = &body,
        .msg_iovlen = 1,
        .msg_control = control.bytes,
        .msg_controllen = sizeof(control.bytes),
    };
    ssize_t got;
    bool whole;

    memset(datagram, 0, sizeof(*datagram));
    do {
        got = recvmsg(fd, &header, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    } while (got < 0 && errno == EINTR);
    if (got < 0) {
        return -errno;
    }
    whole = collect_fds(datagram, &header) && !(header.msg_flags & MSG_CTRUNC);
    if (got == 0) {
        datagram_close_fds(datagram); /* an empty datagram looks the same and means as little */
        return 0;
    }
    if (!whole || got != (ssize_t)sizeof(datagram->message) || header.msg_flags & MSG_TRUNC ||
        datagram->message.magic != SPAWN_MAGIC) {
        datagram->fault = -EINVAL;
    } else if (datagram->message.version != SPAWN_VERSION) {
        datagram->fault = -EPROTONOSUPPORT;
    }
    if (datagram->fault) {
        datagram_close_fds(datagram);
    }
    return 1;
}

int datagram_send(int fd, const struct spawn_message *message, const int *fds, uint32_t fd_count)
{
    union control control;
    struct iovec body = {.iov_base = (void *)message, .iov_len = sizeof(*message)};
    struct msghdr header = {.msg_iov = &body, .msg_iovlen = 1};
    ssize_t sent;

    if (fd_count) {
        struct cmsghdr *part;

        memset(&control, 0, sizeof(control));
        header.msg_control = control.bytes;
        header.msg_controllen = CMSG_SPACE(sizeof(int) * fd_count);
        part = CMSG_FIRSTHDR(&header);
        part->cmsg_level = SOL_SOCKET;
        part->cmsg_type = SCM_RIGHTS;
        part->cmsg_len = CMSG_LEN(sizeof(int) * fd_count);
        memcpy(CMSG_DATA(part), fds, sizeof(int) * fd_count);
    }
    do {
        sent = sendmsg(fd, &header, MSG_DONTWAIT | MSG_NOSIGNAL);
    } while (sent < 0 && errno == EINTR);
    return sent < 0 ? -errno : 0;
}

void datagram_close_fds(struct datagram *datagram)
{
    for (uint32_t i = 0; i < datagram->fd_count; i++) {
        close(datagram->fds[i]);
    }
    datagram->fd_count = 0;
}
