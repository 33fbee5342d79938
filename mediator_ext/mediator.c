/*
 * mediator.c - The engine: one reactor, and the map of a request's way through it
 *
 * Theory of operation
 *
 * A request's way: transport_*.c receives, wire.c or device.c reads it, submit() below asks
 * admission.c, puts it into its stream (request.c, scheduler.c); executor.c sends it to its VM's
 * worker and takes the reply; completion.c answers through the transport it came by. submit() is
 * the only way in, complete() the only way out.
 *
 * A turn of the reactor: deal with a batch of events; take replies and fill the device; let the
 * transports that were woken send their answers and take what they have; if that brought requests,
 * fill the device once more. It sleeps only when no transport is woken. One thread, no locks, no
 * allocation.
 *
 * What other threads may ask is in calls.c: each call is handed to the reactor by control.c.
 */
#include "mediator.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bucket.h"
#include "engine.h"
#include "faults.h"
#include "tenants.h"

#define EVENTS_PER_S 6u
#define EVENTS_BURST 64u

_Static_assert((int)SCHED_SCOPE_GLOBAL == (int)MEDIATOR_SCOPE_GLOBAL, "scopes have one number");

/* ---- the way in ---- */

/* What was accepted stands in its stream; what needs nothing but its turn may be answered here. */
static void enqueue(struct vm *vm, struct request *r, struct stream *stream)
{
    r->unit.seq = r->slot->seq;
    r->unit.lane = r->slot->lane;
    r->unit.arrival_ns = r->slot->arrival_ns;
    timelines_wait(r);
    request_set_state(r, REQUEST_QUEUED);
    scheduler_push(&vm->mediator->scheduler, &stream->sched, &r->unit);
    executor_enqueue(r);
    own_limits_note(r);
    completion_advance(vm, stream);
}

/* Refuse what has a slot or none: a transport either has a frame for it or answers through a slot.
 * */
static bool refuse(struct transport *t, const struct request_received *what, struct request *r,
                   const struct admission *verdict)
{
    account_refused(t, what, r, verdict);
    if (r && t->ops->refuse) {
        request_set_state(r, REQUEST_FREE);
        request_free(r);
    }
    if (t->ops->refuse) {
        t->ops->refuse(t, what, verdict->status, verdict->retry_after_us);
    } else if (r) {
        r->slot->retry_after_us = verdict->retry_after_us;
        completion_refuse(r, verdict->status);
    }
    return false;
}

static bool is_urgent(const struct request_received *what)
{
    return what->kind >= REQUEST_SIGNAL;
}

/** submit() - The only door: accept a request, or refuse it with a reason. See transport.h */
bool submit(struct transport *t, const struct request_received *what)
{
    struct vm *vm = t->vm;
    struct admission verdict = what->status != VGPU_OK
                                   ? admission_turned_down(vm, (enum vgpu_status)what->status)
                               : is_urgent(what) ? admission_urgent(vm)
                                                 : admission_check(vm, t->ops->refuse != NULL);
    struct request_received refused;
    struct stream *stream;
    struct request *r;

    account_received(vm);
    if (verdict.status == VGPU_OK && (what->wait_count || what->signal) &&
        !timelines_reserve(vm, what))
        verdict = admission_no_timeline(vm);
    if (verdict.status != VGPU_OK && t->ops->refuse)
        return refuse(t, what, NULL, &verdict);
    if (verdict.status != what->status) {
        /* It goes into the slot as it is to be answered, whatever happens in between. */
        refused = *what;
        refused.status = (uint16_t)verdict.status;
        what = &refused;
    }
    r = request_take(vm, t, what);
    if (!r) {
        verdict = admission_no_slot(vm);
        return refuse(t, what, NULL, &verdict);
    }
    r->slot->retry_after_us = verdict.retry_after_us;
    if (t->ops->taken)
        t->ops->taken(t, what);
    if (verdict.status != VGPU_OK)
        return refuse(t, what, r, &verdict);
    if (is_urgent(what)) {
        vm->mediator->accepted++;
        urgent_run(r);
        complete(r, VGPU_OK);
        return true;
    }
    stream = stream_get(vm, r->slot);
    if (!stream) {
        verdict = admission_no_stream(vm);
        return refuse(t, what, r, &verdict);
    }
    admission_accepted(vm);
    enqueue(vm, r, stream);
    return true;
}

/* ---- what transports ask of the engine ---- */

