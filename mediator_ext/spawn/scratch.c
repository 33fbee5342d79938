/*
 * scratch.c - A private directory for each worker
 *
 * The contents come from code that nobody trusts, so removal must not depend on their shape. A tree
 * may be deeper than any stack or descriptor limit: instead of descending, every subdirectory is
 * first moved up beside the worker's own directory, under a fresh name, and taken from there in its
 * turn. At any time two directories are open, however deep the tree was.
 *
 * A spawner that was killed leaves its directory behind. A living one holds a lock on its own, so
 * the next that starts can tell (leftovers.c).
 */
#include "spawn/scratch.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "spawn/log.h"
#include "spawn/settings.h"

#define NAME_BYTES 40

/* "worker-<id>", and "worker-<id>.<n>" for the n-th subdirectory on its way out. */
static void format_name(char *name, uint32_t worker_id, unsigned long moved)
{
    if (moved == 0) {
        snprintf(name, NAME_BYTES, "worker-%u", worker_id);
    } else {
        snprintf(name, NAME_BYTES, "worker-%u.%lu", worker_id, moved);
    }
}

int scratch_open(struct scratch *scratch, const char *parent)
{
    int length =
        snprintf(scratch->path, sizeof(scratch->path), "%s/" SCRATCH_PREFIX "XXXXXX", parent);
    int rc;

    scratch->directory = -1;
    if (length < 0 || length + NAME_BYTES >= SETTINGS_SCRATCH_BYTES) {
        return -ENAMETOOLONG;
    }
    if (!mkdtemp(scratch->path)) {
        return -errno;
    }
    scratch->directory = open(scratch->path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    /* Workers pass through it to their own; none can list it. */
    if (scratch->directory < 0 || fchmod(scratch->directory, 0711) < 0 ||
        flock(scratch->directory, LOCK_EX | LOCK_NB) < 0) {
        rc = -errno;
        scratch_close(scratch);
        return rc;
    }
    return 0;
}

void scratch_close(struct scratch *scratch)
{
    if (rmdir(scratch->path) < 0 && errno != ENOENT) {
        log_warn("leaving %s: %s", scratch->path, strerror(errno));
    }
    if (scratch->directory >= 0) {
        close(scratch->directory);
        scratch->directory = -1;
    }
}

int scratch_make(const struct scratch *scratch, uint32_t worker_id, uid_t owner, char *path,
                 size_t size)
{
    char name[NAME_BYTES];
    int length, rc;

    format_name(name, worker_id, 0);
    length = snprintf(path, size, "%s/%s", scratch->path, name);
    if (length < 0 || (size_t)length >= size) {
        return -ENAMETOOLONG;
    }
    if (mkdirat(scratch->directory, name, 0700) < 0) {
        return -errno;
    }
    /* Nobody else may write here, so the name still is what was just made. */
    if (owner != geteuid() &&
        fchownat(scratch->directory, name, owner, (gid_t)owner, AT_SYMLINK_NOFOLLOW) < 0) {
        rc = -errno;
        unlinkat(scratch->directory, name, AT_REMOVEDIR);
        return rc;
    }
    return 0;
}

/*
 * A directory may refuse its own owner, which then has to open it up first. Root needs no
 * permission, and must not change one by a name that others could have exchanged.
 */
static int permit(int parent, const char *name)
{
    return geteuid() == 0 ? 0 : fchmodat(parent, name, 0700, 0);
}

static DIR *open_directory(int parent, const char *name)
{
    int fd;
    DIR *stream;

    if (permit(parent, name) < 0) {
        return NULL;
    }
    fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0) {
        return NULL;
    }
    stream = fdopendir(fd);
    if (!stream) {
        close(fd);
    }
    return stream;
}

/*
 * Empty one directory that lies in scratch->directory: files go, subdirectories move up.
 * @moved: number of the last one that moved up
 */
static int empty_directory(const struct scratch *scratch, uint32_t worker_id, const char *name,
                           unsigned long *moved)
{
    char outside[NAME_BYTES];
    struct dirent *entry;
    DIR *stream = open_directory(scratch->directory, name);
    int rc = 0;

    if (!stream) {
        return -errno;
    }
    while (rc == 0 && (errno = 0, entry = readdir(stream))) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) {
            continue;
        }
        if (unlinkat(dirfd(stream), entry->d_name, 0) == 0) {
            continue;
        }
        if (errno != EISDIR && errno != EPERM) {
            rc = -errno;
            break;
        }
        /* Moving a directory changes its "..", for which its owner needs to write to it. */
        format_name(outside, worker_id, *moved + 1);
        if (permit(dirfd(stream), entry->d_name) < 0 ||
            renameat(dirfd(stream), entry->d_name, scratch->directory, outside) < 0) {
            rc = -errno;
        } else {
            ++*moved;
        }
    }
    if (rc == 0 && errno) {
        rc = -errno;
    }
    closedir(stream);
    return rc;
}

int scratch_remove(const struct scratch *scratch, uint32_t worker_id)
{
    char name[NAME_BYTES];
    unsigned long moved = 0;
    int rc = 0;

    for (unsigned long next = 0; next <= moved; next++) {
        int failure;

        format_name(name, worker_id, next);
        failure = empty_directory(scratch, worker_id, name, &moved);
        if (failure == -ENOENT && next == 0) {
            return 0;
        }
        if (failure == 0 && unlinkat(scratch->directory, name, AT_REMOVEDIR) < 0) {
            failure = -errno;
        }
        if (failure < 0 && rc == 0) {
            rc = failure;
        }
    }
    return rc;
}
