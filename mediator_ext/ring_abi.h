/*
 * ring_abi.h - The guest-visible interface, version 2: rings in shared memory
 *
 * One header for both sides: the engine, the worker and libvgpu include it; so may a guest driver.
 * The ops, which only a VM's own worker reads, are in ring_ops.h.
 * Everything is little-endian and naturally aligned. Reserved fields must be 0 and are checked.
 *
 * The shared memory of a VM (on ivshmem: BAR2) is one region:
 *
 *     0          struct vgpu_host_page    written by the host, read-only to the guest by rule
 *     4 KiB      struct vgpu_guest_page   written by the guest, latched once by the host
 *     qp_base    queue pair 0, then qp_count - 1 more at qp_stride
 *
 *     a pair:    + 0          struct vgpu_pair_host    indices that the host writes
 *                + 4 KiB      struct vgpu_pair_guest   indices that the guest writes
 *                + sq_offset  sq_entries x struct vgpu_submission
 *                + cq_offset  cq_entries x struct vgpu_completion
 *                + data_offset, data_bytes: the pair's slice of the data area, "segment 0"
 *
 * Every part of a pair starts on 64 KiB, so that a guest driver may map it singly for one process.
 * Without such a driver the processes of a VM trust each other. Pair 0 is the control pair.
 *
 * Starting: the guest reads the host page, writes `accepted` and then status ACK | FEATURES_OK in
 * its own page, and rings pair 0. The host answers in host_page.device_status: VGPU_DEVICE_OK, or
 * VGPU_DEVICE_FAILED when a feature was accepted that was not offered. Nothing is taken from a ring
 * before VGPU_DEVICE_OK. A guest that finds a device in use (it was rebooted, its driver was loaded
 * again) writes status RESET and rings pair 0: the host then does what it does at an attach, and
 * status reads 0 afterwards. `generation` is bumped by every attach and reset; what belongs to an
 * older one is dropped, though a command that is running then may still write to the data area.
 *
 * Indices run freely (modulo 2^32) and are reduced by the number of entries, a power of two. The
 * guest fills submissions[sq_tail % n] and then stores sq_tail with release order; it rings when
 * sq_need_doorbell is set after a full fence. The host takes an entry only while fewer than
 * sq_entries completions are owed or unread (cq_entries, twice as many, for an urgent one); a guest
 * that had more submissions than that without a consumed completion rings, on the same condition,
 * after it has moved cq_head. The guest
 * asks for an interrupt by storing in cq_event the index at which it wants one: the host interrupts
 * when it moves cq_tail past it. It also interrupts pair 0 when it sets device_status, and a pair
 * when it sets its error state. sq_tail - sq_head > sq_entries, or a cq_head out of range, is a
 * pair error: state goes to VGPU_PAIR_ERROR and the pair is not served again before the next
 * attach.
 *
 * A submission names a command: a sequence of ops in the data area, at most VGPU_COMMAND_BYTES_MAX
 * bytes and VGPU_COMMAND_OPS_MAX ops, all of one lane. The engine reads the entry; only the VM's
 * own worker reads the command. Ops run in order; the first that fails ends the command: its index
 * and status are the completion's, the rest is not run. Submissions of one stream of a pair
 * complete in order, but for those that are refused or time out before they begin, which is told at
 * once; those of different streams complete in any order.
 *
 * timeout_ms bounds how long a submission waits to be begun, from when it was taken, and again how
 * long it runs, all its time on the device and in builds together. Of it and of the host's own limit
 * the smaller one holds. Past it the completion is VGPU_TIMEOUT: native 0, it waited; native 1, it ran,
 * and was ended between two ops or, where an op did not end in time, with its worker.
 *
 * Timelines are u64 values that only grow, one for each stream of a pair, and as many of the guest's
 * own as it names. A submission may wait for values of them, and set its stream's when it is done.
 * Nothing deadlocks but what waits for itself, and that times out. A submission that ends with an
 * error moves its stream's timeline all the same, but as failed: what waits for a value that it has
 * moved over is ABORTED. Of earlier failures only the last one is remembered.
 *
 * SIGNAL, CANCEL and QUERY are urgent: they are answered at once, in whatever state the streams are,
 * and take none of the room that other submissions have. To get past them they need a free entry in
 * the submission ring, so a guest keeps at most sq_entries others unanswered in a pair. CANCEL ends
 * what is queued with CANCELLED; what runs goes on to its end, or to the end of its budget.
 *
 * Object ids are chosen by the guest, so that a chain needs no round trip: a u32 other than 0, one
 * name space for each kind in each ctx of each pair. Nothing is shared between ctxs, and nothing
 * outlives the attachment: a new one starts without objects. Unloading a module takes its kernels
 * along.
 */
