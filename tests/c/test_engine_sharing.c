/*
 * test_engine_sharing.c - Pools, classes, limits, draining and removal, seen from two VMs
 */
/* sanitizers: address thread */
#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

#include "engine_scene.h"

static void test_sharing(void)
{
    struct mediator_config config = rig_config();
    struct scene s;
    struct fake_worker worker[2];
    struct worker_unit unit[12];

    config.units_in_flight = 3;
    scene_new(&s, &config);
    CASE("one VM has the device at a time, with no more than units_in_flight of its units");
    attach(&s, 0, &worker[0], 1, MEDIATOR_LAUNCH);
    attach(&s, 1, &worker[1], 2, MEDIATOR_LAUNCH);
    for (uint32_t i = 0; i < 5; i++)
        put(&s, 0, i, 0);
    for (int i = 0; i < 3; i++)
        CHECK(fake_worker_take(&worker[0], &unit[i], RIG_LONG_MS));
    put(&s, 1, 9, 0);
    CHECK(nothing_for(&worker[0], &s, 0) && nothing_for(&worker[1], &s, 1));

    CASE("what a VM of a higher class submits goes next, with nothing more put before it");
    s.vm[1].identity.priority = 2;
    CHECK(mediator_vm_set(s.m, s.vm[1].handle, &s.vm[1].identity) == 0);
    for (int i = 0; i < 3; i++) {
        CHECK(nothing_for(&worker[1], &s, 1));
        fake_worker_done(&worker[0], &unit[i], VGPU_OK);
        CHECK(got(&s, 0, (uint64_t)i, VGPU_OK));
    }
    CHECK(fake_worker_take(&worker[1], &unit[0], RIG_LONG_MS) && nothing_for(&worker[0], &s, 0));
    fake_worker_done(&worker[1], &unit[0], VGPU_OK);
    CHECK(got(&s, 1, 9, VGPU_OK));
    for (int i = 3; i < 5; i++) {
        CHECK(fake_worker_take(&worker[0], &unit[i], RIG_LONG_MS));
        fake_worker_done(&worker[0], &unit[i], VGPU_OK);
        CHECK(got(&s, 0, (uint64_t)i, VGPU_OK));
    }

    CASE("a disabled pool keeps what is queued, commands and NOPs, and goes on when it is enabled");
    for (uint32_t i = 0; i < 5; i++)
        put(&s, 0, 20 + i, 0);
    put_nop(&s, 0, 30, 0);
    for (int i = 0; i < 3; i++)
        CHECK(fake_worker_take(&worker[0], &unit[i], RIG_LONG_MS));
    CHECK(RIG_UNTIL(s.m, &s.vm[0], queued, 3));
    CHECK(mediator_pool_set(s.m, 'A', 50, 0) == 0);
    for (int i = 0; i < 3; i++)
        fake_worker_done(&worker[0], &unit[i], VGPU_OK);
    for (uint32_t i = 0; i < 3; i++)
        CHECK(got(&s, 0, 20 + i, VGPU_OK));
    CHECK(nothing_for(&worker[0], &s, 0) && rig_stats(s.m, &s.vm[0]).queued == 3);

    CASE("what is queued follows its VM to another pool");
    s.vm[0].identity.pool_id = 'B';
    CHECK(mediator_vm_set(s.m, s.vm[0].handle, &s.vm[0].identity) == 0);
    for (uint32_t i = 3; i < 5; i++)
        CHECK(fake_worker_take(&worker[0], &unit[i], RIG_LONG_MS));
    CHECK(mediator_pool_set(s.m, 'B', 50, 0) == 0);
    for (uint32_t i = 3; i < 5; i++) {
        fake_worker_done(&worker[0], &unit[i], VGPU_OK);
        CHECK(got(&s, 0, 20 + i, VGPU_OK));
    }
    CHECK(rig_stats(s.m, &s.vm[0]).queued == 1); /* the NOP waits like any other */
    CHECK(mediator_pool_set(s.m, 'B', 50, 1) == 0 && got(&s, 0, 30, VGPU_OK));

    CASE("a pool is removed only when no VM belongs to it");
    CHECK(mediator_pool_remove(s.m, 'B') == -EBUSY && mediator_pool_remove(s.m, 'Z') == -ENOENT);
    CHECK(mediator_pool_set(s.m, 'C', 50, 1) == 0 && mediator_pool_remove(s.m, 'C') == 0);
    CHECK(mediator_pool_set(s.m, 'C', 0, 1) == -EINVAL &&
          mediator_pool_set(s.m, 0, 1, 1) == -EINVAL);

    CASE("a change that makes no sense is refused, and changes nothing");
    s.vm[0].identity.weight = 101;
    CHECK(mediator_vm_set(s.m, s.vm[0].handle, &s.vm[0].identity) == -EINVAL);
    s.vm[0].identity.weight = 50;
    s.vm[0].identity.priority = 3;
    CHECK(mediator_vm_set(s.m, s.vm[0].handle, &s.vm[0].identity) == -EINVAL);
    s.vm[0].identity.priority = 1;
    s.vm[0].identity.pool_id = 'Z';
    CHECK(mediator_vm_set(s.m, s.vm[0].handle, &s.vm[0].identity) == -EINVAL);
    CHECK(s.ring[0].host->pool_id == 'B' && works(&s, 0, &worker[0]));
    scene_free(&s);
    fake_worker_free(&worker[0]);
    fake_worker_free(&worker[1]);
}

