/*
 * slices.h - The data area, as far as a worker may see it
 *
 * One slice for each queue pair. The rest of the ring (host page, indices, rings) is not mapped: a
 * kernel that runs in this process must not reach what the engine believes.
 */
#ifndef VGPUD_WORKER_SLICES_H
#define VGPUD_WORKER_SLICES_H

#include <stdint.h>

#include "ring_abi.h"
#include "worker_channel.h"

struct slices {
    uint32_t count;
    uint64_t bytes; /* of each slice */
    uint8_t *base[VGPU_QP_MAX];
};

/**
 * slices_map() - Map the data slices of a ring
 * @slices: filled in; nothing is mapped on failure
 * @fd:     the ring, sealed against shrinking; stays the caller's
 * @bind:   geometry; qp_count 0 = a VM without a ring
 *
 * Return: 0; -EINVAL when the geometry does not fit the file; -EPERM when the file may shrink.
 */
int slices_map(struct slices *slices, int fd, const struct worker_bind *bind);

/**
 * slices_unmap() - Undo slices_map()
 * @slices: empty afterwards
 */
void slices_unmap(struct slices *slices);

/**
 * slices_at() - Where a reference of a guest lies
 * @slices: the mapped slices
 * @qp:     pair of the submission
 * @seg:    segment; only 0, the pair's own slice, exists
 * @off:    bytes from the slice's start
 * @len:    bytes that must be there
 *
 * Return: an address, valid for @len bytes that the guest may change at any time; NULL when the
 * reference leaves the slice.
 */
uint8_t *slices_at(const struct slices *slices, uint32_t qp, uint32_t seg, uint64_t off,
                   uint64_t len);

#endif
