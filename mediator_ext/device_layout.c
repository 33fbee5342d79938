/*
 * device_layout.c - Where everything lies in the shared memory of a version 2 device
 *
 * Theory of operation
 *
 * The layout is the journal's: three numbers, from which everything follows. Every part of a pair
 * starts on VGPU_PART_ALIGN, and the whole is a power of two, as a PCI BAR must be.
 */
#include "device.h"

#define DATA_BYTES_MAX (1ull << 36)

/** device_completions() - Entries of a completion ring: half are for urgent submissions alone */
uint32_t device_completions(const struct journal_layout *layout)
{
    return 2 * layout->entries;
}

static uint64_t align_part(uint64_t bytes)
{
    return (bytes + VGPU_PART_ALIGN - 1) & ~(uint64_t)(VGPU_PART_ALIGN - 1);
}

/** device_layout_valid() - Is this a layout that the interface allows? */
bool device_layout_valid(const struct journal_layout *layout)
{
    return layout->qp_count >= 1 && layout->qp_count <= VGPU_QP_MAX &&
           layout->entries >= VGPU_RING_ENTRIES_MIN && layout->entries <= VGPU_RING_ENTRIES_MAX &&
           (layout->entries & (layout->entries - 1)) == 0 &&
           layout->data_bytes >= VGPU_PART_ALIGN && layout->data_bytes <= DATA_BYTES_MAX &&
           layout->data_bytes % VGPU_PART_ALIGN == 0;
}

/** device_geometry() - Where everything lies; the whole is a power of two, as a PCI BAR must be */
struct ring_geometry device_geometry(const struct journal_layout *layout)
{
    struct ring_geometry g = {.qp_base = VGPU_PART_ALIGN, .sq_offset = VGPU_PART_ALIGN};
    uint64_t used;

    g.cq_offset =
        g.sq_offset + align_part((uint64_t)layout->entries * sizeof(struct vgpu_submission));
    g.data_offset = g.cq_offset + align_part((uint64_t)device_completions(layout) *
                                             sizeof(struct vgpu_completion));
    g.qp_stride = g.data_offset + layout->data_bytes;
    used = g.qp_base + g.qp_stride * layout->qp_count;
    for (g.bytes = VGPU_PART_ALIGN; g.bytes < used;)
        g.bytes *= 2;
    return g;
}
