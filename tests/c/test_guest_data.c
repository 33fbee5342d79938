/* sanitizers: address */
/*
 * test_guest_data.c - The allocator of a data slice (guest/data.c)
 */
#include <errno.h>
#include <string.h>

#include "check.h"
#include "guest/vgpu.h"

#define SLICE_BYTES 65536u

static struct vgpu_slice *new_slice(uint32_t blocks_max)
{
    struct vgpu_slice *slice = NULL;

    CHECK(vgpu_slice_new(SLICE_BYTES, blocks_max, &slice) == 0);
    return slice;
}

static void whole_slice_is_one_block(void)
{
    struct vgpu_slice *slice = new_slice(8);
    uint64_t offset, other;

    CASE("a block may take the whole slice, and nothing fits beside it");
    CHECK(vgpu_slice_get(slice, SLICE_BYTES, &offset) == 0 && offset == 0);
    CHECK(vgpu_slice_get(slice, 1, &other) == -ENOSPC);
    CHECK(vgpu_slice_put(slice, offset) == 0);
    CHECK(vgpu_slice_used(slice) == 0);
    CHECK(vgpu_slice_get(slice, 1, &other) == 0);
    vgpu_slice_free(slice);
}

static void impossible_requests_are_refused(void)
{
    struct vgpu_slice *slice = new_slice(2);
    uint64_t offset;

    CASE("no bytes, too many bytes and too many blocks are refused");
    CHECK(vgpu_slice_get(slice, 0, &offset) == -EINVAL);
    CHECK(vgpu_slice_get(slice, SLICE_BYTES + 1, &offset) == -ENOSPC);
    CHECK(vgpu_slice_get(slice, UINT64_MAX, &offset) == -ENOSPC);
    CHECK(vgpu_slice_get(slice, 64, &offset) == 0);
    CHECK(vgpu_slice_get(slice, 64, &offset) == 0);
    CHECK(vgpu_slice_get(slice, 64, &offset) == -ENOSPC);
    vgpu_slice_free(slice);

    CASE("a slice without room or without blocks cannot be made");
    CHECK(vgpu_slice_new(63, 8, &slice) == -EINVAL);
    CHECK(vgpu_slice_new(SLICE_BYTES, 0, &slice) == -EINVAL);
}

static void unknown_offsets_are_refused(void)
{
    struct vgpu_slice *slice = new_slice(8);
    uint64_t offset;

    CASE("freeing what is not a block's start is refused and changes nothing");
    CHECK(vgpu_slice_get(slice, 128, &offset) == 0);
    CHECK(vgpu_slice_put(slice, offset + 64) == -EINVAL);
    CHECK(vgpu_slice_put(slice, SLICE_BYTES) == -EINVAL);
    CHECK(vgpu_slice_used(slice) == 128);
    CHECK(vgpu_slice_put(slice, offset) == 0);
    CHECK(vgpu_slice_put(slice, offset) == -EINVAL);
    vgpu_slice_free(slice);
}

static void gaps_are_used_again(void)
{
    struct vgpu_slice *slice = new_slice(8);
    uint64_t a, b, c, again;

    CASE("the first gap that is large enough is used again");
    CHECK(vgpu_slice_get(slice, 1000, &a) == 0);
    CHECK(vgpu_slice_get(slice, 5000, &b) == 0);
    CHECK(vgpu_slice_get(slice, 1000, &c) == 0);
    CHECK(vgpu_slice_put(slice, b) == 0);
    CHECK(vgpu_slice_get(slice, 6000, &again) == 0 && again > c);
    CHECK(vgpu_slice_get(slice, 4000, &again) == 0 && again == b);
    vgpu_slice_free(slice);
}

/* A model beside it: one owner for each granule. */
static void random_use_never_overlaps(void)
{
    enum { LIVE = 40, GRANULES = SLICE_BYTES / 64 };
    struct vgpu_slice *slice = new_slice(LIVE);
    uint8_t owner[GRANULES] = {0};
    struct {
        uint64_t offset, bytes;
    } live[LIVE] = {{0, 0}};
    uint32_t random = 1;
    int overlaps = 0, outside = 0, unaligned = 0, gets = 0;

    CASE("20,000 random allocations and frees never overlap or leave the slice");
    for (int step = 0; step < 20000; step++) {
        uint32_t i, first, count;

        random = random * 1664525u + 1013904223u;
        i = random >> 8 & 0xffff;
        i %= LIVE;
        if (live[i].bytes) {
            first = (uint32_t)(live[i].offset / 64);
            count = (uint32_t)((live[i].bytes + 63) / 64);
            CHECK(vgpu_slice_put(slice, live[i].offset) == 0);
            memset(owner + first, 0, count);
            live[i].bytes = 0;
            continue;
        }
        random = random * 1664525u + 1013904223u;
        live[i].bytes = 1 + (random >> 8) % 6000;
        if (vgpu_slice_get(slice, live[i].bytes, &live[i].offset)) {
            live[i].bytes = 0;
            continue;
        }
        gets++;
        unaligned += live[i].offset % 64 != 0;
        first = (uint32_t)(live[i].offset / 64);
        count = (uint32_t)((live[i].bytes + 63) / 64);
        if (first + count > GRANULES) {
            outside++;
            continue;
        }
        for (uint32_t g = first; g < first + count; g++) {
            overlaps += owner[g] != 0;
            owner[g] = 1;
        }
    }
    CHECK(overlaps == 0);
    CHECK(outside == 0);
    CHECK(unaligned == 0);
    CHECK(gets > 5000);
    vgpu_slice_free(slice);
}

int main(void)
{
    whole_slice_is_one_block();
    impossible_requests_are_refused();
    unknown_offsets_are_refused();
    gaps_are_used_again();
    random_use_never_overlaps();
    return check_done();
}
