/*
 * scheduler.h - Who is served next: pools, classes, VMs, streams
 *
 * Pure: no clock, no I/O, no locks, no allocation but in the calls that say so. The caller owns
 * every structure below and embeds it in its own; the scheduler links them. One thread.
 *
 * Where a call takes @now_ns it is the caller's clock, real or virtual, and never runs backwards.
 */
#ifndef VGPUD_SCHEDULER_H
#define VGPUD_SCHEDULER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What a unit needs. Each lane has its own virtual times; a stream waits in one lane at a time. */
enum sched_lane {
    SCHED_EXEC = 0,  /* the device */
    SCHED_BUILD = 1, /* a build process; never holds the device */
    SCHED_LANES = 2,
    SCHED_INSTANT = 2, /* nothing: done as soon as it is the head of an idle stream */
};

enum sched_class {
    SCHED_LOW = 0,
    SCHED_MEDIUM = 1,
    SCHED_HIGH = 2,
    SCHED_CLASSES = 3,
};

/* Whether pools are above the classes, or the classes above the pools. */
enum sched_scope {
    SCHED_SCOPE_POOL = 0,
    SCHED_SCOPE_GLOBAL = 1,
};

struct scheduler;

#define SCHED_WEIGHT_MIN     1u
#define SCHED_WEIGHT_MAX     100u
#define SCHED_NOT_IN_HEAP    UINT32_MAX
#define SCHED_FIRST_GUESS_NS 50000u /* estimate for a party that was never served */

struct sched_config {
    uint64_t aging_after_ns; /* what has waited longer than this is aged */
    uint32_t aging_share;    /* percent of the time that aged work may have, 0 = no aging */
    uint32_t scope;          /* enum sched_scope */
};

/* Somebody's place in a heap. */
struct sched_node {
    uint64_t key;   /* virtual time, or a time of the caller's clock */
    uint64_t order; /* tie break: who came first */
    uint32_t index; /* SCHED_NOT_IN_HEAP when it is in none */
    void *owner;    /* struct sched_vm or struct sched_pool */
};

/* A binary min-heap on (key, order). Capacity is kept >= the number of members by the set-up
 * calls. */
struct sched_heap {
    struct sched_node **at;
    uint32_t count;
    uint32_t capacity;
    uint32_t members; /* who may be in it at once */
};

struct sched_unit {
    struct sched_unit *next, *prev; /* in its stream's FIFO */
    struct sched_stream *stream;
    uint64_t seq;        /* order within the stream, set by the caller */
    uint64_t arrival_ns; /* set by the caller */
    /* What the pick has charged, by estimate, and where: completion corrects it. */
    uint64_t charged_pool; /* its number, 0 = nothing was charged yet */
    uint64_t charged_ns;
    uint32_t waits; /* what it waits for besides its turn: it does not compete before that is 0 */
    uint8_t lane;   /* enum sched_lane */
    uint8_t picked_lane;
    uint8_t charged_class;
    uint8_t charged_slot; /* of the pool's places, see struct sched_pool_lane */
    bool aged;            /* it was picked because it had waited too long */
    bool settled;         /* an instant that needs nothing, not even its pool */
};

struct sched_stream {
    struct sched_unit *head, *tail;
    struct sched_stream *ready_next, *ready_prev; /* ring of ready streams of its VM and lane */
    struct sched_vm *vm;
    uint32_t queued;
    uint32_t in_flight; /* picked and not yet completed or returned */
    uint8_t ready_lane; /* SCHED_LANES when not ready */
    bool held;          /* a unit came back unfinished: nothing is picked before in_flight is 0 */
};

/* A VM in one lane. */
struct sched_party {
    struct sched_node turn;     /* in level.turns; key = start tag of its next unit */
    struct sched_node age;      /* in level.waiting; key = since when it waits */
    struct sched_stream *ready; /* ring of ready streams */
    uint64_t estimate_ns;       /* moving average of measured costs */
    uint64_t served_ns;         /* when something of it was last picked, or came back */
    uint32_t ready_count;
    bool blocked; /* nowhere to run in this lane now */
};

struct sched_vm {
    struct sched_pool *pool; /* NULL: unassigned, never picked */
    struct sched_party party[SCHED_LANES];
    uint32_t weight;
    uint8_t class;
};

/* Where the VMs of one class of a pool compete in one lane. */
struct sched_level {
    struct sched_heap turns;
    struct sched_heap waiting;
    uint64_t virtual_time;
};

/* A pool in one lane. It has a place among pools for each slot: one for all classes (scope pool,
 * slot 0), or one for each class (scope global). */
struct sched_pool_lane {
    struct sched_level level[SCHED_CLASSES];
    struct sched_node turn[SCHED_CLASSES]; /* by slot; key = start tag */
    int64_t aging_ns;                      /* what aged work may have, see sched_aging.c */
};

struct sched_pool {
    struct sched_pool *next; /* of the scheduler's */
    uint64_t number;         /* no other pool ever has it, whatever becomes of this one's memory */
    struct sched_pool_lane lane[SCHED_LANES];
    uint32_t weight;
    bool enabled;
};

struct sched_pools {
    struct sched_heap turns[SCHED_CLASSES]; /* by slot */
    uint64_t virtual_time[SCHED_CLASSES];
    int64_t aging_ns; /* the same account over all pools, for scope global */
};

