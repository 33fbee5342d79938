/*
 * timeline_stage.h - One VM with a ring on which timelines are agreed on, and its worker
 */
#ifndef VGPUD_TESTS_TIMELINE_STAGE_H
#define VGPUD_TESTS_TIMELINE_STAGE_H

#include <string.h>

#include "check.h"
#include "decided_again.h"
#include "engine_rig.h"
#include "fake_worker.h"

#define FEATURES                                                                                   \
    (1u << VGPU_FEATURE_STREAMS | 1u << VGPU_FEATURE_TIMELINES | 1u << VGPU_FEATURE_QUERY)
#define USER   VGPU_TIMELINE_USER
#define STREAM VGPU_TIMELINE_STREAM

struct stage {
    struct mediator *m;
    struct rig_vm vm;
    struct rig_ring ring;
    struct fake_worker worker;
    uint64_t wait_off; /* where the next waits go */
};

static inline void stage_new(struct stage *s, const struct mediator_config *config, uint32_t slots)
{
    memset(s, 0, sizeof(*s));
    s->m = rig_engine(config);
    rig_vm_new(&s->vm, 7, 'A', 1, slots, 2);
    record_from_now(s->m);
    CHECK(rig_vm_add(&s->vm, s->m, -1, -1) >= 0);
    CHECK(mediator_start(s->m) == 0);
    CHECK(rig_ring_attach(&s->ring, &s->vm));
    CHECK(rig_ring_accept(&s->ring, FEATURES) == VGPU_DEVICE_OK);
    fake_worker_new(&s->worker, 1);
    CHECK(fake_worker_attach(&s->worker, s->m, s->vm.handle, MEDIATOR_LAUNCH) == 0);
}

static inline void stage_free(struct stage *s)
{
    CHECK(decided_again(s->m));
    mediator_free(s->m);
    rig_ring_leave(&s->ring);
    fake_worker_free(&s->worker);
    rig_vm_free(&s->vm);
}

/* Have an entry wait for something more; its waits must be one after the other. */
static inline struct vgpu_submission waits(struct stage *s, struct vgpu_submission entry,
                                           uint32_t kind, uint32_t timeline, uint64_t value)
{
    struct vgpu_wait *at = (struct vgpu_wait *)(s->ring.memory + s->ring.host->qp_base +
                                                s->ring.host->data_offset + s->wait_off);

    *at = (struct vgpu_wait){.timeline = timeline, .kind = kind, .value = value};
    if (entry.wait_count++ == 0)
        entry.wait_off = (uint32_t)s->wait_off;
    s->wait_off += sizeof(*at);
    return entry;
}

static inline void send_entry(struct stage *s, struct vgpu_submission entry)
{
    rig_ring_put(&s->ring, 0, &entry);
}

static inline struct vgpu_submission signalling(uint32_t timeline, uint64_t value)
{
    return (struct vgpu_submission){
        .cookie = 1000 + timeline, .kind = VGPU_KIND_SIGNAL, .stream = timeline, .signal = value};
}

static inline void signal_user(struct stage *s, uint32_t timeline, uint64_t value)
{
    send_entry(s, signalling(timeline, value));
}

static inline struct vgpu_submission moving(struct vgpu_submission entry, uint64_t value)
{
    entry.signal = value;
    return entry;
}

static inline bool next_is(struct stage *s, uint64_t cookie, enum vgpu_status status)
{
    struct vgpu_completion c;

    if (!rig_ring_take(&s->ring, 0, &c, RIG_LONG_MS))
        return false;
    if (c.cookie != cookie || c.status != (uint16_t)status)
        fprintf(stderr, "cookie %llu status %u\n", (unsigned long long)c.cookie, c.status);
    return c.cookie == cookie && c.status == (uint16_t)status;
}

#endif
