/*
 * engine.h - The engine's own structures, shared by its parts
 *
 * Included by mediator.c, calls.c, tenants.c, request.c, admission.c, faults.c, quarantine.c,
 * executor.c, replies.c, workers.c, dismiss.c, builders.c, own_limits.c, queue_timeout.c, completion.c,
 * timelines.c, urgent.c, recover.c, held_connections.c, account.c, snapshot.c, trace.c, recording.c,
 * explain.c and nobody else. All of it belongs to the reactor thread, but for `events`
 * (event_ring.h), `recorder` (recorder.h) and `control` (control.h), which say themselves who may
 * touch what.
 */
#ifndef VGPUD_ENGINE_H
#define VGPUD_ENGINE_H

#include <pthread.h>
#include <stdbool.h>

#include "clock.h"
#include "closer.h"
#include "control.h"
#include "event_ring.h"
#include "histogram.h"
#include "interrupter.h"
#include "journal.h"
#include "mediator.h"
#include "reactor.h"
#include "recorder.h"
#include "scheduler.h"
#include "spin.h"
#include "trace.h"
#include "transport.h"
#include "worker_link.h"

#define STREAMS_PER_VM 64u
#define NO_TIMELINE    UINT16_MAX
/* What a VM may have outstanding however full the engine is, so that many cannot shut one out. */
#define SLOTS_GRANTED 16u
#define MAX_BUILDS    32u
#define NO_SLOT       UINT32_MAX

/* The half of a request that need not survive the engine. The other half is its journal slot. */
struct request {
    struct sched_unit unit; /* must be first */
    struct journal_slot *slot;
    struct vm *vm;
    uint64_t queued_ns;  /* when it took its place in its stream, here */
    uint64_t started_ns; /* by its worker's word; 0 = that was not given, or cannot be true */
    uint64_t device_ns;  /* charged so far */
    uint64_t build_ns;
    uint64_t
        done_ns; /* when it was done by the engine's clock; 0 = not yet, or it is queued again */
    uint32_t dispatches;
    uint32_t next_free;
    bool live; /* slot is in use */
    /* timelines.c: what it waits for, in the list of that timeline. */
    struct request *wait_next, *wait_prev;
    uint16_t wait_at;       /* of its waits, the first that is not known to be satisfied */
    uint16_t wait_timeline; /* NO_TIMELINE = it is in no list */
};

struct stream {
    struct sched_stream sched; /* must be first */
    uint64_t key;
};

/* 3,240 bytes. A VM has one and a pool has one: 3.2 MiB for 1,024 VMs, of which a VM that was never
 * served touches nothing. */
struct times {
    struct histogram wait;
    struct histogram run;
    struct histogram total;
};

struct pool {
    struct sched_pool sched; /* must be first */
    uint8_t id;
    struct mediator_pool_stats stats; /* counters */
    struct times times;
};

/* When the limits end that a VM's queued requests have themselves (own_limits.c). */
struct own_limits {
    uint64_t due_ns;    /* when to look, or to go on looking; 0 = none has one */
    uint64_t next_ns;   /* found so far, while it is looked */
    uint64_t looked_ns; /* when that began last */
    uint32_t slot;      /* where to go on; 0 = at the start */
};

struct vm {
    struct mediator *mediator;
    struct mediator_vm identity;
    uint32_t handle;
    bool retired;
    bool settling; /* much changes at once: workers are seen to at its end */
    bool starved;  /* a transport waits for a slot */
    bool in_line;  /* for one of those that all share: in the mediator's list */
    struct vm *starved_next, *starved_prev;

    struct sched_vm sched;
    struct worker_link link[2];     /* by enum mediator_lane */
    struct transport *transport[3]; /* by enum mediator_transport */
    struct mediator_vm_stats stats; /* counters; level state is filled in when asked for */

    struct journal *journal;
    uint64_t journal_bytes;
    struct request *request; /* one for each slot */
    uint32_t free_slots;     /* head of the list, NO_SLOT = empty */
    uint32_t in_use;

    struct journal_bucket events; /* that a client can cause at will, see vm_event() */

