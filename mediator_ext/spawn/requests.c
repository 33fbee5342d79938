/*
 * requests.c - What each verb does
 *
 * One table says for every verb which function serves it, how many descriptors it takes and which
 * flags it knows; what does not fit is refused before the function is called. Nothing in a message
 * decides what program runs or under which uids: those are the spawner's own options. A client may
 * limit a worker further than the host does, never less.
 */
#include "spawn/requests.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "spawn/log.h"
#include "spawn/peer.h"

typedef int serve_function(const struct requests *requests, struct datagram *datagram,
                           struct reply *reply);

struct verb {
    serve_function *serve;
    const char *name;
    uint32_t min_fds, max_fds;
    uint32_t flags;
};

static int serve_hello(const struct requests *requests, struct datagram *datagram,
                       struct reply *reply)
{
    reply->wants_exits = datagram->message.flags & SPAWN_WANT_EXITS;
    reply->message.pid = (int32_t)getpid();
    reply->message.arg = requests->capabilities;
    return 0;
}

static int serve_worker(const struct requests *requests, struct datagram *datagram,
                        struct reply *reply)
{
    const struct spawn_message *request = &datagram->message;
    const struct child *child;
    int rc;

    if (!held_key_valid(request->key, true)) {
        return -EINVAL;
    }
    rc = children_spawn(requests->children, request->arg, request->slot, datagram->fds[0],
                        request->detail, request->key, &child);
    if (rc < 0) {
        return rc;
    }
    /* The record's own pidfd may be closed before the answer leaves. */
    reply->fd = fcntl(child->pidfd, F_DUPFD_CLOEXEC, 0);
    if (reply->fd < 0) {
        rc = -errno;
        /* A worker that its client cannot watch is of no use; its end is reported as any other. */
        children_kill(requests->children, child->worker_id);
        return rc;
    }
    reply->message.worker_id = child->worker_id;
    reply->message.pid = (int32_t)child->pid;
    reply->message.uid = child->uid;
    return 0;
}

static int serve_kill(const struct requests *requests, struct datagram *datagram,
                      struct reply *reply)
{
    (void)reply;
    return children_kill(requests->children, datagram->message.worker_id);
}

static int serve_reaped(const struct requests *requests, struct datagram *datagram,
                        struct reply *reply)
{
    (void)reply;
    return children_forget(requests->children, datagram->message.worker_id);
}

static int serve_hold(const struct requests *requests, struct datagram *datagram,
                      struct reply *reply)
{
    int rc;

    (void)reply;
    if (!held_key_valid(datagram->message.key, false)) {
        return -EINVAL;
    }
    rc = held_put(requests->held, datagram->message.key, datagram->message.arg, datagram->fds,
                  datagram->fd_count);
    if (rc == 0) {
        datagram->fd_count = 0;
    }
    return rc;
}

static int serve_drop(const struct requests *requests, struct datagram *datagram,
                      struct reply *reply)
{
    (void)reply;
    if (!held_key_valid(datagram->message.key, false)) {
        return -EINVAL;
    }
    return held_drop(requests->held, datagram->message.key);
}

static int serve_fetch(const struct requests *requests, struct datagram *datagram,
                       struct reply *reply)
{
    (void)requests;
    if (!held_key_valid(datagram->message.key, true)) {
        return -EINVAL;
    }
    reply->kind = REPLY_SERIES;
    return 0;
}

static int serve_peer(const struct requests *requests, struct datagram *datagram,
                      struct reply *reply)
{
    (void)requests;
    return peer_lookup((pid_t)datagram->message.pid, &reply->message.uid, reply->message.detail,
                       sizeof(reply->message.detail));
}

static int serve_workers(const struct requests *requests, struct datagram *datagram,
                         struct reply *reply)
{
    (void)requests;
    (void)datagram;
    reply->kind = REPLY_SERIES;
    return 0;
}

static int serve_shutdown(const struct requests *requests, struct datagram *datagram,
                          struct reply *reply)
{
    (void)requests;
    (void)datagram;
    reply->kind = REPLY_SHUTDOWN;
    return 0;
}

static const struct verb verbs[] = {
    [SPAWN_HELLO] = {serve_hello, "HELLO", 0, 0, SPAWN_WANT_EXITS},
    [SPAWN_WORKER] = {serve_worker, "WORKER", 1, 1, 0},
    [SPAWN_KILL] = {serve_kill, "KILL", 0, 0, 0},
    [SPAWN_REAPED] = {serve_reaped, "REAPED", 0, 0, 0},
    [SPAWN_HOLD] = {serve_hold, "HOLD", 1, SPAWN_MAX_FDS, 0},
    [SPAWN_DROP] = {serve_drop, "DROP", 0, 0, 0},
    [SPAWN_FETCH] = {serve_fetch, "FETCH", 0, 0, 0},
    [SPAWN_PEER] = {serve_peer, "PEER", 0, 0, 0},
    [SPAWN_WORKERS] = {serve_workers, "WORKERS", 0, 0, 0},
    [SPAWN_SHUTDOWN] = {serve_shutdown, "SHUTDOWN", 0, 0, 0},
};

