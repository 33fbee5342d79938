/*
 * data.c - Which bytes of a data slice are in use
 *
 * The used blocks, sorted by offset, in a table that is allocated once: first fit over the gaps
 * between them. Linear in the number of blocks, which is small (a few for each outstanding
 * submission), and nothing of it lies in shared memory where the host or another process of the VM
 * could spoil it.
 *
 * A granule of 64 bytes keeps every block on the alignment that commands need and on cache lines of
 * its own.
 */
#include "vgpu.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define GRANULE    64u
#define BLOCKS_MAX 65536u

struct block {
    uint64_t offset;
    uint64_t bytes;
};

struct vgpu_slice {
    uint64_t bytes;
    uint64_t used;
    uint32_t blocks_max;
    uint32_t count;
    struct block blocks[];
};

int vgpu_slice_new(uint64_t bytes, uint32_t blocks_max, struct vgpu_slice **out)
{
    struct vgpu_slice *slice;

    if (bytes < GRANULE || blocks_max < 1 || blocks_max > BLOCKS_MAX)
        return -EINVAL;
    slice = calloc(1, sizeof(*slice) + blocks_max * sizeof(slice->blocks[0]));
    if (!slice)
        return -ENOMEM;
    slice->bytes = bytes / GRANULE * GRANULE;
    slice->blocks_max = blocks_max;
    *out = slice;
    return 0;
}

void vgpu_slice_free(struct vgpu_slice *slice)
{
    free(slice);
}

int vgpu_slice_get(struct vgpu_slice *slice, uint64_t bytes, uint64_t *offset)
{
    uint64_t start = 0;
    uint32_t i;

    if (bytes == 0)
        return -EINVAL;
    if (bytes > slice->bytes || slice->count == slice->blocks_max)
        return -ENOSPC;
    bytes = (bytes + GRANULE - 1) / GRANULE * GRANULE;
    for (i = 0; i < slice->count && slice->blocks[i].offset - start < bytes; i++)
        start = slice->blocks[i].offset + slice->blocks[i].bytes;
    if (i == slice->count && slice->bytes - start < bytes)
        return -ENOSPC;
    memmove(&slice->blocks[i + 1], &slice->blocks[i],
            (slice->count - i) * sizeof(slice->blocks[0]));
    slice->blocks[i] = (struct block){.offset = start, .bytes = bytes};
    slice->count++;
    slice->used += bytes;
    *offset = start;
    return 0;
}

int vgpu_slice_put(struct vgpu_slice *slice, uint64_t offset)
{
    uint32_t low = 0, high = slice->count;

    while (low < high) {
        uint32_t middle = low + (high - low) / 2;

        if (slice->blocks[middle].offset < offset)
            low = middle + 1;
        else
            high = middle;
    }
    if (low == slice->count || slice->blocks[low].offset != offset)
        return -EINVAL;
    slice->used -= slice->blocks[low].bytes;
    slice->count--;
    memmove(&slice->blocks[low], &slice->blocks[low + 1],
            (slice->count - low) * sizeof(slice->blocks[0]));
    return 0;
}

uint64_t vgpu_slice_used(const struct vgpu_slice *slice)
{
    return slice->used;
}
