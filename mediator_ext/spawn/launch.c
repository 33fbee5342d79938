/*
 * launch.c - From a plan to a running program, or to the reason why not
 *
 * The child goes through the stages of isolate.c while the parent waits on a close-on-exec pipe.
 * The pipe says either "stage N failed" or, by being closed with nothing in it, "the program runs".
 * So a worker that cannot start is an error answer, never a worker that died for no visible reason.
 *
 * pidfd_open() does what CLONE_PIDFD would: until the parent waits for it, the child's number cannot
 * become another process's.
 */
#include "spawn/launch.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <poll.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "spawn/cgroup_file.h"

static int await_program(int status_fd, struct isolate_failure *failure)
{
    struct isolate_failure said;
    struct pollfd wait = {.fd = status_fd, .events = POLLIN};
    ssize_t got;
    int ready;

    do {
        ready = poll(&wait, 1, LAUNCH_TIMEOUT_MS);
    } while (ready < 0 && errno == EINTR);
    if (ready <= 0) {
        return ready < 0 ? -errno : -ETIMEDOUT;
    }
    do {
        got = read(status_fd, &said, sizeof(said));
    } while (got < 0 && errno == EINTR);
    if (got == 0) {
        return 0;
    }
    if (got != (ssize_t)sizeof(said) || said.error <= 0) {
        return -EPROTO;
    }
    said.culprit[sizeof(said.culprit) - 1] = 0;
    *failure = said;
    return -said.error;
}

void launch_undo(pid_t pid, int pidfd)
{
    kill(pid, SIGKILL);
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR) {
    }
    if (pidfd >= 0) {
        close(pidfd);
    }
}

/* @group: to be entered before anything is used that counts, and what fails there has no stage of its
 * own; -1 = the process is where it is to be */
_Noreturn static void become_worker(const struct isolate_plan *plan, int group, int status_fd)
{
    int rc = group < 0 ? 0 : cgroup_file_write(group, "cgroup.procs", "0");

    if (rc < 0) {
        const struct isolate_failure failure = {.stage = ISOLATE_STAGES, .error = -rc};

        if (write(status_fd, &failure, sizeof(failure)) < 0) {
            _exit(126);
        }
        _exit(127);
    }
    isolate_and_execute(plan, status_fd);
}

/*
 * A process that is born in a group costs nothing; one that moves there waits until every CPU has come
 * round, which takes milliseconds. Where that call is not to be had (a filter on namespaces forbids
 * clone3() as a whole), it has to move. @group: set to -1 if it has not
 */
static pid_t fork_into(int *group)
{
    struct clone_args arguments = {.flags = CLONE_INTO_CGROUP, .exit_signal = SIGCHLD};
    pid_t pid;

    if (*group < 0) {
        return fork();
    }
    arguments.cgroup = (uint64_t)*group;
    pid = (pid_t)syscall(SYS_clone3, &arguments, sizeof(arguments));
    if (pid < 0 && (errno == ENOSYS || errno == EPERM || errno == EINVAL || errno == E2BIG)) {
        return fork();
    }
    *group = -1;
    return pid;
}

int launch_process(const struct isolate_plan *plan, int group, pid_t *pid, int *pidfd,
                   struct isolate_failure *failure)
{
    int status[2];
    int rc;

    *failure = (struct isolate_failure){.stage = ISOLATE_STAGES};
    if (pipe2(status, O_CLOEXEC) < 0) {
        return -errno;
    }
    *pid = fork_into(&group);
    if (*pid < 0) {
        rc = -errno;
        close(status[0]);
        close(status[1]);
        return rc;
    }
    if (*pid == 0) {
        become_worker(plan, group, status[1]);
    }
    close(status[1]);
    *pidfd = (int)syscall(SYS_pidfd_open, *pid, 0);
    rc = *pidfd < 0 ? -errno : await_program(status[0], failure);
    close(status[0]);
    if (rc < 0) {
        launch_undo(*pid, *pidfd);
    }
    return rc;
}
