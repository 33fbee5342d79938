/*
 * isolate.c - What a new process gives up before it becomes a worker
 *
 * The stages run in the child between fork() and execve(), in the order of enum isolate_stage; each
 * is one function and either holds completely or ends the child. The order matters: namespaces need
 * the privileges that the identity stage gives up, and the file system stage needs the mount
 * namespace.
 *
 * What each stage leaves to the worker itself: execve() makes a process dumpable again, so the
 * worker must say PR_SET_DUMPABLE 0 as its first act; and it installs its own system call filter
 * once its driver is loaded, for which no_new_privs is set here already.
 *
 * The file system stage (root.c) gives the worker a root of its own, in which it sees what its role
 * needs (view.c), and a file system in memory, limited in size, for what it writes.
 */
#include "spawn/isolate.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "spawn/log.h"
#include "spawn/root.h"
#include "spawn/settings.h"
#include "spawn/spawn_protocol.h"

#define STATUS_FD 4 /* next to the control socket, so that one close_range() ends the rest */

#define NAMESPACES (CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC)

#define MAX_OPEN_FILES 256
/* Threads count: a CPU driver makes one per core, and large hosts have hundreds. */
#define MAX_TASKS 1024

/* One VM's state on the device is a smaller loss than a whole VM, or than vgpud. */
#define OOM_SCORE 500

#define PROBE_OWN_UID    1
#define PROBE_NAMESPACES 2
#define PROBE_EXECUTABLE 4

/*
 * A spawner that is protected from the kernel's search for memory would hand that on. Raising is
 * everybody's right, lowering is not: what is higher already stays.
 */
static int offer_to_oom_killer(void)
{
    char text[16] = "";
    int rc = 0;
    int fd = open("/proc/self/oom_score_adj", O_RDWR | O_CLOEXEC);

    if (fd < 0) {
        return -errno;
    }
    if (read(fd, text, sizeof(text) - 1) < 0) {
        rc = -errno;
    } else if (strtol(text, NULL, 10) < OOM_SCORE) {
        int length = snprintf(text, sizeof(text), "%d", OOM_SCORE);

        rc = pwrite(fd, text, (size_t)length, 0) < 0 ? -errno : 0;
    }
    close(fd);
    return rc;
}

static int enter_session(void)
{
    sigset_t none;
    int rc;

    for (int number = 1; number < NSIG; number++) {
        signal(number, SIG_DFL); /* fails for the few that cannot be changed, which is as well */
    }
    sigemptyset(&none);
    if (sigprocmask(SIG_SETMASK, &none, NULL) < 0 || setsid() < 0 || chdir("/") < 0) {
        return -errno;
    }
    umask(077);
    /* First, since an undumpable process may not write to its own /proc without being root. */
    rc = offer_to_oom_killer();
    if (rc < 0) {
        return rc;
    }
    return prctl(PR_SET_DUMPABLE, 0) < 0 ? -errno : 0;
}

/* @status_fd: moved to STATUS_FD */
static int keep_descriptors(int control_fd, int output_fd, int *status_fd)
{
    int null_fd;
    int moved = fcntl(*status_fd, F_DUPFD_CLOEXEC, STATUS_FD + 1);

    if (moved < 0) {
        return -errno;
    }
    *status_fd = moved;
    /* First, while it is where it was: its number may be one of those that are given away. */
    if (dup2(output_fd, STDERR_FILENO) < 0) {
        return -errno;
    }
    if (control_fd == ISOLATE_CONTROL_FD) {
        if (fcntl(control_fd, F_SETFD, 0) < 0) {
            return -errno;
        }
    } else if (dup2(control_fd, ISOLATE_CONTROL_FD) < 0) {
        return -errno;
    }
    if (dup3(moved, STATUS_FD, O_CLOEXEC) < 0) {
        return -errno;
    }
    *status_fd = STATUS_FD;
    null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (null_fd < 0 || dup2(null_fd, STDIN_FILENO) < 0 || dup2(null_fd, STDOUT_FILENO) < 0) {
        return -errno;
    }
    return close_range(STATUS_FD + 1, ~0u, 0) < 0 ? -errno : 0;
}

static int set_limits(const struct isolate_plan *plan)
{
    const char *asked = settings_value(plan->environment, SETTINGS_TASKS); /* a number: cgroup.c */
    const rlim_t most = asked ? strtoull(asked, NULL, 10) : MAX_TASKS;
    const struct rlimit no_core = {0, 0};
    const struct rlimit files = {MAX_OPEN_FILES, MAX_OPEN_FILES};
    const struct rlimit tasks = {most, most};

    if (setrlimit(RLIMIT_CORE, &no_core) < 0 || setrlimit(RLIMIT_NOFILE, &files) < 0) {
        return -errno;
    }
    /* Tasks are counted per uid: with the spawner's own this would limit the wrong processes. */
    if (plan->own_uid && setrlimit(RLIMIT_NPROC, &tasks) < 0) {
        return -errno;
    }
    return 0;
}

