/*
 * ring_guest.h - What a client of the ring does most often
 */
#ifndef VGPUD_TESTS_RING_GUEST_H
#define VGPUD_TESTS_RING_GUEST_H

#include <stddef.h>

#include "check.h"
#include "engine_rig.h"

#define RING_FEATURES (1u << VGPU_FEATURE_STREAMS | 1u << VGPU_FEATURE_OPENCL_C)

/* Put an entry on pair @qp and wait for its completion. */
static inline struct vgpu_completion ask_on(struct rig_ring *ring, uint32_t qp,
                                            struct vgpu_submission entry)
{
    struct vgpu_completion completion = {.status = 0xffff};

    rig_ring_put(ring, qp, &entry);
    if (!rig_ring_take(ring, qp, &completion, RIG_LONG_MS))
        completion.status = 0xfffe;
    return completion;
}

static inline bool nop_works(struct rig_ring *ring, uint32_t qp, uint64_t cookie)
{
    struct vgpu_completion completion = ask_on(ring, qp, rig_nop(cookie, 0));

    return completion.cookie == cookie && completion.status == VGPU_OK;
}

static inline void join(struct rig_ring *ring, const struct rig_vm *vm)
{
    CHECK(rig_ring_attach(ring, vm));
    CHECK(rig_ring_accept(ring, RING_FEATURES) == VGPU_DEVICE_OK);
}

static inline void leave(struct rig_ring *ring, struct mediator *m, const struct rig_vm *vm)
{
    rig_ring_leave(ring);
    CHECK(RIG_UNTIL(m, vm, ring_connected, 0));
}

/* Does a client that knows nothing of the others still get its NOPs through? */
static inline bool neighbour_is_well(const struct rig_vm *other, struct mediator *m)
{
    struct rig_ring ring;
    bool well;

    join(&ring, other);
    well = nop_works(&ring, 0, 99);
    leave(&ring, m, other);
    return well;
}

#endif
