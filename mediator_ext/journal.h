/*
 * journal.h - What the engine must not forget: one sealed memfd for each VM
 *
 * Mapped by the engine only (no guest, no worker) and held by the spawner, so that an engine that
 * starts finds every accepted request where the last one left it, also after SIGKILL. The request
 * slots here are not a copy of the engine's state: they are its state. What is elsewhere (scheduler
 * links, stream tables) is rebuilt from them.
 *
 * A SIGKILL can fall between any two stores, and the next engine sees all stores before it (the
 * memory is shared and coherent; only the compiler could reorder them: states and indices are
 * stored with release order). The rules, by who needs them:
 *
 *   taking from a ring     fill the slot, state RECEIVED with sq_index = head; pair.sq_head =
 *                          head + 1; state QUEUED. A RECEIVED slot with sq_index >= pair.sq_head
 *                          was not taken.
 *   sending to a worker    slot.unit_index = tail, state RUNNING; write the unit; link.unit_tail =
 *                          tail + 1; publish. A RUNNING slot with unit_index >= link.unit_tail was
 *                          not sent.
 *   a reply                the new state of the slot; then link.reply_head + 1. Replies come in the
 *                          order of units: a reply to a unit whose slot has moved on was read
 *                          before.
 *   answering on a ring    state DONE with the answer; slot.cq_index = pair.cq_tail, state POSTING;
 *                          write the completion; publish; pair.cq_tail + 1; state FREE. POSTING is
 *                          done again: the same bytes at the same place.
 *   answering on a socket  state FREE, then append to the transmit buffer: at most once.
 *   taking from a socket   the frame leaves the receive ring; then the slot: at most once.
 *   recv() and send()      `io` names the call while it runs; found set at the start, bytes may be
 *                          lost or doubled: the connection is closed instead of guessing.
 *   timelines              moved before the state that says that the request is done; moving one
 *                          again to the same value changes nothing. What waits is found in the
 *                          slots' waits, and asked anew.
 */
#ifndef VGPUD_JOURNAL_H
#define VGPUD_JOURNAL_H

#include <stdint.h>

#include "ring_abi.h"
#include "worker_channel.h"

#define JOURNAL_MAGIC     0x4e4a5056u /* "VPJN" */
#define JOURNAL_VERSION   4u
#define JOURNAL_SLOTS_MIN 16u
#define JOURNAL_SLOTS_MAX 32768u
#define JOURNAL_RX_BYTES  16384u
/* Behind those that a VM is given: for what is answered at once. */
#define JOURNAL_SLOTS_URGENT 1u

/*
 * The life of a request. Nobody but the reactor touches a slot.
 *
 *   FREE       not in use. request_take() -> RECEIVED.
 *   RECEIVED   being filled by a transport. submit() -> QUEUED. Never seen outside one call, but by
 *              a recovery, which frees it.
 *   QUEUED     in its stream's FIFO; the scheduler may pick it. executor -> RUNNING; an instant,
 *              or a refusal, -> DONE; its client goes away -> FREE (dropped).
 *   RUNNING    a worker has it. -> DONE, QUEUED (CONTINUE, NEED_BUILD, BOUNCED) or CANCELLED.
 *   CANCELLED  a worker has it, its client is gone: the answer will be dropped. -> FREE.
 *   DONE       the answer is known and not given. completion -> POSTING (ring) or FREE (socket).
 *   POSTING    the answer is being written to a ring. -> FREE.
 */
enum request_state {
    REQUEST_FREE = 0,
    REQUEST_RECEIVED = 1,
    REQUEST_QUEUED = 2,
    REQUEST_RUNNING = 3,
    REQUEST_CANCELLED = 4,
    REQUEST_DONE = 5,
    REQUEST_POSTING = 6,
};

enum journal_io {
    JOURNAL_IO_NONE = 0,
    JOURNAL_IO_RECV = 1,
    JOURNAL_IO_SEND = 2,
    JOURNAL_IO_SKIP = 3, /* between a long frame's header and the note of what to skip */
};

struct journal_slot {
    uint32_t state;      /* enum request_state */
    uint32_t generation; /* bumped when taken: half of the token */
    uint64_t seq;        /* order of acceptance within the VM */
    uint64_t arrival_ns;
    uint64_t start_ns;    /* first dispatch; 0 = none yet */
    uint64_t dispatch_ns; /* last dispatch */

    uint32_t attachment; /* of the transport it came by: the answer goes there or nowhere */
    uint8_t transport;   /* enum mediator_transport */
    uint8_t kind;        /* enum request_kind */
    uint8_t lane;        /* enum sched_lane it waits for or runs in */
    uint8_t vgpu_lane;   /* enum vgpu_lane of the submission */
    uint32_t qp;
    uint32_t ctx;
    uint32_t stream;
    uint32_t sq_index;
    uint64_t cookie; /* or the request_id of version 1 */
    uint64_t cmd_off;
    uint32_t cmd_seg;
    uint32_t cmd_len;
    uint32_t args[WORKER_BUILTIN_ARGS];
    uint32_t wire[2]; /* version 1: header words to echo (vm_id; pool, priority) */

