/*
 * fuzz_stub.c - A version 1 client that says anything, in pieces of any size
 *
 * Whatever it says, what comes back is well-formed frames, the engine comes to rest, and the client
 * after it is served. The first byte chooses the size of the pieces, and whether a worker is awake.
 */
#include <errno.h>

#include "bench_engine.h"
#include "fake_worker.h"
#include "replay.h"

#define KEPT_MAX 4096u

static struct mediator *m;
static struct rig_vm vm;
static struct fake_worker worker;

static void stop(void)
{
    mediator_free(m);
    fake_worker_free(&worker);
    rig_vm_free(&vm);
}

static void start(void)
{
    const struct mediator_config config = rig_config();

    m = rig_engine(&config);
    rig_vm_new(&vm, 1, 'A', 1, 32, 1);
    fake_worker_new(&worker, 1);
    FUZZ_CHECK(rig_vm_add(&vm, m, -1, -1) >= 0 && atexit(stop) == 0);
    FUZZ_CHECK(fake_worker_attach(&worker, m, vm.handle, MEDIATOR_LAUNCH) == 0);
}

/* Let the worker do what it was given, and the engine come to rest. */
static void work(bool awake)
{
    struct worker_unit unit;

    FUZZ_CHECK(bench_settle(m) < 1000);
    while (awake && fake_worker_take(&worker, &unit, 0)) {
        const struct worker_reply reply = {.token = unit.token,
                                           .outcome = WORKER_DONE,
                                           .result = {(uint32_t)(unit.args[0] + unit.args[1]), 0}};

        fake_worker_reply(&worker, &reply);
        FUZZ_CHECK(bench_settle(m) < 1000);
    }
}

/* Read what is there, and check that it is frames. @kept: of an unfinished one */
static void read_frames(int client, uint8_t *kept, size_t *length)
{
    for (;;) {
        ssize_t got = recv(client, kept + *length, KEPT_MAX - *length, MSG_DONTWAIT);
        struct wire_header header;

        if (got <= 0)
            return;
        *length += (size_t)got;
        while (*length >= sizeof(header)) {
            size_t whole;

            memcpy(&header, kept, sizeof(header));
            whole = sizeof(header) + header.payload_len;
            FUZZ_CHECK(header.magic == WIRE_MAGIC && whole <= WIRE_ANSWER_MAX);
            FUZZ_CHECK(header.type == WIRE_RESPONSE || header.type == WIRE_PONG ||
                       header.type == WIRE_BUSY || header.type == WIRE_CUDA_RESULT);
            if (*length < whole)
                break;
            memmove(kept, kept + whole, *length - whole);
            *length -= whole;
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t kept[KEPT_MAX], frame[128];
    bool awake = size && data[0] & 1;
    size_t at = 0, length = 0, piece = size ? 1 + (data[0] & ~1u) * 16u : 1;
    uint64_t end_ns = rig_now_ns() + RIG_LONG_MS * 1000000ull;
    int client;

    if (!m)
        start();
    data += size > 0;
    size -= size > 0;
    client = rig_connect(vm.stub_path);
    bench_settle(m);
    while (at < size) {
        size_t part = size - at < piece ? size - at : piece;
        ssize_t sent = send(client, data + at, part, MSG_DONTWAIT | MSG_NOSIGNAL);

        if (sent < 0 && errno != EAGAIN)
            break;
        /* It is not read from: it may have lost its framing, and waits for what it is owed; and then
         * for the engine's other thread to end the connection. */
        awake |= sent < 0;
        if (sent >= 0)
            end_ns = rig_now_ns() + RIG_LONG_MS * 1000000ull;
        FUZZ_CHECK(rig_now_ns() < end_ns);
        at += sent > 0 ? (size_t)sent : 0;
        work(awake);
        read_frames(client, kept, &length);
    }
    read_frames(client, kept, &length);
    FUZZ_CHECK(length == 0);
    close(client);
    work(true);
    FUZZ_CHECK(m->in_use == 0 && rig_stats(m, &vm).worker_doomed[0] == 0);

    client = rig_connect(vm.stub_path);
    bench_settle(m);
    FUZZ_CHECK(rig_send(client, frame, rig_request(frame, 1, WIRE_OP_NOP, NULL, 0)));
    bench_settle(m);
    FUZZ_CHECK(recv(client, frame, sizeof(frame), MSG_DONTWAIT) == 56);
    close(client);
    bench_settle(m);
    return 0;
}
