/*
 * fuzz_worker_exchange.c - A build worker gone mad: what it hands to the launch worker is anything
 *
 * The build worker runs a compiler over a guest's source, so nothing that comes from it is trusted.
 * The input is a list of messages, of right or wrong size and content, with files of any size and
 * with any seals. What the launch worker keeps can be read from end to end, whatever became of the
 * file meanwhile; it is bounded, and afterwards nothing is left open or mapped.
 */
#include <errno.h>

#include "input.h"
#include "replay.h"
#include "strange_fds.h"
#include "worker/backend.h"
#include "worker/binaries.h"
#include "worker/exchange.h"

#define MESSAGES_MAX 40
#define SOUND_SEALS  (F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)

static int choose_file(struct input *in, uint64_t bytes)
{
    uint32_t kind = take_small(in, STRANGE_KINDS + 8);

    if (kind < STRANGE_KINDS)
        return strange_fd(kind);
    if (kind == STRANGE_KINDS)
        bytes += 1 + take_small(in, 8);
    /* Nearly all seals, or all of them. */
    return strange_memfd((off_t)bytes,
                         kind == STRANGE_KINDS + 1 ? (int)take_small(in, 16) : SOUND_SEALS);
}

static void send_build(int socket, struct input *in)
{
    struct worker_built head = {.magic = WORKER_MAGIC,
                                .version = WORKER_VERSION,
                                .key = {take_small(in, 4), 1},
                                .log_bytes = take_small(in, 32),
                                .binary_bytes = (uint64_t)take_small(in, 8) << take_small(in, 20)};
    uint8_t bytes[sizeof(head) + 8] = {0};
    uint32_t length = sizeof(head), spoilt = take_small(in, 8), count = 1;
    uint64_t file_bytes = head.log_bytes + head.binary_bytes;
    int fds[2] = {-1, -1};

    if (take_small(in, 4) == 3) {
        head.status = VGPU_BUILD_FAILED;
        head.binary_bytes = 0;
        file_bytes = head.log_bytes;
    }
    if (file_bytes == 0)
        count = 0;
    memcpy(bytes, &head, sizeof(head));
    if (spoilt == 1)
        length = take_small(in, sizeof(bytes) + 1);
    if (spoilt == 2)
        bytes[take_small(in, sizeof(head))] = (uint8_t)take(in, 1);
    if (spoilt == 3)
        count = take_small(in, 3);
    for (uint32_t i = 0; i < count; i++)
        fds[i] = choose_file(in, file_bytes);
    send_with_fds(socket, bytes, length, fds, count);
    for (uint32_t i = 0; i < count; i++) {
        /* A builder may try to cut off what it has handed over. */
        (void)!ftruncate(fds[i], 0);
        close(fds[i]);
    }
}

static void look_at(struct binaries *binaries)
{
    uint64_t bytes = 0;

    FUZZ_CHECK(binaries->count <= BINARIES_MAX && binaries->bytes <= BINARIES_MAX_BYTES);
    for (uint32_t i = 0; i < binaries->count; i++) {
        const struct binary *binary = &binaries->entries[i];
        const volatile uint8_t *map = binary->map;
        uint64_t size = binary->log_bytes + binary->binary_bytes;

        FUZZ_CHECK((map != NULL) == (size > 0) &&
                   (binary->status == VGPU_OK) == (binary->binary_bytes > 0));
        FUZZ_CHECK(binaries_find(binaries, binary->key) == binary);
        if (size)
            FUZZ_CHECK(map[0] + map[size - 1] == 0);
        bytes += size;
    }
    FUZZ_CHECK(bytes == binaries->bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input in = {data, size};
    struct binaries binaries = {.count = 0};
    uint32_t fds = count_fds();
    int ends[2];

    FUZZ_CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) == 0);
    for (int i = 0; i < MESSAGES_MAX && in.left; i++) {
        send_build(ends[1], &in);
        if (take_small(&in, 2))
            exchange_drain(ends[0], &binaries);
        look_at(&binaries);
    }
    close(ends[1]);
    exchange_drain(ends[0], &binaries);
    look_at(&binaries);
    binaries_clear(&binaries);
    close(ends[0]);
    FUZZ_CHECK(count_fds() == fds);
    return 0;
}