#ifndef VGPU_RING_ABI_H
#define VGPU_RING_ABI_H

#include <stdint.h>

#include "ring_ops.h"

#define VGPU_RING_MAGIC 0x32475056u /* "VPG2" */
#define VGPU_RING_MAJOR 2
#define VGPU_RING_MINOR 0

#define VGPU_PAGE_BYTES        4096u
#define VGPU_PART_ALIGN        65536u
#define VGPU_QP_MAX            64u
#define VGPU_RING_ENTRIES_MIN  16u
#define VGPU_RING_ENTRIES_MAX  32768u
#define VGPU_COMMAND_BYTES_MAX 65536u
#define VGPU_COMMAND_OPS_MAX   256u
#define VGPU_LAUNCH_ARGS_BYTES 32768u
#define VGPU_LAUNCH_ARGS_MAX   128u
#define VGPU_WAITS_MAX         16u
#define VGPU_TIMELINES_MAX     256u /* of a VM, that are not at 0 or are waited for */
#define VGPU_NAME_MAX          255u

/* Status of a completion. Numbers are never reused. */
enum vgpu_status {
    VGPU_OK = 0,
    VGPU_INVALID = 1,     /* malformed entry, command or op */
    VGPU_UNSUPPORTED = 2, /* well formed, but not offered by this host or device */
    VGPU_BUSY = 3,        /* all streams, timelines or slots of this VM are in use */
    VGPU_RATE = 4,        /* over the request rate: retry after retry_after_us */
    VGPU_QUOTA = 5,       /* over this VM's device memory quota */
    VGPU_TIMEOUT = 6,     /* waited (native 0) or ran (native 1) too long */
    VGPU_CANCELLED = 7,
    VGPU_DEVICE_LOST = 8,    /* the worker or the device went away; objects of the ctx are gone */
    VGPU_NO_CONTEXT = 9,     /* no worker can be had now: retry after retry_after_us */
    VGPU_QUARANTINED = 10,   /* this VM is quarantined until an administrator clears it */
    VGPU_POOL_DISABLED = 11, /* the VM's pool is disabled, or the VM has no pool */
    VGPU_ABORTED = 12,       /* what it waits for has failed */
    VGPU_BUILD_FAILED = 13,  /* the module did not compile: see its log; without one the compiler
                                died of it, native is the signal, or 256 + its exit status */
    VGPU_NO_OBJECT = 14,     /* unknown object id */
    VGPU_EXISTS = 15,        /* the object id is in use */
    VGPU_NO_MEMORY = 16,     /* the device, or the worker, is out of memory */
    VGPU_FAILED = 17,        /* the device's runtime refused: native is its own code */
    VGPU_STATUS_COUNT
};

/* Feature bits: offered in the host page, accepted in the guest page. Bit numbers. */
enum vgpu_feature {
    VGPU_FEATURE_STREAMS = 0,   /* more than one stream in a pair */
    VGPU_FEATURE_TIMELINES = 1, /* waits and signals */
    VGPU_FEATURE_OPENCL_C = 2,
    VGPU_FEATURE_SPIRV = 3,
    VGPU_FEATURE_PTX = 4,
    VGPU_FEATURE_REGISTER = 5, /* guest RAM as further segments */
    VGPU_FEATURE_QUERY = 6,    /* native parameters, build logs, binaries, clock pair */
    VGPU_FEATURE_COUNT
};

enum vgpu_device_status {
    VGPU_DEVICE_WAITING = 0, /* for the guest's features */
    VGPU_DEVICE_OK = 1,
    VGPU_DEVICE_FAILED = 2,
};

enum vgpu_guest_status {
    VGPU_GUEST_ACK = 1u,
    VGPU_GUEST_FEATURES_OK = 2u,
    VGPU_GUEST_RESET = 4u, /* alone */
};

enum vgpu_pair_state {
    VGPU_PAIR_OK = 0,
    VGPU_PAIR_ERROR = 1,
};

struct vgpu_host_page {
    uint32_t magic;
    uint16_t major;
    uint16_t minor;
    uint32_t page_bytes; /* sizeof(struct vgpu_host_page): fields past it are not there */
    uint32_t generation;
    uint64_t features[2];
    uint64_t region_bytes; /* the whole shared memory */
    uint16_t qp_count;
    uint16_t device_count;
    uint32_t segment_count; /* data segments beyond each pair's own */
    uint64_t qp_base;
    uint64_t qp_stride;
    uint32_t sq_entries;
    uint32_t cq_entries;
    uint64_t sq_offset; /* within a pair */
    uint64_t cq_offset;
    uint64_t data_offset;
    uint64_t data_bytes;
    uint32_t device_status; /* enum vgpu_device_status */
    /* Identity, updated live. */
    uint32_t vm_id;
    uint8_t pool_id;  /* ASCII; 0 = none */
    uint8_t priority; /* 0 low, 1 medium, 2 high */
    uint8_t reserved[14];
};

