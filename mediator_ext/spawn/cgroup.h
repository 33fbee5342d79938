/*
 * cgroup.h - A control group for each worker: what it may use up, and how all of it is ended
 *
 * Version 2 only. Where there is none that the spawner may divide, workers go without, and whoever
 * wants to know is told by the capabilities.
 */
#ifndef VGPUD_SPAWN_CGROUP_H
#define VGPUD_SPAWN_CGROUP_H

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>

#include "spawn/settings.h"
#include "spawn/spawn_protocol.h"

#define CGROUP_WORKER_PREFIX "worker-" /* and its number */

struct cgroups {
    int parent;            /* holds the base; -1 = workers have no groups */
    int base;              /* holds the workers' */
    char name[32];         /* of the base, in the parent */
    char path[PATH_MAX];   /* of the parent, for logs */
    uint32_t capabilities; /* SPAWN_CAN_GROUP, SPAWN_CAN_LIMIT */
};

/* 0 = the host's own limits and nothing else. */
struct cgroup_limits {
    uint64_t memory_bytes;
    uint64_t tasks;
    uint32_t cpu_weight; /* 1 to 10000; the kernel's default is 100 */
};

/**
 * cgroups_open() - Make the group that the workers' will be in
 * @groups: filled; to be closed also on failure
 * @range: a number of this spawner's alone, which goes into the name: workers that a spawner of the same
 * number has left there are ended
 * @delegated: the group that this process is in is its own, to be divided; it moves into one below
 *
 * Return: 0; -ENOENT where version 2 is not mounted; another -errno where it cannot be used
 */
int cgroups_open(struct cgroups *groups, uint32_t range, bool delegated);

/**
 * cgroups_clear() - End and remove what a spawner has left in the group that was delegated to it
 *
 * Called between two spawners, in that group or in the one that systemd runs commands in beside it. What
 * a living spawner has locked stays.
 *
 * Return: 0, also where version 2 is not mounted, or -errno
 */
int cgroups_clear(void);

/** cgroups_close() - Let go of it; it is removed if no worker is left in it */
void cgroups_close(struct cgroups *groups);

/**
 * cgroups_make() - A group for a worker, limited as its settings say
 * @group: set to its directory, close-on-exec, the caller's; -1 where there are no groups
 *
 * Return: 0; -EINVAL for a limit that is no number; another -errno. Then there is no group
 */
int cgroups_make(const struct cgroups *groups, uint32_t worker_id, enum spawn_role role,
                 const struct settings *settings, int *group);

/**
 * cgroups_kill() - End a worker and all that it has started, which cannot escape by forking
 *
 * Return: 0; -EOPNOTSUPP where there are no groups, or a kernel that cannot; another -errno
 */
int cgroups_kill(const struct cgroups *groups, uint32_t worker_id);

/** cgroups_ran_out() - Did the kernel end processes of this worker because of its memory limit? */
bool cgroups_ran_out(const struct cgroups *groups, uint32_t worker_id);

/**
 * cgroups_remove() - End what is left of a worker, and remove its group
 *
 * Waits for that, at most CGROUP_REMOVE_MS (cgroup_file.h).
 *
 * Return: 0, also if there is none, or -errno
 */
int cgroups_remove(const struct cgroups *groups, uint32_t worker_id);

/**
 * cgroup_limit() - Write limits into a group
 * @group: its directory
 *
 * What the group has no file for is not limited; which that is, the capabilities say.
 *
 * Return: 0 or -errno
 */
int cgroup_limit(int group, const struct cgroup_limits *limits);

#endif
