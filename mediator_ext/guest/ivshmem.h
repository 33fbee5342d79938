/*
 * ivshmem.h - The client's half of the ivshmem server protocol; not for users of the library
 */
#ifndef VGPU_IVSHMEM_H
#define VGPU_IVSHMEM_H

#include <stdint.h>

#include "vgpu.h"

/**
 * ivshmem_greet() - Receive version, own id and shared memory; blocks until @deadline_ns
 * @id: own peer id
 * @memory_fd: the caller's to close
 *
 * Return: 0 or -errno with @why; -ECONNREFUSED when the connection was closed first.
 */
int ivshmem_greet(int connection, uint64_t deadline_ns, int64_t *id, int *memory_fd,
                  struct vgpu_reason *why);

/**
 * ivshmem_vectors() - Receive the eventfds of peer 0 and our own; blocks until @deadline_ns
 * @id: own peer id
 * @count: vectors of each, 1..VGPU_QP_MAX
 * @doorbells, @vectors: @count places that hold -1; filled in order, the caller's to close also
 *                       after a failure
 *
 * Return: 0 or -errno with @why.
 */
int ivshmem_vectors(int connection, uint64_t deadline_ns, int64_t id, uint32_t count,
                    int *doorbells, int *vectors, struct vgpu_reason *why);

#endif
