/*
 * mediator.h - The engine's contract: all that Python (or a test) may ask of it
 *
 * The engine is one object and, between mediator_start() and mediator_stop(), one reactor thread
 * that owns everything. The calls below may come from any one thread at a time; while the reactor
 * runs they are handed to it and take effect between two of its events, so each blocks for at most
 * one turn of the reactor (far below a millisecond), except where it says otherwise. Nothing here
 * calls back.
 *
 * Return values: 0 or a count, or a negative errno. Descriptors that are handed over are the
 * engine's from then on, also when the call fails: then they are closed. Times are CLOCK_MONOTONIC
 * nanoseconds unless a name says otherwise.
 *
 * The part between the two markers is what cffi reads: plain declarations only.
 */
#ifndef VGPUD_MEDIATOR_H
#define VGPUD_MEDIATOR_H

#include <stddef.h>
#include <stdint.h>

/* cffi:begin */
struct mediator;

enum mediator_lane {
    MEDIATOR_LAUNCH = 0, /* the worker that runs kernels */
    MEDIATOR_BUILD = 1,  /* the worker that compiles */
};

enum mediator_transport {
    MEDIATOR_STUB = 0, /* version 1 framing over a Unix socket */
    MEDIATOR_RING = 1, /* version 2 rings, ivshmem server protocol */
    MEDIATOR_LOOP = 2, /* in-process, for tests */
};

/* Whether pools are above the priority classes, or the classes above the pools. */
enum mediator_scope {
    MEDIATOR_SCOPE_POOL = 0,
    MEDIATOR_SCOPE_GLOBAL = 1,
};

struct mediator_config {
    uint32_t max_queued_total;
    uint32_t units_in_flight;  /* of the VM that has the device, 1..32 */
    uint32_t max_builds;       /* at a time, over all VMs */
    uint32_t quantum_us;       /* budget of one dispatch */
    uint32_t run_timeout_ms;   /* a unit on the device; past it its worker is to be killed */
    uint32_t build_timeout_ms; /* the same for a build */
    uint32_t queue_timeout_ms; /* a request that was never begun is answered TIMEOUT */
    uint32_t aging_after_ms;   /* who has waited longer may come before higher classes */
    uint32_t aging_share;      /* percent of the time that such may have, 0 = none ever */
    uint32_t priority_scope;   /* enum mediator_scope */
    uint32_t fault_threshold;  /* points at which a VM is quarantined, 0 = never */
    uint32_t fault_half_life_ms;
};

struct mediator_vm {
    char uuid[40]; /* NUL-terminated; names what is held in the spawner */
    uint32_t vm_id;
    uint32_t peer_uid;   /* the only uid that may connect */
    uint32_t weight;     /* 1..100 */
    uint32_t max_queued; /* 0 = as many as there are slots */
    uint32_t max_rate;   /* requests per second, up to 1,000,000,000; 0 = unlimited */
    uint32_t max_burst;  /* requests at once, up to the same; 0 = as many as max_rate */
    /* The last quarantine that the caller knows of. The engine counts those of a VM; word of an
     * earlier one is ignored, so that what it found out by itself stands until it was heard. */
    uint32_t quarantine_number; /* 0 = none yet */
    uint32_t quarantined;       /* does it hold? 0 lifts it, and forgets the VM's faults */
    uint8_t pool_id;            /* ASCII; 0 = none: requests are refused */
    uint8_t priority;           /* 0 low, 1 medium, 2 high */
};

/* What a VM's transports live on. All but the two connections are needed; -1 = no connection. */
struct mediator_vm_fds {
    int journal;       /* sealed memfd of mediator_journal_bytes() */
    int ring;          /* sealed memfd of mediator_ring_bytes() */
    int stub_listener; /* SOCK_STREAM, listening, non-blocking */
    int ring_listener;
    int stub_connection; /* as it was when the engine last stopped */
    int ring_connection;
    int host_doorbells[64];  /* eventfds, one for each queue pair: the guest writes them */
    int guest_doorbells[64]; /* eventfds: the engine writes them */
};

struct mediator_worker {
    uint32_t worker_id; /* the spawner's */
    int32_t pid;
    int channel;  /* sealed memfd, see worker_channel.h */
    int doorbell; /* eventfd */
};