enum sched_call_type {
    SCHED_CALL_CONFIG = 1,
    SCHED_CALL_POOL_ADD,
    SCHED_CALL_POOL_SET,
    SCHED_CALL_POOL_REMOVE,
    SCHED_CALL_VM_INIT,
    SCHED_CALL_VM_SET,
    SCHED_CALL_VM_BLOCK,
    SCHED_CALL_STREAM_INIT,
    SCHED_CALL_PUSH,
    SCHED_CALL_SATISFIED,
    SCHED_CALL_ADOPT,
    SCHED_CALL_RETURN,
    SCHED_CALL_PICK,
    SCHED_CALL_PICK_MORE,
    SCHED_CALL_TAKE_INSTANT,
    SCHED_CALL_COMPLETE,
    SCHED_CALL_CANCEL,
    SCHED_CALL_SETTLE,
};

/* One call, told when it has taken effect: what else was said in it can be read from what it was
 * about. Calls that failed (-ENOMEM) are not told. */
struct sched_call {
    enum sched_call_type type;
    enum sched_lane lane; /* of a pick, an adoption, a block */
    const struct sched_pool *pool;
    const struct sched_vm *vm;
    const struct sched_stream *stream;
    const struct sched_unit *unit; /* of a pick: the decision, NULL = nothing */
    uint64_t cost_ns;
    uint64_t now_ns;
};

/* Sees every call; calls nothing of the scheduler. */
typedef void sched_tap_fn(void *argument, const struct scheduler *s, const struct sched_call *call);

struct scheduler {
    struct sched_config config;
    struct sched_pool *pools;
    struct sched_pools lane[SCHED_LANES];
    uint64_t next_order; /* never 0 */
    sched_tap_fn *tap;   /* NULL = none */
    void *tap_argument;
};

/* Why a queued unit is not served now: the first of these that holds it. */
enum sched_hold {
    SCHED_HOLD_NOTHING = 0, /* it is next in its lane */
    SCHED_HOLD_NO_POOL = 1, /* its VM belongs to none */
    SCHED_HOLD_POOL_DISABLED = 2,
    SCHED_HOLD_BLOCKED = 3,   /* nobody is there to do its VM's work in that lane */
    SCHED_HOLD_WAITS = 4,     /* for something besides its turn */
    SCHED_HOLD_STREAM = 5,    /* units of its own stream stand before it */
    SCHED_HOLD_IN_FLIGHT = 6, /* what its stream has in flight must come back first */
    SCHED_HOLD_CLASS = 7,     /* a higher class is served first */
    SCHED_HOLD_POOLS = 8,     /* other pools are ahead */
    SCHED_HOLD_VMS = 9,       /* other VMs of its class are ahead */
    SCHED_HOLD_AGED = 10,     /* a lower class has waited too long, and is served first */
    SCHED_HOLD_STREAMS = 11,  /* other streams of its VM have their turn before it */
};

#define SCHED_UNKNOWN_NS UINT64_MAX

struct sched_explanation {
    enum sched_hold hold;
    uint32_t stream_ahead; /* units of its stream that stand before it */
    uint32_t pools_ahead;  /* that are to be served before it */
    uint32_t vms_ahead;    /* of its pool, or with scope global of its class and above */
    uint64_t units_ahead;  /* of all parties, those of its own VM too */
    uint64_t wait_ns;      /* until its turn, or SCHED_UNKNOWN_NS; see sched_explain.c */
};

void scheduler_explain(const struct scheduler *s, const struct sched_unit *unit, uint64_t now_ns,
                       struct sched_explanation *out);

/* Who listens to all calls from now on; NULL = nobody. */
void scheduler_tap(struct scheduler *s, sched_tap_fn *tap, void *argument);

/* Set-up: may allocate; 0 or -ENOMEM, and on failure nothing has changed. */
void scheduler_init(struct scheduler *s, const struct sched_config *config);
void scheduler_free(struct scheduler *s);
void scheduler_set_config(struct scheduler *s, const struct sched_config *config);
int scheduler_pool_add(struct scheduler *s, struct sched_pool *pool, uint32_t weight, bool enabled);
void scheduler_pool_set(struct scheduler *s, struct sched_pool *pool, uint32_t weight,
                        bool enabled);
void scheduler_pool_remove(struct scheduler *s, struct sched_pool *pool);
void scheduler_vm_init(struct scheduler *s, struct sched_vm *vm);
int scheduler_vm_set(struct scheduler *s, struct sched_vm *vm, struct sched_pool *pool,
                     uint8_t class, uint32_t weight);
void scheduler_vm_block(struct scheduler *s, struct sched_vm *vm, enum sched_lane lane,
                        bool blocked);

/* The data path: no allocation. */
void scheduler_stream_init(struct scheduler *s, struct sched_stream *stream, struct sched_vm *vm);
void scheduler_push(struct scheduler *s, struct sched_stream *stream, struct sched_unit *unit);
void scheduler_satisfied(struct scheduler *s, struct sched_unit *unit);
void scheduler_settle(struct scheduler *s, struct sched_unit *unit);
void scheduler_adopt(struct scheduler *s, struct sched_stream *stream, struct sched_unit *unit,
                     enum sched_lane lane);
void scheduler_return(struct scheduler *s, struct sched_unit *unit, uint64_t cost_ns,
                      uint64_t now_ns);
struct sched_unit *scheduler_pick(struct scheduler *s, enum sched_lane lane, uint64_t now_ns);
struct sched_unit *scheduler_pick_more(struct scheduler *s, enum sched_lane lane,
                                       struct sched_vm *vm, uint64_t now_ns);
struct sched_unit *scheduler_take_instant(struct scheduler *s, struct sched_stream *stream);
void scheduler_complete(struct scheduler *s, struct sched_unit *unit, uint64_t cost_ns,
                        uint64_t now_ns);
void scheduler_cancel(struct scheduler *s, struct sched_unit *unit);

#endif
