/*
 * client.c - One client: what it still has to be told
 *
 * Everything is said in one place, client_flush(), in a fixed order, and the place that was reached
 * is only moved on when the kernel has taken the message. So nothing is lost or said twice when
 * there is no room; the exit of a worker is never said before the answer that introduced it.
 */
#include "spawn/client.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "spawn/log.h"

void client_forget_output(struct client *client)
{
    if (client->has_answer && client->answer_fd >= 0) {
        close(client->answer_fd);
    }
    client->has_answer = false;
    client->has_series = false;
    client->series_waits = false;
    client->is_blocked = false;
    client->wants_exits = false;
}

void client_mute(struct client *client)
{
    client_forget_output(client);
    /* It learns so at once, and cannot send any more; what it did send can still be read. */
    shutdown(client->fd, SHUT_RDWR);
    client->state = CLIENT_MUTE;
}

void client_take_reply(struct client *client, const struct reply *reply,
                       const struct spawn_message *request)
{
    switch (reply->kind) {
    case REPLY_NONE:
        break;
    case REPLY_SERIES:
        requests_series_begin(&client->series, request);
        client->has_series = true;
        client->series_waits = request->verb == SPAWN_FETCH;
        break;
    case REPLY_SHUTDOWN:
        client->asked_shutdown = true;
        client->answer = reply->message;
        break;
    case REPLY_MESSAGE:
        client->answer = reply->message;
        client->answer_fd = reply->fd;
        client->has_answer = true;
        client->wants_exits |= reply->wants_exits;
        break;
    }
}

/* Return: true if there was something to say and it was said */
static bool say_answer(struct client *client, int *rc)
{
    if (!client->has_answer) {
        return false;
    }
    *rc = datagram_send(client->fd, &client->answer, &client->answer_fd, client->answer_fd >= 0);
    if (*rc < 0) {
        return false;
    }
    if (client->answer_fd >= 0) {
        close(client->answer_fd);
    }
    client->has_answer = false;
    return true;
}

static bool say_series(struct client *client, const struct requests *requests, int *rc)
{
    struct series ahead = client->series;
    struct spawn_message message;
    const int *fds;
    uint32_t fd_count;
    bool last;

    if (!client->has_series || client->series_waits) {
        return false;
    }
    last = requests_series_next(requests, &ahead, &message, &fds, &fd_count);
    *rc = datagram_send(client->fd, &message, fds, fd_count);
    if (*rc < 0) {
        return false;
    }
    client->series = ahead;
    client->has_series = !last;
    return true;
}

static bool say_exit(struct client *client, const struct requests *requests, int *rc)
{
    struct spawn_message message;
    const struct child *child;

    if (!client->wants_exits || client->has_series) {
        return false;
    }
    child = children_next_end(requests->children, client->exits_told);
    if (!child) {
        return false;
    }
    requests_describe_exit(child, &message);
    *rc = datagram_send(client->fd, &message, NULL, 0);
    if (*rc < 0) {
        return false;
    }
    client->exits_told = child->end_number;
    return true;
}

void client_flush(struct client *client, const struct requests *requests, uint64_t now_ms)
{
    int rc = 0;

    if (client->state != CLIENT_SERVED) {
        return;
    }
    while (say_answer(client, &rc) || (rc == 0 && say_series(client, requests, &rc)) ||
           (rc == 0 && say_exit(client, requests, &rc))) {
        client->is_blocked = false;
    }
    if (rc == 0) {
        client->is_blocked = false;
    } else if (rc == -EAGAIN) {
        if (!client->is_blocked) {
            client->is_blocked = true;
            client->blocked_since_ms = now_ms;
        }
    } else {
        if (rc != -EPIPE && rc != -ECONNRESET) {
            log_warn("dropping a client that cannot be answered: %s", strerror(-rc));
        }
        client_mute(client);
    }
}

bool client_must_read(const struct client *client)
{
    return client->has_answer || client->has_series || client->is_blocked;
}

bool client_is_gone(const struct client *client)
{
    struct pollfd look = {.fd = client->fd, .events = 0};

    return poll(&look, 1, 0) == 1 && look.revents & (POLLHUP | POLLERR);
}