/* Why a request was not accepted, in the order in which it is asked. */
enum mediator_refusal {
    MEDIATOR_REFUSED_MALFORMED = 0,
    MEDIATOR_REFUSED_UNSUPPORTED = 1,
    MEDIATOR_REFUSED_POOL = 2, /* disabled, or none */
    MEDIATOR_REFUSED_QUARANTINE = 3,
    MEDIATOR_REFUSED_RATE = 4,
    MEDIATOR_REFUSED_VM_DEPTH = 5,
    MEDIATOR_REFUSED_TOTAL_DEPTH = 6,
    MEDIATOR_REFUSED_STREAMS = 7, /* all that a VM may have are in use */
    MEDIATOR_REFUSED_TIMELINES = 8,
    MEDIATOR_REFUSAL_COUNT = 9,
};

struct mediator_vm_stats {
    uint64_t completed;  /* answered with status OK */
    uint64_t failed;     /* answered with another status after having been accepted */
    uint64_t refused;    /* answered without having been accepted */
    uint64_t dropped;    /* accepted, but the client was gone before the answer */
    uint64_t faults;     /* malformed, foreign id, worker crash or time-out */
    uint64_t mismatches; /* headers whose pool or priority is not what the store says */
    uint64_t device_ns;  /* occupancy that was charged */
    uint64_t build_ns;
    uint64_t wait_ns_total; /* arrival to first dispatch */
    uint64_t wait_ns_max;
    uint64_t waited; /* requests that wait_ns_total sums over */
    uint32_t queued;
    uint32_t running;
    uint32_t stub_connected;
    uint32_t ring_connected;
    int32_t worker_pid[2]; /* by enum mediator_lane; 0 = none */
    uint32_t worker_id[2];
    uint32_t worker_wanted[2]; /* there is work and nobody to do it */
    uint32_t worker_doomed[2]; /* it broke the rules or took too long: kill it */
    uint64_t refused_by[MEDIATOR_REFUSAL_COUNT];
    uint32_t fault_points; /* of this moment, rounded up */
    /* The last quarantine, the engine's own or the caller's. */
    uint32_t quarantine_number; /* 0 = there was none */
    uint32_t quarantined;
    uint32_t quarantine_fault;   /* enum mediator_fault: the last of those that led to it; 0 = the
                                     caller's word */
    uint32_t quarantine_points;  /* that it had by then */
    uint64_t quarantine_since_s; /* CLOCK_REALTIME */
};

struct mediator_stats {
    uint64_t accepted;
    uint64_t answered;
    uint64_t events_dropped;
    uint64_t turns;       /* of the reactor */
    uint32_t outstanding; /* queued and running */
    uint32_t in_flight;
    uint32_t builds;
    uint32_t vms;
};

enum mediator_event_type {
    MEDIATOR_CONNECTED = 1,     /* a = enum mediator_transport, b = the peer's pid */
    MEDIATOR_DISCONNECTED = 2,  /* a = enum mediator_transport */
    MEDIATOR_PEER_REFUSED = 3,  /* a = enum mediator_transport, b = pid << 32 | uid */
    MEDIATOR_SECOND_CLIENT = 4, /* a = enum mediator_transport, b = pid << 32 | uid */
    MEDIATOR_FAULT = 5,         /* a = enum mediator_fault, b = detail */
    MEDIATOR_WORKERS = 6,       /* worker_wanted or worker_doomed changed: look at the statistics */
    MEDIATOR_IDLE = 7,          /* draining: nothing is running any more */
    MEDIATOR_QUARANTINED = 8,   /* by the engine; a = enum mediator_fault, b = points */
};

enum mediator_fault {
    MEDIATOR_FAULT_FRAME = 1,      /* malformed version 1 frame; b = enum wire_status */
    MEDIATOR_FAULT_FOREIGN_ID = 2, /* header names another VM; b = the id it names */
    MEDIATOR_FAULT_RING = 3,       /* impossible indices; b = queue pair */
    MEDIATOR_FAULT_ENTRY = 4,      /* malformed submission; b = queue pair */
    MEDIATOR_FAULT_WORKER = 5,     /* the worker broke the channel's rules */
    MEDIATOR_FAULT_RUN_TIMEOUT = 6,
    MEDIATOR_FAULT_BUILD_TIMEOUT = 7,
    MEDIATOR_FAULT_CRASH = 8, /* the worker died of its work; b = exit status as given */
    MEDIATOR_FAULT_COUNT = 9,
};

