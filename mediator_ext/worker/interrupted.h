/*
 * interrupted.h - Streams that wait for a unit to come back
 *
 * After CONTINUE or NEED_BUILD nothing that the engine had sent behind the unit may run before the
 * rest of it: it is bounced, untouched. What the engine sends once it knows of the interruption is
 * meant: the rest of the unit, or what comes after it when it was given up (its client is gone, its
 * build was refused). Every unit says which replies the engine had dealt with when it sent it, and
 * units come in the order in which they were sent; so the first one sent with that knowledge ends
 * the interruption, whatever its stream.
 *
 * Numbers are those of replies; they wrap.
 */
#ifndef VGPUD_WORKER_INTERRUPTED_H
#define VGPUD_WORKER_INTERRUPTED_H

#include <stdbool.h>
#include <stdint.h>

#include "worker_channel.h"

/* Each is a unit whose reply the engine has not dealt with. */
#define INTERRUPTED_MAX WORKER_RING_ENTRIES

struct interrupted {
    uint32_t count;
    struct interrupted_stream {
        uint32_t qp;
        uint32_t stream;
        uint32_t reply; /* number of the reply that said so */
    } streams[INTERRUPTED_MAX];
};

/**
 * interrupted_blocks() - May this unit not run yet?
 * @table: streams; those that the engine knows of are dropped
 * @unit:  the next one, in the order of the ring
 *
 * Return: true when the unit must be bounced.
 */
bool interrupted_blocks(struct interrupted *table, const struct worker_unit *unit);

/**
 * interrupted_has_room() - Can one more stream be interrupted?
 * @table: streams
 *
 * Return: whether interrupted_add() may be called; false only with an engine that sends more units
 * than the ring holds.
 */
bool interrupted_has_room(const struct interrupted *table);

/**
 * interrupted_add() - Bounce what was sent behind a unit
 * @table:  streams, with room
 * @unit:   that was interrupted
 * @number: of its reply
 */
void interrupted_add(struct interrupted *table, const struct worker_unit *unit, uint32_t number);

#endif
