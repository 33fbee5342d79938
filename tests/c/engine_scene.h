/*
 * engine_scene.h - One engine, two VMs with a ring client each; workers as a test attaches them
 */
#ifndef VGPUD_TESTS_ENGINE_SCENE_H
#define VGPUD_TESTS_ENGINE_SCENE_H

#include <stdio.h>

#include "check.h"
#include "decided_again.h"
#include "engine_rig.h"
#include "fake_worker.h"

struct scene {
    struct mediator *m;
    struct rig_vm vm[2];
    struct rig_ring ring[2];
};

static inline void scene_new(struct scene *s, const struct mediator_config *config)
{
    s->m = rig_engine(config);
    for (int i = 0; i < 2; i++) {
        rig_vm_new(&s->vm[i], 7 + (uint32_t)i, 'A', 1, 64, 2);
        CHECK(rig_vm_add(&s->vm[i], s->m, -1, -1) >= 0);
    }
    record_from_now(s->m);
    CHECK(mediator_start(s->m) == 0);
    for (int i = 0; i < 2; i++) {
        CHECK(rig_ring_attach(&s->ring[i], &s->vm[i]));
        CHECK(rig_ring_accept(&s->ring[i], 1u << VGPU_FEATURE_STREAMS) == VGPU_DEVICE_OK);
    }
}

static inline void scene_free(struct scene *s)
{
    CHECK(!s->m || decided_again(s->m));
    mediator_free(s->m);
    for (int i = 0; i < 2; i++) {
        rig_ring_leave(&s->ring[i]);
        rig_vm_free(&s->vm[i]);
    }
}

static inline void attach(struct scene *s, int i, struct fake_worker *worker, uint32_t id, int lane)
{
    fake_worker_new(worker, id);
    CHECK(fake_worker_attach(worker, s->m, s->vm[i].handle, lane) == 0);
}

static inline void put(struct scene *s, int i, uint64_t cookie, uint32_t stream)
{
    const struct vgpu_submission entry = rig_command(cookie, stream);

    rig_ring_put(&s->ring[i], 0, &entry);
}

static inline void put_nop(struct scene *s, int i, uint64_t cookie, uint32_t stream)
{
    const struct vgpu_submission entry = rig_nop(cookie, stream);

    rig_ring_put(&s->ring[i], 0, &entry);
}

static inline bool got(struct scene *s, int i, uint64_t cookie, enum vgpu_status status)
{
    struct vgpu_completion completion;

    if (!rig_ring_take(&s->ring[i], 0, &completion, RIG_LONG_MS))
        return false;
    if (completion.cookie != cookie || completion.status != (uint16_t)status)
        fprintf(stderr, "cookie %llu status %u\n", (unsigned long long)completion.cookie,
                completion.status);
    return completion.cookie == cookie && completion.status == (uint16_t)status;
}

static inline bool nothing_for(struct fake_worker *worker, struct scene *s, int i)
{
    struct worker_unit unit;

    (void)rig_stats(s->m, &s->vm[i]); /* the engine has turned */
    (void)rig_stats(s->m, &s->vm[i]);
    return !fake_worker_take(worker, &unit, 0);
}

static inline bool works(struct scene *s, int i, struct fake_worker *worker)
{
    struct worker_unit unit;

    put(s, i, 4242, 9);
    if (!fake_worker_take(worker, &unit, RIG_LONG_MS))
        return false;
    fake_worker_done(worker, &unit, VGPU_OK);
    return got(s, i, 4242, VGPU_OK);
}

#endif
