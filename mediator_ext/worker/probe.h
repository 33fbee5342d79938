/*
 * probe.h - Does this device really work?
 */
#ifndef VGPUD_WORKER_PROBE_H
#define VGPUD_WORKER_PROBE_H

#include <stddef.h>

#include "backend.h"

/**
 * probe_device() - Build the built-in kernel, load it, run it, and look at its answer
 * @ops:          the backend
 * @backend:      its open device
 * @reason:       on failure: a sentence on what does not work
 * @reason_bytes: room for it
 *
 * May take seconds (a compiler runs), and may end the process by a signal.
 *
 * Return: 0 or -ENODEV.
 */
int probe_device(const struct backend_ops *ops, struct backend *backend, char *reason,
                 size_t reason_bytes);

#endif
