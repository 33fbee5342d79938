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
 * The part between the two markers is what cffi reads: plain declarations only. What it takes to
 * record and to simulate is in mediator_record.h, which is the rest of the contract.
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
    uint32_t spin_us;          /* how long engine and workers look before they sleep; to 1,000 */
    uint32_t run_timeout_ms;   /* a unit on the device; past it its worker is to be killed */
    uint32_t build_timeout_ms; /* the same for a build */
    uint32_t queue_timeout_ms; /* a request that was never begun is answered TIMEOUT */
    uint32_t aging_after_ms;   /* who has waited longer may come before higher classes */
    uint32_t aging_share;      /* percent of the time that such may have, 0 = none ever */
    uint32_t priority_scope;   /* enum mediator_scope */
    uint32_t trace_entries;    /* 0 or a power of two to 65,536; mediator_new() alone heeds it */
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

/* How long requests took. A quantile is within 1/16 of what it is (below 1,024 ns: within 64 ns),
 * the rest is exact. */
struct mediator_times {
    uint64_t count;
    uint64_t sum_ns;
    uint64_t p50_ns;
    uint64_t p95_ns;
    uint64_t p99_ns;
    uint64_t max_ns;
};

/* Counted since the engine started; what it took up from the last one counts as submitted.
 * submitted = completed + failed + refused + dropped + queued + running. */
