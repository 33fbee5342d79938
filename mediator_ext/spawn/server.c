/*
 * server.c - The clients: who may connect, what they send, what they still have to be told
 *
 * A client that is gone is not forgotten before its queue is empty (client.h: MUTE). That is what
 * makes "hold, then use" safe: a SPAWN_HOLD that was sent is carried out, although its sender was
 * killed in the meantime. The other half is the order of a new client's FETCH after that: before a
 * FETCH is answered, server_settle() accepts everybody who is waiting and carries out everything
 * that lies in the other clients' queues.
 */
#include "spawn/server.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "spawn/client.h"
#include "spawn/log.h"
#include "spawn/watch.h"

/* Datagrams taken from one client before the others have their turn. */
#define TURN 64
/* A socket's queue holds a few hundred datagrams; a sender that refills it meanwhile is alive. */
#define SETTLE_TURN 4096
/* How long to wait before accept() is tried again where the system is out of descriptors. */
#define ACCEPT_RETRY_MS 1000

struct server {
    struct server_config config;
    bool accepts;          /* the listener is watched */
    uint64_t accept_at_ms; /* try again then; 0 = when a client leaves */
    bool shutdown_asked;
    struct client clients[SERVER_MAX_CLIENTS];
};

static uint64_t now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static uint32_t index_of(const struct server *server, const struct client *client)
{
    return (uint32_t)(client - server->clients);
}

static void watch_client(struct server *server, struct client *client, uint32_t events)
{
    if (client->watched == events) {
        return;
    }
    if (watch_set(server->config.epoll_fd, EPOLL_CTL_MOD, client->fd, events, WATCH_CLIENT,
                  index_of(server, client)) < 0) {
        log_error("cannot watch a client: %s", strerror(errno));
        return;
    }
    client->watched = events;
}

static void watch_listener(struct server *server, bool accepts, uint64_t again_at_ms)
{
    server->accept_at_ms = again_at_ms;
    if (server->accepts == accepts) {
        return;
    }
    if (watch_set(server->config.epoll_fd, EPOLL_CTL_MOD, server->config.listener,
                  accepts ? EPOLLIN : 0, WATCH_LISTENER, 0) < 0) {
        log_error("cannot watch the listening socket: %s", strerror(errno));
        return;
    }
    server->accepts = accepts;
}

static void free_client(struct server *server, struct client *client)
{
    client_forget_output(client);
    close(client->fd);
    memset(client, 0, sizeof(*client));
    watch_listener(server, true, 0);
}

/* ---- listening ------------------------------------------------------------------------------- */

static void serve_datagram(struct server *server, struct client *client, struct datagram *datagram)
{
    struct reply reply;

    if (!datagram->fault && datagram->message.verb == SPAWN_WORKER &&
        (client->state == CLIENT_MUTE || client_is_gone(client))) {
        log_warn("not starting a worker for a client that is gone");
        datagram_close_fds(datagram);
        return;
    }
    requests_serve(&server->config.requests, datagram, &reply);
    datagram_close_fds(datagram);
    client_take_reply(client, &reply, &datagram->message);
    server->shutdown_asked |= reply.kind == REPLY_SHUTDOWN;
    if (client->state == CLIENT_MUTE) {
        client_forget_output(client);
    }
}

/* Serve up to @turn datagrams of a client, as long as it reads what it is told. */
static void serve_client(struct server *server, struct client *client, unsigned int turn)
{
    struct datagram datagram;

    client_flush(client, &server->config.requests, now_ms());
    while (turn-- && !client_must_read(client) && !server->shutdown_asked) {
        int rc = datagram_receive(client->fd, &datagram);

        if (rc == -EAGAIN) {
            break;
        }
        if (rc <= 0) {
            if (rc < 0) {
                log_warn("lost a client: %s", strerror(-rc));
            }
            free_client(server, client);
            return;
        }
        serve_datagram(server, client, &datagram);
        client_flush(client, &server->config.requests, now_ms());
    }
    /* A FETCH waits for us, not for the client. */
    watch_client(server, client, client->is_blocked ? EPOLLOUT : EPOLLIN);
}

/* Like serve_client(), but what a client leaves unread does not count when it is gone. */
static void look_after_client(struct server *server, struct client *client, unsigned int turn)
{
    if (client->state == CLIENT_FREE) {
        return;
    }
    if (client->state == CLIENT_SERVED && client_must_read(client) && client_is_gone(client)) {
        client_mute(client);
    }
    serve_client(server, client, turn);
}

void server_on_client(struct server *server, uint32_t index)
{
    look_after_client(server, &server->clients[index], TURN);
}

/* ---- coming ---------------------------------------------------------------------------------- */

static bool may_connect(const struct server *server, int fd)
{
    struct ucred peer;
    socklen_t size = sizeof(peer);

    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) < 0) {
        log_error("cannot tell who connects: %s", strerror(errno));
        return false;
    }
    if (peer.uid != server->config.allowed_uid && peer.uid != geteuid()) {
        log_warn("refused uid %u (pid %d): only uid %u is served", peer.uid, (int)peer.pid,
                 server->config.allowed_uid);
        return false;
    }
    /* Where workers have no uid of their own, theirs is served: it is then only the number of the
     * process that tells guest code from vgpud. */
    if (children_has_process(server->config.requests.children, peer.pid)) {
        log_warn("refused pid %d: it is a worker, or was started by one", (int)peer.pid);
        return false;
    }
    return true;
}

static struct client *find_free_client(struct server *server)
{
    for (uint32_t i = 0; i < SERVER_MAX_CLIENTS; i++) {
        if (server->clients[i].state == CLIENT_FREE) {
            return &server->clients[i];
        }
    }
    return NULL;
}

