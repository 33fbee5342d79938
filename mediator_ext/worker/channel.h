/*
 * channel.h - The worker's end of the two rings it shares with the engine
 *
 * One thread. A reply is visible to an engine that looks as soon as channel_put() returns; an
 * engine that sleeps learns of it by channel_kick().
 */
#ifndef VGPUD_WORKER_CHANNEL_SIDE_H
#define VGPUD_WORKER_CHANNEL_SIDE_H

#include <stdint.h>

#include "spin.h"
#include "worker_channel.h"

struct channel {
    struct worker_channel *shared;
    int doorbell;
    uint32_t unit_head;  /* the next unit to take */
    uint32_t unit_tail;  /* as last read and checked */
    uint32_t reply_tail; /* the next reply to put */
    uint32_t quiet;      /* replies that the engine was not told of */
    uint32_t objects;    /* as last said */
    struct spin spin;
};

/**
 * channel_open() - Map a channel
 * @channel:  filled in
 * @fd:       memfd of WORKER_CHANNEL_BYTES, sealed against shrinking; stays the caller's
 * @doorbell: eventfd; the channel's on success, the caller's on failure
 *
 * Return: 0; -EINVAL for a wrong size or a doorbell that is no eventfd; -EPERM without the seal; -errno.
 */
int channel_open(struct channel *channel, int fd, int doorbell);

/**
 * channel_close() - Unmap a channel and close its doorbell
 * @channel: open
 */
void channel_close(struct channel *channel);

/**
 * channel_take() - The next unit; waits for one, without a limit
 * @channel: open
 * @unit:    a copy, of which every byte is the engine's word and nobody else's
 *
 * Kicks before it sleeps.
 *
 * Return: 0; -EPROTO when the engine's index is out of range; -errno of the wait.
 */
int channel_take(struct channel *channel, struct worker_unit *unit);

/**
 * channel_put() - Publish a reply
 * @channel: open
 * @reply:   copied
 *
 * Return: 0; -EPROTO when the engine's indices leave no room for it.
 */
int channel_put(struct channel *channel, const struct worker_reply *reply);

/**
 * channel_say_objects() - Say how many objects this worker holds; the next reply makes it count
 * @channel: open
 * @count:   of a launch worker
 */
void channel_say_objects(struct channel *channel, uint32_t count);

/**
 * channel_kick() - Ring the doorbell if replies were put since the last kick and the engine sleeps
 * @channel: open
 */
void channel_kick(struct channel *channel);

#endif
