/*
 * test_snapshot.c - Statistics of VMs and pools: they add up, go to the right pool, and come whole
 */
/* sanitizers: address thread */
#include <errno.h>
#include <string.h>

#include "engine_scene.h"

#define MANY 150 /* VMs: more than two turns' worth */

static bool add_up(const struct mediator_vm_stats *s)
{
    return s->submitted ==
           s->completed + s->failed + s->refused + s->dropped + s->queued + s->running;
}

static bool in_order(const struct mediator_times *t)
{
    return t->p50_ns <= t->p95_ns && t->p95_ns <= t->p99_ns && t->p99_ns <= t->max_ns &&
           t->max_ns <= t->sum_ns;
}

static struct mediator_pool_stats pool_stats(struct scene *s, char id)
{
    struct mediator_pool_stats all[8] = {0};
    int count = mediator_pools_stats(s->m, all, 8);

    for (int i = 0; i < count; i++)
        if (all[i].pool_id == (uint32_t)id)
            return all[i];
    CHECK(!"the pool is there");
    return all[0];
}

static void test_counts(void)
{
    const struct mediator_config config = rig_config();
    struct mediator_vm_stats stats;
    struct scene s;
    struct fake_worker worker;
    struct worker_unit unit;

    scene_new(&s, &config);
    attach(&s, 0, &worker, 1, MEDIATOR_LAUNCH);

    CASE("done, failed, refused, dropped, queued and running are what was submitted");
    put_nop(&s, 0, 1, 0);
    CHECK(got(&s, 0, 1, VGPU_OK));
    put(&s, 0, 2, 0);
    CHECK(fake_worker_take(&worker, &unit, RIG_LONG_MS));
    stats = rig_stats(s.m, &s.vm[0]);
    CHECK(stats.submitted == 2 && stats.completed == 1 && stats.running == 1 && add_up(&stats));
    fake_worker_done(&worker, &unit, VGPU_FAILED);
    CHECK(got(&s, 0, 2, VGPU_FAILED));
    CHECK(mediator_pool_set(s.m, 'A', 50, 0) == 0);
    put(&s, 0, 3, 0);
    CHECK(got(&s, 0, 3, VGPU_POOL_DISABLED));
    CHECK(mediator_pool_set(s.m, 'A', 50, 1) == 0);
    put(&s, 0, 4, 0);
    CHECK(fake_worker_take(&worker, &unit, RIG_LONG_MS));
    rig_ring_leave(&s.ring[0]);
    CHECK(RIG_UNTIL(s.m, &s.vm[0], ring_connected, 0));
    stats = rig_stats(s.m, &s.vm[0]);
    CHECK(stats.running == 1 && stats.dropped == 0 && add_up(&stats));
    fake_worker_done(&worker, &unit, VGPU_OK);
    CHECK(RIG_UNTIL(s.m, &s.vm[0], dropped, 1));
    stats = rig_stats(s.m, &s.vm[0]);
    CHECK(stats.submitted == 4 && stats.completed == 1 && stats.failed == 1 && stats.refused == 1);
    CHECK(add_up(&stats));

    CASE("waits and runs are of what was dispatched, totals of what was answered");
    CHECK(stats.wait.count == 2 && stats.run.count == 2 && stats.total.count == 2);
    CHECK(in_order(&stats.wait) && in_order(&stats.run) && in_order(&stats.total));
    CHECK(stats.run.sum_ns == stats.device_ns && stats.device_ns > 0);

    CHECK(rig_ring_attach(&s.ring[0], &s.vm[0]));
    scene_free(&s);
    fake_worker_free(&worker);
}

static void test_unfinished(void)
{
    const struct mediator_config config = rig_config();
    struct mediator_vm_stats before, stats;
    struct scene s;
    struct fake_worker worker;
    struct worker_unit unit;

    scene_new(&s, &config);
    attach(&s, 0, &worker, 1, MEDIATOR_LAUNCH);
    CASE("a request that comes back unfinished has waited once, and its run is all it was charged");
    put(&s, 0, 1, 0);
    for (uint32_t op = 1; op <= 3; op++) {
        CHECK(fake_worker_take(&worker, &unit, RIG_LONG_MS));
        before = rig_stats(s.m, &s.vm[0]);
        CHECK(before.wait.count == 1 && before.run.count == 0 && before.running == 1);
        fake_worker_back(&worker, &unit, WORKER_CONTINUE, op);
    }
    CHECK(fake_worker_take(&worker, &unit, RIG_LONG_MS));
    fake_worker_done(&worker, &unit, VGPU_OK);
    CHECK(got(&s, 0, 1, VGPU_OK));
    stats = rig_stats(s.m, &s.vm[0]);
    CHECK(stats.wait.count == 1 && stats.run.count == 1 && stats.total.count == 1);
    CHECK(stats.run.sum_ns == stats.device_ns && stats.run.sum_ns > before.device_ns);
    CHECK(stats.total.sum_ns >= stats.wait.sum_ns + stats.run.sum_ns);
    scene_free(&s);
    fake_worker_free(&worker);
}

