/*
 * vgpu.h - libvgpu: GPU work from a VM, or from a host program that stands in for one
 *
 * This is the ring, over shared memory; version 1 of the interface is in vgpu_stub.h. Layers; each
 * can be used without those below it in this list:
 *
 *     struct vgpu_link      attach.c    connection, shared memory, doorbells, agreed features
 *     struct vgpu_queue     ring.c      one queue pair: submissions out, completions in
 *     struct vgpu_slice     data.c      which bytes of a pair's data slice are in use
 *     struct vgpu_command   command.c   the ops of one submission (vgpu_command.h)
 *     struct vgpu_session   session.c   calls on one queue: tickets, memory, retries
 *                           calls.c     one call for each op, synchronous
 *                           query.c     the same for what is asked about modules and kernels
 *
 * Return values. 0 = done. Negative = -errno: something went wrong on this side of the interface,
 * or the other side broke it: -EPIPE the attachment was closed, -ETIMEDOUT no answer in time,
 * -EPROTO the host wrote what it must not write, -EIO the host stopped serving the pair, -EINVAL
 * the caller is wrong. Positive = enum vgpu_status: the host's own answer, and it is not OK.
 * vgpu_result_text() turns each of them into words.
 *
 * Threads. A queue and what is built on it belong to one thread at a time. Different
 * queues of one link may be used by different threads. No function installs signal handlers;
 * a write to a closed connection fails instead of raising SIGPIPE.
 *
 * Values that the host wrote are copied once, checked, and only then used.
 */
#ifndef VGPU_H
#define VGPU_H

#include <stddef.h>
#include <stdint.h>

#include "ring_abi.h"
#include "vgpu_command.h"

/* What was attempted, on what, why it failed and what to do next: one or two sentences. */
struct vgpu_reason {
    char text[400];
};

/** vgpu_status_name() - The name of a status, as in "BUSY"; "UNKNOWN" for a number not known. */
const char *vgpu_status_name(int status);

/**
 * vgpu_result_text() - What a return value of this library means, in words
 * @result: any return value
 *
 * Return: a constant text, or strerror()'s for an errno without one; never NULL.
 */
const char *vgpu_result_text(int result);

/** vgpu_now_ns() - CLOCK_MONOTONIC in nanoseconds. */
uint64_t vgpu_now_ns(void);

/* ---- the link (attach.c) ------------------------------------------------------------------- */

struct vgpu_link;

/* The checked copy of the host page, and what was agreed. The identity is live. */
struct vgpu_link_facts {
    uint16_t major;
    uint16_t minor;
    uint32_t generation;
    uint32_t pair_count;
    uint32_t device_count;
    uint32_t sq_entries;
    uint32_t cq_entries;
    uint64_t region_bytes;
    uint64_t data_bytes; /* of each pair */
    uint64_t offered;    /* features, bit (1 << enum vgpu_feature) */
    uint64_t accepted;
    uint32_t vm_id;
    char pool_id; /* 0 = none */
    uint8_t priority;
};

#define VGPU_FEATURES_ALL ((UINT64_C(1) << VGPU_FEATURE_COUNT) - 1)

/**
 * vgpu_attach() - Attach to a VM's ring socket and agree on features; blocks
 * @path: of the socket, <run_dir>/vms/<uuid>/ring.sock
 * @features: the features to accept where they are offered, bit (1 << enum vgpu_feature)
 * @timeout_ms: for everything together
 * @link: the new link; vgpu_detach() it
 * @why: says in words why it failed; may be NULL
 *
 * Return: 0; -ECONNREFUSED when nobody listens or vgpud closed the connection at once (another
 * client is attached, or this user is not the VM's peer); -ENOENT, -EACCES; -ETIMEDOUT; -EPROTO
 * when what is behind the socket does not keep the interface.
 */
int vgpu_attach(const char *path, uint64_t features, int timeout_ms, struct vgpu_link **link,
                struct vgpu_reason *why);

/**
 * vgpu_attach_connected() - The same over a connection that exists already
 * @connection: a connected stream socket; consumed, also on failure
 */
int vgpu_attach_connected(int connection, uint64_t features, int timeout_ms,
                          struct vgpu_link **link, struct vgpu_reason *why);

/** vgpu_detach() - Close the link; its queues must be closed before. NULL is allowed. */
void vgpu_detach(struct vgpu_link *link);

