/*
 * leftovers.c - What a spawner that was killed has left behind
 *
 * Processes. A worker ends by itself once both spawner and vgpud are gone, but what its guest's code
 * has forked need not: it would run on, with the VM's memory mapped, until its uid is used again. So
 * whatever runs under the uids of a range is ended as soon as the range is locked: no living spawner
 * uses it, and a vgpud that still drains with workers of the last one has lost them anyway.
 *
 * Directories. A living spawner holds a lock on its own, so those of dead ones can be told. Of these
 * what is empty is removed, and no more: workers of another range may have outlived their spawner, and
 * removing a mount point would take the mount from them. In this spawner's range nothing runs any more.
 */
#include "spawn/leftovers.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "spawn/log.h"
#include "spawn/peer.h"
#include "spawn/scratch.h"

/* Between making its directory and locking it, a spawner needs much less. */
#define STALE_S 60

static bool in_range(const struct uid_range *range, uint32_t uid)
{
    return range->enabled && uid >= range->base && uid - range->base < range->slots * UIDS_PER_SLOT;
}

static void end_process(const struct uid_range *range, pid_t pid)
{
    char command[64];
    uint32_t uid;
    int rc;

    if (peer_lookup(pid, &uid, command, sizeof(command)) < 0 || !in_range(range, uid)) {
        return; /* it has ended, or is none of ours */
    }
    rc = uids_sweep(range, uid);
    if (rc < 0) {
        log_error("cannot end process %d, left behind as uid %u: %s", (int)pid, uid, strerror(-rc));
    } else {
        log_info("ended process %d and all others of uid %u, left behind by another spawner",
                 (int)pid, uid);
    }
}

void leftovers_end(const struct uid_range *range)
{
    struct dirent *entry;
    DIR *processes;

    if (!range->enabled) {
        return;
    }
    processes = opendir("/proc");
    if (!processes) {
        log_warn("cannot look for processes that were left behind: %s", strerror(errno));
        return;
    }
    while ((entry = readdir(processes))) {
        long pid = strtol(entry->d_name, NULL, 10);

        if (pid > 0) {
            end_process(range, (pid_t)pid);
        }
    }
    closedir(processes);
}

/* Return: whether a directory of a spawner belongs to no living one */
static bool is_abandoned(int fd)
{
    struct stat found;

    return fstat(fd, &found) == 0 && found.st_uid == geteuid() &&
           time(NULL) - found.st_mtime > STALE_S && flock(fd, LOCK_EX | LOCK_NB) == 0;
}

static void remove_workers(int spawner, const struct uid_range *range)
{
    struct dirent *entry;
    struct stat found;
    int copy = openat(spawner, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *stream = copy < 0 ? NULL : fdopendir(copy);

    if (!stream) {
        if (copy >= 0) {
            close(copy);
        }
        return;
    }
    while ((entry = readdir(stream))) {
        if (fstatat(copy, entry->d_name, &found, AT_SYMLINK_NOFOLLOW) == 0 &&
            S_ISDIR(found.st_mode) && in_range(range, found.st_uid)) {
            unlinkat(copy, entry->d_name, AT_REMOVEDIR); /* stays if there is anything in it */
        }
    }
    closedir(stream);
}

void leftovers_remove(const char *parent, const struct uid_range *range)
{
    struct dirent *entry;
    DIR *stream = opendir(parent);

    if (!stream) {
        return; /* who may not list it just leaves them */
    }
    while ((entry = readdir(stream))) {
        int fd;

        if (strncmp(entry->d_name, SCRATCH_PREFIX, strlen(SCRATCH_PREFIX)) != 0) {
            continue;
        }
        fd = openat(dirfd(stream), entry->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (fd < 0) {
            continue;
        }
        if (is_abandoned(fd)) {
            remove_workers(fd, range);
            if (unlinkat(dirfd(stream), entry->d_name, AT_REMOVEDIR) == 0) {
                log_info("removed %s/%s, left behind by a spawner that was killed", parent,
                         entry->d_name);
            }
        }
        close(fd);
    }
    closedir(stream);
}
