/*
 * sandbox.h - The rights a worker gives up, in stages
 *
 * The spawner goes first (uid, namespaces, no_new_privs, cgroup). Then, in this order:
 *
 *     sandbox_before_device()  before any foreign library is in the process
 *     (the backend opens its device: this needs files, and starts threads)
 *     sandbox_before_guest()   before the first byte of a guest is seen
 *     sandbox_limit_memory()   once it is known what the VM may have
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

/**
 * sandbox_limit_memory() - Bound what this process can allocate
 * @role:        enum bind_role
 * @has_driver:  as before: then nothing is bound, since drivers map more than they use
 * @quota_bytes: the VM's device memory, which on a CPU is this process's
 *
 * For a launcher the quota and what its threads and its runtime need; for a compiler, and for each
 * process it starts, what a large program needs. Reaching it is an error of the allocation.
 *
 * Return: 0 or -errno.
 */
int sandbox_limit_memory(uint32_t role, bool has_driver, uint64_t quota_bytes);

#endif