static void test_pools(void)
{
    const struct mediator_config config = rig_config();
    struct mediator_pool_stats a, b;
    struct mediator_event event;
    struct scene s;
    struct fake_worker worker;

    scene_new(&s, &config);
    attach(&s, 0, &worker, 1, MEDIATOR_LAUNCH);
    CASE("a pool has what its VMs did while they were in it, and keeps it when they have gone");
    CHECK(works(&s, 0, &worker) && works(&s, 0, &worker));
    s.vm[0].identity.pool_id = 'B';
    CHECK(mediator_vm_set(s.m, s.vm[0].handle, &s.vm[0].identity) == 0);
    CHECK(works(&s, 0, &worker));
    CHECK(rig_stats(s.m, &s.vm[0]).completed == 3 && rig_stats(s.m, &s.vm[0]).pool_id == 'B');
    CHECK(mediator_worker_gone(s.m, s.vm[0].handle, MEDIATOR_LAUNCH, 1, 11) == 0);
    CHECK(rig_event(s.m, MEDIATOR_FAULT, &event));
    CHECK(mediator_vm_retire(s.m, s.vm[0].handle) == 0);
    CHECK(mediator_vm_remove(s.m, s.vm[0].handle) == 0);
    a = pool_stats(&s, 'A');
    b = pool_stats(&s, 'B');
    CHECK(a.submitted == 2 && a.completed == 2 && a.faults == 0 && a.device_ns > 0);
    CHECK(b.submitted == 1 && b.completed == 1 && b.faults == 1 && b.device_ns > 0);
    CHECK(a.wait.count == 2 && a.run.count == 2 && a.total.count == 2 && in_order(&a.total));
    CHECK(b.wait.count == 1 && b.run.sum_ns == b.device_ns && b.total.count == 1);

    CASE("a VM without a pool is counted for itself alone");
    s.vm[1].identity.pool_id = 0;
    CHECK(mediator_vm_set(s.m, s.vm[1].handle, &s.vm[1].identity) == 0);
    put(&s, 1, 1, 0);
    CHECK(got(&s, 1, 1, VGPU_POOL_DISABLED) && rig_stats(s.m, &s.vm[1]).refused == 1);
    CHECK(pool_stats(&s, 'A').refused == 0 && pool_stats(&s, 'B').refused == 0);
    scene_free(&s);
    fake_worker_free(&worker);
}

static void test_many(void)
{
    const struct mediator_config config = rig_config();
    static struct rig_vm vm[MANY];
    static struct mediator_vm_stats all[MANY], one;
    struct mediator *m = rig_engine(&config);
    struct rig_ring ring;
    const struct vgpu_submission nop = rig_nop(1, 0);
    struct vgpu_completion completion;
    int count;

    for (int i = 0; i < MANY; i++) {
        rig_vm_new(&vm[i], 1 + (uint32_t)i, i % 2 ? 'A' : 'B', 1, 16, 1);
        CHECK(rig_vm_add(&vm[i], m, -1, -1) >= 0);
    }
    CHECK(mediator_start(m) == 0);
    CHECK(rig_ring_attach(&ring, &vm[MANY - 1]) && rig_ring_accept(&ring, 0) == VGPU_DEVICE_OK);
    rig_ring_put(&ring, 0, &nop);
    CHECK(rig_ring_take(&ring, 0, &completion, RIG_LONG_MS));

    CASE("one call has all VMs, each with what the call for it alone says");
    count = mediator_vms_stats(m, all, MANY);
    CHECK(count == MANY);
    for (int i = 0; i < count; i++) {
        CHECK(all[i].vm == vm[i].handle);
        CHECK(mediator_vm_stats(m, vm[i].handle, &one) == 0);
        CHECK(memcmp(&one, &all[i], sizeof(one)) == 0);
    }
    CHECK(all[MANY - 1].completed == 1 && all[MANY - 1].total.count == 1);
    CHECK(all[MANY - 1].ring_connected && !all[0].ring_connected);

    CASE("removed VMs are left out, and no more come than there is room for");
    for (int i = 0; i < MANY - 1; i += 2) {
        CHECK(mediator_vm_retire(m, vm[i].handle) == 0);
        CHECK(mediator_vm_remove(m, vm[i].handle) == 0);
    }
    count = mediator_vms_stats(m, all, MANY);
    CHECK(count == MANY / 2);
    for (int i = 0; i < count; i++)
        CHECK(all[i].vm == vm[2 * i + 1].handle);
    CHECK(mediator_vms_stats(m, all, 3) == 3 && mediator_vms_stats(m, all, 0) == 0);
    CHECK(mediator_vm_stats(m, vm[0].handle, &one) == -ENOENT);
    mediator_free(m);
    rig_ring_leave(&ring);
    for (int i = 0; i < MANY; i++)
        rig_vm_free(&vm[i]);
}

int main(void)
{
    test_counts();
    test_unfinished();
    test_pools();
    test_many();
    return check_done();
}
