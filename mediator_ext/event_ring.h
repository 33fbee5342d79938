/*
 * event_ring.h - News from the reactor to one other thread: bounded, lossy, counted
 */
#ifndef VGPUD_EVENT_RING_H
#define VGPUD_EVENT_RING_H

#include <stdint.h>

#include "mediator.h"

#define EVENT_RING_SIZE 4096u

/* tail, dropped: written by the reactor; head: by the reader; the rest never after init. */
struct event_ring {
    uint32_t head __attribute__((aligned(64)));
    uint32_t tail __attribute__((aligned(64)));
    uint64_t dropped;
    int fd;
    struct mediator_event event[EVENT_RING_SIZE];
};

int event_ring_init(struct event_ring *ring);
void event_ring_free(struct event_ring *ring);
void event_ring_put(struct event_ring *ring, const struct mediator_event *event);
uint32_t event_ring_take(struct event_ring *ring, struct mediator_event *out, uint32_t max);
uint64_t event_ring_dropped(const struct event_ring *ring);

#endif
