/*
 * event_ring.c - News from the reactor to one other thread: bounded, lossy, counted
 *
 * Theory of operation
 *
 * One producer (the reactor), one consumer (whoever reads the eventfd). Indices run freely. The
 * producer fills an entry and then publishes tail with release order; the consumer loads tail with
 * acquire order, copies, and then publishes head with release order, so an entry is never overwritten
 * while it is read. When the ring is full the newest event is dropped and counted: the reactor waits
 * for nobody, and what must not be lost is level state, which the consumer reads elsewhere.
 *
 * The eventfd is written only when the ring was empty: the consumer drains the eventfd first and the
 * ring afterwards, so an event that comes in between rings again at worst once too often.
 */
#include "event_ring.h"

#include <errno.h>
#include <sys/eventfd.h>
#include <unistd.h>

/**
 * event_ring_init() - An empty ring with its eventfd
 *
 * Return: 0, or a negative errno
 */
int event_ring_init(struct event_ring *ring)
{
    ring->head = ring->tail = 0;
    ring->dropped = 0;
    ring->fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    return ring->fd < 0 ? -errno : 0;
}

/** event_ring_free() - Close the eventfd */
void event_ring_free(struct event_ring *ring)
{
    if (ring->fd >= 0)
        close(ring->fd);
    ring->fd = -1;
}

/** event_ring_put() - Tell; the reactor's thread only; never blocks */
void event_ring_put(struct event_ring *ring, const struct mediator_event *event)
{
    uint32_t tail = ring->tail, head = __atomic_load_n(&ring->head, __ATOMIC_ACQUIRE);
    const uint64_t one = 1;

    if (tail - head == EVENT_RING_SIZE) {
        __atomic_store_n(&ring->dropped, ring->dropped + 1, __ATOMIC_RELAXED);
        return;
    }
    ring->event[tail % EVENT_RING_SIZE] = *event;
    __atomic_store_n(&ring->tail, tail + 1, __ATOMIC_SEQ_CST);
    /* Ask again: the reader may have emptied the ring just before tail moved. */
    if (__atomic_load_n(&ring->head, __ATOMIC_SEQ_CST) == tail)
        while (write(ring->fd, &one, sizeof(one)) < 0 && errno == EINTR)
            ;
}

/**
 * event_ring_take() - Copy out up to @max events, oldest first; the reader's thread only
 *
 * Return: how many; the eventfd is readable again as long as some are left
 */
uint32_t event_ring_take(struct event_ring *ring, struct mediator_event *out, uint32_t max)
{
    uint64_t count;
    const uint64_t one = 1;
    uint32_t head = ring->head, taken = 0, tail;

    while (read(ring->fd, &count, sizeof(count)) < 0 && errno == EINTR)
        ;
    tail = __atomic_load_n(&ring->tail, __ATOMIC_SEQ_CST);
    while (head != tail && taken < max)
        out[taken++] = ring->event[head++ % EVENT_RING_SIZE];
    __atomic_store_n(&ring->head, head, __ATOMIC_SEQ_CST);
    if (head != __atomic_load_n(&ring->tail, __ATOMIC_SEQ_CST))
        while (write(ring->fd, &one, sizeof(one)) < 0 && errno == EINTR)
            ;
    return taken;
}

/** event_ring_dropped() - How many events found the ring full; any thread */
uint64_t event_ring_dropped(const struct event_ring *ring)
{
    return __atomic_load_n(&ring->dropped, __ATOMIC_RELAXED);
}
