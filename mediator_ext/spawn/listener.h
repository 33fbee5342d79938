/*
 * listener.h - The socket that vgpud connects to
 */
#ifndef VGPUD_SPAWN_LISTENER_H
#define VGPUD_SPAWN_LISTENER_H

#include <limits.h>
#include <stdbool.h>
#include <sys/types.h>

struct listener {
    int fd;              /* listening, non-blocking; -1 = none */
    char path[PATH_MAX]; /* to be removed at the end; "" if the service manager owns it */
};

/**
 * listener_from_manager() - Take over the socket that the service manager opened
 * @listener: filled
 * @fd: what it passed
 *
 * Return: 0, or -EINVAL, logged, if that is not a listening Unix SEQPACKET socket
 */
int listener_from_manager(struct listener *listener, int fd);

/**
 * listener_open() - Make the socket, mode 0600, instead of a stale one
 * @listener: filled
 * @path: absolute, shorter than a Unix socket address
 * @owner: uid that shall own it; only root can give it away
 *
 * What goes wrong is logged in words.
 *
 * Return: 0; -EADDRINUSE if a spawner already serves there; -EEXIST if something that is not a
 * socket is there; another -errno
 */
int listener_open(struct listener *listener, const char *path, uid_t owner);

/** listener_close() - Stop to listen, and remove the socket if it is ours */
void listener_close(struct listener *listener);

#endif