/* A VM that was never served is taken to need 50 us for a unit. */
static void test_quantum(void)
{
    struct mediator_config config = rig_config();
    struct scene s;
    struct fake_worker worker[2];
    struct worker_unit unit;

    config.quantum_us = 50;
    scene_new(&s, &config);
    CASE("a unit that would not begin within the quantum is not put behind those that are out");
    attach(&s, 0, &worker[0], 1, MEDIATOR_LAUNCH);
    attach(&s, 1, &worker[1], 2, MEDIATOR_LAUNCH);
    put(&s, 0, 0, 0);
    put(&s, 0, 1, 0);
    CHECK(fake_worker_take(&worker[0], &unit, RIG_LONG_MS));
    CHECK(nothing_for(&worker[0], &s, 0));

    CASE("so another VM waits for one unit, not for all of them");
    put(&s, 1, 9, 0);
    CHECK(nothing_for(&worker[1], &s, 1));
    fake_worker_done(&worker[0], &unit, VGPU_OK);
    CHECK(got(&s, 0, 0, VGPU_OK));
    CHECK(fake_worker_take(&worker[1], &unit, RIG_LONG_MS) && nothing_for(&worker[0], &s, 0));
    fake_worker_done(&worker[1], &unit, VGPU_OK);
    CHECK(got(&s, 1, 9, VGPU_OK));
    CHECK(fake_worker_take(&worker[0], &unit, RIG_LONG_MS));
    fake_worker_done(&worker[0], &unit, VGPU_OK);
    CHECK(got(&s, 0, 1, VGPU_OK));
    for (int i = 0; i < 2; i++)
        fake_worker_free(&worker[i]);
    scene_free(&s);
}

