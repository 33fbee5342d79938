/*
 * hold.c - Letting the spawner hold what must outlive the engine
 *
 * Theory of operation
 *
 * One datagram with the descriptor, not answered (spawn_protocol.h): once it is sent, the
 * descriptor is in the spawner's queue, and survives us. So a connection can be held before the
 * first byte of it is served, without waiting for anybody.
 */
#include "hold.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "spawn/spawn_protocol.h"

static int tell(int spawner, enum spawn_verb verb, const char *uuid, const char *what, int fd)
{
    struct spawn_message message = {
        .magic = SPAWN_MAGIC, .version = SPAWN_VERSION, .verb = (uint16_t)verb};
    struct iovec iov = {&message, sizeof(message)};
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control = {0};
    struct msghdr datagram = {.msg_iov = &iov, .msg_iovlen = 1};
    ssize_t sent;

    snprintf(message.key, sizeof(message.key), "vm/%s/%s", uuid, what);
    if (fd >= 0) {
        struct cmsghdr *cmsg;

        datagram.msg_control = control.bytes;
        datagram.msg_controllen = sizeof(control.bytes);
        cmsg = CMSG_FIRSTHDR(&datagram);
        cmsg->cmsg_level = SOL_SOCKET;
        cmsg->cmsg_type = SCM_RIGHTS;
        cmsg->cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(cmsg), &fd, sizeof(fd));
    }
    do
        sent = sendmsg(spawner, &datagram, MSG_DONTWAIT | MSG_NOSIGNAL);
    while (sent < 0 && errno == EINTR);
    return sent < 0 ? -errno : 0;
}

/**
 * hold_fd() - Have @fd held under vm/@uuid/@what
 *
 * Return: 0, or a negative errno: it is not held (-EAGAIN: the spawner is behind)
 */
int hold_fd(int spawner, const char *uuid, const char *what, int fd)
{
    return tell(spawner, SPAWN_HOLD, uuid, what, fd);
}

/**
 * hold_drop() - Have what is held under vm/@uuid/@what let go
 *
 * Return: 0, or a negative errno: it is held still (-EAGAIN: the spawner is behind). A next engine
 * finds it closed by its peer, or the journal says that it is of an older attachment.
 */
int hold_drop(int spawner, const char *uuid, const char *what)
{
    return tell(spawner, SPAWN_DROP, uuid, what, -1);
}