bool transport_has_room(const struct transport *t)
{
    if (request_room(t->vm))
        return true;
    request_starve(t->vm);
    return false;
}

bool transport_stuck(const struct transport *t)
{
    return request_stuck(t->vm);
}

bool transport_may_take(const struct transport *t)
{
    return !t->vm->mediator->draining;
}

void transport_detached(struct transport *t)
{
    completion_drop_queued(t->vm, t->ops->id);
}

void transport_wake(struct transport *t)
{
    struct mediator *m = t->vm->mediator;

    if (t->woken)
        return;
    t->woken = true;
    t->woken_next = m->woken;
    m->woken = t;
}

int transport_interrupt(struct transport *t, int eventfd)
{
    return interrupter_ring(&t->vm->mediator->interrupter, eventfd);
}

/*
 * A client can cause faults and connections as fast as it likes; each event is a line of the log and
 * work for the control plane. So a VM has EVENTS_PER_S of those, and beyond that they are only
 * counted. What the control plane must act on is never held back.
 */
static bool may_tell(struct vm *vm, enum mediator_event_type type, uint64_t now_ns)
{
    if (type == MEDIATOR_WORKERS || type == MEDIATOR_QUARANTINED)
        return true;
    bucket_set(&vm->events, EVENTS_PER_S, EVENTS_BURST, now_ns);
    if (bucket_wait_us(&vm->events, now_ns))
        return false;
    bucket_take(&vm->events, now_ns);
    return true;
}

void vm_event(struct vm *vm, enum mediator_event_type type, uint64_t a, uint64_t b)
{
    const struct mediator_event event = {
        .type = type, .vm = vm->handle, .a = a, .b = b, .time_ns = engine_now_ns()};

    if (!may_tell(vm, type, event.time_ns))
        return;
    event_ring_put(&vm->mediator->events, &event);
}

void transport_event(struct transport *t, enum mediator_event_type type, uint64_t a, uint64_t b)
{
    vm_event(t->vm, type, a, b);
}

void transport_fault(struct transport *t, enum mediator_fault fault, uint64_t detail)
{
    vm_fault(t->vm, fault, detail);
}

void transport_mismatch(struct transport *t)
{
    t->vm->stats.mismatches++;
}

const struct mediator_vm *transport_identity(const struct transport *t)
{
    return &t->vm->identity;
}

const struct vgpu_device_info *transport_device(const struct transport *t)
{
    const struct mediator *m = t->vm->mediator;

    return m->has_device ? &m->device_info : NULL;
}

/* ---- the reactor ---- */

static void flush_woken(struct mediator *m)
{
    struct transport *list = m->woken;

    m->woken = NULL;
    while (list) {
        struct transport *t = list;

        list = t->woken_next;
        t->woken = false;
        t->ops->flush(t);
    }
}

/* How long the reactor may wait, in milliseconds; -1 = until something happens. */
static int wait_ms(struct mediator *m)
{
    uint64_t now_ns;
    int workers, queue;

    if (m->woken)
        return 0;
    now_ns = engine_now_ns();
    workers = workers_timeout_ms(m, now_ns);
    queue = queue_timeout_ms(m, now_ns);
    if (workers < 0 || queue < 0)
        return workers < 0 ? queue : workers;
    return workers < queue ? workers : queue;
}

/* Look for something to do until it is there, for spin_us at most. Return: is it? */
static bool spin(struct mediator *m, uint64_t since_ns)
{
    uint64_t end_ns = since_ns + m->config.spin_us * 1000ull;

    do {
        if (executor_answered(m) || reactor_turn(&m->reactor, 0))
            return true;
        spin_pause();
    } while (engine_now_ns() < end_ns);
    return false;
}

/* Wait until something happens, and deal with it; what workers have said is dealt with later. */
static void await(struct mediator *m)
{
    int timeout_ms = wait_ms(m);
    uint64_t since_ns;

    if (timeout_ms == 0 || m->config.spin_us == 0) {
        reactor_turn(&m->reactor, timeout_ms && executor_sleep(m) ? timeout_ms : 0);
        return;
    }
    since_ns = engine_now_ns();
    if (!spin_worth(&m->spin, m->config.spin_us) || !spin(m, since_ns))
        reactor_turn(&m->reactor, executor_sleep(m) ? timeout_ms : 0);
    spin_note(&m->spin, m->config.spin_us, engine_now_ns() - since_ns);
}