struct mediator_event {
    uint32_t type; /* enum mediator_event_type */
    uint32_t vm;   /* handle */
    uint64_t a;
    uint64_t b;
    uint64_t time_ns;
};

/* A recording: every call of the scheduler, in order, after its whole state when it began. A record's
 * type is the call; the fields that it does not need are 0. Nothing of a guest's data is in it. */
enum mediator_record_type {
    MEDIATOR_RECORD_CONFIG = 1,   /* weight = aging share, slot = scope, value = aging_after_ns */
    MEDIATOR_RECORD_POOL_ADD,     /* pool, weight, ON = enabled */
    MEDIATOR_RECORD_POOL_SET,     /* the same */
    MEDIATOR_RECORD_POOL_REMOVE,  /* pool; no VM belongs to it */
    MEDIATOR_RECORD_VM_INIT,      /* vm: a new one, without a pool, whoever had the handle before */
    MEDIATOR_RECORD_VM_SET,       /* vm, pool (0 = none), priority, weight */
    MEDIATOR_RECORD_VM_BLOCK,     /* vm, lane, ON = nobody is there to do its work */
    MEDIATOR_RECORD_STREAM_INIT,  /* vm, stream: empty; so is a stream that was never named */
    MEDIATOR_RECORD_PUSH,         /* vm, stream, unit, lane, SETTLED, seq, arrival_ns, waits */
    MEDIATOR_RECORD_SATISFIED,    /* vm, unit, lane, SETTLED: one wait less */
    MEDIATOR_RECORD_ADOPT,        /* as a push, of what is in flight already */
    MEDIATOR_RECORD_RETURN,       /* vm, unit, lane: where to now; cost_ns, now_ns */
    MEDIATOR_RECORD_PICK,         /* lane, now_ns; the decision, see below */
    MEDIATOR_RECORD_PICK_MORE,    /* lane, vm, now_ns; the decision */
    MEDIATOR_RECORD_TAKE_INSTANT, /* vm, stream; the decision */
    MEDIATOR_RECORD_COMPLETE,     /* vm, unit, cost_ns, now_ns */
    MEDIATOR_RECORD_CANCEL,       /* vm, unit */
    MEDIATOR_RECORD_SETTLE,       /* vm, unit: it is not to run, but keeps its place */

    MEDIATOR_RECORD_GAP = 32, /* the last one: its reader was too slow, what follows is lost */

    MEDIATOR_STATE_BEGIN = 64, /* value = next order; forget what was before */
    MEDIATOR_STATE_LANE,       /* lane, slot; value = virtual time of the pools, aging account */
    MEDIATOR_STATE_POOL,       /* as an addition; value = number */
    MEDIATOR_STATE_PLACE, /* pool, lane, slot; value = tag, its order, virtual time of the class */
    MEDIATOR_STATE_ACCOUNT, /* pool, lane; value = aging account */
    MEDIATOR_STATE_VM,      /* as a VM_SET */
    MEDIATOR_STATE_TURN,    /* vm, lane, ON = blocked; value = tag, its order, estimate in ns */
    MEDIATOR_STATE_AGE,     /* vm, lane; value = waits since, its order, last served */
    MEDIATOR_STATE_STREAM,  /* vm, stream, ON = held; its units follow, first to last */
    MEDIATOR_STATE_QUEUED,  /* as a push */
    MEDIATOR_STATE_FLYING,  /* and picked_lane, slot, priority, AGED: where it was charged cost_ns,
                             * value = number of that pool */
    MEDIATOR_STATE_READY,   /* vm, lane, stream: next in the VM's round robin */
    MEDIATOR_STATE_END,
};

enum mediator_record_flag {
    MEDIATOR_RECORD_ON = 1,
    MEDIATOR_RECORD_DECIDED = 2, /* vm, stream, unit, seq say which; cost_ns what it is charged */
    MEDIATOR_RECORD_AGED = 4,    /* because it had waited too long */
    MEDIATOR_RECORD_SETTLED = 8, /* of a unit: it is not to run */
};

