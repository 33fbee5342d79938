/*
 * reactor.h - The one loop: epoll over everything the engine waits for
 *
 * A watch is embedded in whoever owns the descriptor. One thread. A watch that was removed is not
 * called again, also not for an event that the running turn had already fetched.
 */
#ifndef VGPUD_REACTOR_H
#define VGPUD_REACTOR_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/epoll.h>

#define REACTOR_EVENTS 256

struct watch;
typedef void watch_fn(struct watch *watch, uint32_t events);

struct watch {
    watch_fn *ready;
    int fd; /* -1 = not watched; the owner closes it */
    uint32_t events;
};

struct reactor {
    int epoll_fd;
    int count; /* events of the running turn */
    struct epoll_event event[REACTOR_EVENTS];
};

int reactor_init(struct reactor *r);
void reactor_free(struct reactor *r);
int reactor_watch(struct reactor *r, struct watch *watch, int fd, uint32_t events, watch_fn *ready);
void reactor_change(struct reactor *r, struct watch *watch, uint32_t events);
void reactor_unwatch(struct reactor *r, struct watch *watch);
bool reactor_turn(struct reactor *r, int timeout_ms);

#endif
