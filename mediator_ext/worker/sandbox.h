/*
 * sandbox.h - The rights a worker gives up, in stages
 *
 * The spawner goes first (uid, namespaces, no_new_privs, cgroup). Then, in this order:
 *
 *     sandbox_before_device()  before any foreign library is in the process
 *     (the backend opens its device: this needs files, and starts threads)
 *     sandbox_before_guest()   before the first byte of a guest is seen
 *
 * What needs the device's files open, or threads not yet started, belongs to the first stage; the
 * filter on system calls is the end of the second one.
 */
#ifndef VGPUD_WORKER_SANDBOX_H
#define VGPUD_WORKER_SANDBOX_H

#include <stdbool.h>
#include <stdint.h>

/**
 * sandbox_before_device() - No core files, no ptrace by the same uid
 *
 * Return: 0 or -errno.
 */
int sandbox_before_device(void);

/**
 * sandbox_before_guest() - Take back what the device's runtime set up for its own comfort, and all
 *                          system calls that the role does not need
 * @role:       enum bind_role
 * @has_driver: the device has a driver in the kernel; see filter.h
 *
 * Return: 0 or -errno.
 */
int sandbox_before_guest(uint32_t role, bool has_driver);

#endif
