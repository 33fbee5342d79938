/*
 * children.h - The workers: started, watched, killed, reaped, reported
 *
 * Life of a worker's record:
 *
 *   FREE ──children_spawn()──► ALIVE ──children_reap()──► ENDED ──children_forget()──► FREE
 *
 *   ALIVE  a process of ours that was not waited for: its pid and pidfd are good. Its uid is taken.
 *          Ends by itself or by children_kill(); children_reap() is called when the pidfd says so.
 *   ENDED  no process of its uid is left, its scratch directory is gone; how it ended is kept until
 *          a client has dealt with it. Its uid may be used again. No pidfd; the pid is only a
 *          number for the report, and may be somebody else's by now.
 *
 * A slot has at most one launch and one build worker, so there are two records for each slot, and
 * some that only probes may take: what is wrong with a device can be found out when all slots are
 * in use. A client that never says SPAWN_REAPED runs out of records.
 */
#ifndef VGPUD_SPAWN_CHILDREN_H
#define VGPUD_SPAWN_CHILDREN_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "spawn/cgroup.h"
#include "spawn/output.h"
#include "spawn/scratch.h"
#include "spawn/spawn_protocol.h"
#include "spawn/uids.h"

/* Records that are kept for probes. */
#define CHILDREN_PROBES 4u

/** children_max() - How many workers there may be at a time with so many slots */
static inline uint32_t children_max(uint32_t slots)
{
    return 2 * slots + CHILDREN_PROBES;
}

struct children;

enum child_state {
    CHILD_FREE = 0,
    CHILD_ALIVE,
    CHILD_ENDED,
};

struct child {
    enum child_state state;
    uint32_t worker_id;
    pid_t pid;
    int pidfd;
    uint32_t uid;
    uint32_t slot;
    enum spawn_role role;
    int code;            /* si_code: CLD_EXITED, CLD_KILLED, CLD_DUMPED */
    int status;          /* si_status: exit status or signal */
    bool ran_out;        /* the kernel ended it at its memory limit */
    uint64_t end_number; /* 1, 2, ... in the order in which workers ended */
    char label[SPAWN_KEY_BYTES];
    struct output output;
};

struct children_config {
    int epoll_fd;
    uint32_t slots;
    const char *program;    /* the worker's, absolute */
    uint32_t capabilities;  /* SPAWN_CAN_* */
    struct uid_range *uids; /* outlives the children */
    struct scratch *scratch;
    const struct cgroups *groups; /* closed ones: workers have none */
};

/**
 * children_new() - Make an empty table
 *
 * Return: the table, or NULL with errno set
 */
struct children *children_new(const struct children_config *config);

/** children_free() - Release the table; living workers go on living; NULL is allowed */
void children_free(struct children *children);

/**
 * children_spawn() - Start a worker
 * @children: table
 * @role: what it is for
 * @slot: which uids
 * @control_fd: its control socket; remains the caller's
 * @detail: SPAWN_DETAIL_BYTES of settings from the client, unchecked
 * @label: valid by held_key_valid(), may be empty
 * @started: set to the new record
 *
 * Waits until the program runs: about a millisecond, at most LAUNCH_TIMEOUT_MS.
 *
 * Return: 0; -EINVAL for role, slot or settings; -ENOTSOCK; -EBUSY if a living worker has that slot
 * and role; -ENOSPC if all records are in use; -ETIMEDOUT; or the -errno of the stage that failed
 */
int children_spawn(struct children *children, uint32_t role, uint32_t slot, int control_fd,
                   const char *detail, const char *label, const struct child **started);

/**
 * children_kill() - End a worker; its end is reported as any other
 *
 * Return: 0, also if it has ended already; -ENOENT if there is no such record; another -errno
 */
int children_kill(struct children *children, uint32_t worker_id);

/**
 * children_forget() - Let go of the record of a worker that has ended
 *
 * Return: 0; -ENOENT; -EBUSY while it is alive
 */
int children_forget(struct children *children, uint32_t worker_id);

/**
 * children_reap() - The pidfd of a record became readable
 * @index: from the watch word
 */
void children_reap(struct children *children, uint32_t index);

/**
 * children_hear() - What a worker says became readable, or it will say nothing more
 * @index: from the watch word
 */
void children_hear(struct children *children, uint32_t index);

/** children_end_all() - Kill every worker and wait, at most a few seconds, until they are gone */
void children_end_all(struct children *children);

/** children_has_process() - Is it a living worker, or was it started by one? */
bool children_has_process(const struct children *children, pid_t pid);

/**
 * children_next() - Walk all records in use
 * @cursor: where to go on; 0 at first
 *
 * Return: the next, valid until the table changes, or NULL at the end
 */
const struct child *children_next(const struct children *children, uint32_t *cursor);

/**
 * children_next_end() - The first worker that ended after another one
 * @after: end_number of that one, 0 for the first of all
 *
 * Return: its record, valid until the table changes, or NULL
 */
const struct child *children_next_end(const struct children *children, uint64_t after);

#endif
