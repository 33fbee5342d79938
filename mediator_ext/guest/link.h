/*
 * link.h - What attach.c makes and ring.c uses; not for users of the library
 *
 * `page` is the checked copy of the host page: after vgpu_attach() nothing but device_status and
 * the identity is read from shared memory again.
 */
#ifndef VGPU_LINK_H
#define VGPU_LINK_H

#include <stdbool.h>
#include <stdint.h>

#include "vgpu.h"

struct vgpu_link {
    int connection;
    int doorbells[VGPU_QP_MAX]; /* ours to write: rings pair k at the host; -1 = not there */
    int vectors[VGPU_QP_MAX];   /* ours to wait for: the host interrupts pair k */
    uint8_t *region;
    uint64_t mapped_bytes;
    struct vgpu_host_page page;
    uint64_t accepted;
    uint64_t opened; /* bit k: pair k was opened; atomic */
    uint32_t closed; /* the connection ended; atomic */
};

/**
 * link_alive() - Look at the connection without blocking
 *
 * The host has nothing more to say on it after the handshake; what it says is read and dropped.
 *
 * Return: 0, or -EPIPE once it was closed.
 */
int link_alive(struct vgpu_link *link);

/** link_ring() - Ring pair @pair's doorbell. Return: 0 or -errno. */
int link_ring(const struct vgpu_link *link, uint32_t pair);

/** link_pair() - Address of pair @pair's part of the shared memory. */
static inline uint8_t *link_pair(const struct vgpu_link *link, uint32_t pair)
{
    return link->region + link->page.qp_base + pair * link->page.qp_stride;
}

/** reason_set() - Write @why, like printf(); @why may be NULL. */
void reason_set(struct vgpu_reason *why, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/**
 * unix_connect() - Connect a close-on-exec stream socket to @path
 * @what:       the name of the socket in @why ("ring", "stub")
 * @timeout_ms: how long to wait where so many wait already that there is no place; at least 1 ms
 *
 * Return: the descriptor, or -errno with @why; -ETIMEDOUT when there was no place.
 */
int unix_connect(const char *path, const char *what, int timeout_ms, struct vgpu_reason *why);

#endif
