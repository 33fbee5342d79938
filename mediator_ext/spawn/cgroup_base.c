/*
 * cgroup_base.c - Where the control groups of workers are, and what was left there
 *
 *   the spawner's part of the hierarchy          vgpu-spawn.service, with Delegate=
 *   ├── spawner                                  this process
 *   └── vgpu-workers-N                           the base; N is the first uid of the range
 *       ├── worker-1
 *       └── worker-2
 *
 * A group that has processes of its own cannot hand controllers on. So a spawner to which its group was
 * delegated moves into one below that. Elsewhere the base is made below the spawner's own group, with
 * what controllers there are to be had, and none as a rule; a group can be ended as a whole all the same.
 *
 * Where controllers are handed on the service manager can start nothing any more, not even the spawner
 * that follows one that was killed. So it has cgroups_clear() called in between, in a group beside.
 *
 * The base is locked for as long as its spawner lives. What is in one of the same range is left over,
 * and ended; in one of another range that nobody has locked only what is empty is removed.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "spawn/cgroup.h"
#include "spawn/cgroup_file.h"
#include "spawn/cgroup_find.h"
#include "spawn/log.h"

#define BASE_PREFIX "vgpu-workers-"
#define OWN_NAME    "spawner"
#define CONTROL_NAME                                                                               \
    ".control"           /* where systemd runs commands beside a service that has Delegate= */
#define TEXT_BYTES 65536 /* of /proc files: a host with thousands of mounts has more, and no luck */

static const char *const controllers[] = {"memory", "pids", "cpu"};

static int find_own(char *path, size_t bytes)
{
    char *mounts = malloc(2 * TEXT_BYTES);
    int rc = -ENOMEM;

    if (mounts) {
        char *groups = mounts + TEXT_BYTES;
        ssize_t got = cgroup_file_read(AT_FDCWD, "/proc/self/mountinfo", mounts, TEXT_BYTES);

        if (got >= 0) {
            got = cgroup_file_read(AT_FDCWD, "/proc/self/cgroup", groups, TEXT_BYTES);
        }
        rc = got < 0 ? (int)got : cgroup_find(mounts, groups, path, bytes);
    }
    free(mounts);
    return rc;
}

/* Hand on ('+'), or not any more ('-'), what there is of the controllers that workers are limited by;
 * what came of it is looked at later. */
static void hand_on(int group, char sign)
{
    for (size_t i = 0; i < sizeof(controllers) / sizeof(controllers[0]); i++) {
        char text[16];

        snprintf(text, sizeof(text), "%c%s", sign, controllers[i]);
        cgroup_file_write(group, "cgroup.subtree_control", text);
    }
}

static bool has_word(const char *text, const char *word)
{
    size_t length = strlen(word);

    for (const char *at = strstr(text, word); at; at = strstr(at + 1, word)) {
        if ((at == text || at[-1] == ' ') && strchr(" \n", at[length])) {
            return true;
        }
    }
    return false;
}

static uint32_t find_capabilities(int base)
{
    char text[512];

    if (cgroup_file_read(base, "cgroup.subtree_control", text, sizeof(text)) >= 0 &&
        has_word(text, "memory") && has_word(text, "pids")) {
        return SPAWN_CAN_GROUP | SPAWN_CAN_LIMIT;
    }
    return SPAWN_CAN_GROUP;
}