    struct own_limits own_limits;

    uint64_t streams_used;  /* bit for each entry below */
    uint64_t streams_moved; /* those whose head may have become answerable */
    bool advancing;         /* somebody deals with these */
    struct stream stream[STREAMS_PER_VM];

    struct request *waiter[VGPU_TIMELINES_MAX]; /* by timeline */
    uint32_t waiters;
    struct journal_bucket urgent; /* of requests that are answered at once, see urgent.c */
    struct times times;
};

/* The device. One VM has it at a time. */
struct device_slot {
    struct vm *vm; /* NULL = free */
    uint32_t in_flight;
    uint64_t free_at;     /* when the last unit completed */
    uint64_t quantum_end; /* nothing is queued behind what runs after this */
};

/* Looking for requests that have waited too long (queue_timeout.c). */
struct sweep {
    uint64_t next_ns; /* when to look, or to go on looking; 0 = not at all */
    uint32_t vm;      /* where to go on */
    uint32_t slot;
};

/* The connection to the spawner, and who waits until its queue has room (held_connections.c). */
struct holding {
    int fd;             /* -1 = none */
    struct watch watch; /* of fd, while the spawner lives */
    struct transport *first, **last;
};

struct mediator {
    struct mediator_config config;
    struct reactor reactor;
    struct scheduler scheduler;
    struct event_ring events;
    struct trace trace;
    struct recorder recorder;
    struct interrupter interrupter;
    struct closer closer;
    struct control control;
    struct spin spin;
    pthread_t thread;
    bool running; /* the thread exists; written by start and stop only */
    bool stopping;
    bool draining;
    bool cancelling; /* while it drains: nothing is left queued */
    bool idle_reported;

    struct pool *pool[256]; /* by id */
    struct vm **vm;         /* by handle */
    uint32_t vm_capacity;
    uint32_t vm_count;

    struct device_slot device;
    struct vm *building[MAX_BUILDS];
    uint32_t builds;

    struct transport *woken;
    struct vm *starved, *starved_last; /* in the order in which they came */
    struct holding hold;
    bool has_device;
    struct vgpu_device_info device_info;

    uint32_t in_use; /* slots, over all VMs */
    struct sweep sweep;
    uint64_t own_limits_due_ns; /* the first of the VMs', or earlier; 0 = none */
    uint64_t accepted, answered, turns;
};

bool engine_config_valid(const struct mediator_config *config);
struct sched_config engine_sched_config(const struct mediator_config *config);

/* request.c */
struct request *request_take(struct vm *vm, struct transport *t,
                             const struct request_received *what);
void request_free(struct request *r);
void request_unqueue(struct request *r);
bool request_room(const struct vm *vm);
bool request_stuck(const struct vm *vm);
uint32_t request_limit(const struct vm *vm);
uint64_t request_left_ns(const struct journal_slot *slot);
uint32_t request_budget_us(const struct request *r);
void request_starve(struct vm *vm);
void request_forget_starved(struct vm *vm);
void request_feed(struct vm *vm);
struct stream *stream_get(struct vm *vm, const struct journal_slot *slot);
void stream_put(struct vm *vm, struct stream *stream);
struct request *request_of_unit(struct sched_unit *unit);
uint64_t request_token(const struct request *r);
void request_set_state(struct request *r, enum request_state state);

/* admission.c */
struct admission {
    enum vgpu_status status; /* VGPU_OK = accepted */
    enum mediator_refusal why;
    uint32_t retry_after_us;
};
struct admission admission_check(const struct vm *vm, bool needs_slot);
struct admission admission_turned_down(const struct vm *vm, enum vgpu_status status);
struct admission admission_urgent(struct vm *vm);
struct admission admission_no_timeline(const struct vm *vm);
struct admission admission_no_slot(const struct vm *vm);
struct admission admission_no_stream(const struct vm *vm);
void admission_accepted(struct vm *vm);

/* faults.c */
void vm_fault(struct vm *vm, enum mediator_fault fault, uint64_t detail);
void faults_settle(struct vm *vm, uint64_t now_ns);
uint32_t faults_points(const struct vm *vm, uint64_t now_ns);

