/*
 * test_spawn_cgroup.c - Where the spawner's control group is, and what is written into a worker's
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "check.h"
#include "spawn/cgroup.h"
#include "spawn/cgroup_file.h"
#include "spawn/cgroup_find.h"

static char path[256];

static int find(const char *mounts, const char *groups)
{
    char *mounts_copy = strdup(mounts), *groups_copy = strdup(groups);
    int rc = cgroup_find(mounts_copy, groups_copy, path, sizeof(path));

    free(mounts_copy);
    free(groups_copy);
    return rc;
}

#define V1      "38 31 0:37 / /sys/fs/cgroup/pids rw,relatime - cgroup cgroup rw,pids\n"
#define V2      "41 31 0:38 / /sys/fs/cgroup rw,relatime shared:4 - cgroup2 cgroup2 rw\n"
#define BESIDE  "41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n"
#define PART    "41 31 0:38 /machine/c1 /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n"
#define SERVICE "0::/system.slice/vgpu-spawn.service/spawner\n"

static void test_find(void)
{
    CASE("the group is found below the mount of version 2, with and without version 1 beside it");
    CHECK(find(V2, SERVICE) == 0);
    CHECK(strcmp(path, "/sys/fs/cgroup/system.slice/vgpu-spawn.service/spawner") == 0);
    CHECK(find(V1 BESIDE, "8:pids:/x\n" SERVICE) == 0);
    CHECK(strcmp(path, "/sys/fs/cgroup/unified/system.slice/vgpu-spawn.service/spawner") == 0);
    CHECK(find(BESIDE, "0::/\n") == 0 && strcmp(path, "/sys/fs/cgroup/unified") == 0);

    CASE("where a part of the hierarchy is mounted, it is looked for there alone");
    CHECK(find(PART, "0::/machine/c1/s\n") == 0 && strcmp(path, "/sys/fs/cgroup/s") == 0);
    CHECK(find(PART, "0::/machine/c1\n") == 0 && strcmp(path, "/sys/fs/cgroup") == 0);
    CHECK(find(PART, "0::/machine/c12\n") == -ENOENT);
    CHECK(find(PART, "0::/../x\n") == -ENOENT);

    CASE("version 1 alone, nothing at all, and a text that is neither are no group");
    CHECK(find(V1, "8:pids:/x\n") == -ENOENT);
    CHECK(find(V1, SERVICE) == -ENOENT);
    CHECK(find(V2, "8:pids:/x\n") == -ENOENT);
    CHECK(find("", "") == -ENOENT);
    CHECK(find("41 - cgroup2 x\n", SERVICE) == -ENOENT);
}

static bool holds(int directory, const char *name, const char *expected)
{
    char text[64];

    return cgroup_file_read(directory, name, text, sizeof(text)) >= 0 &&
           strcmp(text, expected) == 0;
}

static void make_file(int directory, const char *name)
{
    int fd = openat(directory, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

    CHECK(fd >= 0);
    close(fd);
}

/* A plain directory has the files that are made in it, and takes what is written. */
static void test_limits(void)
{
    static const char *const names[] = {"memory.max", "memory.oom.group", "memory.swap.max",
                                        "pids.max", "cpu.weight"};
    const struct cgroup_limits limits = {.memory_bytes = 3ull << 30, .tasks = 77, .cpu_weight = 50};
    char template[] = "/tmp/vgpu-cgroup-XXXXXX";
    int group;

    CHECK(mkdtemp(template) != NULL);
    group = open(template, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    CASE("a limit that the group has no file for is none");
    CHECK(cgroup_limit(group, &limits) == 0);

    CASE("every limit is written, and a worker is ended as a whole at that of its memory");
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        make_file(group, names[i]);
    CHECK(cgroup_limit(group, &limits) == 0);
    CHECK(holds(group, "memory.max", "3221225472") && holds(group, "memory.oom.group", "1"));
    CHECK(holds(group, "memory.swap.max", "0"));
    CHECK(holds(group, "pids.max", "77") && holds(group, "cpu.weight", "50"));

    CASE("a limit that cannot be written is an error, not a worker without one");
    CHECK(unlinkat(group, "pids.max", 0) == 0 && mkdirat(group, "pids.max", 0700) == 0);
    CHECK(cgroup_limit(group, &limits) == -EISDIR);
    CHECK(unlinkat(group, "pids.max", AT_REMOVEDIR) == 0);
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        unlinkat(group, names[i], 0);
    close(group);
    CHECK(rmdir(template) == 0);
}

static void test_ran_out(void)
{
    struct cgroups groups = {.parent = -1, .base = -1};
    char template[] = "/tmp/vgpu-cgroup-XXXXXX";
    int worker;

    CASE("without groups there is nothing to say, and nothing to do");
    CHECK(!cgroups_ran_out(&groups, 1) && cgroups_kill(&groups, 1) == -EOPNOTSUPP);
    CHECK(cgroups_remove(&groups, 1) == 0);

    CHECK(mkdtemp(template) != NULL);
    groups.base = open(template, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    CHECK(mkdirat(groups.base, "worker-1", 0700) == 0);
    worker = openat(groups.base, "worker-1", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    CASE("a worker has reached its memory limit when the kernel has ended something for that");
    CHECK(!cgroups_ran_out(&groups, 1));
    make_file(worker, "memory.events");
    CHECK(cgroup_file_write(worker, "memory.events",
                            "low 0\nhigh 0\nmax 8\noom 1\noom_kill 0\noom_group_kill 0\n") == 0);
    CHECK(!cgroups_ran_out(&groups, 1));
    CHECK(cgroup_file_write(worker, "memory.events",
                            "low 0\nhigh 0\nmax 0\noom 0\noom_kill 1\noom_group_kill 0\n") == 0);
    CHECK(!cgroups_ran_out(&groups, 1)); /* the host's memory was short, not the group's */
    CHECK(cgroup_file_write(worker, "memory.events",
                            "low 0\nhigh 0\nmax 8\noom 1\noom_kill 3\noom_group_kill 1\n") == 0);
    CHECK(cgroups_ran_out(&groups, 1) && !cgroups_ran_out(&groups, 2));

    CASE("a group from before cgroup.kill is ended in another way");
    CHECK(cgroups_kill(&groups, 1) == -EOPNOTSUPP);
    unlinkat(worker, "memory.events", 0);
    CHECK(cgroups_remove(&groups, 1) == 0 && cgroups_remove(&groups, 1) == 0);
    close(worker);
    close(groups.base);
    CHECK(rmdir(template) == 0);
}

int main(void)
{
    test_find();
    test_limits();
    test_ran_out();
    return check_done();
}
