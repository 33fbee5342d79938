/*
 * server.h - The clients: who may connect, what they send, what they still have to be told
 */
#ifndef VGPUD_SPAWN_SERVER_H
#define VGPUD_SPAWN_SERVER_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "spawn/requests.h"

#define SERVER_MAX_CLIENTS 16

struct server;

struct server_config {
    int epoll_fd;
    int listener;               /* listening SEQPACKET socket, non-blocking; remains the caller's */
    uid_t allowed_uid;          /* may connect, besides the spawner's own */
    uint32_t client_timeout_ms; /* how long a client may leave an answer unread */
    struct requests requests;
};

/**
 * server_new() - Start to accept clients
 *
 * Return: the server, or NULL with errno set
 */
struct server *server_new(const struct server_config *config);

/** server_free() - Close all connections; NULL is allowed */
void server_free(struct server *server);

/** server_accept() - The listener is readable */
void server_accept(struct server *server);

/**
 * server_on_client() - A connection is readable, writable, or closed by its client
 * @index: from the watch word
 */
void server_on_client(struct server *server, uint32_t index);

/**
 * server_settle() - After each batch of events: serve FETCHes, report ends of workers, drop clients
 *                   that do not read
 */
void server_settle(struct server *server);

/**
 * server_timeout_ms() - When server_settle() has to be called, though nothing happens
 *
 * Return: ms from now, or -1 for never; what epoll_wait() takes
 */
int server_timeout_ms(const struct server *server);

/** server_shutdown_asked() - A client said SPAWN_SHUTDOWN */
bool server_shutdown_asked(const struct server *server);

/** server_answer_shutdown() - Tell that client that everything has ended */
void server_answer_shutdown(struct server *server);

#endif