/** vgpu_link_facts() - What is known about the host's side; does not block. */
void vgpu_link_facts(const struct vgpu_link *link, struct vgpu_link_facts *facts);

/* ---- a queue pair (ring.c) ----------------------------------------------------------------- */

struct vgpu_queue;

/**
 * vgpu_queue_open() - Take a queue pair into use; once for each pair of a link
 * @link: must outlive the queue
 * @pair: index, below vgpu_link_facts.pair_count
 * @queue: the new queue; vgpu_queue_close() it
 *
 * Return: 0; -EINVAL no such pair; -EBUSY the pair was opened before; -ENOMEM.
 */
int vgpu_queue_open(struct vgpu_link *link, uint32_t pair, struct vgpu_queue **queue);

/** vgpu_queue_close() - Give up a queue; what is outstanding is not waited for. NULL is allowed. */
void vgpu_queue_close(struct vgpu_queue *queue);

/**
 * vgpu_queue_put() - Stage a submission; the host sees it after vgpu_queue_push()
 * @entry: copied
 *
 * @entry's generation is filled in.
 *
 * Return: 0; -EAGAIN the ring is full, or as much is outstanding as it holds (urgent entries: as the
 * completion ring holds): push, take completions, try again; -EIO; -EPROTO.
 */
int vgpu_queue_put(struct vgpu_queue *queue, const struct vgpu_submission *entry);

/** vgpu_queue_push() - Publish what is staged and ring the doorbell if the host asks for it. */
int vgpu_queue_push(struct vgpu_queue *queue);

/**
 * vgpu_queue_take() - Take the next completion; does not block
 * @completion: the copy; of this attachment, everything else in it is as the host wrote it
 *
 * Return: 1 taken, 0 there is none, -EPROTO.
 */
int vgpu_queue_take(struct vgpu_queue *queue, struct vgpu_completion *completion);

/**
 * vgpu_queue_wait() - Block until vgpu_queue_take() has something, or the time is over
 * @timeout_ms: 0 = only look
 *
 * Return: 0; -ETIMEDOUT; -EPIPE the attachment was closed; -EIO the pair is in error.
 */
int vgpu_queue_wait(struct vgpu_queue *queue, int timeout_ms);

/** vgpu_queue_spin() - Look for @spin_us before sleeping in vgpu_queue_wait(); 0 at first. */
void vgpu_queue_spin(struct vgpu_queue *queue, uint32_t spin_us);

/** vgpu_queue_data() - Address of @bytes at @offset of the pair's data slice; NULL if outside. */
void *vgpu_queue_data(struct vgpu_queue *queue, uint64_t offset, uint64_t bytes);

/** vgpu_queue_data_bytes() - Size of the pair's data slice. */
uint64_t vgpu_queue_data_bytes(const struct vgpu_queue *queue);

/* ---- the data slice (data.c) --------------------------------------------------------------- */

struct vgpu_slice;

#define VGPU_SLICE_NONE UINT64_MAX

/**
 * vgpu_slice_new() - An allocator over @bytes, all free; it never touches the bytes themselves
 * @blocks_max: how many blocks there can be at a time, 1..65536; their table is allocated now
 *
 * Return: 0, -EINVAL, -ENOMEM.
 */
int vgpu_slice_new(uint64_t bytes, uint32_t blocks_max, struct vgpu_slice **slice);

/** vgpu_slice_free() - Free the allocator. NULL is allowed. */
void vgpu_slice_free(struct vgpu_slice *slice);

/**
 * vgpu_slice_get() - Allocate @bytes (1 or more); O(blocks), no malloc
 * @offset: of the block, a multiple of 64
 *
 * Return: 0; -ENOSPC no gap is large enough, or all blocks_max are in use; -EINVAL.
 */
int vgpu_slice_get(struct vgpu_slice *slice, uint64_t bytes, uint64_t *offset);

/** vgpu_slice_put() - Free the block at @offset. Return: 0; -EINVAL there is no such block. */
int vgpu_slice_put(struct vgpu_slice *slice, uint64_t offset);

/** vgpu_slice_used() - Bytes in use, rounded up block by block. */
uint64_t vgpu_slice_used(const struct vgpu_slice *slice);

/* ---- a session (session.c) ----------------------------------------------------------------- */

