/*
 * worker_link.h - The engine's end of a channel to one worker
 *
 * What a worker may write is never trusted: indices are checked against the engine's own, which are
 * the journal's; a reply is copied once. Who breaks the rules is given up (`doomed`) and killed.
 */
#ifndef VGPUD_WORKER_LINK_H
#define VGPUD_WORKER_LINK_H

#include <stdbool.h>
#include <stdint.h>

#include "journal.h"
#include "mediator.h"
#include "reactor.h"
#include "worker_channel.h"

struct worker_link {
    struct watch doorbell;
    struct worker_channel *channel; /* NULL = nobody there */
    struct journal_link *journal;
    void *owner;    /* struct vm */
    uint8_t lane;   /* enum mediator_lane */
    bool wanted;    /* there is work for a worker that is not there */
    bool doomed;    /* is to be killed: gets nothing more, and nothing it says counts */
    bool timed_out; /* that is why it is doomed */
    bool adopted;   /* its last reply may have been dealt with by the last engine */
    bool published; /* units were put since the last wake */
    int32_t pid;
    uint64_t used_ns; /* when it last answered; 0 = not yet, or not this engine */
    uint32_t in_flight;
    uint32_t slot[WORKER_RING_ENTRIES]; /* of the unit at that index */
};

int worker_link_attach(struct worker_link *link, struct reactor *reactor,
                       const struct mediator_worker *worker, watch_fn *ready);
void worker_link_detach(struct worker_link *link, struct reactor *reactor);
bool worker_link_usable(const struct worker_link *link);
bool worker_link_full(const struct worker_link *link);
/* The unit goes to index link->journal->unit_tail; the caller has noted that in the slot before. */
void worker_link_put(struct worker_link *link, const struct worker_unit *unit, uint32_t slot);
void worker_link_publish(struct worker_link *link);
/* Return: 1 a reply was copied to @reply, 0 there is none, -EPROTO the indices are impossible */
int worker_link_peek(struct worker_link *link, struct worker_reply *reply);
void worker_link_consume(struct worker_link *link);
/* Ask for the doorbell. Return: false = something is there already */
bool worker_link_answered(const struct worker_link *link);
void worker_link_let_spin(struct worker_link *link, uint32_t spin_us);
/* Does a launch worker say that it holds nothing of its VM? */
bool worker_link_holds_nothing(const struct worker_link *link);
bool worker_link_sleep(struct worker_link *link);

#endif
