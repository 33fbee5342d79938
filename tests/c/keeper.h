/*
 * keeper.h - The spawner's part in a restart: connections outlive the engine
 */
#ifndef VGPUD_TESTS_KEEPER_H
#define VGPUD_TESTS_KEEPER_H

#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "engine_rig.h"
#include "fake_worker.h"
#include "spawn/spawn_protocol.h"

struct keeper {
    int ours, theirs; /* the socket on which engines hand over connections */
    int stub, ring;   /* what is held; -1 = nothing */
};

static inline void keeper_new(struct keeper *k)
{
    int ends[2];

    rig_must(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, ends) == 0, "a spawner");
    *k = (struct keeper){.ours = ends[0], .theirs = ends[1], .stub = -1, .ring = -1};
}

static inline void keep(int *held, int fd)
{
    if (*held >= 0)
        close(*held);
    *held = fd;
}

static inline void keeper_free(struct keeper *k)
{
    keep(&k->stub, -1);
    keep(&k->ring, -1);
    close(k->ours);
    close(k->theirs);
}

static inline void keeper_listen(struct keeper *k)
{
    struct spawn_message message;

    for (;;) {
        struct iovec iov = {&message, sizeof(message)};
        union {
            struct cmsghdr align;
            char bytes[CMSG_SPACE(sizeof(int))];
        } control;
        struct msghdr datagram = {.msg_iov = &iov,
                                  .msg_iovlen = 1,
                                  .msg_control = control.bytes,
                                  .msg_controllen = sizeof(control.bytes)};
        int *held, fd = -1;

        if (recvmsg(k->ours, &datagram, MSG_DONTWAIT | MSG_CMSG_CLOEXEC) != sizeof(message))
            return;
        if (CMSG_FIRSTHDR(&datagram))
            memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&datagram)), sizeof(fd));
        held = strstr(message.key, "stub-connection") ? &k->stub : &k->ring;
        keep(held, message.verb == SPAWN_HOLD ? fd : -1);
    }
}

static inline struct mediator *new_engine(struct rig_vm *vm, const struct keeper *k,
                                          struct fake_worker *launch, struct fake_worker *build)
{
    const struct mediator_config config = rig_config();
    struct mediator *m = rig_engine(&config);

    rig_must(mediator_set_hold_fd(m, dup(k->theirs)) == 0, "a spawner");
    rig_must(
        rig_vm_add(vm, m, k->stub >= 0 ? dup(k->stub) : -1, k->ring >= 0 ? dup(k->ring) : -1) >= 0,
        "the VM");
    if (launch)
        rig_must(fake_worker_attach(launch, m, vm->handle, MEDIATOR_LAUNCH) == 0 &&
                     fake_worker_attach(build, m, vm->handle, MEDIATOR_BUILD) == 0,
                 "the workers");
    rig_must(mediator_start(m) == 0, "a thread");
    return m;
}

#endif