static void test_limits(void)
{
    struct mediator_config config = rig_config();
    struct scene s;
    struct fake_worker worker[2];
    struct worker_unit unit;

    config.max_queued_total = 4;
    config.units_in_flight = 1;
    scene_new(&s, &config);
    CASE("however many slots others have, a VM has some of its own; what is beyond waits in its "
         "ring");
    attach(&s, 0, &worker[0], 1, MEDIATOR_LAUNCH);
    attach(&s, 1, &worker[1], 2, MEDIATOR_LAUNCH);
    for (uint32_t i = 0; i < 20; i++) {
        const struct vgpu_submission entry = rig_command(i, i / 10);

        rig_ring_put(&s.ring[0], i / 10, &entry);
    }
    CHECK(fake_worker_take(&worker[0], &unit, RIG_LONG_MS));
    CHECK(RIG_UNTIL(s.m, &s.vm[0], queued, 15));
    put(&s, 1, 77, 0);
    CHECK(RIG_UNTIL(s.m, &s.vm[1], queued, 1));

    CASE("and loses nothing");
    for (uint32_t i = 0; i < 20; i++) {
        struct vgpu_completion completion;

        if (i && !fake_worker_take(&worker[0], &unit, 50)) {
            CHECK(fake_worker_take(&worker[1], &unit, RIG_LONG_MS));
            fake_worker_done(&worker[1], &unit, VGPU_OK);
            CHECK(got(&s, 1, 77, VGPU_OK));
            CHECK(fake_worker_take(&worker[0], &unit, RIG_LONG_MS));
        }
        fake_worker_done(&worker[0], &unit, VGPU_OK);
        CHECK(rig_ring_take(&s.ring[0], unit.qp, &completion, RIG_LONG_MS));
        CHECK(completion.status == VGPU_OK);
    }
    CHECK(RIG_UNTIL(s.m, &s.vm[0], completed, 20));
    CHECK(works(&s, 1, &worker[1]));

    CASE("a configuration that makes no sense is refused");
    config.units_in_flight = 33;
    CHECK(mediator_set_config(s.m, &config) == -EINVAL);
    config.units_in_flight = 0;
    CHECK(mediator_set_config(s.m, &config) == -EINVAL);
    CHECK(!mediator_new(&config) && errno == EINVAL);
    scene_free(&s);
    fake_worker_free(&worker[0]);
    fake_worker_free(&worker[1]);
}

static void test_drain(int cancel)
{
    const struct mediator_config config = rig_config();
    struct mediator_event event;
    struct scene s;
    struct fake_worker worker;
    struct worker_unit unit[8];
    struct mediator_stats stats;

    scene_new(&s, &config);
    attach(&s, 0, &worker, 1, MEDIATOR_LAUNCH);
    for (uint32_t i = 0; i < 11; i++)
        put(&s, 0, i, 0);
    for (int i = 0; i < 8; i++)
        CHECK(fake_worker_take(&worker, &unit[i], RIG_LONG_MS));
    CHECK(RIG_UNTIL(s.m, &s.vm[0], queued, 3));
    CHECK(mediator_drain(s.m, cancel) == 0);
    put(&s, 0, 50, 0);
    rig_ring_bell(&s.ring[0], 0);
    if (cancel)
        for (uint32_t i = 8; i < 11; i++)
            CHECK(got(&s, 0, i, VGPU_CANCELLED));
    for (int i = 0; i < 8; i++)
        fake_worker_done(&worker, &unit[i], VGPU_OK);
    for (uint32_t i = 0; i < 8; i++)
        CHECK(got(&s, 0, i, VGPU_OK));
    CHECK(rig_event(s.m, MEDIATOR_IDLE, &event));
    CHECK(nothing_for(&worker, &s, 0));
    CHECK(rig_stats(s.m, &s.vm[0]).queued == (cancel ? 0 : 3));
    CHECK(mediator_stats(s.m, &stats) == 0 && stats.in_flight == 0);
    CHECK(stats.accepted == 11 && stats.answered == (cancel ? 11 : 8));
    scene_free(&s);
    fake_worker_free(&worker);
}