struct mediator_record {
    uint8_t type; /* enum mediator_record_type */
    uint8_t lane; /* 0 device, 1 build, 2 nothing but its turn */
    uint8_t pool;
    uint8_t priority;
    uint8_t flags; /* enum mediator_record_flag */
    uint8_t picked_lane;
    uint8_t slot;
    uint8_t reserved;
    uint32_t vm;     /* handle */
    uint32_t stream; /* number within the VM */
    uint32_t unit;   /* number within the VM */
    uint32_t weight;
    uint32_t waits;
    uint32_t reserved1;
    uint64_t now_ns;
    uint64_t seq;
    uint64_t arrival_ns;
    uint64_t cost_ns;
    uint64_t value[3];
};

/* Why a queued request is not served now: the first of these that holds it. */
enum mediator_hold {
    MEDIATOR_HOLD_NOTHING = 0, /* it is next in its lane */
    MEDIATOR_HOLD_NO_POOL = 1, /* its VM belongs to none */
    MEDIATOR_HOLD_POOL_DISABLED = 2,
    MEDIATOR_HOLD_NO_WORKER = 3, /* nobody is there to do its VM's work in that lane */
    MEDIATOR_HOLD_WAITS = 4,     /* for something besides its turn */
    MEDIATOR_HOLD_STREAM = 5,    /* requests of its own stream stand before it */
    MEDIATOR_HOLD_IN_FLIGHT = 6, /* what its stream has out must come back first */
    MEDIATOR_HOLD_CLASS = 7,     /* a higher priority is served first */
    MEDIATOR_HOLD_POOLS = 8,     /* other pools are ahead */
    MEDIATOR_HOLD_VMS = 9,       /* other VMs of its priority are ahead */
    MEDIATOR_HOLD_AGED = 10,     /* a lower priority has waited too long, and is served first */
    MEDIATOR_HOLD_STREAMS = 11,  /* other streams of its VM have their turn before it */
    MEDIATOR_HOLD_DRAINING = 12, /* nothing is served any more */
};

struct mediator_explanation {
    uint32_t hold; /* enum mediator_hold */
    uint32_t lane; /* 0 device, 1 build, 2 nothing but its turn */
    uint64_t seq;  /* of the request: order of acceptance within its VM */
    uint64_t waited_ns;
    uint64_t wait_ns;      /* from now on; UINT64_MAX = nobody can say */
    uint64_t units_ahead;  /* requests of whomever that are to be served before it */
    uint32_t stream_ahead; /* those of its own stream among them */
    uint32_t vms_ahead;
    uint32_t pools_ahead;
    uint32_t running; /* units that are out in that lane, of whomever */
};

/* Sizes of the two memfds of a VM. Pure. */
uint64_t mediator_journal_bytes(uint32_t slots);
uint64_t mediator_ring_bytes(uint32_t pairs, uint32_t entries, uint64_t data_bytes);
uint64_t mediator_channel_bytes(void);

/* Write an empty journal into a new memfd of the right size, before it is sealed and held. It notes
 * the layout of the ring, which needs no formatting: zeroes will do. */
int mediator_journal_format(int fd, uint32_t slots, uint32_t pairs, uint32_t entries,
                            uint64_t data_bytes);

/* The object. NULL with errno set on failure. mediator_free() stops it first if need be. */
struct mediator *mediator_new(const struct mediator_config *config);
void mediator_free(struct mediator *m);

/* The reactor thread. stop: blocks until the thread has ended; descriptors stay open till free. */
int mediator_start(struct mediator *m);
void mediator_stop(struct mediator *m);

/* Take nothing new, dispatch nothing more; MEDIATOR_IDLE follows when nothing runs. With @cancel
 * what is queued is answered CANCELLED. */
int mediator_drain(struct mediator *m, int cancel);

/* Events: readable eventfd; reading the events re-arms it. Bounded and lossy, losses are counted.
 * */
int mediator_event_fd(struct mediator *m);
int mediator_events(struct mediator *m, struct mediator_event *out, uint32_t max);

/* Connection to the spawner over which accepted connections are held. Without one (tests) they are
 * not held. */
int mediator_set_hold_fd(struct mediator *m, int fd);

int mediator_set_config(struct mediator *m, const struct mediator_config *config);

