/*
 * exchange.h - How a build goes from the build worker to the launch worker
 *
 * One datagram, struct worker_built, with one memfd (the log, then the binary) that is sealed
 * against every change; none when both are empty. Neither side believes the other: a builder has
 * parsed a tenant's source and may be anybody's by now.
 */
#ifndef VGPUD_WORKER_EXCHANGE_H
#define VGPUD_WORKER_EXCHANGE_H

#include <stdint.h>

#include "backend.h"
#include "binaries.h"
#include "hash.h"
#include "worker_channel.h"

#define EXCHANGE_LOG_BYTES_MAX    (1ull << 20)
#define EXCHANGE_BINARY_BYTES_MAX (32ull << 20)

/**
 * exchange_send() - Hand a build over; never blocks
 * @fd:      the exchange
 * @key:     of the build
 * @verdict: how the build went
 * @built:   log (cut to EXCHANGE_LOG_BYTES_MAX) and binary; stays the caller's
 *
 * Return: 0; -EFBIG when the binary is over EXCHANGE_BINARY_BYTES_MAX; -EAGAIN when the other side
 * has taken nothing for long; -EPIPE or -ECONNREFUSED when it is gone; -errno.
 */
int exchange_send(int fd, struct hash_key key, struct backend_verdict verdict,
                  const struct backend_built *built);

/**
 * exchange_receive() - Take one build; never blocks
 * @fd:     the exchange
 * @binary: filled in on success: its mapping is the caller's
 *
 * Return: 0; -EAGAIN when there is none; -EBADMSG when what came was not one: it is dropped, and
 * there may be more; -EPIPE when the other side is gone; -errno.
 */
int exchange_receive(int fd, struct binary *binary);

/**
 * exchange_drain() - Move what has come into the cache
 * @fd:       the exchange
 * @binaries: cache
 */
void exchange_drain(int fd, struct binaries *binaries);

#endif