    uint32_t first_op;
    uint32_t built_op; /* the op last built for it, + 1; 0 = none */
    uint32_t unit_index;
    uint32_t cq_index;

    uint16_t status; /* enum vgpu_status */
    uint16_t lost;   /* its launch worker ended while it was built: what it had begun is gone */
    uint32_t op_index;
    int32_t native;
    uint32_t out_len;
    uint64_t result[2];
    uint64_t end_ns;
    uint64_t signal; /* of the submission */
    uint32_t retry_after_us;
    uint16_t wait_count;
    uint16_t cancelled;  /* by its guest, while it runs: it ends when it comes back */
    uint64_t ran_ns;     /* on the device or in a build, over all dispatches that have ended */
    uint32_t timeout_ms; /* the client's own limit on waiting and on running, 0 = none */
    uint32_t reserved1;
};

/* What a slot waits for, VGPU_WAITS_MAX for each slot. */
struct journal_wait {
    uint64_t value;
    uint32_t timeline;
    uint32_t kind; /* enum vgpu_timeline_kind */
};

struct journal_timeline {
    uint64_t value;
    uint64_t failed_from, failed_to; /* values that the last failure moved it over: (from, to] */
    uint32_t id;
    uint16_t qp;
    uint8_t kind;
    uint8_t used;
};

/* The version 1 connection. */
struct journal_stub {
    uint32_t attachment; /* counts connections; 0 = never connected */
    uint32_t connected;
    uint32_t io;      /* enum journal_io */
    uint32_t closing; /* framing lost, or nothing more comes: answer what is owed, then close */
    uint64_t rx_skip; /* payload bytes still to be thrown away */
    uint64_t rx_span; /* head | tail << 32, free-running offsets: moved by one store */
    uint64_t tx_span;
    uint32_t reserved;
    /* Ids this VM has had since it connected, the last 16: a header may name any of them. */
    uint32_t ids_count;
    uint32_t ids[16];
    uint8_t rx[JOURNAL_RX_BYTES]; /* ring */
};

struct journal_pair {
    uint32_t sq_head;
    uint32_t cq_tail;
    uint32_t error;
    uint32_t reserved;
};

/* What the shared memory of the VM looks like: never read back from it, a guest can write there. */
struct journal_layout {
    uint32_t qp_count;
    uint32_t entries; /* of each submission and completion ring */
    uint64_t data_bytes;
    uint64_t features; /* offered at the last attach */
};

struct journal_ring {
    struct journal_pair pair[VGPU_QP_MAX];
    struct journal_timeline timeline[VGPU_TIMELINES_MAX];
    uint32_t attachment; /* the generation that the guest sees */
    uint32_t connected;
    uint32_t device_status; /* enum vgpu_device_status */
    uint32_t reserved;
    uint64_t accepted; /* features */
    struct journal_layout layout;
};

/* What a VM has left of its request rate, see bucket.c. */
struct journal_bucket {
    uint32_t rate;     /* that `level` rises by: jobs per second, 0 = unlimited */
    uint32_t burst;    /* jobs that `level` may hold */
    uint64_t level;    /* in BUCKET_TOKENs */
    uint64_t stamp_ns; /* when that was so; 0 = it was never limited */
};

/* What a VM has done wrong, see faults.c. */
struct journal_faults {
    uint64_t points; /* in FAULT_POINTs */
    uint64_t stamp_ns;
};

/* The last quarantine of a VM, see quarantine.c. The rest is written before `word`. */
struct journal_quarantine {
    uint64_t word; /* its number << 1 | does it hold?; 0 = there was none */
    uint64_t since_s;
    uint32_t fault; /* enum mediator_fault, 0 = an administrator's word */
    uint32_t points;
};

struct journal_link {
    uint32_t worker_id; /* 0 = none */
    uint32_t unit_tail;
    uint32_t reply_head;
    uint32_t reserved;
    uint64_t replied_ns; /* when the last reply was taken: what came behind it has run since then */
};

struct journal {
    uint32_t magic;
    uint32_t version;
    uint32_t slot_count;
    uint32_t slot_bytes;
    uint32_t slots_used; /* no slot from here on was ever taken */
    uint32_t reserved;
    uint64_t next_seq;
    uint64_t tx_offset; /* of the transmit buffer of the version 1 connection, behind the slots */
    uint64_t tx_bytes;  /* a power of two, enough for an answer to every slot */
    uint64_t waits_offset; /* of struct journal_wait[slot_count][VGPU_WAITS_MAX] */
    struct journal_bucket bucket;
    struct journal_faults faults;
    struct journal_quarantine quarantine;
    struct journal_link link[2]; /* by enum mediator_lane */
    /* What every VM needs is beside one another, so that it is in few pages: the receive buffer
     * begins in the first one, the ring's own fields end where the slots begin. */
    struct journal_stub stub;
    struct journal_ring ring;
    struct journal_slot slot[];
};

static inline struct journal_wait *journal_waits(struct journal *journal, uint32_t slot)
{
    return (struct journal_wait *)((uint8_t *)journal + journal->waits_offset) +
           (uint64_t)slot * VGPU_WAITS_MAX;
}

#endif
