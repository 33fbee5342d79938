/*
 * peer.c - Who a process is, by /proc
 *
 * The directory of the process is opened first and everything is read relative to it: should the
 * process end and its number be taken by another one in between, the reads fail with ESRCH instead
 * of describing a mixture of the two.
 */
#include "spawn/peer.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Return: bytes read, at most @size, or -errno */
static ssize_t read_at(int directory, const char *name, char *buffer, size_t size)
{
    size_t used = 0;
    ssize_t got = 0;
    int fd = openat(directory, name, O_RDONLY | O_CLOEXEC);

    if (fd < 0) {
        return -errno;
    }
    while (used < size && (got = read(fd, buffer + used, size - used)) != 0) {
        if (got < 0 && errno != EINTR) {
            got = -errno;
            break;
        }
        used += got > 0 ? (size_t)got : 0;
    }
    close(fd);
    return got < 0 ? got : (ssize_t)used;
}

static int parse_uid(const char *status, uint32_t *uid)
{
    unsigned int real, effective;
    const char *line = strstr(status, "\nUid:");

    if (!line || sscanf(line, "\nUid: %u %u", &real, &effective) != 2) {
        return -EPROTO;
    }
    *uid = effective;
    return 0;
}

int peer_lookup(pid_t pid, uint32_t *uid, char *command, size_t size)
{
    char path[32], status[2048];
    ssize_t got;
    int directory, rc;

    if (pid < 1) {
        return -EINVAL;
    }
    snprintf(path, sizeof(path), "/proc/%d", (int)pid);
    directory = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (directory < 0) {
        return errno == ENOENT ? -ESRCH : -errno;
    }
    got = read_at(directory, "status", status, sizeof(status) - 1);
    if (got < 0) {
        rc = (int)got;
        goto out;
    }
    status[got] = '\0';
    rc = parse_uid(status, uid);
    if (rc < 0) {
        goto out;
    }
    got = read_at(directory, "cmdline", command, size - 1);
    if (got < 0) {
        rc = (int)got;
        goto out;
    }
    while (got > 0 && command[got - 1] == '\0') {
        got--;
    }
    command[got] = '\0';
    for (ssize_t i = 0; i < got; i++) {
        if (command[i] == '\0') {
            command[i] = ' ';
        } else if ((unsigned char)command[i] < ' ' || command[i] == 0x7f) {
            command[i] = '?';
        }
    }
out:
    close(directory);
    return rc == -ENOENT ? -ESRCH : rc;
}

pid_t peer_parent(pid_t pid)
{
    char path[32], text[512];
    const char *rest;
    ssize_t got;
    int parent = 0;

    snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
    got = read_at(AT_FDCWD, path, text, sizeof(text) - 1);
    if (got < 0) {
        return 0;
    }
    text[got] = '\0';
    /* "pid (name) state parent ...": a name may have any bytes, the rest has no parenthesis. */
    rest = strrchr(text, ')');
    return rest && sscanf(rest, ") %*c %d", &parent) == 1 ? parent : 0;
}
