/*
 * closer.c - Closing what a client has had a hand in, without waiting for it
 *
 * Theory of operation
 *
 * A Unix socket carries descriptors. Whoever drops the last reference to one does what its close
 * entails, and that can take as long as the sender likes: a TCP socket with unsent data and a long
 * SO_LINGER, a memfd of many gigabytes. A reactor that receives such a message without wanting the
 * descriptors, or closes a connection with such messages still unread in it, is that last holder.
 *
 * Since Linux 6.16 a listener says that it takes no descriptors (SO_PASSRIGHTS), and all this cannot
 * happen: connections are closed where they end. Before, two things keep the reactor out of it.
 * Received descriptors are taken, and closed by a thread that does nothing else; what would make that
 * wait is switched off where it can be. And a connection is ended by that thread too: shut down, so
 * that nothing more can be sent, emptied, and closed. Afterwards it does not matter who else holds it
 * (the spawner does).
 *
 * The thread takes numbers from a pipe. It may be stuck in a close; so closer_free() waits for it
 * only for a moment, and leaves it to end by itself.
 */
#include "closer.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#ifndef SO_PASSRIGHTS
#define SO_PASSRIGHTS 83
#endif

#define DESCRIPTORS_MAX 253  /* SCM_MAX_FD of the kernel: of one message */
#define MESSAGES_MAX    4096 /* unread in a connection; a socket buffer holds a few hundred */
#define FREE_WAIT_S     1
#define QUEUE_BYTES     4096 /* 512 descriptors wait to be closed at most */

/* What goes through the pipe. */
#define HANG_UP (INT64_C(1) << 32) /* with the descriptor: a connection, not a stray descriptor */

/* Make closing it take no time, as far as its kind allows. */
static void discard(int fd)
{
    const struct linger at_once = {.l_onoff = 1, .l_linger = 0};

    (void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once,
                     sizeof(at_once)); /* ENOTSOCK: no matter */
    close(fd);
}

static void for_each_descriptor(struct msghdr *message, void (*act)(void *argument, int fd),
                                void *argument)
{
    for (struct cmsghdr *cmsg = CMSG_FIRSTHDR(message); cmsg; cmsg = CMSG_NXTHDR(message, cmsg)) {
        size_t count;

        if (cmsg->cmsg_level != SOL_SOCKET || cmsg->cmsg_type != SCM_RIGHTS)
            continue;
        count = (cmsg->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < count; i++) {
            int fd;

            memcpy(&fd, CMSG_DATA(cmsg) + i * sizeof(int), sizeof(fd));
            act(argument, fd);
        }
    }
}

union control {
    struct cmsghdr align;
    char bytes[CMSG_SPACE(DESCRIPTORS_MAX * sizeof(int))];
};

static void discard_one(void *unused, int fd)
{
    (void)unused;
    discard(fd);
}

/* Read a connection empty that has been shut down. */
static void empty(int fd)
{
    char scrap[4096];
    union control control;
    ssize_t length = 1;

    for (int i = 0; length > 0 && i < MESSAGES_MAX; i++) {
        struct iovec iov = {scrap, sizeof(scrap)};
        struct msghdr message = {.msg_iov = &iov,
                                 .msg_iovlen = 1,
                                 .msg_control = control.bytes,
                                 .msg_controllen = sizeof(control.bytes)};

        length = recvmsg(fd, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
        if (length >= 0)
            for_each_descriptor(&message, discard_one, NULL);
    }
}

static void finish(int64_t what)
{
    int fd = (int)(what & INT32_MAX);

    if (what & HANG_UP) {
        shutdown(fd, SHUT_RDWR);
        empty(fd);
        close(fd);
    } else {
        discard(fd);
    }
}

static void *closer_main(void *argument)
{
    int queue = (int)(intptr_t)argument;
    int64_t what;

    while (read(queue, &what, sizeof(what)) == sizeof(what))
        finish(what);
    close(queue);
    return NULL;
}

/**
 * closer_init() - Start the thread
 *
 * Return: 0, or a negative errno
 */
int closer_init(struct closer *c)
{
    sigset_t all, before;
    int ends[2], rc;

    if (pipe2(ends, O_CLOEXEC) < 0)
        return -errno;
    fcntl(ends[1], F_SETFL, O_NONBLOCK);
    (void)fcntl(ends[1], F_SETPIPE_SZ, QUEUE_BYTES);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    rc = pthread_create(&c->thread, NULL, closer_main, (void *)(intptr_t)ends[0]);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (rc) {
        close(ends[0]);
        close(ends[1]);
        return -rc;
    }
    c->queue = ends[1];
    return 0;
}

/** closer_free() - End the thread once it has closed all it was given; waits for a second at most */
void closer_free(struct closer *c)
{
    struct timespec until;

    close(c->queue);
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += FREE_WAIT_S;
    if (pthread_timedjoin_np(c->thread, NULL, &until))
        pthread_detach(c->thread);
}

static void give(struct closer *c, int64_t what)
{
    ssize_t written;

    do
        written = write(c->queue, &what, sizeof(what));
    while (written < 0 && errno == EINTR);
    if (written < 0)
        finish(what); /* hundreds wait already: rather late than never */
}

static bool takes_descriptors(int fd)
{
    int yes = 1;
    socklen_t length = sizeof(yes);

    return getsockopt(fd, SOL_SOCKET, SO_PASSRIGHTS, &yes, &length) < 0 || yes;
}

/** closer_hang_up() - End a client's connection, for everybody who holds it, and close it */
void closer_hang_up(struct closer *c, int fd)
{
    if (takes_descriptors(fd)) {
        give(c, HANG_UP | fd);
        return;
    }
    shutdown(fd, SHUT_RDWR);
    close(fd);
}

static void give_stray(void *argument, int fd)
{
    give(argument, fd);
}

/** closer_receive() - recvmsg(), not waiting; descriptors that come along are thrown away */
ssize_t closer_receive(struct closer *c, int fd, struct msghdr *message)
{
    union control control;
    ssize_t length;
    int error;

    message->msg_control = control.bytes;
    message->msg_controllen = sizeof(control.bytes);
    length = recvmsg(fd, message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    error = errno;
    if (length >= 0 && message->msg_controllen)
        for_each_descriptor(message, give_stray, c);
    errno = error;
    return length;
}

/** closer_refuse_descriptors() - Have the kernel refuse them, where it can, on what is accepted too */
void closer_refuse_descriptors(int fd)
{
    int no = 0;

    (void)setsockopt(fd, SOL_SOCKET, SO_PASSRIGHTS, &no, sizeof(no)); /* older kernels: see above */
}