_Static_assert(sizeof(verbs) / sizeof(verbs[0]) == SPAWN_EXITED,
               "every verb that a client may say has a row");

static const struct verb *find_verb(const struct spawn_message *request)
{
    return request->verb < SPAWN_EXITED && verbs[request->verb].serve ? &verbs[request->verb]
                                                                      : NULL;
}

static int check_and_serve(const struct requests *requests, struct datagram *datagram,
                           struct reply *reply)
{
    const struct spawn_message *request = &datagram->message;
    const struct verb *verb = find_verb(request);

    if (datagram->fault) {
        return datagram->fault;
    }
    if (!verb) {
        return -ENOSYS;
    }
    if (datagram->fd_count < verb->min_fds || datagram->fd_count > verb->max_fds ||
        request->flags & ~verb->flags) {
        return -EINVAL;
    }
    /* Tag 0 is what unasked messages carry; only HOLD and DROP can do without an answer. */
    if (request->tag == 0 && request->verb != SPAWN_HOLD && request->verb != SPAWN_DROP) {
        return -EINVAL;
    }
    return verb->serve(requests, datagram, reply);
}

void requests_serve(const struct requests *requests, struct datagram *datagram, struct reply *reply)
{
    const struct spawn_message *request = &datagram->message;
    bool silent = !datagram->fault && request->tag == 0 &&
                  (request->verb == SPAWN_HOLD || request->verb == SPAWN_DROP);
    int rc;

    memset(reply, 0, sizeof(*reply));
    reply->kind = REPLY_MESSAGE;
    reply->fd = -1;
    rc = check_and_serve(requests, datagram, reply);
    if (silent) {
        if (rc < 0 && !(request->verb == SPAWN_DROP && rc == -ENOENT)) {
            log_warn("%s of %.*s with %u descriptors refused: %s (%u held)",
                     verbs[request->verb].name, SPAWN_KEY_BYTES,
                     held_key_valid(request->key, false) ? request->key : "an invalid key",
                     datagram->fd_count, strerror(-rc), held_fd_count(requests->held));
        }
        reply->kind = REPLY_NONE;
        return;
    }
    if (rc < 0) {
        reply->kind = REPLY_MESSAGE;
    }
    reply->message.magic = SPAWN_MAGIC;
    reply->message.version = SPAWN_VERSION;
    reply->message.verb = request->verb;
    reply->message.tag = request->tag;
    reply->message.status = rc;
}

void requests_series_begin(struct series *series, const struct spawn_message *request)
{
    memset(series, 0, sizeof(*series));
    series->verb = (enum spawn_verb)request->verb;
    series->tag = request->tag;
    if (series->verb == SPAWN_FETCH) {
        memcpy(series->prefix, request->key, sizeof(series->prefix));
    }
}

static bool next_held(const struct requests *requests, struct series *series,
                      struct spawn_message *message, const int **fds, uint32_t *fd_count)
{
    const struct held_entry *entry = held_next(requests->held, series->prefix, &series->cursor);

    if (!entry) {
        return false;
    }
    memcpy(message->key, entry->key, sizeof(message->key));
    message->arg = entry->arg;
    *fds = entry->fds;
    *fd_count = entry->fd_count;
    return true;
}

static bool next_worker(const struct requests *requests, struct series *series,
                        struct spawn_message *message)
{
    const struct child *child = children_next(requests->children, &series->cursor);

    if (!child) {
        return false;
    }
    memcpy(message->key, child->label, sizeof(message->key));
    message->worker_id = child->worker_id;
    message->pid = child->state == CHILD_ALIVE ? (int32_t)child->pid : 0;
    message->uid = child->uid;
    message->slot = child->slot;
    message->arg = (uint32_t)child->role;
    return true;
}

bool requests_series_next(const struct requests *requests, struct series *series,
                          struct spawn_message *message, const int **fds, uint32_t *fd_count)
{
    bool more;

    *fds = NULL;
    *fd_count = 0;
    *message = (struct spawn_message){
        .magic = SPAWN_MAGIC,
        .version = SPAWN_VERSION,
        .verb = (uint16_t)series->verb,
        .tag = series->tag,
    };
    if (series->verb == SPAWN_FETCH) {
        more = next_held(requests, series, message, fds, fd_count);
    } else {
        more = next_worker(requests, series, message);
    }
    message->flags = more ? SPAWN_MORE : 0;
    return !more;
}

void requests_describe_exit(const struct child *child, struct spawn_message *message)
{
    *message = (struct spawn_message){
        .magic = SPAWN_MAGIC,
        .version = SPAWN_VERSION,
        .verb = SPAWN_EXITED,
        .status = child->status,
        .flags = child->ran_out ? SPAWN_OUT_OF_MEMORY : 0,
        .arg = (uint32_t)child->code,
        .worker_id = child->worker_id,
        .slot = child->slot,
        .pid = (int32_t)child->pid,
        .uid = child->uid,
    };
    memcpy(message->key, child->label, sizeof(message->key));
}
