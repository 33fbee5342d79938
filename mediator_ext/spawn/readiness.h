/*
 * readiness.h - Into the background, and saying that clients can connect
 */
#ifndef VGPUD_SPAWN_READINESS_H
#define VGPUD_SPAWN_READINESS_H

#include <stdbool.h>

struct readiness {
    int launcher_fd; /* tells the process that the user started how it went; -1 = not daemonized */
    int ready_fd;    /* of --ready-fd; -1 = none */
    const char *log_file; /* "" = none */
};

/**
 * readiness_begin() - Continue in the background if that was asked for
 * @readiness: filled
 * @daemonize: fork; the process that the user started waits and exits with what
 *             readiness_announce() or readiness_fail() says
 * @ready_fd: gets "ready\n"; -1 = none
 * @log_file: absolute, or ""
 *
 * Return: 0, in the process that goes on; or -errno, logged
 */
int readiness_begin(struct readiness *readiness, bool daemonize, int ready_fd,
                    const char *log_file);

/**
 * readiness_announce() - Clients can connect: tell all who wait for that, and leave the terminal
 *
 * Standard error becomes the log file, where there is one, or /dev/null when daemonized.
 *
 * Return: 0, or -errno, logged: the log file cannot be opened, and nobody was told anything
 */
int readiness_announce(struct readiness *readiness);

/**
 * readiness_fail() - It came to nothing: say so to the process that waits
 * @status: to exit with
 */
void readiness_fail(struct readiness *readiness, int status);

#endif