/* struct vgpu_device_info, answered to GET_DEVICE_INFO; size 0 = no device. */
int mediator_set_device(struct mediator *m, const void *info, size_t size);

int mediator_pool_set(struct mediator *m, uint8_t pool_id, uint32_t weight, int enabled);
int mediator_pool_remove(struct mediator *m, uint8_t pool_id);

/* Return: the handle (>= 0), or -EINVAL, -EBADF, -EPROTO (journal or ring of another layout), ...
 * */
int mediator_vm_add(struct mediator *m, const struct mediator_vm *vm,
                    const struct mediator_vm_fds *fds);
int mediator_vm_set(struct mediator *m, uint32_t handle, const struct mediator_vm *vm);

/* Queued requests are dropped, connections closed and let go of in the spawner. -EBUSY while a
 * worker is attached: kill it and report it gone first (mediator_vm_retire() makes it wanted no
 * more). */
int mediator_vm_retire(struct mediator *m, uint32_t handle);
int mediator_vm_remove(struct mediator *m, uint32_t handle);

int mediator_worker_attach(struct mediator *m, uint32_t handle, int lane,
                           const struct mediator_worker *worker);
/* @crashed: it died by itself, which is this VM's fault; @detail is reported with the fault. */
int mediator_worker_gone(struct mediator *m, uint32_t handle, int lane, int crashed,
                         uint64_t detail);
/* Let go of a build worker that has nothing to do, before it is ended. Return: 1 it is let go of, 0 it
 * has work, or is not there. */
int mediator_worker_dismiss(struct mediator *m, uint32_t handle, int lane);
/* No worker can be had: what waits for one is answered with an error, retry after @retry_us. */
int mediator_worker_refused(struct mediator *m, uint32_t handle, int lane, uint32_t retry_us);

/* Where the data slices of the VM's ring lie, for its workers: qp_count, qp_base, qp_stride,
 * data_offset, data_bytes. */
int mediator_vm_layout(struct mediator *m, uint32_t handle, uint64_t out[5]);

int mediator_vm_stats(struct mediator *m, uint32_t handle, struct mediator_vm_stats *out);
int mediator_stats(struct mediator *m, struct mediator_stats *out);

/* Why a queued request of a VM waits: the one of @seq, UINT64_MAX = the oldest. The estimate takes
 * units to cost what their VM's did lately, and nothing new to come; see sched_explain.c. Looks at
 * every VM of the pools concerned. -ENOENT: no such VM, -ENODATA: nothing (of that seq) is queued. */
int mediator_explain(struct mediator *m, uint32_t handle, uint64_t seq,
                     struct mediator_explanation *out);

/* Begin a recording with room for at least so many unread records, at most 1048576, besides the
 * state: -EINVAL, -EALREADY, -ENOMEM. Takes some 100 ns of the reactor for each queued request. */
int mediator_record_start(struct mediator *m, uint32_t room);
int mediator_record_stop(struct mediator *m);
/* Take up to @max records, also after the stop. Return: how many; 0 = none is there now */
int mediator_record_read(struct mediator *m, struct mediator_record *out, uint32_t max);
/* How many records the recording has lost, those after the gap too. */
uint64_t mediator_record_lost(struct mediator *m);

/* The engine's scheduler without an engine, on the clock of the records. No threads, no I/O. */
struct mediator_simulator;
struct mediator_simulator *mediator_simulator_new(void); /* NULL = no memory */
void mediator_simulator_free(struct mediator_simulator *sim);

/* Apply records in order. With @compare, a decision must be the one that was recorded; without, it is
 * written into its record. @applied: how many were applied before the one that is at fault, if any.
 *
 * Return: 0, -EINVAL: a record is impossible, -EILSEQ: the decision was another one (and is taken
 * back by nothing: the simulator has decided), -ENODATA: a gap, -ENOMEM */
int mediator_simulator_apply(struct mediator_simulator *sim, struct mediator_record *records,
                             uint32_t count, int compare, uint32_t *applied);

/* The whole state as records: a recording that begins here begins with them. Return: how many there
 * are; the first @max are written. */
int64_t mediator_simulator_state(struct mediator_simulator *sim, struct mediator_record *out,
                                 uint32_t max);
/* cffi:end */

#endif