struct mediator_vm_stats {
    uint64_t submitted;
    uint64_t completed;  /* answered with status OK */
    uint64_t failed;     /* answered with another status after having been accepted */
    uint64_t refused;    /* answered without having been accepted */
    uint64_t dropped;    /* accepted, but the client was gone before the answer */
    uint64_t faults;     /* malformed, foreign id, worker crash or time-out */
    uint64_t mismatches; /* headers whose pool or priority is not what the store says */
    uint64_t device_ns;  /* occupancy that was charged */
    uint64_t build_ns;
    struct mediator_times wait;  /* arrival to first dispatch, of what was dispatched */
    struct mediator_times run;   /* occupancy that was charged, of what was dispatched */
    struct mediator_times total; /* arrival to answer, of what was accepted and answered */
    uint32_t queued;
    uint32_t running;
    uint32_t stub_connected;
    uint32_t ring_connected;
    int32_t worker_pid[2]; /* by enum mediator_lane; 0 = none */
    uint32_t worker_id[2];
    uint32_t worker_wanted[2];  /* there is work and nobody to do it */
    uint32_t worker_doomed[2];  /* it broke the rules or took too long: kill it */
    uint32_t worker_spare[2];   /* it has nothing to do, and by its word holds no object */
    uint64_t worker_used_ns[2]; /* when it last answered, CLOCK_MONOTONIC; 0 = not yet */
    uint32_t vm;                /* handle */
    uint32_t pool_id;
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

/* What was counted of the VMs of a pool while they were in it; they may be elsewhere by now. What is
 * queued and running in a pool is so in its VMs. */
struct mediator_pool_stats {
    uint64_t submitted;
    uint64_t completed;
    uint64_t failed;
    uint64_t refused;
    uint64_t dropped;
    uint64_t faults;
    uint64_t device_ns;
    uint64_t build_ns;
    struct mediator_times wait;
    struct mediator_times run;
    struct mediator_times total;
    uint32_t pool_id;
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
    MEDIATOR_TRACED = 9,        /* the trace has an entry that a reader waits for */
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

/* What a request asks for. */
enum mediator_kind {
    MEDIATOR_KIND_NOP = 1,
    MEDIATOR_KIND_DEVICE_INFO = 2,
    MEDIATOR_KIND_VECTOR_ADD = 3,
    MEDIATOR_KIND_COMMAND = 4,
    MEDIATOR_KIND_SIGNAL = 5,
    MEDIATOR_KIND_CANCEL = 6,
    MEDIATOR_KIND_QUERY = 7,
};

enum mediator_outcome {
    MEDIATOR_ANSWERED = 1,
    MEDIATOR_REFUSED = 2, /* answered without having been accepted */
    MEDIATOR_DROPPED = 3, /* accepted, but the client was gone before the answer */
};

/* A request that is finished. A time of 0: that never happened; what is answered at once (SIGNAL,
 * CANCEL, QUERY) is neither queued nor picked. */
struct mediator_trace {
    uint64_t seq;     /* counts finished requests of all VMs, from 1 */
    uint64_t request; /* counts requests of the VM; 0 = it was refused before it got a number */
    uint64_t cookie;  /* the client's; of version 1 the request_id */
    uint64_t received_ns;
    uint64_t queued_ns;   /* with a successor of the engine that received it: when it took it up */
    uint64_t picked_ns;   /* first dispatch */
    uint64_t started_ns;  /* by the worker's word, as far as it can be true */
    uint64_t ended_ns;    /* the same */
    uint64_t answered_ns; /* or refused, or dropped */
    uint64_t device_ns;   /* charged; dispatches that are back together are charged to the first */
    uint64_t build_ns;
    uint32_t vm; /* handle */
    uint32_t vm_id;
    uint32_t stream;
    uint32_t dispatches;
    uint32_t op_index; /* the op that failed; the number of ops run when all went well */
    int32_t native;    /* the device runtime's own code, 0 = none */
    uint32_t retry_after_us;
    uint16_t status; /* enum vgpu_status */
    uint8_t qp;
    uint8_t pool_id; /* 0 = none */
    uint8_t priority;
    uint8_t transport; /* enum mediator_transport */
    uint8_t kind;      /* enum mediator_kind */
    uint8_t outcome;   /* enum mediator_outcome */
};

/* A reader's place in the trace. */
struct mediator_trace_cursor {
    uint64_t position; /* number (seq) of the next entry to look at; 0 is as 1 */
    uint64_t missed; /* set: entries, of any VM, that were overwritten before they were looked at */
    uint64_t left;   /* set: entries that are still to be looked at */
    int32_t vm;      /* handle of the VM whose entries are asked for; -1 = all */
    uint32_t follow; /* when nothing is left, MEDIATOR_TRACED follows with the next entry */
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
/* Let go of a worker that has nothing to do, and of a launch worker only if it holds no object, before
 * it is ended. Return: 1 it is let go of, 0 it is needed, or not there. */
int mediator_worker_dismiss(struct mediator *m, uint32_t handle, int lane);
/* No worker can be had: what waits for one is answered with an error, retry after @retry_us. */
int mediator_worker_refused(struct mediator *m, uint32_t handle, int lane, uint32_t retry_us);

/* Where the data slices of the VM's ring lie, for its workers: qp_count, qp_base, qp_stride,
 * data_offset, data_bytes. */
int mediator_vm_layout(struct mediator *m, uint32_t handle, uint64_t out[5]);

int mediator_vm_stats(struct mediator *m, uint32_t handle, struct mediator_vm_stats *out);
/* The same of all VMs, or of all pools, up to @max of them. The numbers of each are of one moment,
 * those of different ones some turns apart: each turn gives a bounded part. Return: how many. */
int mediator_vms_stats(struct mediator *m, struct mediator_vm_stats *out, uint32_t max);
int mediator_pools_stats(struct mediator *m, struct mediator_pool_stats *out, uint32_t max);
int mediator_stats(struct mediator *m, struct mediator_stats *out);

/* The trace: the last trace_entries requests that were finished or refused, overwritten unread.
 * seek: so that the last @count entries that are asked for come next; 0 = those yet to come.
 * read: up to @max of them, oldest first. Return: how many, 0 for a seek. Both take several turns of
 * the reactor when there is much to look at. */
int mediator_trace_seek(struct mediator *m, struct mediator_trace_cursor *cursor, uint32_t count);
int mediator_trace_read(struct mediator *m, struct mediator_trace_cursor *cursor,
                        struct mediator_trace *out, uint32_t max);

/* Why a queued request of a VM waits: the one of @seq, UINT64_MAX = the oldest. The estimate takes
 * units to cost what their VM's did lately, and nothing new to come; see sched_explain.c. Looks at
 * every VM of the pools concerned. -ENOENT: no such VM, -ENODATA: nothing (of that seq) is queued. */
int mediator_explain(struct mediator *m, uint32_t handle, uint64_t seq,
                     struct mediator_explanation *out);
/* cffi:end */

#endif
