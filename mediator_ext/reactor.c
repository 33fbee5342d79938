/*
 * reactor.c - The one loop: epoll over everything the engine waits for
 *
 * Theory of operation
 *
 * Each turn fetches a batch of events and calls the watch of each. A handler may remove any watch
 * and free its owner, also one whose event is still in the batch: reactor_unwatch() blanks such
 * events, so that nothing is called through a pointer to freed memory.
 *
 * Descriptors are level-triggered, but for eventfds (EPOLLET, set by the owner): every write to an
 * eventfd is an edge of its own, so they need not be read, and a doorbell costs no second system
 * call.
 */
#include "reactor.h"

#include <errno.h>
#include <unistd.h>

/**
 * reactor_init() - Make an empty reactor
 *
 * Return: 0, or a negative errno
 */
int reactor_init(struct reactor *r)
{
    r->count = 0;
    r->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    return r->epoll_fd < 0 ? -errno : 0;
}

/** reactor_free() - Close it; watched descriptors stay their owners' */
void reactor_free(struct reactor *r)
{
    if (r->epoll_fd >= 0)
        close(r->epoll_fd);
    r->epoll_fd = -1;
}

/**
 * reactor_watch() - Call @ready when @fd has one of @events
 *
 * Return: 0, or a negative errno
 */
int reactor_watch(struct reactor *r, struct watch *watch, int fd, uint32_t events, watch_fn *ready)
{
    struct epoll_event event = {.events = events, .data.ptr = watch};

    if (epoll_ctl(r->epoll_fd, EPOLL_CTL_ADD, fd, &event))
        return -errno;
    *watch = (struct watch){.ready = ready, .fd = fd, .events = events};
    return 0;
}

/** reactor_change() - Wait for other events from now on; cheap when they are the same */
void reactor_change(struct reactor *r, struct watch *watch, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.ptr = watch};

    if (watch->fd < 0 || watch->events == events)
        return;
    /* The descriptor is registered and open, so this cannot fail but for ENOMEM, and then the old
     * interest stays and the next change tries again. */
    if (epoll_ctl(r->epoll_fd, EPOLL_CTL_MOD, watch->fd, &event) == 0)
        watch->events = events;
}

/** reactor_unwatch() - Never call this watch again; does not close the descriptor */
void reactor_unwatch(struct reactor *r, struct watch *watch)
{
    if (watch->fd < 0)
        return;
    epoll_ctl(r->epoll_fd, EPOLL_CTL_DEL, watch->fd, NULL);
    watch->fd = -1;
    for (int i = 0; i < r->count; i++)
        if (r->event[i].data.ptr == watch)
            r->event[i].data.ptr = NULL;
}

/**
 * reactor_turn() - Wait for events, and deal with one batch of them
 * @timeout_ms: 0 = do not wait, -1 = as long as it takes
 *
 * Return: were there any?
 */
bool reactor_turn(struct reactor *r, int timeout_ms)
{
    int count = epoll_wait(r->epoll_fd, r->event, REACTOR_EVENTS, timeout_ms);

    r->count = count < 0 ? 0 : count; /* EINTR: as if nothing had happened */
    for (int i = 0; i < r->count; i++) {
        struct watch *watch = r->event[i].data.ptr;

        if (watch)
            watch->ready(watch, r->event[i].events);
    }
    r->count = 0;
    return count > 0;
}
