/*
 * test_worker_exchange.c - Builds that cross from builder to launcher, and how long they are kept
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "check.h"
#include "worker/exchange.h"

static const struct hash_key key = {{11, 22}};

static void pair(int fds[2])
{
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds) < 0)
        abort();
}

static void a_build_crosses(void)
{
    struct backend_built built = {
        .log = "a warning", .log_bytes = 9, .binary = (uint8_t *)"binary", .binary_bytes = 6};
    struct binary binary;
    int fds[2];

    CASE("log and binary arrive as they were sent, under their key");
    pair(fds);
    CHECK(exchange_send(fds[0], key, BACKEND_FINE, &built) == 0);
    CHECK(exchange_receive(fds[1], &binary) == 0);
    CHECK(hash_same(binary.key, key) && binary.status == VGPU_OK);
    CHECK(binary.log_bytes == 9 && binary.binary_bytes == 6);
    CHECK(memcmp(binary.map, "a warningbinary", 15) == 0);
    munmap((void *)binary.map, 15);
    CHECK(exchange_receive(fds[1], &binary) == -EAGAIN);

    CASE("a failed build brings its log and its native code, and no binary");
    CHECK(exchange_send(fds[0], key, (struct backend_verdict){VGPU_BUILD_FAILED, -11}, &built) ==
          0);
    CHECK(exchange_receive(fds[1], &binary) == 0);
    CHECK(binary.status == VGPU_BUILD_FAILED && binary.native == -11);
    CHECK(binary.log_bytes == 9 && binary.binary_bytes == 0);
    munmap((void *)binary.map, 9);

    CASE("a failure without a log needs no file");
    built = (struct backend_built){0};
    CHECK(exchange_send(fds[0], key, (struct backend_verdict){VGPU_NO_MEMORY, 0}, &built) == 0);
    CHECK(exchange_receive(fds[1], &binary) == 0);
    CHECK(binary.status == VGPU_NO_MEMORY && !binary.map);

    CASE("a builder whose launcher is gone is told so, and the other way round");
    close(fds[1]);
    CHECK(exchange_send(fds[0], key, BACKEND_FINE, &built) == -EPIPE);
    close(fds[0]);
    pair(fds);
    close(fds[0]);
    CHECK(exchange_receive(fds[1], &binary) == -EPIPE);
    close(fds[1]);
}

/* A builder that has been taken over. file_bytes < 0: no file. */
static int forged(struct worker_built head, int64_t file_bytes, int seals, int files)
{
    union {
        struct cmsghdr head;
        char bytes[CMSG_SPACE(2 * sizeof(int))];
    } control = {0};
    struct iovec data = {&head, sizeof(head)};
    struct msghdr message = {.msg_iov = &data, .msg_iovlen = 1};
    struct binary binary;
    int fds[2], file = -1, result;

    pair(fds);
    if (file_bytes >= 0) {
        int both[2];

        file = memfd_create("forged", MFD_CLOEXEC | MFD_ALLOW_SEALING);
        if (file < 0 || ftruncate(file, file_bytes) < 0 || fcntl(file, F_ADD_SEALS, seals) < 0)
            abort();
        both[0] = both[1] = file;
        message.msg_control = control.bytes;
        message.msg_controllen = CMSG_SPACE((size_t)files * sizeof(int));
        control.head.cmsg_level = SOL_SOCKET;
        control.head.cmsg_type = SCM_RIGHTS;
        control.head.cmsg_len = CMSG_LEN((size_t)files * sizeof(int));
        memcpy(CMSG_DATA(&control.head), both, (size_t)files * sizeof(int));
    }
    if (sendmsg(fds[0], &message, MSG_NOSIGNAL) < 0)
        abort();
    result = exchange_receive(fds[1], &binary);
    if (result == 0 && binary.map)
        munmap((void *)binary.map, binary.log_bytes + binary.binary_bytes);
    if (file >= 0)
        close(file);
    close(fds[0]);
    close(fds[1]);
    return result;
}

