/*
 * scheduler.h - Who is served next: pools, classes, VMs, streams
 *
 * Pure: no clock, no I/O, no locks, no allocation but in the calls that say so. The caller owns
 * every structure below and embeds it in its own; the scheduler links them. One thread.
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

#define SCHED_WEIGHT_MIN     1u
#define SCHED_WEIGHT_MAX     100u
#define SCHED_NOT_IN_HEAP    UINT32_MAX
#define SCHED_FIRST_GUESS_NS 50000u /* estimate for a party that was never served */

/* A binary min-heap on (tag, order). Capacity is kept >= the number of members by the set-up
 * calls. */
struct sched_heap {
    struct sched_party **at;
    uint32_t count;
    uint32_t capacity;
    uint32_t members; /* who may be in it at once */
};

/* What competes: a VM inside its class, or a pool among pools, in one lane. */
struct sched_party {
    uint64_t tag;         /* start tag of its next unit, virtual time */
    uint64_t order;       /* tie break: who came first */
    uint64_t estimate_ns; /* moving average of measured costs */
    uint32_t heap_index;  /* SCHED_NOT_IN_HEAP when it does not compete */
    uint32_t ready;       /* ready streams (VM), competing VMs (pool) */
    bool blocked;         /* VM: nowhere to run in this lane now */
    void *owner;          /* struct sched_vm or struct sched_pool */
};

struct sched_unit {
    struct sched_unit *next, *prev; /* in its stream's FIFO */
    struct sched_stream *stream;
    uint64_t seq; /* order within the stream, set by the caller */
    /* What the pick has charged, by estimate, and where: completion corrects it. */
    struct sched_level *charged; /* NULL = nothing yet */
    uint64_t charged_vm;         /* virtual time */
    uint64_t charged_pool;
    uint8_t lane; /* enum sched_lane */
    uint8_t picked_lane;
};

struct sched_stream {
    struct sched_unit *head, *tail;
    struct sched_stream *ready_next, *ready_prev; /* ring of ready streams of its VM and lane */
    struct sched_vm *vm;
    uint32_t in_flight; /* picked and not yet completed or returned */
    uint8_t ready_lane; /* SCHED_LANES when not ready */
    bool held;          /* a unit came back unfinished: nothing is picked before in_flight is 0 */
};

struct sched_vm {
    struct sched_pool *pool; /* NULL: unassigned, never picked */
    struct sched_party party[SCHED_LANES];
    struct sched_stream *ready[SCHED_LANES];
    uint32_t weight;
    uint8_t class;
};

struct sched_level {
    struct sched_heap vms;
    uint64_t virtual_time;
};

struct sched_pool {
    struct sched_party party[SCHED_LANES];
    struct sched_level level[SCHED_LANES][SCHED_CLASSES];
    uint32_t weight;
    bool enabled;
};

struct scheduler {
    struct sched_heap pools[SCHED_LANES];
    uint64_t virtual_time[SCHED_LANES];
    uint64_t next_order;
};

/* Between the scheduler's own files. */
uint64_t sched_later(uint64_t a, uint64_t b);
struct sched_level *sched_level_of(struct sched_vm *vm, enum sched_lane lane);
void sched_vm_update(struct scheduler *s, struct sched_vm *vm, enum sched_lane lane);
void sched_heap_insert(struct sched_heap *heap, struct sched_party *party);
void sched_heap_remove(struct sched_heap *heap, struct sched_party *party);
void sched_heap_rekey(struct sched_heap *heap, struct sched_party *party);
int sched_heap_reserve(struct sched_heap *heap, uint32_t members);

/* Set-up: may allocate; 0 or -ENOMEM, and on failure nothing has changed. */
void scheduler_init(struct scheduler *s);
void scheduler_free(struct scheduler *s);
int scheduler_pool_add(struct scheduler *s, struct sched_pool *pool, uint32_t weight, bool enabled);
void scheduler_pool_set(struct scheduler *s, struct sched_pool *pool, uint32_t weight,
                        bool enabled);
void scheduler_pool_remove(struct scheduler *s, struct sched_pool *pool);
void scheduler_vm_init(struct sched_vm *vm);
int scheduler_vm_set(struct scheduler *s, struct sched_vm *vm, struct sched_pool *pool,
                     uint8_t class, uint32_t weight);
void scheduler_vm_block(struct scheduler *s, struct sched_vm *vm, enum sched_lane lane,
                        bool blocked);

/* The data path: no allocation. */
void scheduler_stream_init(struct sched_stream *stream, struct sched_vm *vm);
void scheduler_push(struct scheduler *s, struct sched_stream *stream, struct sched_unit *unit);
void scheduler_adopt(struct scheduler *s, struct sched_stream *stream, struct sched_unit *unit,
                     enum sched_lane lane);
void scheduler_return(struct scheduler *s, struct sched_unit *unit, uint64_t cost_ns);
struct sched_unit *scheduler_pick(struct scheduler *s, enum sched_lane lane);
struct sched_unit *scheduler_pick_more(struct scheduler *s, enum sched_lane lane,
                                       struct sched_vm *vm);
struct sched_unit *scheduler_take_instant(struct scheduler *s, struct sched_stream *stream);
void scheduler_complete(struct scheduler *s, struct sched_unit *unit, uint64_t cost_ns);
void scheduler_cancel(struct scheduler *s, struct sched_unit *unit);

#endif
