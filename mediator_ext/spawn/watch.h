/*
 * watch.h - Every kind of descriptor that wakes the loop
 *
 * The 64-bit word that epoll hands back is the kind and an index into the table of that kind. An
 * event may refer to an entry that was released and reused within the same batch: every handler
 * must therefore survive being called for nothing (all descriptors are non-blocking).
 */
#ifndef VGPUD_SPAWN_WATCH_H
#define VGPUD_SPAWN_WATCH_H

#include <stdint.h>
#include <sys/epoll.h>

enum watch_kind {
    WATCH_LISTENER = 1, /* somebody wants to connect */
    WATCH_SIGNALS = 2,  /* signalfd: SIGTERM, SIGINT */
    WATCH_CLIENT = 3,   /* index: slot in the client table */
    WATCH_CHILD = 4,    /* pidfd; index: slot in the worker table */
    WATCH_OUTPUT = 5,   /* a worker's standard error; index: the same */
};

/**
 * watch_set() - Watch a descriptor, or change what it is watched for
 * @epoll_fd: the loop
 * @operation: EPOLL_CTL_ADD or EPOLL_CTL_MOD
 * @fd: descriptor
 * @events: EPOLLIN, EPOLLOUT; 0 = hang-ups only
 * @kind: which handler
 * @index: which entry of that handler's table
 *
 * Return: 0, or -1 with errno set
 */
static inline int watch_set(int epoll_fd, int operation, int fd, uint32_t events,
                            enum watch_kind kind, uint32_t index)
{
    struct epoll_event event = {
        .events = events,
        .data.u64 = (uint64_t)kind << 32 | index,
    };

    return epoll_ctl(epoll_fd, operation, fd, &event);
}

#endif