static void turn(struct mediator *m)
{
    uint64_t accepted, now_ns;

    await(m);
    m->turns++;
    now_ns = engine_now_ns();
    workers_check_deadlines(m, now_ns);
    queue_timeout_check(m, now_ns);
    executor_run(m);
    accepted = m->accepted;
    flush_woken(m);
    if (m->accepted != accepted)
        executor_run(m);
    builders_check(m);
    if (m->draining && !m->idle_reported && executor_idle(m)) {
        const struct mediator_event event = {.type = MEDIATOR_IDLE, .time_ns = engine_now_ns()};

        m->idle_reported = true;
        event_ring_put(&m->events, &event);
    }
}

static void *reactor_main(void *argument)
{
    struct mediator *m = argument;

    while (!m->stopping)
        turn(m);
    flush_woken(m);
    return NULL;
}

/* ---- its life ---- */

bool engine_config_valid(const struct mediator_config *c)
{
    return c->max_queued_total > 0 && c->units_in_flight >= 1 && c->units_in_flight <= 32 &&
           c->max_builds >= 1 && c->max_builds <= MAX_BUILDS && c->quantum_us > 0 &&
           c->spin_us <= SPIN_MAX_US && c->run_timeout_ms > 0 && c->build_timeout_ms > 0 &&
           c->queue_timeout_ms > 0 && c->aging_share <= 100 &&
           c->priority_scope <= MEDIATOR_SCOPE_GLOBAL &&
           (c->fault_threshold == 0 || c->fault_half_life_ms > 0) &&
           c->fault_threshold <= FAULT_POINTS_MAX && trace_entries_valid(c->trace_entries);
}

struct sched_config engine_sched_config(const struct mediator_config *config)
{
    return (struct sched_config){
        .aging_after_ns = (uint64_t)config->aging_after_ms * 1000000u,
        .aging_share = config->aging_share,
        .scope = config->priority_scope,
    };
}

struct mediator *mediator_new(const struct mediator_config *config)
{
    struct sched_config sched;
    struct mediator *m;
    int rc;

    if (!engine_config_valid(config)) {
        errno = EINVAL;
        return NULL;
    }
    m = aligned_alloc(_Alignof(struct mediator), sizeof(*m));
    if (!m)
        return NULL;
    memset(m, 0, sizeof(*m));
    m->config = *config;
    held_connections_init(m);
    sched = engine_sched_config(config);
    scheduler_init(&m->scheduler, &sched);
    rc = reactor_init(&m->reactor);
    if (rc)
        goto out;
    rc = event_ring_init(&m->events);
    if (rc)
        goto out_reactor;
    rc = trace_init(&m->trace, config->trace_entries);
    if (rc)
        goto out_events;
    rc = interrupter_init(&m->interrupter);
    if (rc)
        goto out_trace;
    rc = closer_init(&m->closer);
    if (rc)
        goto out_interrupter;
    rc = control_init(&m->control, m, &m->reactor);
    if (rc)
        goto out_closer;
    return m;
out_closer:
    closer_free(&m->closer);
out_interrupter:
    interrupter_free(&m->interrupter);
out_trace:
    trace_free(&m->trace);
out_events:
    event_ring_free(&m->events);
out_reactor:
    reactor_free(&m->reactor);
out:
    free(m);
    errno = -rc;
    return NULL;
}

void mediator_free(struct mediator *m)
{
    if (!m)
        return;
    mediator_stop(m);
    tenants_free(m);
    scheduler_free(&m->scheduler);
    held_connections_free(m);
    control_free(&m->control);
    closer_free(&m->closer);
    interrupter_free(&m->interrupter);
    trace_free(&m->trace);
    event_ring_free(&m->events);
    reactor_free(&m->reactor);
    free(m);
}

int mediator_start(struct mediator *m)
{
    sigset_t all, before;
    int rc;

    if (m->running)
        return -EALREADY;
    m->stopping = false;
    control_open(&m->control);
    /* Signals are for the thread that runs the interpreter. */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    rc = pthread_create(&m->thread, NULL, reactor_main, m);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (rc) {
        control_close(&m->control);
        return -rc;
    }
    m->running = true;
    return 0;
}

static int call_stop(struct mediator *m, void *argument)
{
    (void)argument;
    m->stopping = true;
    return 0;
}

void mediator_stop(struct mediator *m)
{
    if (!m->running)
        return;
    control_call(&m->control, call_stop, NULL);
    pthread_join(m->thread, NULL);
    control_close(&m->control);
    m->running = false;
}
