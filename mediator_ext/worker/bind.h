/*
 * bind.h - Becoming one VM's worker
 */
#ifndef VGPUD_WORKER_BIND_H
#define VGPUD_WORKER_BIND_H

#include <stddef.h>
#include <stdint.h>

#include "worker_channel.h"

/* enum spawn_role as a worker knows it: what it was started as. */
enum bind_role {
    BIND_LAUNCH = 0, /* runs kernels; never sees source */
    BIND_BUILD = 1,  /* compiles; never runs a kernel */
    BIND_PROBE = 2,  /* describes the device and exits: is never bound */
};

#define BIND_STAND_BY 1 /* of bind_receive(): not bound yet, but asked to say when it could be */

struct bind {
    struct worker_bind message;
    int fds[WORKER_BIND_FDS]; /* in the order of enum worker_bind_fd */
};

/**
 * bind_receive() - Wait for a message on the control socket
 * @control: the control socket
 * @role:    enum bind_role that this process was started as
 * @bind:    filled in; the descriptors are the caller's on success, closed on failure
 *
 * Blocks without a limit: a standby waits here.
 *
 * Return: 0; BIND_STAND_BY without descriptors; -EPIPE when the other end is closed; -EPROTO for anything but a well-formed message
 * for this role; -errno.
 */
int bind_receive(int control, uint32_t role, struct bind *bind);

/**
 * bind_close() - Close those descriptors that are still the bind's
 * @bind: entries of -1 are skipped
 */
void bind_close(struct bind *bind);

/**
 * bind_answer() - Say that the worker is ready, bound or not, or why it is not
 * @control: the control socket
 * @status:  0 or -errno
 * @reason:  a sentence, used when @status is not 0
 * @device:  NULL = none
 *
 * Return: 0 or -errno.
 */
int bind_answer(int control, int status, const char *reason, const struct vgpu_device_info *device);

#endif
