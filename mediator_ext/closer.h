/*
 * closer.h - Closing what a client has had a hand in, without waiting for it
 */
#ifndef VGPUD_CLOSER_H
#define VGPUD_CLOSER_H

#include <pthread.h>
#include <sys/socket.h>
#include <sys/types.h>

struct closer {
    pthread_t thread;
    int queue; /* write end of the pipe to the thread */
};

int closer_init(struct closer *c);
void closer_free(struct closer *c);

/* Takes over a client's connection: ends it for everybody who holds it, and closes it. */
void closer_hang_up(struct closer *c, int fd);

/* recvmsg() without flags but MSG_DONTWAIT. Descriptors that come along are thrown away. */
ssize_t closer_receive(struct closer *c, int fd, struct msghdr *message);

/* Have the kernel refuse descriptors sent to a socket, or to those accepted from it. */
void closer_refuse_descriptors(int fd);

#endif