/* Go into a group below our own, which may then hand controllers on. */
static void step_aside(const struct cgroups *groups)
{
    int own, rc;

    if (mkdirat(groups->parent, OWN_NAME, 0755) < 0 && errno != EEXIST) {
        log_warn("cannot make %s/%s: %s", groups->path, OWN_NAME, strerror(errno));
        return;
    }
    own = openat(groups->parent, OWN_NAME, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    rc = own < 0 ? -errno : cgroup_file_write(own, "cgroup.procs", "0");
    if (own >= 0) {
        close(own);
    }
    if (rc < 0) {
        log_warn("cannot go into %s/%s: %s", groups->path, OWN_NAME, strerror(-rc));
        return;
    }
    hand_on(groups->parent, '+');
}

static bool is_worker(const char *name)
{
    return strncmp(name, CGROUP_WORKER_PREFIX, strlen(CGROUP_WORKER_PREFIX)) == 0;
}

/* Another descriptor, since the end of a listing closes it. Return: NULL: nothing can be listed */
static DIR *open_listing(int directory)
{
    int copy = openat(directory, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *stream = copy < 0 ? NULL : fdopendir(copy);

    if (!stream && copy >= 0) {
        close(copy);
    }
    return stream;
}

/* What a spawner that is gone has left in its base. @ours: of the same range, so end what is in it */
static void clear(int base, bool ours)
{
    DIR *stream = open_listing(base);
    struct dirent *entry;

    while (stream && (entry = readdir(stream))) {
        int rc;

        if (!is_worker(entry->d_name)) {
            continue;
        }
        if (!ours) {
            unlinkat(base, entry->d_name, AT_REMOVEDIR); /* stays if anything is in it */
            continue;
        }
        rc = cgroup_file_remove(base, entry->d_name);
        if (rc < 0) {
            log_error("cannot remove the control group %s that was left behind: %s", entry->d_name,
                      strerror(-rc));
        } else {
            log_info("removed the control group %s, left behind by another spawner", entry->d_name);
        }
    }
    if (stream) {
        closedir(stream);
    }
}

/* Bases that no living spawner has locked. @spared: name of one to leave alone. @ours: as in clear() */
static void clear_bases(int parent, const char *spared, bool ours)
{
    DIR *stream = open_listing(parent);
    struct dirent *entry;

    while (stream && (entry = readdir(stream))) {
        int fd;

        if (strncmp(entry->d_name, BASE_PREFIX, strlen(BASE_PREFIX)) != 0 ||
            strcmp(entry->d_name, spared) == 0) {
            continue;
        }
        fd = openat(parent, entry->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0) {
            clear(fd, ours);
            if (ours) {
                hand_on(fd, '-'); /* else a process that cannot be ended would keep ours at it */
            }
            unlinkat(parent, entry->d_name, AT_REMOVEDIR);
        }
        if (fd >= 0) {
            close(fd);
        }
    }
    if (stream) {
        closedir(stream);
    }
}

static int open_base(struct cgroups *groups)
{
    if (mkdirat(groups->parent, groups->name, 0755) < 0 && errno != EEXIST) {
        return -errno;
    }
    groups->base = openat(groups->parent, groups->name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return groups->base < 0 || flock(groups->base, LOCK_EX | LOCK_NB) < 0 ? -errno : 0;
}

int cgroups_open(struct cgroups *groups, uint32_t range, bool delegated)
{
    int rc;

    *groups = (struct cgroups){.parent = -1, .base = -1};
    rc = find_own(groups->path, sizeof(groups->path));
    if (rc < 0) {
        return rc;
    }
    groups->parent = open(groups->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (groups->parent < 0) {
        return -errno;
    }
    if (delegated) {
        step_aside(groups);
    }
    snprintf(groups->name, sizeof(groups->name), BASE_PREFIX "%u", range);
    rc = open_base(groups);
    if (rc < 0) {
        cgroups_close(groups);
        return rc;
    }
    clear(groups->base, true);
    clear_bases(groups->parent, groups->name, false);
    hand_on(groups->base, '+');
    groups->capabilities = find_capabilities(groups->base);
    return 0;
}

void cgroups_close(struct cgroups *groups)
{
    if (groups->base >= 0) {
        unlinkat(groups->parent, groups->name, AT_REMOVEDIR); /* stays with workers in it */
        close(groups->base);
    }
    if (groups->parent >= 0) {
        close(groups->parent);
    }
    groups->parent = groups->base = -1;
    groups->capabilities = 0;
}

int cgroups_clear(void)
{
    char path[PATH_MAX];
    int group, rc = find_own(path, sizeof(path));
    char *name = rc < 0 ? NULL : strrchr(path, '/');

    if (rc < 0) {
        return rc == -ENOENT ? 0 : rc;
    }
    if (name && strcmp(name + 1, CONTROL_NAME) == 0) {
        *name = '\0';
    }
    group = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (group < 0) {
        return -errno;
    }
    clear_bases(group, "", true);
    hand_on(group, '-');
    unlinkat(group, OWN_NAME,
             AT_REMOVEDIR); /* there is none, or it is in use, where nothing was delegated */
    close(group);
    return 0;
}
