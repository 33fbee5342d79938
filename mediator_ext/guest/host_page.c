/*
 * host_page.c - Checks of what the host says about the shared memory
 *
 * Every offset that is used later is derived from these fields, so after this check no access of
 * ours can leave the mapping, whatever the page says. The parts of a pair must lie inside the
 * stride, on their alignment, and must not overlap.
 */
#include "host_page.h"

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stddef.h>

#include "link.h"

#define REGION_BYTES_MAX (UINT64_C(1) << 40)
#define PAIR_PAGES_BYTES (2 * VGPU_PAGE_BYTES)
#define LENGTH(array)    (sizeof(array) / sizeof((array)[0]))

struct part {
    const char *name;
    uint64_t start;
    uint64_t bytes;
};

static bool completions_right(uint32_t entries)
{
    return entries >= VGPU_RING_ENTRIES_MIN && entries <= 2 * VGPU_RING_ENTRIES_MAX &&
           (entries & (entries - 1)) == 0;
}

static bool entries_right(uint32_t entries)
{
    return entries >= VGPU_RING_ENTRIES_MIN && entries <= VGPU_RING_ENTRIES_MAX &&
           (entries & (entries - 1)) == 0;
}

static int check_parts(const struct vgpu_host_page *page, struct vgpu_reason *why)
{
    const struct part parts[] = {
        {"indices", 0, PAIR_PAGES_BYTES},
        {"submissions", page->sq_offset,
         (uint64_t)page->sq_entries * sizeof(struct vgpu_submission)},
        {"completions", page->cq_offset,
         (uint64_t)page->cq_entries * sizeof(struct vgpu_completion)},
        {"data", page->data_offset, page->data_bytes},
    };

    for (size_t i = 0; i < LENGTH(parts); i++) {
        const struct part *a = &parts[i];

        if (a->start % VGPU_PART_ALIGN) {
            reason_set(why, "the host page puts a pair's %s at %" PRIu64 ", not on 64 KiB", a->name,
                       a->start);
            return -EPROTO;
        }
        if (a->start > page->qp_stride || a->bytes > page->qp_stride - a->start) {
            reason_set(why, "the host page puts a pair's %s past its end", a->name);
            return -EPROTO;
        }
        for (size_t j = 0; j < i; j++) {
            const struct part *b = &parts[j];

            if (a->start < b->start + b->bytes && b->start < a->start + a->bytes) {
                reason_set(why, "the host page lays a pair's %s over its %s", a->name, b->name);
                return -EPROTO;
            }
        }
    }
    return 0;
}

int host_page_check(const struct vgpu_host_page *page, uint64_t memory_bytes,
                    struct vgpu_reason *why)
{
    if (page->magic != VGPU_RING_MAGIC) {
        reason_set(why, "no vGPU host page in the shared memory (magic %08" PRIx32 ")",
                   page->magic);
        return -EPROTO;
    }
    if (page->major != VGPU_RING_MAJOR) {
        reason_set(why,
                   "the host speaks version %u.%u of the ring interface, this library %u: "
                   "update the older one",
                   page->major, page->minor, VGPU_RING_MAJOR);
        return -EPROTO;
    }
    if (page->page_bytes < sizeof(*page) || page->page_bytes > VGPU_PAGE_BYTES) {
        reason_set(why, "the host page claims %" PRIu32 " bytes", page->page_bytes);
        return -EPROTO;
    }
    if (page->region_bytes > memory_bytes || page->region_bytes > REGION_BYTES_MAX) {
        reason_set(why, "the host page claims %" PRIu64 " bytes of memory, there are %" PRIu64,
                   page->region_bytes, memory_bytes);
        return -EPROTO;
    }
    if (page->qp_count < 1 || page->qp_count > VGPU_QP_MAX) {
        reason_set(why, "the host page claims %u queue pairs", page->qp_count);
        return -EPROTO;
    }
    if (!entries_right(page->sq_entries) || !completions_right(page->cq_entries)) {
        reason_set(why, "the host page claims rings of %" PRIu32 " and %" PRIu32 " entries",
                   page->sq_entries, page->cq_entries);
        return -EPROTO;
    }
    if (page->qp_base % VGPU_PART_ALIGN || page->qp_stride % VGPU_PART_ALIGN ||
        page->qp_base < PAIR_PAGES_BYTES || page->qp_base > page->region_bytes ||
        page->qp_stride > (page->region_bytes - page->qp_base) / page->qp_count) {
        reason_set(why,
                   "the host page puts %u queue pairs of %" PRIu64 " bytes at %" PRIu64
                   " of %" PRIu64,
                   page->qp_count, page->qp_stride, page->qp_base, page->region_bytes);
        return -EPROTO;
    }
    if (page->data_bytes < VGPU_PAGE_BYTES || page->data_bytes % VGPU_PAGE_BYTES) {
        reason_set(why, "the host page claims %" PRIu64 " bytes of data in each pair",
                   page->data_bytes);
        return -EPROTO;
    }
    return check_parts(page, why);
}
