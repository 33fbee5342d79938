/*
 * held_connections.c - Clients' connections, held by the spawner however fast they come and go
 *
 * Theory of operation
 *
 * A connection is held before its first byte is served (hold.c), and let go of when it ends. Both are
 * datagrams to the spawner, and its queue is finite: a thousand VMs that connect at once, or one that
 * connects and closes as fast as it can, fill it. Nobody is turned away for that. A listener that has
 * somebody waiting first asks whether the queue has room; if not, it stands in line, and the connection
 * waits in the listener's backlog. A drop for which there was no room stands in the same line: while a
 * connection that we have closed stays held, its client does not see that it is closed.
 *
 * When the queue has room again, everybody in line goes on, and who then finds it full stands in line
 * again. One listener accepts one connection in a turn, so the line serves all of them alike. A spawner
 * that is gone has no queue: nobody waits for it, and a connection that cannot be held is closed.
 *
 * As others hold it too, closing a connection here is not its end: who lets a client go has the closer
 * end it for all (closer.c), which also keeps what the client does meanwhile from the reactor.
 */
#include <errno.h>
#include <poll.h>
#include <unistd.h>

#include "engine.h"
#include "hold.h"

static const char *held_name(const struct transport *t)
{
    return t->ops->id == MEDIATOR_STUB ? "stub-connection" : "ring-connection";
}

static void line_up(struct transport *t)
{
    struct mediator *m = t->vm->mediator;

    if (t->in_line)
        return;
    t->in_line = true;
    t->line_next = NULL;
    *m->hold.last = t;
    m->hold.last = &t->line_next;
    reactor_change(&m->reactor, &m->hold.watch, EPOLLOUT);
}

static void drop(struct transport *t)
{
    const struct vm *vm = t->vm;

    t->drop_owed = hold_drop(vm->mediator->hold.fd, vm->identity.uuid, held_name(t)) == -EAGAIN;
    if (t->drop_owed)
        line_up(t);
}

/* Everybody in line goes on; who finds the queue full stands in line again. */
static void go_on(struct mediator *m)
{
    struct transport *line = m->hold.first;

    m->hold.first = NULL;
    m->hold.last = &m->hold.first;
    while (line) {
        struct transport *t = line;

        line = t->line_next;
        t->in_line = false;
        if (t->drop_owed && m->hold.fd >= 0)
            drop(t);
        t->ops->listen(t);
    }
}

static void room(struct watch *watch, uint32_t events)
{
    struct mediator *m = (struct mediator *)((char *)watch - offsetof(struct mediator, hold.watch));

    if (events & (EPOLLERR | EPOLLHUP))
        reactor_unwatch(&m->reactor, watch);
    else
        reactor_change(&m->reactor, watch, 0);
    go_on(m);
}

/**
 * held_connections_set() - The connection to the spawner from now on
 * @fd: consumed; -1 = none: nothing is held
 *
 * Return: 0, or a negative errno
 */
int held_connections_set(struct mediator *m, int fd)
{
    int rc = 0;

    held_connections_free(m);
    if (fd >= 0) {
        rc = reactor_watch(&m->reactor, &m->hold.watch, fd, 0, room);
        if (rc) {
            m->hold.watch.fd = -1;
            close(fd);
        } else {
            m->hold.fd = fd;
        }
    }
    go_on(m);
    return rc;
}

/** held_connections_init() - Nothing is held */
void held_connections_init(struct mediator *m)
{
    m->hold = (struct holding){.fd = -1, .watch = {.fd = -1}};
    m->hold.last = &m->hold.first;
}

/** held_connections_free() - Close the connection; what is held stays held */
void held_connections_free(struct mediator *m)
{
    reactor_unwatch(&m->reactor, &m->hold.watch);
    if (m->hold.fd >= 0)
        close(m->hold.fd);
    m->hold.fd = -1;
}

/** held_connections_forget() - A transport ends: it stands in line no more */
void held_connections_forget(struct transport *t)
{
    struct holding *hold = &t->vm->mediator->hold;

    for (struct transport **at = &hold->first; *at; at = &(*at)->line_next)
        if (*at == t) {
            *at = t->line_next;
            if (hold->last == &t->line_next)
                hold->last = at;
            return;
        }
}

bool transport_may_hold(struct transport *t)
{
    struct pollfd queue = {.fd = t->vm->mediator->hold.watch.fd, .events = POLLOUT};

    if (queue.fd < 0 || poll(&queue, 1, 0) != 0)
        return true;
    line_up(t);
    return false;
}

int transport_hold(struct transport *t, int fd)
{
    const struct vm *vm = t->vm;
    int rc = 0;

    if (vm->mediator->hold.fd >= 0)
        rc = hold_fd(vm->mediator->hold.fd, vm->identity.uuid, held_name(t), fd);
    if (rc == 0)
        t->drop_owed = false; /* what was held before is let go of with this */
    return rc;
}

void transport_drop(struct transport *t)
{
    if (t->vm->mediator->hold.fd >= 0)
        drop(t);
}

void transport_hang_up(struct transport *t, int fd)
{
    closer_hang_up(&t->vm->mediator->closer, fd);
}

struct closer *transport_closer(struct transport *t)
{
    return &t->vm->mediator->closer;
}