struct vgpu_guest_page {
    uint64_t accepted[2];
    uint32_t status; /* enum vgpu_guest_status bits */
    uint32_t reserved;
};

struct vgpu_pair_host {
    uint32_t sq_head;
    uint32_t sq_need_doorbell;
    uint32_t cq_tail;
    uint32_t state; /* enum vgpu_pair_state */
};

struct vgpu_pair_guest {
    uint32_t sq_tail;
    uint32_t cq_head;
    uint32_t cq_event;
    uint32_t reserved;
};

enum vgpu_kind {
    VGPU_KIND_COMMAND = 1, /* run the command at cmd_* */
    VGPU_KIND_NOP = 2,     /* answered by the engine when it is the head of its stream */
    VGPU_KIND_SIGNAL = 3,  /* set user timeline `stream` to `signal`, at once */
    VGPU_KIND_CANCEL = 4,  /* cancel what has the cookie `signal`, at once; result[0] = how many */
    VGPU_KIND_RESET_CTX = 5, /* reserved: answered UNSUPPORTED */
    VGPU_KIND_QUERY = 6,     /* answered at once, see enum vgpu_query */
};

enum vgpu_lane {
    VGPU_LANE_EXEC = 0,  /* everything but module loads */
    VGPU_LANE_BUILD = 1, /* module loads only */
    VGPU_LANE_COPY = 2,  /* reserved */
};

struct vgpu_submission {
    uint64_t cookie; /* returned as it is */
    uint8_t kind;    /* enum vgpu_kind */
    uint8_t lane;    /* enum vgpu_lane */
    uint16_t flags;  /* 0 */
    uint32_t ctx;
    uint32_t stream;
    uint32_t timeout_ms; /* own limit on waiting and on running, see above; 0 = the host's alone */
    uint32_t cmd_seg;    /* 0 = the pair's own slice */
    uint32_t cmd_len;    /* bytes, a multiple of 8 */
    uint64_t cmd_off;    /* a multiple of 8 */
    uint32_t wait_off;   /* array of struct vgpu_wait in segment 0 */
    uint16_t wait_count;
    uint16_t reserved0;
    uint64_t signal;     /* value set on the stream's timeline when done; 0 = none */
    uint32_t generation; /* the host page's: an entry of another one is dropped, unanswered */
    uint32_t reserved1;
};

enum vgpu_timeline_kind {
    VGPU_TIMELINE_USER = 0,   /* moved by SIGNAL */
    VGPU_TIMELINE_STREAM = 1, /* of the stream of that number: moved by its submissions */
};

struct vgpu_wait {
    uint32_t timeline;
    uint32_t kind; /* enum vgpu_timeline_kind */
    uint64_t value;
};

/* What a QUERY asks for, in cmd_seg; the answer is in result[]. */
enum vgpu_query {
    VGPU_QUERY_CLOCKS = 1,          /* CLOCK_MONOTONIC and CLOCK_REALTIME of the host, ns */
    VGPU_QUERY_TIMELINE = 2,        /* of user timeline `stream`: its value; 1 if it last failed */
    VGPU_QUERY_STREAM_TIMELINE = 3, /* the same of stream `stream` */
};

struct vgpu_completion {
    uint64_t cookie;
    uint16_t status; /* enum vgpu_status */
    uint16_t flags;
    uint32_t op_index; /* the op that failed; the number of ops run when all went well */
    int32_t native;    /* the device runtime's own code, 0 = none */
    uint32_t retry_after_us;
    uint32_t generation;
    uint32_t out_len;   /* bytes written to the last op's data reference */
    uint64_t result[2]; /* of the last op that was run */
    uint64_t start_ns;  /* CLOCK_MONOTONIC of the host: first dispatch, and completion */
    uint64_t end_ns;
};

_Static_assert(sizeof(struct vgpu_submission) == 64, "submission entry");
_Static_assert(sizeof(struct vgpu_completion) == 64, "completion entry");
_Static_assert(sizeof(struct vgpu_host_page) == 128, "host page");
_Static_assert(sizeof(struct vgpu_guest_page) == 24, "guest page");

#endif