struct vgpu_session;

struct vgpu_session_options {
    uint32_t ctx;
    uint32_t stream;
    uint32_t timeout_ms; /* of a call, retries included; what is over it stays outstanding */
    uint32_t retries;    /* after BUSY, RATE and NO_CONTEXT, each after retry_after_us */
    uint32_t depth;      /* submissions outstanding at a time, 1..4096 */
};

#define VGPU_SESSION_DEFAULTS                                                                      \
    ((struct vgpu_session_options){.timeout_ms = 30000, .retries = 50, .depth = 256})

/**
 * vgpu_session_open() - Calls on one queue
 * @queue: must outlive the session, and is used through it only
 *
 * Return: 0, -EINVAL, -ENOMEM.
 */
int vgpu_session_open(struct vgpu_queue *queue, const struct vgpu_session_options *options,
                      struct vgpu_session **session);

/** vgpu_session_close() - End a session; what is outstanding is not waited for. NULL is allowed. */
void vgpu_session_close(struct vgpu_session *session);

/**
 * vgpu_session_start() - Submit without waiting
 * @kind: VGPU_KIND_NOP (then @command is NULL) or VGPU_KIND_COMMAND
 * @command: a finished command in memory of the slice (vgpu_session_memory()), which stays the
 *           caller's and must not change before the answer
 * @ticket: for vgpu_session_finish()
 *
 * Several starts may share one doorbell: the host need not see them before vgpu_session_flush() or
 * vgpu_session_finish(). Return: 0; -EAGAIN too many are outstanding: finish one; -EINVAL; -EIO.
 */
int vgpu_session_start(struct vgpu_session *session, uint8_t kind,
                       const struct vgpu_command *command, uint64_t *ticket);

/** vgpu_session_flush() - Show the host everything that was started; does not block. */
int vgpu_session_flush(struct vgpu_session *session);

/**
 * vgpu_session_finish() - Wait for the answer to a ticket; the ticket is used up on 0 and positive
 * @answer: also filled when the status is not VGPU_OK
 *
 * No retries: a BUSY is returned as VGPU_BUSY. Return: as the answer's status; -ETIMEDOUT: it is
 * still outstanding and may be finished later; -EINVAL no such ticket; -EPIPE; -EIO; -EPROTO.
 */
int vgpu_session_finish(struct vgpu_session *session, uint64_t ticket,
                        struct vgpu_completion *answer);

/**
 * vgpu_session_call() - Submit, wait, and repeat politely while the host is busy
 * @kind, @command: as for vgpu_session_start()
 * @answer: the last one
 * @submit_ns: when the last try was submitted, by vgpu_now_ns(); may be NULL
 *
 * Return: as vgpu_session_finish(). After a negative one the submission is given up: what the
 * caller then releases is used again only when the host has answered it.
 */
int vgpu_session_call(struct vgpu_session *session, uint8_t kind,
                      const struct vgpu_command *command, struct vgpu_completion *answer,
                      uint64_t *submit_ns);

/**
 * vgpu_session_memory() - Memory of the data slice, for commands and for bulk data
 * @offset: for vgpu_ref() and vgpu_session_release()
 *
 * Return: its address; NULL when there is no room.
 */
void *vgpu_session_memory(struct vgpu_session *session, uint64_t bytes, uint64_t *offset);

/** vgpu_session_release() - Free memory; VGPU_SLICE_NONE is allowed. */
void vgpu_session_release(struct vgpu_session *session, uint64_t offset);

/** vgpu_session_data_bytes() - Size of the data slice that the session allocates from. */
uint64_t vgpu_session_data_bytes(const struct vgpu_session *session);

/** vgpu_session_retries() - How often a call was repeated because the host was busy. */
uint64_t vgpu_session_retries(const struct vgpu_session *session);

/* ---- one call for each op (calls.c); all block for at most the session's timeout_ms --------- */

/** vgpu_device_info() - Describe the device. */
int vgpu_device_info(struct vgpu_session *session, struct vgpu_device_info *info);

/** vgpu_nop() - A command of one NOP, through the VM's worker. */
int vgpu_nop(struct vgpu_session *session, struct vgpu_completion *answer);

/** vgpu_alloc() - Make buffer @id of @bytes zeroes; @raw (may be NULL) = its device address or 0 */
int vgpu_alloc(struct vgpu_session *session, uint32_t id, uint64_t bytes, uint64_t *raw);

