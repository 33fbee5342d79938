/*
 * root.c - A root directory for one worker
 *
 * A small file system in memory is mounted over the worker's scratch directory, which nobody else
 * sees, filled with directories and links, and read-only mounts of the host's files at the paths that
 * they have there; then it becomes the root, and the host's is let go of. Where the scratch directory
 * was there is another file system in memory, the only place that can be written to.
 *
 * A file is looked for with the worker's rights and mounted by its descriptor: a path that a client
 * chose shows a worker nothing that the worker could not have opened by itself.
 *
 * Symbolic links are shown as such, and then what they point to. Nothing is mounted recursively: what
 * an administrator mounted below stays where it is.
 */
#include "spawn/root.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/fsuid.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <unistd.h>

#define ROOT_OPTIONS    "mode=0755,size=1m,nr_inodes=4096"
#define SCRATCH_OPTIONS "mode=0700,size=512m,nr_inodes=65536,uid=%u,gid=%u"
#define LINKS_MAX       8

struct root {
    const struct root_plan *plan;
    uint32_t shown;                                    /* directories, ... */
    char directories[VIEW_PATHS_MAX][VIEW_PATH_BYTES]; /* ... which need not be shown again */
};

static bool is_shown(const struct root *root, const char *path)
{
    for (uint32_t i = 0; i < root->shown; i++) {
        size_t length = strlen(root->directories[i]);

        if (strncmp(path, root->directories[i], length) == 0 &&
            (path[length] == 0 || path[length] == '/')) {
            return true;
        }
    }
    return false;
}

static void note_shown(struct root *root, const char *path)
{
    if (root->shown < VIEW_PATHS_MAX) {
        snprintf(root->directories[root->shown++], VIEW_PATH_BYTES, "%s", path);
    }
}

/* Opened as the worker could. Return: an O_PATH descriptor or -errno */
static int find(const struct root *root, const char *path)
{
    int fd;

    if (root->plan->own_uid) {
        setfsgid(root->plan->owner);
        setfsuid(root->plan->owner);
        /* Neither says that it failed, but each what it was before. */
        if ((gid_t)setfsgid(root->plan->owner) != root->plan->owner ||
            (uid_t)setfsuid(root->plan->owner) != root->plan->owner) {
            return -EPERM;
        }
    }
    fd = open(path, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0) {
        fd = -errno;
    }
    if (root->plan->own_uid) {
        setfsuid(geteuid());
        setfsgid(getegid());
    }
    return fd;
}

/* The directories above @path, in the new root, which is the working directory. */
static int make_parents(const char *path)
{
    char part[VIEW_PATH_BYTES];

    for (const char *slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        snprintf(part, sizeof(part), "%.*s", (int)(slash - path - 1), path + 1);
        if (mkdir(part, 0755) < 0 && errno != EEXIST) {
            return -errno;
        }
    }
    return 0;
}

/* A mount keeps what its file system does not allow: taking that back may be refused. */
static unsigned long flags_of(const char *mounted)
{
    struct statvfs facts;
    unsigned long flags = 0;

    if (statvfs(mounted, &facts) < 0) {
        return 0;
    }
    flags |= facts.f_flag & ST_NODEV ? MS_NODEV : 0;
    flags |= facts.f_flag & ST_NOEXEC ? MS_NOEXEC : 0;
    flags |= facts.f_flag & ST_NOATIME ? MS_NOATIME : 0;
    flags |= facts.f_flag & ST_NODIRATIME ? MS_NODIRATIME : 0;
    flags |= facts.f_flag & ST_RELATIME ? MS_RELATIME : 0;
    return flags;
}

static int mount_read_only(int fd, const char *target, bool devices)
{
    char source[32];
    unsigned long flags;

    snprintf(source, sizeof(source), "/proc/self/fd/%d", fd);
    if (mount(source, target, NULL, MS_BIND, NULL) < 0) {
        return -errno;
    }
    flags = flags_of(target) | MS_NOSUID | (devices ? 0 : MS_NODEV);
    flags |= MS_REMOUNT | MS_BIND | MS_RDONLY;
    return mount(NULL, target, NULL, flags, NULL) < 0 ? -errno : 0;
}

/* Where a link leads to. Return: 0 or -errno */
static int follow(const char *path, const char *link, char *to)
{
    char resolved[PATH_MAX];
    const char *slash = strrchr(path, '/');
    int length;

    if (strstr(link, "..")) {
        if (!realpath(path, resolved)) {
            return -errno;
        }
        length = snprintf(to, VIEW_PATH_BYTES, "%s", resolved);
    } else if (link[0] == '/') {
        length = snprintf(to, VIEW_PATH_BYTES, "%s", link);
    } else {
        length = snprintf(to, VIEW_PATH_BYTES, "%.*s/%s", (int)(slash - path), path, link);
    }
    return length < VIEW_PATH_BYTES ? 0 : -ENAMETOOLONG;
}

