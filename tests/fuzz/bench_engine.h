/*
 * bench_engine.h - An engine in the fuzz program's own thread, turned by hand
 *
 * The turn is that of mediator.c without waiting.
 */
#ifndef VGPUD_TESTS_BENCH_ENGINE_H
#define VGPUD_TESTS_BENCH_ENGINE_H

#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "engine.h"
#include "engine_rig.h"
#include "replay.h"

static inline void bench_turn(struct mediator *m)
{
    struct transport *list;

    reactor_turn(&m->reactor, 0);
    workers_check_deadlines(m, engine_now_ns());
    queue_timeout_check(m, engine_now_ns());
    executor_run(m);
    list = m->woken;
    m->woken = NULL;
    while (list) {
        struct transport *t = list;

        list = t->woken_next;
        t->woken = false;
        t->ops->flush(t);
    }
    executor_run(m);
}

/* Turn until nothing is left to do. A pure spin in the reactor would show as work that never ends. */
static inline uint32_t bench_settle(struct mediator *m)
{
    struct pollfd more = {.fd = m->reactor.epoll_fd, .events = POLLIN};
    uint32_t turns = 0;

    do
        bench_turn(m);
    while ((m->woken || poll(&more, 1, 0) == 1) && ++turns < 1000);
    return turns;
}

/* A ring client that knows what it does: attached, its features accepted. */
static inline void bench_attach_ring(struct mediator *m, struct rig_ring *ring,
                                     const struct rig_vm *vm)
{
    rig_ring_connect(ring, vm);
    bench_settle(
        m); /* the greeting is read after the engine has turned: waiting would be for ever */
    FUZZ_CHECK(rig_ring_greeted(ring));
    ring->guest->accepted[0] = ring->host->features[0];
    ring->guest->status = VGPU_GUEST_ACK | VGPU_GUEST_FEATURES_OK;
    rig_ring_bell(ring, 0);
    bench_settle(m);
    FUZZ_CHECK(ring->host->device_status == VGPU_DEVICE_OK);
}

/* Does it get a NOP through? Whatever others do must not hinder this. */
static inline bool bench_nop_works(struct mediator *m, struct rig_ring *ring)
{
    const struct vgpu_submission nop = rig_nop(5, 0);
    struct vgpu_completion completion;

    rig_ring_put(ring, 0, &nop);
    bench_settle(m);
    return rig_ring_take(ring, 0, &completion, 0) && completion.status == VGPU_OK;
}

#endif
