/*
 * worker_channel.h - What the engine and a worker share
 *
 * A worker is started by vgpu-spawn with one descriptor: its control socket (SOCK_SEQPACKET, fd 3),
 * whose other end vgpud holds. vgpud binds it to a VM by one struct worker_bind with descriptors;
 * the worker answers with one struct worker_ready. Before that it may be asked to stand by (struct
 * worker_stand_by, no descriptors): it answers with a struct worker_ready without a device as soon as
 * it could be bound and be at work at once. Nothing else is said there; when the other end is closed
 * by everybody who held it, the worker exits, also in the middle of a kernel.
 *
 * Work goes through the channel: a sealed memfd of WORKER_CHANNEL_BYTES, two single-producer rings.
 * Indices run freely; each side writes its own page only. Neither side trusts what the other wrote:
 * the engine keeps its own copies of all indices and treats a reply as bytes from a stranger.
 *
 *     engine -> worker   units[unit_tail % N], then unit_tail (release), then, if `worker_sleeps`,
 *                        FUTEX_WAKE on unit_tail (shared futex)
 *     worker -> engine   replies[reply_tail % N], then reply_tail (release), then, if
 *                        `engine_sleeps` after a full fence, one write to the doorbell eventfd
 *
 * A worker that is about to wait sets worker_sleeps, fences, looks at unit_tail once more, and then
 * waits with FUTEX_WAIT for the value it saw. One unit has exactly one reply. Units are taken in
 * order; replies come in the order of the units. At most WORKER_RING_ENTRIES units are unanswered.
 *
 * Outcomes. DONE: finished, with a status. CONTINUE: the budget ran out before op `op_index`; the
 * engine sends the unit again with first_op = op_index. NEED_BUILD: op `op_index` is a MODULE_LOAD
 * whose code this process has no binary for; the engine sends the unit to the build worker
 * (first_op = that op) and, after its reply, again to this worker with WORKER_UNIT_BUILT. After a
 * CONTINUE or NEED_BUILD the worker answers every further unit of the same (pair, stream) with
 * BOUNCED, untouched, up to the first unit that the engine sent when it had dealt with that reply
 * (`reply_head` is past it): what is sent then is meant, whether it is the rest of the interrupted
 * unit or something else, as the engine has given that up.
 *
 * Objects belong to a generation, as a device's state ends with its reset: when a command of
 * another generation arrives, the launch worker first drops every object that it has.
 *
 * A launch worker says in `objects`, before each reply, how many buffers, modules and kernels it holds,
 * plus one; 0 is no word. Who says 1 can be ended without a
 * loss to its VM, and may be when another one needs its place. That is all that is concluded: whoever
 * says something else than is so deprives himself.
 *
 * The build worker hands what it made to the launch worker over the exchange, a SOCK_SEQPACKET pair
 * between the two: struct worker_built with one sealed memfd (the log, then the binary). It replies
 * DONE/OK once that is sent, whether the build itself went well or not: the launch worker tells.
 */
#ifndef VGPUD_WORKER_CHANNEL_H
#define VGPUD_WORKER_CHANNEL_H

#include <stdint.h>

#include "ring_abi.h"

#define WORKER_MAGIC        0x4b525756u /* "VWRK" */
#define WORKER_VERSION      1
#define WORKER_RING_ENTRIES 64u
#define WORKER_CONTROL_FD   3
#define WORKER_BUILTIN_ARGS 8u
#define WORKER_NO_QP        UINT32_MAX /* a unit that came by no queue pair */

enum worker_unit_kind {
    WORKER_UNIT_COMMAND = 1,    /* a command in the data area of pair qp */
    WORKER_UNIT_VECTOR_ADD = 2, /* args[0] + args[1], as one work-item on the device */
};

enum worker_unit_flag {
    WORKER_UNIT_BUILT = 1u, /* the build that this unit needed has been tried */
};

enum worker_outcome {
    WORKER_DONE = 1,
    WORKER_CONTINUE = 2,
    WORKER_NEED_BUILD = 3,
    WORKER_BOUNCED = 4,
};

