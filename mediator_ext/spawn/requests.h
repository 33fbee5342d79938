/*
 * requests.h - What each verb does
 *
 * Knows the tables, but no connection: a request comes as a datagram, what is to be said comes back
 * as a reply or as a series that is walked one message at a time.
 */
#ifndef VGPUD_SPAWN_REQUESTS_H
#define VGPUD_SPAWN_REQUESTS_H

#include <stdbool.h>
#include <stdint.h>

#include "spawn/children.h"
#include "spawn/datagram.h"
#include "spawn/held.h"
#include "spawn/spawn_protocol.h"

struct requests {
    struct held *held;
    struct children *children;
    uint32_t capabilities; /* SPAWN_CAN_* */
};

enum reply_kind {
    REPLY_NONE,     /* HOLD or DROP that wants no answer */
    REPLY_MESSAGE,  /* @message, with @fd if it is not -1 */
    REPLY_SERIES,   /* requests_series_next() until it says that it was the last */
    REPLY_SHUTDOWN, /* @message, after everything has ended */
};

struct reply {
    enum reply_kind kind;
    struct spawn_message message;
    int fd;           /* the receiver's to close; -1 = none */
    bool wants_exits; /* the client asked for exit reports */
};

/* A walk through a table on behalf of one client. */
struct series {
    enum spawn_verb verb; /* SPAWN_FETCH or SPAWN_WORKERS */
    uint32_t tag;
    uint32_t cursor;
    char prefix[SPAWN_KEY_BYTES];
};

/**
 * requests_serve() - Do what a datagram asks for
 * @requests: the tables
 * @datagram: descriptors that are kept are taken from it; the rest remains the caller's
 * @reply: what to say
 *
 * A refused request has changed nothing, except that no answer to it is wanted: then it is logged.
 */
void requests_serve(const struct requests *requests, struct datagram *datagram,
                    struct reply *reply);

/** requests_series_begin() - Start the series that a request asked for, which was valid */
void requests_series_begin(struct series *series, const struct spawn_message *request);

/**
 * requests_series_next() - The next message of a series
 * @series: moves on; the caller keeps a copy if it may have to ask again for the same message
 * @message: filled
 * @fds: set to the descriptors that go with it, valid until the tables change
 * @fd_count: set to their number
 *
 * Return: true if it is the last one
 */
bool requests_series_next(const struct requests *requests, struct series *series,
                          struct spawn_message *message, const int **fds, uint32_t *fd_count);

/** requests_describe_exit() - Fill in the SPAWN_EXITED message for a worker that has ended */
void requests_describe_exit(const struct child *child, struct spawn_message *message);

#endif
