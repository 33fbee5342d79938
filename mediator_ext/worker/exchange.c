/*
 * exchange.c - How a build goes from the build worker to the launch worker
 *
 * The seals are what makes one copy enough: after F_SEAL_WRITE the receiver may map the file and
 * read it twice, and gets the same bytes twice.
 */
#include "exchange.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define SEALS (F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW)

/* A builder gone mad must not keep its launcher busy for ever. */
#define DRAIN_AT_ONCE 64

static int write_all(int fd, const void *data, uint64_t bytes)
{
    const uint8_t *at = data;

    while (bytes > 0) {
        ssize_t done = write(fd, at, bytes);

        if (done < 0 && errno == EINTR)
            continue;
        if (done < 0)
            return -errno;
        at += done;
        bytes -= (uint64_t)done;
    }
    return 0;
}

static int sealed_file(const struct worker_built *head, const struct backend_built *built)
{
    int fd = memfd_create("vgpud-build", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    int error;

    if (fd < 0)
        return -errno;
    error = write_all(fd, built->log, head->log_bytes);
    if (!error)
        error = write_all(fd, built->binary, head->binary_bytes);
    if (!error && fcntl(fd, F_ADD_SEALS, SEALS | F_SEAL_SEAL) < 0)
        error = -errno;
    if (error) {
        close(fd);
        return error;
    }
    return fd;
}

int exchange_send(int fd, struct hash_key key, struct backend_verdict verdict,
                  const struct backend_built *built)
{
    struct worker_built head = {
        .magic = WORKER_MAGIC,
        .version = WORKER_VERSION,
        .key = {key.word[0], key.word[1]},
        .status = verdict.status,
        .native = verdict.native,
        .log_bytes = built->log_bytes,
        .binary_bytes = verdict.status == VGPU_OK ? built->binary_bytes : 0,
    };
    union {
        struct cmsghdr head;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control = {0};
    struct iovec data = {&head, sizeof(head)};
    struct msghdr message = {.msg_iov = &data, .msg_iovlen = 1};
    int file = -1, error = 0;

    if (head.binary_bytes > EXCHANGE_BINARY_BYTES_MAX)
        return -EFBIG;
    if (head.log_bytes > EXCHANGE_LOG_BYTES_MAX)
        head.log_bytes = EXCHANGE_LOG_BYTES_MAX;
    if (head.log_bytes + head.binary_bytes > 0) {
        file = sealed_file(&head, built);
        if (file < 0)
            return file;
        message.msg_control = control.bytes;
        message.msg_controllen = sizeof(control.bytes);
        control.head.cmsg_level = SOL_SOCKET;
        control.head.cmsg_type = SCM_RIGHTS;
        control.head.cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(&control.head), &file, sizeof(int));
    }
    while (sendmsg(fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL) < 0) {
        if (errno == EINTR)
            continue;
        error = -errno;
        break;
    }
    if (file >= 0)
        close(file);
    return error;
}

static bool head_is_sound(const struct worker_built *head)
{
    if (head->magic != WORKER_MAGIC || head->version != WORKER_VERSION || head->reserved0 != 0)
        return false;
    if (head->log_bytes > EXCHANGE_LOG_BYTES_MAX || head->binary_bytes > EXCHANGE_BINARY_BYTES_MAX)
        return false;
    switch (head->status) {
    case VGPU_OK:
        return head->binary_bytes > 0;
    case VGPU_BUILD_FAILED:
    case VGPU_NO_MEMORY:
    case VGPU_UNSUPPORTED:
        return head->binary_bytes == 0;
    default:
        return false;
    }
}

/* Maps the file that came with a sound head, if its bytes cannot change any more. */
static int map_file(int fd, uint64_t bytes, const uint8_t **map)
{
    struct stat file;
    int seals = fcntl(fd, F_GET_SEALS);
    void *at;

    if (seals < 0 || (seals & SEALS) != SEALS)
        return -EBADMSG;
    if (fstat(fd, &file) < 0)
        return -errno;
    if (file.st_size < 0 || (uint64_t)file.st_size != bytes)
        return -EBADMSG;
    at = mmap(NULL, bytes, PROT_READ, MAP_PRIVATE, fd, 0);
    if (at == MAP_FAILED)
        return -errno;
    *map = at;
    return 0;
}

int exchange_receive(int fd, struct binary *binary)
{
    struct worker_built head;
    union {
        struct cmsghdr head;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control;
    struct iovec data = {&head, sizeof(head)};
    struct msghdr message = {
        .msg_iov = &data,
        .msg_iovlen = 1,
        .msg_control = control.bytes,
        .msg_controllen = CMSG_LEN(sizeof(int)), /* room for one: the kernel closes the others */
    };
    struct cmsghdr *rights;
    int file = -1, error;
    ssize_t got;

    memset(binary, 0, sizeof(*binary));
    do
        got = recvmsg(fd, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    while (got < 0 && errno == EINTR);
    if (got < 0)
        return -errno;
    rights = CMSG_FIRSTHDR(&message);
    if (rights && rights->cmsg_level == SOL_SOCKET && rights->cmsg_type == SCM_RIGHTS &&
        rights->cmsg_len == CMSG_LEN(sizeof(int)))
        memcpy(&file, CMSG_DATA(rights), sizeof(int));
    if (got == 0 && file < 0)
        return -EPIPE;

    error = -EBADMSG;
    if (got != (ssize_t)sizeof(head) || (message.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) ||
        !head_is_sound(&head) || (file >= 0) != (head.log_bytes + head.binary_bytes > 0))
        goto out;
    binary->key = (struct hash_key){{head.key[0], head.key[1]}};
    binary->status = head.status;
    binary->native = head.native;
    binary->log_bytes = head.log_bytes;
    binary->binary_bytes = head.binary_bytes;
    error = file >= 0 ? map_file(file, head.log_bytes + head.binary_bytes, &binary->map) : 0;
out:
    if (file >= 0)
        close(file);
    return error;
}

void exchange_drain(int fd, struct binaries *binaries)
{
    for (int i = 0; i < DRAIN_AT_ONCE; i++) {
        struct binary binary;
        int error = exchange_receive(fd, &binary);

        if (error == -EAGAIN || error == -EPIPE)
            return;
        if (!error) {
            binaries_put(binaries, &binary);
            continue;
        }
        fprintf(stderr, "vgpu-worker: cannot take a build from the build worker: %s\n",
                strerror(-error));
        if (error != -EBADMSG)
            return;
    }
}
