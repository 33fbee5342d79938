/*
 * mediator_record.h - The engine's contract, second part: recordings and the simulator
 *
 * What mediator.h says of threads, return values and the markers holds here too; the simulator is not
 * part of an engine, and may be called from any one thread at a time.
 */
#ifndef VGPUD_MEDIATOR_RECORD_H
#define VGPUD_MEDIATOR_RECORD_H

#include "mediator.h"

/* cffi:begin */
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