static int show_link(int fd, const char *path, char *to)
{
    char link[VIEW_PATH_BYTES];
    ssize_t length = readlinkat(fd, "", link, sizeof(link) - 1);
    int rc;

    if (length < 0) {
        return -errno;
    }
    link[length] = 0;
    rc = make_parents(path);
    if (rc < 0) {
        return rc;
    }
    if (symlink(link, path + 1) < 0 && errno != EEXIST) {
        return -errno;
    }
    return follow(path, link, to);
}

static int show_file(int fd, const char *path, bool is_directory, bool devices)
{
    int rc = make_parents(path), made;

    if (rc < 0) {
        return rc;
    }
    if (is_directory) {
        if (mkdir(path + 1, 0755) < 0 && errno != EEXIST) {
            return -errno;
        }
    } else {
        made = open(path + 1, O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0444);
        if (made < 0) {
            return -errno;
        }
        close(made);
    }
    return mount_read_only(fd, path + 1, devices);
}

static int show(struct root *root, const struct view_path *wanted)
{
    char path[VIEW_PATH_BYTES], next[VIEW_PATH_BYTES];
    bool devices = wanted->kind == VIEW_DEVICES;

    snprintf(path, sizeof(path), "%s", wanted->path);
    for (int links = 0; links <= LINKS_MAX; links++) {
        struct stat found;
        int fd, rc;

        if (is_shown(root, path)) {
            return 0;
        }
        fd = find(root, path);
        if (fd < 0) {
            return wanted->kind == VIEW_NEEDED || (fd != -ENOENT && fd != -EACCES) ? fd : 0;
        }
        rc = fstat(fd, &found) < 0 ? -errno : 0;
        if (rc == 0 && S_ISLNK(found.st_mode)) {
            rc = show_link(fd, path, next);
            close(fd);
            if (rc < 0) {
                return rc;
            }
            memcpy(path, next, sizeof(path));
            continue;
        }
        if (rc == 0) {
            rc = show_file(fd, path, S_ISDIR(found.st_mode), devices);
        }
        close(fd);
        if (rc == 0 && S_ISDIR(found.st_mode)) {
            note_shown(root, path);
        }
        return rc;
    }
    return -ELOOP;
}

static int mount_scratch(const struct root_plan *plan)
{
    char options[96];
    int rc = make_parents(plan->scratch);

    if (rc < 0) {
        return rc;
    }
    if (mkdir(plan->scratch + 1, 0755) < 0 && errno != EEXIST) {
        return -errno;
    }
    snprintf(options, sizeof(options), SCRATCH_OPTIONS, plan->owner, plan->owner);
    return mount("vgpu-worker", plan->scratch + 1, "tmpfs", MS_NOSUID | MS_NODEV, options) < 0
               ? -errno
               : 0;
}

/* From the working directory, a mount, to the root; the old one is put over it and taken away. */
static int turn_root(void)
{
    if (mount(NULL, ".", NULL, MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NODEV, NULL) < 0 ||
        syscall(SYS_pivot_root, ".", ".") < 0 || umount2(".", MNT_DETACH) < 0 || chdir("/") < 0) {
        return -errno;
    }
    return 0;
}

static int fill(struct root *root, char *culprit)
{
    const struct view *view = root->plan->view;
    int rc;

    for (uint32_t i = 0; i < view->count; i++) {
        rc = show(root, &view->paths[i]);
        if (rc < 0) {
            memcpy(culprit, view->paths[i].path, VIEW_PATH_BYTES);
            return rc;
        }
    }
    rc = mount_scratch(root->plan);
    if (rc < 0) {
        snprintf(culprit, VIEW_PATH_BYTES, "%s", root->plan->scratch);
    }
    return rc;
}

int root_enter(const struct root_plan *plan, char *culprit)
{
    struct root root = {.plan = plan};
    mode_t mask = umask(022);
    int rc;

    culprit[0] = 0;
    if (plan->own_uid && setgroups(0, NULL) < 0) {
        return -errno;
    }
    if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
        mount("vgpu-worker", plan->scratch, "tmpfs", MS_NOSUID | MS_NODEV, ROOT_OPTIONS) < 0 ||
        chdir(plan->scratch) < 0) {
        return -errno;
    }
    rc = fill(&root, culprit);
    if (rc == 0) {
        rc = turn_root();
    }
    umask(mask);
    return rc;
}
