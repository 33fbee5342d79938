/*
 * test_event_ring.c - News from one thread to another: bounded, in order, never silent
 */
/* sanitizers: address thread */
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/eventfd.h>

#include "check.h"
#include "event_ring.h"

#define MANY 200000u

static bool readable(const struct event_ring *ring, int timeout_ms)
{
    struct pollfd poll_fd = {.fd = ring->fd, .events = POLLIN};

    return poll(&poll_fd, 1, timeout_ms) == 1;
}

static struct event_ring *new_ring(void)
{
    struct event_ring *ring = aligned_alloc(64, (sizeof(*ring) + 63) / 64 * 64);

    CHECK(ring && event_ring_init(ring) == 0);
    return ring;
}

static void put(struct event_ring *ring, uint64_t a)
{
    const struct mediator_event event = {.type = MEDIATOR_CONNECTED, .a = a};

    event_ring_put(ring, &event);
}

static void test_alone(void)
{
    struct event_ring *ring = new_ring();
    struct mediator_event event[16];
    uint32_t count = 0;

    CASE("an empty ring is silent");
    CHECK(!readable(ring, 0) && event_ring_take(ring, event, 16) == 0);

    CASE("the first event rings, and reading it makes the ring silent again");
    put(ring, 1);
    CHECK(readable(ring, 0));
    CHECK(event_ring_take(ring, event, 16) == 1 && event[0].a == 1);
    CHECK(!readable(ring, 0));

    CASE("what is left after a read keeps the ring readable");
    for (uint64_t i = 0; i < 40; i++)
        put(ring, i);
    while (readable(ring, 0)) {
        uint32_t got = event_ring_take(ring, event, 16);

        for (uint32_t i = 0; i < got; i++)
            CHECK(event[i].a == count++);
        CHECK(got == 16 || count == 40);
    }
    CHECK(count == 40);

    CASE("a full ring drops the newest and counts them");
    for (uint64_t i = 0; i < EVENT_RING_SIZE + 10; i++)
        put(ring, i);
    CHECK(event_ring_dropped(ring) == 10);
    count = 0;
    while (readable(ring, 0)) {
        uint32_t got = event_ring_take(ring, event, 16);

        for (uint32_t i = 0; i < got; i++)
            CHECK(event[i].a == count++);
    }
    CHECK(count == EVENT_RING_SIZE);

    CASE("the indices may wrap around");
    ring->head = ring->tail = UINT32_MAX - 5;
    for (uint64_t i = 0; i < 12; i++)
        put(ring, i);
    CHECK(readable(ring, 0) && event_ring_take(ring, event, 16) == 12 && event[11].a == 11);
    CHECK(!readable(ring, 0));
    event_ring_free(ring);
    free(ring);
}

static void *produce(void *argument)
{
    for (uint64_t i = 0; i < MANY; i++)
        put(argument, i);
    return NULL;
}

static void test_two_threads(void)
{
    struct event_ring *ring = new_ring();
    struct mediator_event event[7];
    uint64_t taken = 0, last = 0;
    bool first = true, woken = true, ordered = true;
    pthread_t thread;

    CASE("between two threads no event is lost unseen, none comes twice, and no wake-up is missed");
    CHECK(pthread_create(&thread, NULL, produce, ring) == 0);
    while (taken + event_ring_dropped(ring) < MANY && woken) {
        uint32_t got;

        woken = readable(ring, 5000) || taken + event_ring_dropped(ring) == MANY;
        got = event_ring_take(ring, event, 7);
        for (uint32_t i = 0; i < got; i++) {
            ordered = ordered && (first || event[i].a > last);
            first = false;
            last = event[i].a;
        }
        taken += got;
    }
    pthread_join(thread, NULL);
    CHECK(woken && ordered);
    CHECK(taken + event_ring_dropped(ring) == MANY);
    event_ring_free(ring);
    free(ring);
}

int main(void)
{
    test_alone();
    test_two_threads();
    return check_done();
}
