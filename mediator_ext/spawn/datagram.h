/*
 * datagram.h - One message in, one message out, with descriptors
 */
#ifndef VGPUD_SPAWN_DATAGRAM_H
#define VGPUD_SPAWN_DATAGRAM_H

#include <stdint.h>

#include "spawn/spawn_protocol.h"

struct datagram {
    struct spawn_message message; /* what is missing at its end is zero */
    int fault;                    /* 0, or the -errno to answer with: nothing in it may be used */
    uint32_t fd_count;
    int fds[SPAWN_MAX_FDS]; /* close-on-exec; whoever takes them sets fd_count to 0 */
};

/**
 * datagram_receive() - Take the next datagram, without waiting
 * @fd: SEQPACKET connection
 * @datagram: filled; on success its descriptors are the caller's
 *
 * A datagram of the wrong size, of another protocol or version, or with descriptors that could not
 * all be received has a fault and no descriptor: those that came with it are closed.
 *
 * Return: 1; 0 at the end of the connection; -EAGAIN if there is none; another -errno
 */
int datagram_receive(int fd, struct datagram *datagram);

/**
 * datagram_send() - Send one message, without waiting
 * @fd: SEQPACKET connection
 * @message: sent as it is
 * @fds: duplicates of these go with it; NULL if @fd_count is 0
 * @fd_count: 0 to SPAWN_MAX_FDS
 *
 * Return: 0; -EAGAIN if the other side has not read enough yet; another -errno
 */
int datagram_send(int fd, const struct spawn_message *message, const int *fds, uint32_t fd_count);

/** datagram_close_fds() - Close the descriptors that nobody took */
void datagram_close_fds(struct datagram *datagram);

#endif
