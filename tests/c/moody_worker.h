/*
 * moody_worker.h - Workers that answer as they may, at random, and sometimes as they may not
 *
 * On a thread of its own each, and in the engine's mapping of the channel: ThreadSanitizer knows
 * addresses, not pages, so it sees a race between the two sides only there.
 */
#ifndef VGPUD_TESTS_MOODY_WORKER_H
#define VGPUD_TESTS_MOODY_WORKER_H

#include "fake_worker.h"

struct moody_worker {
    struct fake_worker fake;    /* must be first */
    struct worker_channel *own; /* mapping; fake.channel is the engine's while it works */
    uint64_t random;
    uint32_t lies_in; /* one reply in so many breaks the rules; 0 = none */
    int lane;
    bool attached;
    /* Streams that wait for a unit to come back: what was sent behind it is bounced. */
    uint32_t interrupted;
    struct {
        uint32_t qp, stream, reply;
    } stream[WORKER_RING_ENTRIES];
};

/** moody_worker_start() - Attach one and let it work. Return: what mediator_worker_attach() says */
int moody_worker_start(struct moody_worker *w, struct mediator *m, uint32_t handle, int lane,
                       uint32_t worker_id, uint32_t lies_in);

/** moody_worker_end() - It stops between two units, and the engine is told; once for each start */
void moody_worker_end(struct moody_worker *w, struct mediator *m, uint32_t handle, int crashed);

/** engine_mapping() - Where this process has mapped a file besides @ours, NULL = nowhere */
void *engine_mapping(int fd, const void *ours);

#endif
