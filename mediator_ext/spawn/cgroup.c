/*
 * cgroup.c - A control group for each worker: what it may use up, and how all of it is ended
 *
 * Theory of operation
 *
 * A group is made, and limited, before there is a process in it. A new process is born in it, or enters
 * it as its first act, so that all that it ever does counts there. At its end the group is ended as a whole before it
 * is removed; that reaches a process that has left the worker's session, and one that forks as fast as
 * it can.
 */
#include "spawn/cgroup.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "spawn/cgroup_file.h"

static int write_number(int group, const char *name, uint64_t number)
{
    char text[24];
    int rc;

    snprintf(text, sizeof(text), "%llu", (unsigned long long)number);
    rc = cgroup_file_write(group, name, text);
    return rc == -ENOENT ? 0 : rc;
}

int cgroup_limit(int group, const struct cgroup_limits *limits)
{
    int rc = 0;

    if (limits->memory_bytes) {
        rc = write_number(group, "memory.max", limits->memory_bytes);
        /* Half a worker is none. */
        rc = rc < 0 ? rc : write_number(group, "memory.oom.group", 1);
        /* Nor is one that goes on in the host's swap at its limit. */
        rc = rc < 0 ? rc : write_number(group, "memory.swap.max", 0);
    }
    if (rc == 0 && limits->tasks) {
        rc = write_number(group, "pids.max", limits->tasks);
    }
    if (rc == 0 && limits->cpu_weight) {
        rc = write_number(group, "cpu.weight", limits->cpu_weight);
    }
    return rc;
}

static void name_worker(char *name, size_t bytes, uint32_t worker_id)
{
    snprintf(name, bytes, CGROUP_WORKER_PREFIX "%u", worker_id);
}

/* Return: the directory of a worker's group, or -errno */
static int open_worker(const struct cgroups *groups, uint32_t worker_id)
{
    char name[32];
    int fd;

    if (groups->base < 0) {
        return -EOPNOTSUPP;
    }
    name_worker(name, sizeof(name), worker_id);
    fd = openat(groups->base, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    return fd < 0 ? -errno : fd;
}

/* What a worker's settings, and its role, limit it to. Return: 0 or -EINVAL */
static int read_limits(const struct settings *settings, enum spawn_role role,
                       struct cgroup_limits *limits)
{
    /* Compiling is to keep nobody from launching. */
    *limits = (struct cgroup_limits){.cpu_weight = role == SPAWN_ROLE_BUILD ? 50 : 100};
    if (settings_limit(settings, SETTINGS_MEMORY, &limits->memory_bytes) < 0 ||
        settings_limit(settings, SETTINGS_TASKS, &limits->tasks) < 0) {
        return -EINVAL;
    }
    return 0;
}

int cgroups_make(const struct cgroups *groups, uint32_t worker_id, enum spawn_role role,
                 const struct settings *settings, int *group)
{
    struct cgroup_limits limits;
    char name[32];
    int rc = read_limits(settings, role, &limits);

    *group = -1;
    if (rc < 0 || groups->base < 0) {
        return rc;
    }
    name_worker(name, sizeof(name), worker_id);
    if (mkdirat(groups->base, name, 0755) < 0) {
        return -errno;
    }
    *group = open_worker(groups, worker_id);
    rc = *group < 0 ? *group : cgroup_limit(*group, &limits);
    if (rc < 0) {
        if (*group >= 0) {
            close(*group);
        }
        *group = -1;
        unlinkat(groups->base, name, AT_REMOVEDIR);
    }
    return rc;
}

int cgroups_kill(const struct cgroups *groups, uint32_t worker_id)
{
    int rc, group = open_worker(groups, worker_id);

    if (group < 0) {
        return group;
    }
    rc = cgroup_file_write(group, "cgroup.kill", "1");
    close(group);
    return rc == -ENOENT ? -EOPNOTSUPP : rc; /* before Linux 5.14 */
}

static bool counted(const char *events, const char *name)
{
    const char *count = strstr(events, name);

    return count && strtoull(count + strlen(name), NULL, 10) > 0;
}

bool cgroups_ran_out(const struct cgroups *groups, uint32_t worker_id)
{
    char text[512] = "\n"; /* so that each name has a line's end before it */
    int group = open_worker(groups, worker_id);
    ssize_t got;

    if (group < 0) {
        return false;
    }
    got = cgroup_file_read(group, "memory.events", text + 1, sizeof(text) - 1);
    close(group);
    /* A host that is short of memory kills as well; but then no limit was met here. */
    return got > 0 && counted(text, "\noom ") && counted(text, "\noom_kill ");
}

int cgroups_remove(const struct cgroups *groups, uint32_t worker_id)
{
    char name[32];

    if (groups->base < 0) {
        return 0;
    }
    name_worker(name, sizeof(name), worker_id);
    return cgroup_file_remove(groups->base, name);
}
