/*
 * lingering.h - A descriptor that whoever closes it last has to wait for
 */
#ifndef VGPUD_TESTS_LINGERING_H
#define VGPUD_TESTS_LINGERING_H

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "engine_rig.h"

/* Longer than a test may take: who waits for it has failed. */
#define LINGER_S 3600

/* A TCP socket with unsent data that its peer does not read. */
static inline int lingering_socket(int *peer)
{
    const struct linger linger = {.l_onoff = 1, .l_linger = LINGER_S};
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof(address);
    static const char junk[65536];
    int listener = socket(AF_INET, SOCK_STREAM, 0), fd = socket(AF_INET, SOCK_STREAM, 0);

    rig_must(bind(listener, (struct sockaddr *)&address, length) == 0 && listen(listener, 1) == 0 &&
                 getsockname(listener, (struct sockaddr *)&address, &length) == 0 &&
                 connect(fd, (struct sockaddr *)&address, length) == 0,
             "a TCP connection");
    *peer = accept(listener, NULL, NULL);
    close(listener);
    rig_must(fcntl(fd, F_SETFL, O_NONBLOCK) == 0, "a flag");
    while (send(fd, junk, sizeof(junk), 0) > 0)
        ;
    rig_must(setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger)) == 0, "to linger");
    return fd;
}

/* Send a byte with a descriptor, and close ours. Return: did it go? */
static inline bool send_away(int socket, int fd)
{
    char byte = 'x';
    struct iovec iov = {&byte, 1};
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control = {0};
    struct msghdr message = {.msg_iov = &iov,
                             .msg_iovlen = 1,
                             .msg_control = control.bytes,
                             .msg_controllen = sizeof(control.bytes)};
    struct cmsghdr *cmsg = CMSG_FIRSTHDR(&message);
    const struct linger at_once = {.l_onoff = 1, .l_linger = 0};
    bool sent;

    cmsg->cmsg_level = SOL_SOCKET;
    cmsg->cmsg_type = SCM_RIGHTS;
    cmsg->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(cmsg), &fd, sizeof(fd));
    sent = sendmsg(socket, &message, MSG_NOSIGNAL) == 1;
    if (!sent) /* ours is the last one: let it go without waiting */
        rig_must(setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once)) == 0, "an end");
    close(fd);
    return sent;
}

/* Has the other end of a TCP connection been closed, within RIG_LONG_MS? */
static inline bool tcp_closed(int peer)
{
    const struct timeval limit = {.tv_sec = RIG_LONG_MS / 1000};
    char scrap[65536];
    ssize_t length;

    rig_must(setsockopt(peer, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)) == 0, "a limit");
    do
        length = recv(peer, scrap, sizeof(scrap), 0);
    while (length > 0);
    return length == 0 || errno != EAGAIN;
}

#endif
