/*
 * listener.c - The socket that vgpud connects to
 *
 * A socket file outlives a process that was killed, so finding one says nothing: only connecting
 * tells a live spawner from a stale file. Between that test and bind() another spawner could do the
 * same; a lock on the directory keeps them apart. It is advisory and only tried for a while:
 * anybody who may open the directory can hold it.
 */
#include "spawn/listener.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "spawn/log.h"
#include "spawn/server.h"

#define LOCK_TRIES   100
#define LOCK_WAIT_NS 20000000 /* 20 ms: two seconds in all */

static int open_socket(void)
{
    return socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
}

/* Return: 0 if nobody listens at @address, or why it must not be replaced, logged */
static int check_unserved(const struct sockaddr_un *address)
{
    struct stat found;
    int fd, rc = 0;

    if (lstat(address->sun_path, &found) < 0) {
        rc = errno == ENOENT ? 0 : -errno;
        if (rc < 0) {
            log_error("cannot look at %s: %s", address->sun_path, strerror(-rc));
        }
        return rc;
    }
    if (!S_ISSOCK(found.st_mode)) {
        log_error("%s exists and is not a socket: remove it, or choose another --socket",
                  address->sun_path);
        return -EEXIST;
    }
    fd = open_socket();
    if (fd < 0) {
        return -errno;
    }
    if (connect(fd, (const struct sockaddr *)address, sizeof(*address)) == 0 || errno == EAGAIN) {
        log_error("a spawner already serves on %s: use that one, or choose another --socket",
                  address->sun_path);
        rc = -EADDRINUSE;
    } else if (errno != ECONNREFUSED && errno != ENOENT) {
        rc = -errno;
        log_error("something is at %s, and it cannot be told what: %s", address->sun_path,
                  strerror(-rc));
    }
    close(fd);
    return rc;
}

/* Return: a descriptor that holds the lock until it is closed, or -errno, logged */
static int lock_directory(const char *socket_path)
{
    const struct timespec pause = {.tv_nsec = LOCK_WAIT_NS};
    char copy[PATH_MAX];
    const char *directory;
    int fd, rc = -EWOULDBLOCK;

    strncpy(copy, socket_path, sizeof(copy) - 1);
    copy[sizeof(copy) - 1] = '\0';
    directory = dirname(copy);
    fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) {
        rc = -errno;
        log_error("cannot open %s for the socket: %s", directory, strerror(-rc));
        return rc;
    }
    for (int i = 0; i < LOCK_TRIES && rc == -EWOULDBLOCK; i++) {
        rc = flock(fd, LOCK_EX | LOCK_NB) < 0 ? -errno : 0;
        if (rc == -EWOULDBLOCK || rc == -EINTR) {
            rc = -EWOULDBLOCK;
            nanosleep(&pause, NULL);
        }
    }
    if (rc < 0) {
        log_error("cannot lock %s, where the socket goes: %s; who holds it? (fuser %s)", directory,
                  strerror(-rc), directory);
        close(fd);
        return rc;
    }
    return fd;
}

static int bind_and_listen(int fd, const struct sockaddr_un *address, uid_t owner)
{
    mode_t previous;
    int rc;

    if (unlink(address->sun_path) < 0 && errno != ENOENT) {
        return -errno;
    }
    previous = umask(0177);
    rc = bind(fd, (const struct sockaddr *)address, sizeof(*address)) < 0 ? -errno : 0;
    umask(previous);
    if (rc < 0) {
        return rc;
    }
    /* Nobody can connect before listen(). */
    if ((geteuid() == 0 && owner != 0 &&
         fchownat(AT_FDCWD, address->sun_path, owner, (gid_t)-1, AT_SYMLINK_NOFOLLOW) < 0) ||
        listen(fd, SERVER_MAX_CLIENTS) < 0) {
        rc = -errno;
        unlink(address->sun_path);
    }
    return rc;
}

int listener_from_manager(struct listener *listener, int fd)
{
    int type = 0, listens = 0, domain = 0;
    socklen_t size = sizeof(int);

    listener->fd = -1;
    listener->path[0] = '\0';
    if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &size) < 0 || domain != AF_UNIX ||
        getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) < 0 || type != SOCK_SEQPACKET ||
        getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &size) < 0 || !listens) {
        log_error("the service manager passed something else than a listening SEQPACKET socket; "
                  "the socket unit needs ListenSequentialPacket=");
        return -EINVAL;
    }
    if (fcntl(fd, F_SETFD, FD_CLOEXEC) < 0 ||
        fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK) < 0) {
        return -errno;
    }
    listener->fd = fd;
    return 0;
}

int listener_open(struct listener *listener, const char *path, uid_t owner)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int lock_fd, rc;

    listener->fd = -1;
    listener->path[0] = '\0';
    if (strlen(path) >= sizeof(address.sun_path)) {
        log_error("the path of a socket may have %zu bytes: %s is too long",
                  sizeof(address.sun_path) - 1, path);
        return -ENAMETOOLONG;
    }
    strcpy(address.sun_path, path);
    lock_fd = lock_directory(path);
    if (lock_fd < 0) {
        return lock_fd;
    }
    rc = check_unserved(&address);
    if (rc < 0) {
        goto out;
    }
    listener->fd = open_socket();
    rc = listener->fd < 0 ? -errno : bind_and_listen(listener->fd, &address, owner);
    if (rc < 0) {
        log_error("cannot listen on %s: %s", path, strerror(-rc));
        if (listener->fd >= 0) {
            close(listener->fd);
            listener->fd = -1;
        }
        goto out;
    }
    strcpy(listener->path, path);
out:
    close(lock_fd);
    return rc;
}

void listener_close(struct listener *listener)
{
    if (listener->fd < 0) {
        return;
    }
    if (listener->path[0] && unlink(listener->path) < 0 && errno != ENOENT) {
        log_warn("cannot remove %s: %s", listener->path, strerror(errno));
    }
    close(listener->fd);
    listener->fd = -1;
}
