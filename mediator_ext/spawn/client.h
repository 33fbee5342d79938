/*
 * client.h - One client: what it still has to be told
 *
 * What a client still has to be told is never a queue. It is at most one answer, then at most one
 * series (a cursor into a table), then the exit reports (the number of the last one it got). All of
 * it is bounded by the client itself, and one with an unread answer or series is simply not
 * listened to until it has read: it cannot make the spawner remember anything for it.
 *
 * States:
 *
 *   FREE ──accept──► SERVED ──it is gone, or dropped──► MUTE ──its queue is empty──► FREE
 *
 *   SERVED  is read from, unless it has to read first.
 *   MUTE    nobody listens any more: whatever would be said is discarded, but what was sent before
 * is still read and done to the last datagram. A worker is not started for it.
 */
#ifndef VGPUD_SPAWN_CLIENT_H
#define VGPUD_SPAWN_CLIENT_H

#include <stdbool.h>
#include <stdint.h>

#include "spawn/requests.h"

enum client_state {
    CLIENT_FREE = 0,
    CLIENT_SERVED,
    CLIENT_MUTE,
};

struct client {
    enum client_state state;
    int fd;
    uint32_t watched; /* EPOLLIN or EPOLLOUT */
    bool has_answer;
    bool has_series;
    bool series_waits; /* until everything sent before it has been carried out */
    bool wants_exits;
    bool asked_shutdown; /* @answer is for the end */
    bool is_blocked;     /* something to say, and no room for it */
    uint64_t blocked_since_ms;
    uint64_t exits_told; /* end_number of the last one */
    struct spawn_message answer;
    int answer_fd;
    struct series series;
};

/** client_take_reply() - Note what is to be said in answer to a request */
void client_take_reply(struct client *client, const struct reply *reply,
                       const struct spawn_message *request);

/**
 * client_flush() - Say what there is to say, as far as there is room
 * @now_ms: monotonic time
 *
 * A client that cannot be reached any more becomes MUTE.
 */
void client_flush(struct client *client, const struct requests *requests, uint64_t now_ms);

/** client_must_read() - There is something that the client has to read before it is listened to */
bool client_must_read(const struct client *client);

/** client_is_gone() - The other end was closed by everybody who had it */
bool client_is_gone(const struct client *client);

/** client_mute() - Stop to serve a client; it notices at once */
void client_mute(struct client *client);

/** client_forget_output() - Discard what it has not been told yet */
void client_forget_output(struct client *client);

#endif
