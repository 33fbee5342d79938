/*
 * uids.c - Which uid a worker runs as, and how a uid is made free of processes
 *
 * Sweeping is kill(-1) by a process that may signal nobody but the uid in question: its effective
 * uid is the worker's, its real and saved uids are the sweeper's of that slot, and it has no
 * capability. Signals go by the sender's real and effective uid, so it reaches all of the worker's
 * processes; they go against the target's real and saved uid, so none of them can kill it first.
 * kill(-1) is one pass under the kernel's lock that fork() also respects: a process that forks as
 * fast as it can does not escape.
 *
 * kill(-1) by the wrong identity would be the end of the machine. The sweeper therefore drops every
 * capability explicitly and then looks at what it is before it signals anything.
 */
#include "spawn/uids.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "spawn/log.h"

#define SWEEPER_ROLE 3u

/*
 * 0x70000000 up to 0x7ffdffff is given to nobody: above the subordinate uids of login.defs and
 * the container ranges of systemd, below its foreign range and INT32_MAX.
 */
#define AUTO_BASE   0x70000000u
#define AUTO_STEP   0x00010000u
#define AUTO_RANGES 64u

_Static_assert(SPAWN_ROLE_PROBE < SWEEPER_ROLE && SWEEPER_ROLE < UIDS_PER_SLOT,
               "each role of a slot, and the sweeper, has a number of its own");

struct forbidden {
    uint32_t first, last;
    const char *whose;
};

static const struct forbidden forbidden_ranges[] = {
    {0, 60577, "people, services and homed"},
    {61184, 65535, "systemd's dynamic users and nobody"},
    {INT32_MAX, UINT32_MAX, "nobody: many programs take uids for signed"},
};

static int check_range(uint32_t base, uint32_t slots)
{
    uint64_t last = (uint64_t)base + (uint64_t)slots * UIDS_PER_SLOT - 1;

    if (base % UIDS_PER_SLOT) {
        log_error("worker uids from %u: the base must be a multiple of %u", base, UIDS_PER_SLOT);
        return -EINVAL;
    }
    for (size_t i = 0; i < sizeof(forbidden_ranges) / sizeof(forbidden_ranges[0]); i++) {
        const struct forbidden *taken = &forbidden_ranges[i];

        if (base <= taken->last && last >= taken->first) {
            log_error("worker uids %u to %llu: %u to %u belong to %s; leave out "
                      "--worker-uid-base to have a free range chosen",
                      base, (unsigned long long)last, taken->first, taken->last, taken->whose);
            return -EINVAL;
        }
    }
    return 0;
}

/* The byte at offset N of the lock file stands for uid N. */
static int lock_range(int fd, uint32_t base, uint32_t slots)
{
    struct flock lock = {
        .l_type = F_WRLCK,
        .l_whence = SEEK_SET,
        .l_start = (off_t)base,
        .l_len = (off_t)slots * UIDS_PER_SLOT,
    };

    if (fcntl(fd, F_OFD_SETLK, &lock) < 0) {
        return errno == EAGAIN || errno == EACCES ? -EBUSY : -errno;
    }
    return 0;
}

int uids_reserve(struct uid_range *range, uint32_t base, uint32_t slots, const char *lock_file)
{
    int rc;
    int fd = open(lock_file, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);

    if (fd < 0) {
        rc = -errno;
        log_error("cannot open %s, where spawners lock their uids: %s; make its directory "
                  "writable or name another file with --uid-lock",
                  lock_file, strerror(-rc));
        return rc;
    }
    if (base) {
        rc = check_range(base, slots);
        if (rc == 0) {
            rc = lock_range(fd, base, slots);
        }
    } else {
        rc = -EBUSY;
        for (uint32_t i = 0; i < AUTO_RANGES && rc == -EBUSY; i++) {
            base = AUTO_BASE + i * AUTO_STEP;
            rc = lock_range(fd, base, slots);
        }
    }
    if (rc < 0) {
        if (rc == -EBUSY) {
            log_error("worker uids from %u: another vgpu-spawn uses some of these %u; choose "
                      "another --worker-uid-base or leave it out",
                      base, slots * UIDS_PER_SLOT);
        } else if (rc != -EINVAL) {
            log_error("cannot lock uids in %s: %s", lock_file, strerror(-rc));
        }
        close(fd);
        return rc;
    }
    *range = (struct uid_range){.enabled = true, .base = base, .slots = slots, .lock_fd = fd};
    return 0;
}

void uids_release(struct uid_range *range)
{
    if (range->enabled) {
        close(range->lock_fd);
        range->enabled = false;
        range->lock_fd = -1;
    }
}

uint32_t uids_of(const struct uid_range *range, uint32_t slot, enum spawn_role role)
{
    if (!range->enabled) {
        return (uint32_t)geteuid();
    }
    return range->base + slot * UIDS_PER_SLOT + (uint32_t)role;
}

static int drop_capabilities(void)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct none[2] = {{0}};

    return (int)syscall(SYS_capset, &header, none);
}

/* Return: true if this process can signal nobody but the worker's uid and the sweeper's own */
static bool is_harmless(uid_t uid, uid_t sweeper)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[2];
    uid_t real, effective, saved;

    return getresuid(&real, &effective, &saved) == 0 && real == sweeper && effective == uid &&
           saved == sweeper && syscall(SYS_capget, &header, data) == 0 && !data[0].effective &&
           !data[1].effective;
}

/* Runs in a child. Return: the errno to exit with */
static int sweep_as(uid_t uid, uid_t sweeper)
{
    if (setgroups(0, NULL) < 0 || setresgid(sweeper, sweeper, sweeper) < 0 ||
        setresuid(sweeper, uid, sweeper) < 0 || drop_capabilities() < 0) {
        return errno;
    }
    if (!is_harmless(uid, sweeper)) {
        return EPERM;
    }
    if (kill(-1, SIGKILL) < 0 && errno != ESRCH && errno != EPERM) {
        return errno;
    }
    return 0;
}

int uids_sweep(const struct uid_range *range, uint32_t uid)
{
    uint32_t offset = uid - range->base;
    pid_t child;
    int status;

    if (!range->enabled || uid < range->base || offset / UIDS_PER_SLOT >= range->slots ||
        offset % UIDS_PER_SLOT == SWEEPER_ROLE) {
        return -EINVAL;
    }
    child = fork();
    if (child < 0) {
        return -errno;
    }
    if (child == 0) {
        _exit(sweep_as(uid, uid - offset % UIDS_PER_SLOT + SWEEPER_ROLE));
    }
    while (waitpid(child, &status, 0) < 0) {
        if (errno != EINTR) {
            return -errno;
        }
    }
    if (!WIFEXITED(status)) {
        return -ECHILD;
    }
    return -WEXITSTATUS(status);
}
