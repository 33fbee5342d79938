/*
 * peer.c - Who may connect
 *
 * Theory of operation
 *
 * A VM's sockets belong to that VM alone: whoever is let in on one speaks as that VM, whatever its
 * messages say. So the kernel is asked (SO_PEERCRED) before a single byte is served: only the uid
 * that the VM is registered with, and only one client at a time. Who is refused sees its connection
 * closed; the event names its pid and uid, for the log.
 */
#include <errno.h>
#include <poll.h>
#include <sys/socket.h>

#include "closer.h"
#include "transport.h"

/** transport_listens() - Prepare a listener, which an older daemon may have made */
void transport_listens(int listener)
{
    closer_refuse_descriptors(listener);
}

/** transport_peer_left() - Has the other end been closed? */
bool transport_peer_left(int connection)
{
    struct pollfd look = {.fd = connection};

    return poll(&look, 1, 0) == 1 && look.revents & (POLLHUP | POLLERR);
}

/**
 * transport_accept() - Take one connection from a listener if its peer may have it
 * @taken: the transport has a client already
 * @pid: set to the peer's on success
 *
 * Return: the descriptor; -EAGAIN: nobody is waiting; -EACCES: refused; -EBUSY: the connection waits
 * until the spawner can hold it, ops->listen() says when; another negative errno: the host is short of
 * something, and the connection still waits
 */
int transport_accept(struct transport *t, int listener, bool taken, int *pid)
{
    struct ucred peer;
    socklen_t length = sizeof(peer);
    uint64_t who;
    int fd;

    if (!taken && !transport_may_hold(t))
        return -EBUSY;
    fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0)
        return errno == ECONNABORTED || errno == EINTR ? -EAGAIN : -errno;
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &length)) {
        transport_hang_up(t, fd);
        return -EACCES;
    }
    who = (uint64_t)(uint32_t)peer.pid << 32 | peer.uid;
    if (peer.uid != transport_identity(t)->peer_uid) {
        transport_event(t, MEDIATOR_PEER_REFUSED, t->ops->id, who);
        transport_hang_up(t, fd);
        return -EACCES;
    }
    if (taken) {
        transport_event(t, MEDIATOR_SECOND_CLIENT, t->ops->id, who);
        transport_hang_up(t, fd);
        return -EACCES;
    }
    *pid = peer.pid;
    return fd;
}
