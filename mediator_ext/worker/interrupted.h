/*
 * interrupted.h - Streams that wait for a unit to come back
 *
 * After CONTINUE or NEED_BUILD nothing that the engine had queued behind the unit may run before
 * the rest of it: it is bounced, untouched, until the unit's token returns.
 *
 * The token need not return: the engine may give the request up (its client is gone, its build was
 * refused). So an entry also ends when it has served its purpose: once the engine has taken the
 * reply that said so, it knows, and sends nothing of that stream out of order. What it had sent
 * before it knew is in the ring at that moment, and is bounced; what comes later is meant.
 *
 * Units and replies go by one number here, that of the reply; numbers wrap.
 */
#ifndef VGPUD_WORKER_INTERRUPTED_H
#define VGPUD_WORKER_INTERRUPTED_H

#include <stdbool.h>
#include <stdint.h>

#define INTERRUPTED_MAX 1024u

struct interrupted {
    uint32_t count;
    struct interrupted_stream {
        uint64_t token;
        uint32_t qp;
        uint32_t stream;
        uint32_t reply; /* number of the reply that said so */
        uint32_t end;   /* once `known`: the first unit that was sent with that knowledge */
        bool known;     /* the engine has taken that reply */
    } streams[INTERRUPTED_MAX];
};

/**
 * interrupted_observe() - See how far the engine has come, and drop entries that have served
 * @table:  streams
 * @taken:  number of the first reply that the engine has not taken
 * @number: of the unit that is about to be answered
 * @end:    number that the next unit will have that is not in the ring yet; read after @taken
 */
void interrupted_observe(struct interrupted *table, uint32_t taken, uint32_t number, uint32_t end);

/**
 * interrupted_blocks() - May this unit not run yet?
 * @table:  streams
 * @qp:     of the unit
 * @stream: of the unit
 * @token:  of the unit; when it is the one waited for, the stream is open again
 *
 * Return: true when the unit must be bounced.
 */
bool interrupted_blocks(struct interrupted *table, uint32_t qp, uint32_t stream, uint64_t token);

/**
 * interrupted_has_room() - Can one more stream be interrupted?
 * @table: streams
 *
 * Return: whether interrupted_add() may be called.
 */
bool interrupted_has_room(const struct interrupted *table);

/**
 * interrupted_add() - Bounce a stream until its unit comes back
 * @table:  streams, with room
 * @qp:     of the unit
 * @stream: of the unit; not interrupted now
 * @token:  of the unit
 * @number: of its reply
 */
void interrupted_add(struct interrupted *table, uint32_t qp, uint32_t stream, uint64_t token,
                     uint32_t number);

#endif
