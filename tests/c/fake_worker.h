/*
 * fake_worker.h - The worker's end of a channel, for tests of the engine
 *
 * Speaks worker_channel.h from the other side, in the process of the test. A test takes units and
 * gives replies by hand, or lets a thread answer them all.
 */
#ifndef VGPUD_TESTS_FAKE_WORKER_H
#define VGPUD_TESTS_FAKE_WORKER_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "mediator.h"
#include "worker_channel.h"

struct fake_worker;

/* Fills in @reply, which comes as DONE/OK with the token. Runs on the worker's thread. */
typedef void fake_behaviour(struct fake_worker *worker, const struct worker_unit *unit,
                            struct worker_reply *reply);

struct fake_worker {
    uint32_t worker_id;
    int channel_fd;
    int doorbell_fd;
    struct worker_channel *channel;
    uint32_t taken; /* units */
    uint32_t replied;
    uint64_t rings; /* of the doorbell */
    fake_behaviour *behaviour;
    void *context;
    bool stop;
    pthread_t thread;
};

/** fake_worker_new() - A channel and its doorbell; aborts when there is none to be had */
void fake_worker_new(struct fake_worker *worker, uint32_t worker_id);

/** fake_worker_free() - The reverse; its thread, if it has one, must have been stopped */
void fake_worker_free(struct fake_worker *worker);

/** fake_worker_attach() - Hand duplicates to an engine. Return: what mediator_worker_attach() says */
int fake_worker_attach(struct fake_worker *worker, struct mediator *m, uint32_t handle, int lane);

/** fake_worker_take() - Wait for the next unit. Return: false = none came in @timeout_ms */
bool fake_worker_take(struct fake_worker *worker, struct worker_unit *unit, int timeout_ms);

/** fake_worker_reply() - Give a reply, and ring if the engine asks for it */
void fake_worker_reply(struct fake_worker *worker, const struct worker_reply *reply);

/** fake_worker_done() - Reply DONE to a unit */
void fake_worker_done(struct fake_worker *worker, const struct worker_unit *unit,
                      enum vgpu_status status);

/** fake_worker_back() - Reply CONTINUE, NEED_BUILD or BOUNCED to a unit */
void fake_worker_back(struct fake_worker *worker, const struct worker_unit *unit,
                      enum worker_outcome outcome, uint32_t op_index);

/** fake_worker_start() - Answer all units on a thread; NULL = vector adds are added, the rest is OK */
void fake_worker_start(struct fake_worker *worker, fake_behaviour *behaviour, void *context);
void fake_worker_stop(struct fake_worker *worker);

#endif
