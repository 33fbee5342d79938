/*
 * held_connections.c - A client's connection: held for the next engine, and ended for everybody
 *
 * Theory of operation
 *
 * A connection is held by the spawner from before its first byte is served (hold.c), so that a
 * successor goes on with it. So closing it here is not its end: who lets a client go has the closer
 * end it for all that hold it (closer.c), which also keeps what the client does meanwhile from the
 * reactor.
 */
#include "engine.h"
#include "hold.h"

static const char *held_name(const struct transport *t)
{
    return t->ops->id == MEDIATOR_STUB ? "stub-connection" : "ring-connection";
}

int transport_hold(struct transport *t, int fd)
{
    const struct vm *vm = t->vm;

    return vm->mediator->hold_fd < 0
               ? 0
               : hold_fd(vm->mediator->hold_fd, vm->identity.uuid, held_name(t), fd);
}

void transport_drop(struct transport *t)
{
    const struct vm *vm = t->vm;

    if (vm->mediator->hold_fd >= 0)
        hold_drop(vm->mediator->hold_fd, vm->identity.uuid, held_name(t));
}

void transport_hang_up(struct transport *t, int fd)
{
    closer_hang_up(&t->vm->mediator->closer, fd);
}

struct closer *transport_closer(struct transport *t)
{
    return &t->vm->mediator->closer;
}