struct worker_unit {
    uint64_t token; /* the engine's; returned as it is */
    uint8_t kind;   /* enum worker_unit_kind */
    uint8_t lane;   /* enum vgpu_lane of the submission */
    uint16_t flags; /* enum worker_unit_flag */
    uint32_t qp;
    uint32_t ctx;
    uint32_t stream;
    uint32_t first_op;
    uint32_t budget_us; /* answer CONTINUE once this much time has passed between two ops */
    uint32_t cmd_seg;
    uint32_t cmd_len;
    uint64_t cmd_off;
    uint32_t args[WORKER_BUILTIN_ARGS];
    uint32_t generation; /* of the guest's attachment; see below */
    uint32_t reply_head; /* replies that the engine had dealt with when it sent this */
    uint64_t reserved[5];
};

struct worker_reply {
    uint64_t token;
    uint8_t outcome; /* enum worker_outcome */
    uint8_t reserved0;
    uint16_t status; /* enum vgpu_status, with WORKER_DONE */
    uint32_t op_index;
    int32_t native;
    uint32_t out_len;
    uint64_t result[2];
    uint64_t start_ns; /* CLOCK_MONOTONIC by the worker: shown, never charged */
    uint64_t end_ns;
    uint64_t reserved1;
};

/* Written by the engine. */
struct worker_engine_page {
    uint32_t unit_tail;
    uint32_t reply_head;
    uint32_t engine_sleeps;
    uint32_t spin_us; /* so long the worker may look for units before it sleeps, see spin.h */
};

/* Written by the worker. */
struct worker_worker_page {
    uint32_t unit_head;
    uint32_t reply_tail;
    uint32_t worker_sleeps;
    uint32_t objects; /* see below */
};

struct worker_channel {
    union {
        struct worker_engine_page engine;
        uint8_t page0[4096];
    };
    union {
        struct worker_worker_page worker;
        uint8_t page1[4096];
    };
    struct worker_unit units[WORKER_RING_ENTRIES];
    struct worker_reply replies[WORKER_RING_ENTRIES];
};

#define WORKER_CHANNEL_BYTES ((uint64_t)sizeof(struct worker_channel))

/* Order of the descriptors that come with struct worker_bind. */
enum worker_bind_fd {
    WORKER_BIND_CHANNEL = 0,
    WORKER_BIND_DOORBELL = 1, /* eventfd */
    WORKER_BIND_RING = 2,     /* the VM's shared memory; the worker maps the data slices only */
    WORKER_BIND_EXCHANGE = 3,
    WORKER_BIND_FDS = 4
};

struct worker_stand_by {
    uint32_t magic;
    uint32_t version;
};

struct worker_bind {
    uint32_t magic;
    uint32_t version;
    uint32_t role; /* enum spawn_role: must be what the worker was started as */
    uint32_t qp_count;
    uint64_t qp_base; /* of the ring: where the data slices lie */
    uint64_t qp_stride;
    uint64_t data_offset;
    uint64_t data_bytes;
    uint64_t memory_bytes; /* device memory that this VM may have allocated at a time */
};

/* Also what a probe sends, unasked, before it exits. Text ends with NUL; empty when status is 0. */
struct worker_ready {
    uint32_t magic;
    uint32_t version;
    int32_t status; /* 0, or a negative errno: then `reason` says why */
    uint32_t reserved;
    char reason[256];
    struct vgpu_device_info device;
};

struct worker_built {
    uint32_t magic;
    uint32_t version;
    uint64_t key[2]; /* hash over kind, options and code */
    uint16_t status; /* VGPU_OK, VGPU_BUILD_FAILED, VGPU_NO_MEMORY, VGPU_UNSUPPORTED */
    uint16_t reserved0;
    int32_t native;
    uint64_t log_bytes;
    uint64_t binary_bytes;
};

_Static_assert(sizeof(struct worker_unit) == 128, "worker unit");
_Static_assert(sizeof(struct worker_reply) == 64, "worker reply");
_Static_assert(sizeof(struct worker_stand_by) == 8, "worker stand by");
_Static_assert(sizeof(struct worker_bind) == 56, "worker bind");
_Static_assert(sizeof(struct worker_ready) == 272 + sizeof(struct vgpu_device_info),
               "worker ready");
_Static_assert(sizeof(struct worker_built) == 48, "worker built");

#endif
