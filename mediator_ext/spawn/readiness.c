/*
 * readiness.c - Into the background, and saying that clients can connect
 *
 * Whoever starts a spawner may wait in three ways, and all are served: the service manager by a
 * datagram to $NOTIFY_SOCKET, a parent by a descriptor of its choice, and a shell by the exit of
 * the process it started. That process exits only when the one in the background is ready, with its
 * status if it fails; until then error messages still go to the caller's standard error.
 */
#include "spawn/readiness.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "spawn/log.h"
#include "spawn/options.h"

/* Runs in the process that the user started. Return: the status to exit with */
static int await_outcome(int fd)
{
    unsigned char status;
    ssize_t got;

    do {
        got = read(fd, &status, sizeof(status));
    } while (got < 0 && errno == EINTR);
    if (got == 1) {
        return status;
    }
    log_error("the process in the background ended before it was ready");
    return EXIT_FAILED;
}

int readiness_begin(struct readiness *readiness, bool daemonize, int ready_fd, const char *log_file)
{
    int outcome[2];
    pid_t child;

    *readiness = (struct readiness){.launcher_fd = -1, .ready_fd = ready_fd, .log_file = log_file};
    if (!daemonize) {
        return 0;
    }
    if (pipe2(outcome, O_CLOEXEC) < 0 || (child = fork()) < 0) {
        int rc = -errno;

        log_error("cannot go to the background: %s", strerror(-rc));
        return rc;
    }
    if (child > 0) {
        close(outcome[1]);
        while (waitpid(child, NULL, 0) < 0 && errno == EINTR) {
        }
        _exit(await_outcome(outcome[0]));
    }
    close(outcome[0]);
    /* The leader of the new session exits at once: what goes on can never get a terminal. */
    setsid();
    child = fork();
    if (child != 0) {
        _exit(child < 0 ? EXIT_FAILED : EXIT_OK);
    }
    readiness->launcher_fd = outcome[1];
    return 0;
}

static void tell_launcher(struct readiness *readiness, int status)
{
    unsigned char byte = (unsigned char)status;

    if (readiness->launcher_fd < 0) {
        return;
    }
    if (write(readiness->launcher_fd, &byte, sizeof(byte)) < 0) {
        log_warn("nobody waits for the outcome: %s", strerror(errno));
    }
    close(readiness->launcher_fd);
    readiness->launcher_fd = -1;
}

static void tell_manager(void)
{
    static const char message[] = "READY=1\nSTATUS=Serving vgpud";
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    const char *path = getenv("NOTIFY_SOCKET");
    size_t length = path ? strlen(path) : 0;
    int fd;

    if (length == 0) {
        return;
    }
    if ((path[0] != '/' && path[0] != '@') || length >= sizeof(address.sun_path)) {
        log_warn("cannot notify the service manager at %s: not an address", path);
        return;
    }
    memcpy(address.sun_path, path, length);
    if (path[0] == '@') {
        address.sun_path[0] = '\0'; /* abstract: counted by length, not ended by NUL */
    }
    fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0 ||
        sendto(fd, message, sizeof(message) - 1, MSG_NOSIGNAL, (const struct sockaddr *)&address,
               (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length)) < 0) {
        log_warn("cannot notify the service manager at %s: %s", path, strerror(errno));
    }
    if (fd >= 0) {
        close(fd);
    }
}

/* Return: 0, or -errno, logged where it was until now */
static int move_output(const struct readiness *readiness)
{
    bool daemonized = readiness->launcher_fd >= 0;
    const char *path = readiness->log_file[0] ? readiness->log_file : "/dev/null";
    int fd, rc = 0;

    if (!readiness->log_file[0] && !daemonized) {
        return 0;
    }
    fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0) {
        rc = -errno;
        log_error("cannot log to %s: %s", path, strerror(-rc));
        return rc;
    }
    if (dup2(fd, STDERR_FILENO) < 0 || (daemonized && dup2(fd, STDOUT_FILENO) < 0)) {
        rc = -errno;
    }
    close(fd);
    if (rc == 0 && daemonized) {
        fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
        rc = fd < 0 || dup2(fd, STDIN_FILENO) < 0 ? -errno : 0;
        if (fd >= 0) {
            close(fd);
        }
    }
    return rc;
}

int readiness_announce(struct readiness *readiness)
{
    static const char line[] = "ready\n";
    int rc = move_output(readiness);

    if (rc < 0) {
        return rc;
    }
    tell_manager();
    if (readiness->ready_fd >= 0) {
        if (write(readiness->ready_fd, line, sizeof(line) - 1) < 0) {
            log_warn("nobody reads --ready-fd: %s", strerror(errno));
        }
        close(readiness->ready_fd);
        readiness->ready_fd = -1;
    }
    tell_launcher(readiness, EXIT_OK);
    return 0;
}

void readiness_fail(struct readiness *readiness, int status)
{
    tell_launcher(readiness, status);
}