/* quarantine.c */
bool quarantine_holds(const struct vm *vm);
void quarantine_begin(struct vm *vm, enum mediator_fault fault, uint32_t points);
void quarantine_follow(struct vm *vm);
void quarantine_resume(struct vm *vm);
void quarantine_report(const struct vm *vm, struct mediator_vm_stats *out);

/* executor.c */
void executor_enqueue(struct request *r);
void executor_run(struct mediator *m);
bool executor_answered(const struct mediator *m);
bool executor_sleep(struct mediator *m);
void executor_see_to_workers(struct vm *vm);
void executor_doom(struct vm *vm, struct worker_link *link, enum mediator_fault fault);
uint64_t executor_settle(struct request *r, uint64_t now_ns);
void executor_adopt(struct request *r);
bool executor_idle(const struct mediator *m);

/* replies.c */
void replies_take(struct vm *vm, struct worker_link *link);

/* account.c */
void account_received(struct vm *vm);
void account_refused(struct transport *t, const struct request_received *what,
                     const struct request *r, const struct admission *verdict);
void account_fault(struct vm *vm);
void account_started(struct request *r, uint64_t wait_ns);
void account_charged(struct request *r, uint64_t cost_ns);
void account_finished(struct request *r, uint64_t picked_ns, bool answered, uint64_t now_ns);

/* workers.c */
int workers_timeout_ms(const struct mediator *m, uint64_t now_ns);
void workers_check_deadlines(struct mediator *m, uint64_t now_ns);
int workers_attach(struct vm *vm, enum mediator_lane lane, const struct mediator_worker *worker);
void workers_gone(struct vm *vm, enum mediator_lane lane, bool crashed, uint64_t detail);
void workers_refused(struct vm *vm, enum mediator_lane lane, uint32_t retry_us);

/* own_limits.c */
void own_limits_note(struct request *r);
void own_limits_check(struct mediator *m, uint64_t now_ns);

/* dismiss.c */
bool dismissal_possible(const struct vm *vm, enum mediator_lane lane);

/* builders.c */
void builders_doom(struct vm *vm);
void builders_check(struct mediator *m);

/* queue_timeout.c */
int queue_timeout_ms(struct mediator *m, uint64_t now_ns);
void queue_timeout_check(struct mediator *m, uint64_t now_ns);

/* held_connections.c */
void held_connections_init(struct mediator *m);
int held_connections_set(struct mediator *m, int fd);
void held_connections_free(struct mediator *m);
void held_connections_forget(struct transport *t);

/* completion.c */
void complete(struct request *r, enum vgpu_status status);
void completion_refuse(struct request *r, enum vgpu_status status);
void completion_move(struct vm *vm, struct stream *stream);
enum vgpu_status completion_due(const struct request *r);
void completion_end_unfinished(struct request *r, enum vgpu_status status);
void completion_advance(struct vm *vm, struct stream *stream);
void completion_end(struct request *r, enum vgpu_status status);
void completion_drop_queued(struct vm *vm, enum mediator_transport transport);
void completion_end_queued(struct vm *vm, enum vgpu_status status);
void completion_advance_all(struct vm *vm);

/* timelines.c */
bool timelines_reserve(struct vm *vm, const struct request_received *what);
void timelines_wait(struct request *r);
void timelines_forget(struct request *r);
void timelines_move(struct vm *vm, uint32_t qp, uint8_t kind, uint32_t id, uint64_t value,
                    bool failed);
const struct journal_timeline *timelines_find(const struct vm *vm, uint32_t qp, uint8_t kind,
                                              uint32_t id);

/* urgent.c */
enum vgpu_status urgent_admit(struct vm *vm, uint32_t *retry_after_us);
void urgent_run(struct request *r);

/* recording.c */
void recording_free(struct mediator *m);

/* recover.c */
int recover(struct vm *vm);

/* engine-wide events about a VM (mediator.c) */
void vm_event(struct vm *vm, enum mediator_event_type type, uint64_t a, uint64_t b);

#endif
