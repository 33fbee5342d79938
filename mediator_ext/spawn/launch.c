/*
 * launch.c - From a plan to a running program, or to the reason why not
 *
 * The child goes through the stages of isolate.c while the parent waits on a close-on-exec pipe.
 * The pipe says either "stage N failed" or, by being closed with nothing in it, "the program runs".
 * So a worker that cannot start is an error answer, never a worker that died for no visible reason.
 *
 * fork() and pidfd_open() do what CLONE_PIDFD would: until the parent waits for it, the child's
 * number cannot become another process's.
 */
#include "spawn/launch.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

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

/* Before anything is used that counts. What fails here has no stage of its own. */
static int enter_group(int entrance)
{
    return entrance < 0 || write(entrance, "0", 1) == 1 ? 0 : -errno;
}

_Noreturn static void become_worker(const struct isolate_plan *plan, int entrance, int status_fd)
{
    int rc = enter_group(entrance);

    if (rc < 0) {
        const struct isolate_failure failure = {.stage = ISOLATE_STAGES, .error = -rc};

        if (write(status_fd, &failure, sizeof(failure)) < 0) {
            _exit(126);
        }
        _exit(127);
    }
    isolate_and_execute(plan, status_fd);
}

int launch_process(const struct isolate_plan *plan, int entrance, pid_t *pid, int *pidfd,
                   struct isolate_failure *failure)
{
    int status[2];
    int rc;

    *failure = (struct isolate_failure){.stage = ISOLATE_STAGES};
    if (pipe2(status, O_CLOEXEC) < 0) {
        return -errno;
    }
    *pid = fork();
    if (*pid < 0) {
        rc = -errno;
        close(status[0]);
        close(status[1]);
        return rc;
    }
    if (*pid == 0) {
        become_worker(plan, entrance, status[1]);
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