static void forgeries(void)
{
    const int all = F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW;
    const struct worker_built good = {.magic = WORKER_MAGIC,
                                      .version = WORKER_VERSION,
                                      .status = VGPU_OK,
                                      .log_bytes = 8,
                                      .binary_bytes = 8};
    struct worker_built bad;

    CASE("the message that the forgeries start from is good");
    CHECK(forged(good, 16, all, 1) == 0);

    CASE("a file that may still change, or of another size, is refused");
    CHECK(forged(good, 16, F_SEAL_SHRINK | F_SEAL_GROW, 1) == -EBADMSG);
    CHECK(forged(good, 16, F_SEAL_WRITE | F_SEAL_GROW, 1) == -EBADMSG);
    CHECK(forged(good, 15, all, 1) == -EBADMSG);
    CHECK(forged(good, 17, all, 1) == -EBADMSG);

    CASE("a missing file, an unexpected one and a second one are refused");
    CHECK(forged(good, -1, 0, 0) == -EBADMSG);
    CHECK(forged(good, 16, all, 2) == -EBADMSG);
    bad = good;
    bad.status = VGPU_NO_MEMORY;
    bad.log_bytes = bad.binary_bytes = 0;
    CHECK(forged(bad, 16, all, 1) == -EBADMSG);

    CASE("another magic, version, status or reserved field is refused");
    bad = good;
    bad.magic++;
    CHECK(forged(bad, 16, all, 1) == -EBADMSG);
    bad = good;
    bad.version++;
    CHECK(forged(bad, 16, all, 1) == -EBADMSG);
    bad = good;
    bad.status = VGPU_QUARANTINED;
    CHECK(forged(bad, 16, all, 1) == -EBADMSG);
    bad = good;
    bad.reserved0 = 1;
    CHECK(forged(bad, 16, all, 1) == -EBADMSG);

    CASE("sizes that overflow, or are over the limits, are refused");
    bad = good;
    bad.log_bytes = 0 - 8ull;
    bad.binary_bytes = 24;
    CHECK(forged(bad, 16, all, 1) == -EBADMSG);
    bad = good;
    bad.binary_bytes = EXCHANGE_BINARY_BYTES_MAX + 1;
    CHECK(forged(bad, 16, all, 1) == -EBADMSG);

    CASE("a failed build with a binary, and a good one without, are refused");
    bad = good;
    bad.status = VGPU_BUILD_FAILED;
    CHECK(forged(bad, 16, all, 1) == -EBADMSG);
    bad = good;
    bad.binary_bytes = 0;
    CHECK(forged(bad, 8, all, 1) == -EBADMSG);
}

static struct binary entry(uint64_t number, uint64_t bytes)
{
    struct binary binary = {.key = {{number, 0}}, .status = VGPU_OK, .binary_bytes = bytes};

    binary.map = mmap(NULL, bytes, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (binary.map == MAP_FAILED)
        abort();
    return binary;
}

static int has(struct binaries *binaries, uint64_t number)
{
    return binaries_find(binaries, (struct hash_key){{number, 0}}) != NULL;
}

static void cache(void)
{
    struct binaries binaries = {0};
    struct binary binary;

    CASE("the least recently used binaries make room, by number");
    for (uint64_t i = 0; i < BINARIES_MAX; i++) {
        binary = entry(i, 4096);
        binaries_put(&binaries, &binary);
    }
    CHECK(has(&binaries, 0));
    binary = entry(1000, 4096);
    binaries_put(&binaries, &binary);
    CHECK(has(&binaries, 0) && !has(&binaries, 1) && has(&binaries, 1000));

    CASE("and by bytes");
    binary = entry(2000, BINARIES_MAX_BYTES - 4096);
    binaries_put(&binaries, &binary);
    CHECK(has(&binaries, 2000) && binaries.count == 2);
    CHECK(binaries.bytes == BINARIES_MAX_BYTES);

    CASE("a later build replaces the one of its key");
    binary = entry(2000, 4096);
    binary.status = VGPU_BUILD_FAILED;
    binaries_put(&binaries, &binary);
    CHECK(binaries.count == 2 && binaries.bytes == 8192);
    binaries_clear(&binaries);
    CHECK(binaries.count == 0 && binaries.bytes == 0);
}

int main(void)
{
    a_build_crosses();
    forgeries();
    cache();
    return check_done();
}