static int enter_namespaces(void)
{
    return unshare(NAMESPACES) < 0 ? -errno : 0;
}

static int arrange_files(const struct isolate_plan *plan, bool own_uid, char *culprit)
{
    const struct root_plan root = {
        .view = plan->view,
        .scratch = plan->scratch,
        .owner = plan->uid,
        .own_uid = own_uid,
    };

    return root_enter(&root, culprit);
}

/* setresuid() from root to another uid clears every capability; no_new_privs keeps it so. */
static int take_identity(bool own_uid, uid_t uid)
{
    if (own_uid &&
        (setgroups(0, NULL) < 0 || setresgid(uid, uid, uid) < 0 || setresuid(uid, uid, uid) < 0)) {
        return -errno;
    }
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ? -errno : 0;
}

static int run_stage(enum isolate_stage stage, const struct isolate_plan *plan, int *status_fd,
                     char *culprit)
{
    switch (stage) {
    case ISOLATE_SESSION:
        return enter_session();
    case ISOLATE_DESCRIPTORS:
        return keep_descriptors(plan->control_fd, plan->output_fd, status_fd);
    case ISOLATE_LIMITS:
        return set_limits(plan);
    case ISOLATE_NAMESPACES:
        return plan->own_namespaces ? enter_namespaces() : 0;
    case ISOLATE_FILESYSTEM:
        return plan->own_namespaces ? arrange_files(plan, plan->own_uid, culprit) : 0;
    case ISOLATE_IDENTITY:
        return take_identity(plan->own_uid, plan->uid);
    case ISOLATE_EXECUTE:
        execve(plan->program, plan->arguments, plan->environment);
        return -errno;
    case ISOLATE_STAGES:
        break;
    }
    return -EINVAL;
}

_Noreturn void isolate_and_execute(const struct isolate_plan *plan, int status_fd)
{
    struct isolate_failure failure = {0};

    for (int stage = 0; stage < ISOLATE_STAGES; stage++) {
        int rc = run_stage((enum isolate_stage)stage, plan, &status_fd, failure.culprit);

        if (rc < 0) {
            failure.stage = stage;
            failure.error = -rc;
            break;
        }
    }
    /* If even this fails, the spawner sees a worker that exited 127 at once. */
    if (write(status_fd, &failure, sizeof(failure)) < 0) {
        _exit(127);
    }
    _exit(127);
}

/* Runs in a child. Return: PROBE_* */
static int probe(struct isolate_plan plan)
{
    int found = 0;
    bool may_try_uid = geteuid() != plan.uid;
    char *const no_settings[] = {NULL};
    char culprit[VIEW_PATH_BYTES] = "";
    struct view view;

    plan.view = &view;
    if (enter_namespaces() == 0) {
        int rc = view_make(&view, SPAWN_ROLE_LAUNCH, plan.program, no_settings);

        rc = rc < 0 ? rc : arrange_files(&plan, may_try_uid, culprit);
        if (rc == 0) {
            found |= PROBE_NAMESPACES;
        } else {
            log_warn("workers cannot have a root directory of their own here: %s%s%s", culprit,
                     culprit[0] ? ": " : "", strerror(-rc));
        }
    }
    if (may_try_uid && take_identity(true, plan.uid) == 0) {
        found |= PROBE_OWN_UID;
    }
    if (faccessat(AT_FDCWD, plan.program, X_OK, AT_EACCESS) == 0) {
        found |= PROBE_EXECUTABLE;
    }
    return found;
}

int isolate_probe(const struct isolate_plan *plan, uint32_t *capabilities)
{
    int status;
    pid_t child = fork();

    if (child < 0) {
        return -errno;
    }
    if (child == 0) {
        _exit(probe(*plan));
    }
    while (waitpid(child, &status, 0) < 0) {
        if (errno != EINTR) {
            return -errno;
        }
    }
    if (!WIFEXITED(status)) {
        return -ECHILD;
    }
    *capabilities = (WEXITSTATUS(status) & PROBE_OWN_UID ? SPAWN_CAN_SETUID : 0) |
                    (WEXITSTATUS(status) & PROBE_NAMESPACES ? SPAWN_CAN_NAMESPACE : 0);
    return WEXITSTATUS(status) & PROBE_EXECUTABLE ? 0 : -EACCES;
}

const char *isolate_stage_name(int32_t stage)
{
    static const char *const names[] = {
        [ISOLATE_SESSION] = "make a session of its own",
        [ISOLATE_DESCRIPTORS] = "arrange its descriptors",
        [ISOLATE_LIMITS] = "set its limits",
        [ISOLATE_NAMESPACES] = "make namespaces of its own",
        [ISOLATE_FILESYSTEM] = "show it the files that it needs",
        [ISOLATE_IDENTITY] = "become its uid",
        [ISOLATE_EXECUTE] = "execute the worker program",
    };

    _Static_assert(sizeof(names) / sizeof(names[0]) == ISOLATE_STAGES, "every stage has a name");
    return stage >= 0 && stage < ISOLATE_STAGES ? names[stage] : "start a process";
}