static void add_client(struct server *server, struct client *client, int fd)
{
    *client = (struct client){.state = CLIENT_SERVED, .fd = fd, .watched = EPOLLIN};
    if (watch_set(server->config.epoll_fd, EPOLL_CTL_ADD, fd, EPOLLIN, WATCH_CLIENT,
                  index_of(server, client)) < 0) {
        log_error("cannot watch a client: %s", strerror(errno));
        free_client(server, client);
    }
}

void server_accept(struct server *server)
{
    for (;;) {
        struct client *client = find_free_client(server);
        int fd;

        if (!client) {
            /* The next one waits in the listener's backlog until one of these leaves. */
            watch_listener(server, false, 0);
            return;
        }
        fd = accept4(server->config.listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0) {
            if (errno == EINTR || errno == ECONNABORTED) {
                continue;
            }
            if (errno != EAGAIN) {
                log_error("cannot accept a client: %s", strerror(errno));
                watch_listener(server, false, now_ms() + ACCEPT_RETRY_MS);
            }
            return;
        }
        if (may_connect(server, fd)) {
            add_client(server, client, fd);
        } else {
            close(fd);
        }
    }
}

/* ---- between two batches of events ----------------------------------------------------------- */

/* Carry out everything that was sent before now, by whomever. */
static void drain_queues(struct server *server)
{
    /* Twice: where the table is full, only the first round makes room for those who wait. */
    for (int round = 0; round < 2; round++) {
        server_accept(server);
        for (uint32_t i = 0; i < SERVER_MAX_CLIENTS; i++) {
            look_after_client(server, &server->clients[i], SETTLE_TURN);
        }
    }
}

static void answer_fetches(struct server *server)
{
    bool waits[SERVER_MAX_CLIENTS];
    bool any = false;

    for (uint32_t i = 0; i < SERVER_MAX_CLIENTS; i++) {
        waits[i] = server->clients[i].series_waits;
        any |= waits[i];
    }
    if (!any) {
        return;
    }
    drain_queues(server);
    for (uint32_t i = 0; i < SERVER_MAX_CLIENTS; i++) {
        struct client *client = &server->clients[i];

        /* One that came up only while draining has its turn in the next round. */
        if (waits[i] && client->series_waits) {
            client->series_waits = false;
            serve_client(server, client, TURN);
        }
    }
}

static bool fetch_waits(const struct server *server)
{
    for (uint32_t i = 0; i < SERVER_MAX_CLIENTS; i++) {
        if (server->clients[i].series_waits) {
            return true;
        }
    }
    return false;
}

static void report_exits(struct server *server)
{
    for (uint32_t i = 0; i < SERVER_MAX_CLIENTS; i++) {
        struct client *client = &server->clients[i];

        if (client->state == CLIENT_SERVED && client->wants_exits && !client->is_blocked) {
            client_flush(client, &server->config.requests, now_ms());
            watch_client(server, client, client->is_blocked ? EPOLLOUT : EPOLLIN);
        }
    }
}

static void drop_unreading(struct server *server)
{
    uint64_t now = now_ms();

    for (uint32_t i = 0; i < SERVER_MAX_CLIENTS; i++) {
        struct client *client = &server->clients[i];

        if (client->is_blocked &&
            now - client->blocked_since_ms >= server->config.client_timeout_ms) {
            log_warn("dropping a client that has not read its answers for %u ms",
                     server->config.client_timeout_ms);
            client_mute(client);
            serve_client(server, client, SETTLE_TURN);
        }
    }
    if (server->accept_at_ms && now >= server->accept_at_ms) {
        watch_listener(server, true, 0);
    }
}

void server_settle(struct server *server)
{
    answer_fetches(server);
    report_exits(server);
    drop_unreading(server);
}

int server_timeout_ms(const struct server *server)
{
    uint64_t now = now_ms();
    uint64_t next = server->accept_at_ms ? server->accept_at_ms : UINT64_MAX;

    if (fetch_waits(server)) {
        return 0;
    }
    for (uint32_t i = 0; i < SERVER_MAX_CLIENTS; i++) {
        const struct client *client = &server->clients[i];

        if (client->is_blocked &&
            client->blocked_since_ms + server->config.client_timeout_ms < next) {
            next = client->blocked_since_ms + server->config.client_timeout_ms;
        }
    }
    if (next == UINT64_MAX) {
        return -1;
    }
    return next <= now ? 0 : (int)(next - now);
}

/* ---- beginning and end ----------------------------------------------------------------------- */

struct server *server_new(const struct server_config *config)
{
    struct server *server = calloc(1, sizeof(*server));

    if (!server) {
        return NULL;
    }
    server->config = *config;
    server->accepts = true;
    if (watch_set(config->epoll_fd, EPOLL_CTL_ADD, config->listener, EPOLLIN, WATCH_LISTENER, 0) <
        0) {
        free(server);
        return NULL;
    }
    return server;
}

void server_free(struct server *server)
{
    if (!server) {
        return;
    }
    for (uint32_t i = 0; i < SERVER_MAX_CLIENTS; i++) {
        if (server->clients[i].state != CLIENT_FREE) {
            client_forget_output(&server->clients[i]);
            close(server->clients[i].fd);
        }
    }
    free(server);
}

bool server_shutdown_asked(const struct server *server)
{
    return server->shutdown_asked;
}

void server_answer_shutdown(struct server *server)
{
    for (uint32_t i = 0; i < SERVER_MAX_CLIENTS; i++) {
        const struct client *client = &server->clients[i];

        if (client->state == CLIENT_SERVED && client->asked_shutdown &&
            datagram_send(client->fd, &client->answer, NULL, 0) < 0) {
            log_warn("the client that asked for the shutdown is gone");
        }
    }
}
