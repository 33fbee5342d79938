/*
 * bench_engine.h - An engine in the fuzz program's own thread, turned by hand
 *
 * The turn is that of mediator.c without waiting. A fuzz program is one object file, so the rig of
 * the C tests is part of it.
 */
#ifndef VGPUD_TESTS_BENCH_ENGINE_H
#define VGPUD_TESTS_BENCH_ENGINE_H

#include "engine.h"
#include "engine_rig.c"
#include "engine_rig_ring.c"
#include "engine_rig_stub.c"

static inline void bench_turn(struct mediator *m)
{
    struct transport *list;

    reactor_turn(&m->reactor, 0);
    workers_check_deadlines(m, engine_now_ns());
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

/* A pure spin in the reactor would show as work that never ends. */
static inline uint32_t bench_settle(struct mediator *m)
{
    uint32_t turns = 0;

    do
        bench_turn(m);
    while (m->woken && ++turns < 1000);
    return turns;
}

#endif
