/*
 * bind.c - Becoming one VM's worker
 *
 * vgpud is trusted more than a guest, but a message of another version, or meant for another role,
 * must not be half understood: it is refused as a whole.
 */
#include "bind.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

void bind_close(struct bind *bind)
{
    for (int i = 0; i < WORKER_BIND_FDS; i++) {
        if (bind->fds[i] >= 0)
            close(bind->fds[i]);
        bind->fds[i] = -1;
    }
}

static bool is_sound(const struct worker_bind *message, uint32_t role)
{
    return message->magic == WORKER_MAGIC && message->version == WORKER_VERSION &&
           message->role == role;
}

static bool asks_to_stand_by(const struct worker_bind *message, ssize_t got, size_t fd_count)
{
    return got == (ssize_t)sizeof(struct worker_stand_by) && fd_count == 0 &&
           message->magic == WORKER_MAGIC && message->version == WORKER_VERSION;
}

int bind_receive(int control, uint32_t role, struct bind *bind)
{
    union {
        struct cmsghdr head;
        char bytes[CMSG_SPACE(WORKER_BIND_FDS * sizeof(int))];
    } space;
    struct iovec data = {&bind->message, sizeof(bind->message)};
    struct msghdr message = {
        .msg_iov = &data,
        .msg_iovlen = 1,
        .msg_control = space.bytes,
        .msg_controllen = sizeof(space.bytes),
    };
    struct cmsghdr *rights;
    size_t count = 0;
    ssize_t got;

    for (int i = 0; i < WORKER_BIND_FDS; i++)
        bind->fds[i] = -1;
    do
        got = recvmsg(control, &message, MSG_CMSG_CLOEXEC);
    while (got < 0 && errno == EINTR);
    if (got < 0)
        return errno == ECONNRESET ? -EPIPE : -errno;
    rights = CMSG_FIRSTHDR(&message);
    if (rights && rights->cmsg_level == SOL_SOCKET && rights->cmsg_type == SCM_RIGHTS) {
        count = (rights->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        memcpy(bind->fds, CMSG_DATA(rights), count * sizeof(int));
    }
    if (got == 0 && count == 0)
        return -EPIPE;
    if (asks_to_stand_by(&bind->message, got, count))
        return BIND_STAND_BY;
    if (got != (ssize_t)sizeof(bind->message) || count != WORKER_BIND_FDS ||
        (message.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) || !is_sound(&bind->message, role)) {
        bind_close(bind);
        return -EPROTO;
    }
    return 0;
}

int bind_answer(int control, int status, const char *reason, const struct vgpu_device_info *device)
{
    struct worker_ready ready = {
        .magic = WORKER_MAGIC,
        .version = WORKER_VERSION,
        .status = status,
    };

    if (status != 0)
        snprintf(ready.reason, sizeof(ready.reason), "%s", reason);
    if (device)
        ready.device = *device;
    while (send(control, &ready, sizeof(ready), MSG_NOSIGNAL) < 0)
        if (errno != EINTR)
            return -errno;
    return 0;
}
