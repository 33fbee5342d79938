/*
 * busy_client.h - Clients that keep the engine busy, and count the answers
 *
 * Each is a thread. It keeps a number of requests outstanding until it is told to stop, and then
 * waits for the rest. It remembers what is outstanding, so an answer that was not asked for, or that
 * comes twice, is seen. A ring client also has commands wait for a timeline, and moves it.
 */
#ifndef VGPUD_TESTS_BUSY_CLIENT_H
#define VGPUD_TESTS_BUSY_CLIENT_H

#include <pthread.h>
#include <stdbool.h>

#include "engine_rig.h"

#define BUSY_WINDOW 8u

struct busy_client {
    pthread_t thread;
    uint64_t random;
    struct rig_ring ring; /* of a ring client */
    int stub;             /* of a version 1 client, else -1 */
    bool stop;            /* atomic */
    uint64_t next;        /* cookie, or id of a request */
    uint64_t signalled;   /* to which its timeline was moved last */
    uint32_t outstanding;
    uint64_t cookie[BUSY_WINDOW];
    /* What it saw, to be read once it has ended. */
    uint64_t answered;
    uint64_t served; /* with OK */
    uint64_t unasked;
    bool deaf; /* an answer did not come in time, or the connection broke */
};

/** busy_stub_start(), busy_ring_start() - Connect and begin; the ring in the engine's mapping */
void busy_stub_start(struct busy_client *c, const struct rig_vm *vm, uint64_t seed);
void busy_ring_start(struct busy_client *c, const struct rig_vm *vm, struct mediator *m,
                     uint64_t seed);

/** busy_client_end() - Have the rest answered, and go. Return: was each request answered once? */
bool busy_client_end(struct busy_client *c);

#endif
