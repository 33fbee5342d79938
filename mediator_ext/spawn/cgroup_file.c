/*
 * cgroup_file.c - The files of a control group, and its end
 */
#include "spawn/cgroup_file.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdint.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

ssize_t cgroup_file_read(int directory, const char *name, char *text, size_t bytes)
{
    size_t used = 0;
    ssize_t got = 1;
    int fd = openat(directory, name, O_RDONLY | O_CLOEXEC);

    if (fd < 0) {
        return -errno;
    }
    while (got > 0 && used < bytes - 1) {
        got = read(fd, text + used, bytes - 1 - used);
        if (got < 0 && errno == EINTR) {
            got = 1;
        } else if (got > 0) {
            used += (size_t)got;
        }
    }
    text[used] = '\0';
    close(fd);
    return got < 0 ? -errno : (ssize_t)used;
}

int cgroup_file_write(int directory, const char *name, const char *text)
{
    int rc = 0;
    int fd = openat(directory, name, O_WRONLY | O_CLOEXEC);

    if (fd < 0) {
        return -errno;
    }
    if (write(fd, text, strlen(text)) < 0) {
        rc = -errno;
    }
    close(fd);
    return rc;
}

static int64_t now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* Wait until no process is left in @group, or until @end_ms. */
static void await_empty(int group, int64_t end_ms)
{
    struct pollfd wait = {.fd = openat(group, "cgroup.events", O_RDONLY | O_CLOEXEC)};
    char text[256];

    wait.events = POLLPRI;
    while (wait.fd >= 0) {
        /* Reading is what poll() compares with. */
        ssize_t got = pread(wait.fd, text, sizeof(text) - 1, 0);
        int64_t left_ms = end_ms - now_ms();

        text[got < 0 ? 0 : got] = '\0';
        if (left_ms <= 0 || !strstr(text, "populated 1")) {
            break;
        }
        poll(&wait, 1, (int)left_ms);
    }
    if (wait.fd >= 0) {
        close(wait.fd);
    }
}

int cgroup_file_remove(int parent, const char *name)
{
    int64_t end_ms = now_ms() + CGROUP_REMOVE_MS;
    int group;

    if (unlinkat(parent, name, AT_REMOVEDIR) == 0 || errno == ENOENT) {
        return 0;
    }
    group = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (group < 0) {
        return -errno;
    }
    if (cgroup_file_write(group, "cgroup.kill", "1") == 0) {
        await_empty(group, end_ms);
    }
    close(group);
    return unlinkat(parent, name, AT_REMOVEDIR) < 0 ? -errno : 0;
}
