/*
 * filter.h - A worker's system calls, filtered by the kernel
 */
#ifndef VGPUD_WORKER_FILTER_H
#define VGPUD_WORKER_FILTER_H

#include <stdbool.h>
#include <stdint.h>

/**
 * filter_install() - Allow this process, and what it starts, its role's system calls only
 * @role:       enum bind_role
 * @has_driver: its device has a driver in the kernel, so that a guest's code does not run in here
 *
 * Holds for all threads from now on, for ever. Another call ends the process by SIGSYS; with a
 * driver it fails with EPERM, since nobody can list what a vendor's library will call.
 *
 * Return: 0 or -errno.
 */
int filter_install(uint32_t role, bool has_driver);

#endif