/** vgpu_free() - Free buffer @id. */
int vgpu_free(struct vgpu_session *session, uint32_t id);

/** vgpu_write() - Copy @bytes from @src to @offset of buffer @id, in pieces that fit the slice. */
int vgpu_write(struct vgpu_session *session, uint32_t id, uint64_t offset, const void *src,
               uint64_t bytes);

/** vgpu_read() - Copy @bytes at @offset of buffer @id to @dst, in pieces that fit the slice. */
int vgpu_read(struct vgpu_session *session, uint32_t id, uint64_t offset, void *dst,
              uint64_t bytes);

/** vgpu_copy() - Copy @bytes on the device; within one buffer the ranges must not overlap. */
int vgpu_copy(struct vgpu_session *session, struct vgpu_address dst, struct vgpu_address src,
              uint64_t bytes);

/** vgpu_fill() - Fill @bytes on the device; @pattern as for vgpu_command_fill(). */
int vgpu_fill(struct vgpu_session *session, struct vgpu_address dst, uint64_t bytes,
              const void *pattern, uint32_t pattern_bytes);

/* The build log: text of the device's compiler. Filled also when the build failed. */
struct vgpu_build_log {
    char *text;   /* the caller's, of `room` bytes; NUL is written behind the text */
    size_t room;  /* 0 = no log wanted */
    size_t bytes; /* without the NUL; room - 1 when it was cut */
};

/**
 * vgpu_module_load() - Compile or take code as module @id
 * @kind: enum vgpu_module_kind
 * @options: for the compiler, or NULL
 * @log: may be NULL
 *
 * Return: VGPU_BUILD_FAILED with the log when it does not compile; -EFBIG when code and options do
 * not fit into the data slice.
 */
int vgpu_module_load(struct vgpu_session *session, uint32_t id, uint32_t kind, const void *code,
                     size_t code_bytes, const char *options, struct vgpu_build_log *log);

/** vgpu_module_unload() - Unload module @id. */
int vgpu_module_unload(struct vgpu_session *session, uint32_t id);

/** vgpu_kernel_create() - Make kernel @id from @name of @module; @arg_count may be NULL. */
int vgpu_kernel_create(struct vgpu_session *session, uint32_t id, uint32_t module, const char *name,
                       uint32_t *arg_count);

/**
 * vgpu_kernel_args() - What the device tells of a kernel's arguments (query.c)
 * @args: filled, as many as there are; may be NULL when @room is 0
 * @room: how many there is room for
 * @count: how many there are, also when there is not room; 0 where the device tells nothing
 *
 * Return: -ENOSPC when @room is not 0 and too small.
 */
int vgpu_kernel_args(struct vgpu_session *session, uint32_t kernel, struct vgpu_arg_info *args,
                     uint32_t room, uint32_t *count);

/**
 * vgpu_module_fact() - The build log or the binary of a module (query.c)
 * @what: VGPU_FACT_BUILD_LOG or VGPU_FACT_BINARY
 * @bytes: filled with all of it; may be NULL when @room is 0
 * @room: bytes there
 * @size: of the whole, also when there is not room
 *
 * Return: -ENOSPC when @room is not 0 and too small, or the data slice is; VGPU_NO_MEMORY when the
 * host has forgotten it: it remembers what was built last.
 */
int vgpu_module_fact(struct vgpu_session *session, uint32_t module, uint32_t what, void *bytes,
                     size_t room, size_t *size);

/**
 * vgpu_launch() - Run a kernel to its end (LAUNCH and SYNC in one command)
 * @answer, @submit_ns: as for vgpu_session_call()
 */
int vgpu_launch(struct vgpu_session *session, const struct vgpu_launch *launch,
                struct vgpu_completion *answer, uint64_t *submit_ns);

/** vgpu_sync() - Wait until what was submitted on the session's stream has finished. */
int vgpu_sync(struct vgpu_session *session);

/**
 * vgpu_device_info_read() - Check device information that came as bytes
 * @bytes, @len: as the host wrote them; a shorter, older structure leaves the rest 0
 *
 * Return: 0; -EPROTO when it is too short or contradicts itself.
 */
int vgpu_device_info_read(const void *bytes, size_t len, struct vgpu_device_info *info);

#endif