static void test_removal(void)
{
    const struct mediator_config config = rig_config();
    struct scene s;
    struct fake_worker worker, other;
    struct worker_unit unit;
    struct mediator_stats stats;
    int fd_before, fd_after;

    CASE("a VM that is retired loses its connections and its queue, but not the worker's slot");
    scene_new(&s, &config);
    attach(&s, 0, &worker, 1, MEDIATOR_LAUNCH);
    attach(&s, 1, &other, 2, MEDIATOR_LAUNCH);
    for (uint32_t i = 0; i < 10; i++)
        put(&s, 0, i, 0);
    CHECK(fake_worker_take(&worker, &unit, RIG_LONG_MS) && RIG_UNTIL(s.m, &s.vm[0], queued, 2));
    CHECK(mediator_vm_remove(s.m, s.vm[0].handle) == -EINVAL);
    CHECK(mediator_vm_retire(s.m, s.vm[0].handle) == 0);
    CHECK(rig_closed(s.ring[0].socket));
    CHECK(rig_stats(s.m, &s.vm[0]).queued == 0 && rig_stats(s.m, &s.vm[0]).running == 8);
    CHECK(mediator_vm_remove(s.m, s.vm[0].handle) == -EBUSY);
    CHECK(mediator_vm_retire(s.m, s.vm[0].handle) == 0); /* twice does no harm */

    CASE("its device is free again when its worker is gone, and then it can be removed");
    put(&s, 1, 5, 0);
    CHECK(nothing_for(&other, &s, 1));
    CHECK(mediator_worker_gone(s.m, s.vm[0].handle, MEDIATOR_LAUNCH, 0, 0) == 0);
    CHECK(fake_worker_take(&other, &unit, RIG_LONG_MS));
    fake_worker_done(&other, &unit, VGPU_OK);
    CHECK(got(&s, 1, 5, VGPU_OK));
    CHECK(rig_stats(s.m, &s.vm[0]).running == 0 && !rig_stats(s.m, &s.vm[0]).worker_wanted[0]);
    CHECK(mediator_vm_remove(s.m, s.vm[0].handle) == 0);
    CHECK(mediator_vm_remove(s.m, s.vm[0].handle) == -ENOENT);
    CHECK(mediator_stats(s.m, &stats) == 0 && stats.vms == 1 && stats.outstanding == 0);

    CASE("adding and removing a VM leaves no descriptor behind");
    fd_before = dup(0);
    close(fd_before);
    for (int i = 0; i < 20; i++) {
        CHECK(rig_vm_add(&s.vm[0], s.m, -1, -1) >= 0);
        CHECK(mediator_vm_retire(s.m, s.vm[0].handle) == 0);
        CHECK(mediator_vm_remove(s.m, s.vm[0].handle) == 0);
    }
    fd_after = dup(0);
    close(fd_after);
    CHECK(fd_before == fd_after);
    scene_free(&s);
    fake_worker_free(&worker);
    fake_worker_free(&other);
}

static void test_busy_worker(void)
{
    const struct mediator_config config = rig_config();
    struct scene s;
    struct fake_worker worker;
    uint64_t next = 0, taken = 0;
    struct vgpu_completion completion;

    CASE("a worker that answers at once keeps nobody from being served");
    scene_new(&s, &config);
    attach(&s, 0, &worker, 1, MEDIATOR_LAUNCH);
    fake_worker_start(&worker, NULL, NULL);
    while (taken < 3000) {
        while (next - taken < 16)
            put(&s, 0, next++, 0);
        if (taken % 16 == 0) {
            put_nop(&s, 1, taken, 0);
            CHECK(got(&s, 1, taken, VGPU_OK));
        }
        if (!rig_ring_take(&s.ring[0], 0, &completion, RIG_LONG_MS) || completion.cookie != taken ||
            completion.status != VGPU_OK)
            break;
        taken++;
    }
    CHECK(taken == 3000);
    fake_worker_stop(&worker);
    scene_free(&s);
    fake_worker_free(&worker);
}

int main(void)
{
    test_sharing();
    test_quantum();
    test_limits();
    CASE("draining lets what runs finish, sends nothing more, and keeps what is queued");
    test_drain(0);
    CASE("draining with cancel answers what is queued CANCELLED");
    test_drain(1);
    test_removal();
    test_busy_worker();
    return check_done();
}
