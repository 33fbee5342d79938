/*
 * test_stub_stream.c - The byte streams of a version 1 connection, alone and when they fill up
 */
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "check.h"
#include "journal_map.h"
#include "stub_guest.h"
#include "stub_stream.h"

struct streams {
    int fd;
    struct journal *journal;
    uint64_t bytes;
    struct stub_stream stream;
    int peer, ours;
};

static void streams_new(struct streams *s)
{
    int pair[2];

    s->fd = rig_memfd(mediator_journal_bytes(16));
    CHECK(mediator_journal_format(s->fd, 16, 1, 16, 65536) == 0);
    CHECK(journal_map(s->fd, &s->journal, &s->bytes) == 0);
    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
    s->peer = pair[0];
    s->ours = pair[1];
    stub_stream_init(&s->stream, s->journal);
    stub_stream_reset(&s->stream);
}

static void streams_free(struct streams *s)
{
    journal_unmap(s->journal, s->bytes);
    close(s->fd);
    close(s->peer);
    close(s->ours);
}

static void test_streams(void)
{
    struct streams s;
    uint8_t frame[FRAME_MAX], scratch[WIRE_KEEP_MAX], back[4096];
    uint8_t payload[1000];
    struct wire_frame parsed;
    struct iovec iov;
    uint32_t total;

    CASE("frames of any length pass through the receive ring at any place in it");
    streams_new(&s);
    for (uint32_t i = 0; i < 3000; i++) {
        uint32_t length = i * 37 % 1001;
        size_t size;

        memset(payload, (int)i, sizeof(payload));
        size = rig_frame(frame, WIRE_REQUEST, 0, i, payload, length);
        CHECK(rig_send(s.peer, frame, size));
        CHECK(stub_stream_receive(&s.stream, NULL, s.ours) == STUB_MAY_GO_ON);
        /* Leave a part of a frame there now and then, so that the ring's head moves on. */
        if (i % 3 == 0)
            continue;
        do {
            memset(scratch, 0, sizeof(scratch));
            CHECK(stub_stream_next(&s.stream, scratch, &parsed) == WIRE_FRAME);
            CHECK(parsed.kept == parsed.header.request_id * 37 % 1001);
            CHECK(parsed.kept == 0 ||
                  (parsed.payload[0] == (uint8_t)parsed.header.request_id &&
                   parsed.payload[parsed.kept - 1] == (uint8_t)parsed.header.request_id));
        } while (parsed.header.request_id != i);
    }

    CASE("what is appended comes out in order, also around the end of the transmit ring");
    for (uint32_t i = 0, sent = 0, seen = 0; i < 400; i++) {
        uint8_t bytes[997];

        for (size_t k = 0; k < sizeof(bytes); k++)
            bytes[k] = (uint8_t)(sent++ * 7);
        stub_stream_append(&s.stream, bytes, sizeof(bytes));
        CHECK(stub_stream_send(&s.stream, s.ours));
        iov = (struct iovec){back, i % 4 ? 997 : 500};
        total = (uint32_t)recv(s.peer, iov.iov_base, iov.iov_len, 0);
        for (uint32_t k = 0; k < total; k++)
            CHECK(back[k] == (uint8_t)(seen++ * 7));
    }

    CASE("a span whose free-running offsets wrap loses nothing");
    while (stub_stream_pending(&s.stream))
        CHECK(stub_stream_send(&s.stream, s.ours) && recv(s.peer, back, sizeof(back), 0) > 0);
    while (recv(s.peer, back, sizeof(back), MSG_DONTWAIT) > 0)
        ;
    stub_stream_discard(&s.stream);
    s.journal->stub.rx_span = (uint64_t)(UINT32_MAX - 10) << 32 | (UINT32_MAX - 10);
    CHECK(rig_send(s.peer, frame, rig_frame(frame, WIRE_PING, 3, 0, NULL, 0)));
    CHECK(stub_stream_receive(&s.stream, NULL, s.ours) == STUB_MAY_GO_ON);
    CHECK(stub_stream_received(&s.stream) == 24);
    CHECK(stub_stream_next(&s.stream, scratch, &parsed) == WIRE_FRAME && parsed.header.vm_id == 3);

    CASE("a journal that names a system call is not gone on with");
    CHECK(stub_stream_sane(&s.stream));
    for (uint32_t io = JOURNAL_IO_RECV; io <= JOURNAL_IO_SKIP; io++) {
        s.journal->stub.io = io;
        CHECK(!stub_stream_sane(&s.stream));
    }
    stub_stream_reset(&s.stream);
    CHECK(stub_stream_sane(&s.stream));
    s.journal->stub.rx_span = (uint64_t)(JOURNAL_RX_BYTES + 1) << 32;
    CHECK(!stub_stream_sane(&s.stream));

    CASE("the end of the peer is seen by both directions");
    stub_stream_reset(&s.stream);
    close(s.peer);
    stub_stream_append(&s.stream, frame, 24);
    CHECK(!stub_stream_send(&s.stream, s.ours));
    CHECK(stub_stream_receive(&s.stream, NULL, s.ours) == STUB_ENDED);
    s.peer = dup(s.ours);
    streams_free(&s);
}

/* A connection as the last engine might have left it; the test keeps the engine's end, too. */
static int inherited(struct rig_vm *vm, struct mediator *m, struct journal *journal, int *ours)
{
    int pair[2];

    journal->stub.connected = journal->stub.attachment = 1;
    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
    *ours = pair[1];
    CHECK(rig_vm_add(vm, m, dup(pair[1]), -1) >= 0);
    return pair[0];
}

static uint64_t pending_answers(const struct journal *journal)
{
    uint64_t span = __atomic_load_n(&journal->stub.tx_span, __ATOMIC_ACQUIRE);

    return ((uint32_t)(span >> 32) - (uint32_t)span) / WIRE_ANSWER_MAX;
}

static void test_unblocked(struct mediator *m)
{
    const struct timeval limit = {.tv_sec = RIG_LONG_MS / 1000};
    uint8_t frame[FRAME_MAX];
    struct rig_answer answer;
    struct rig_vm vm;
    uint8_t batch[40 * 64];
    size_t length = 0;
    uint32_t sent = 0, answers = 0;
    struct journal *journal;
    uint64_t bytes;
    int ours, size = 4096, client;

    CASE("requests that waited for room are served when all answers before them leave at once");
    rig_vm_new(&vm, 21, 'A', 1, 16, 1);
    CHECK(journal_map(vm.journal_fd, &journal, &bytes) == 0);
    client = inherited(&vm, m, journal, &ours);
    CHECK(setsockopt(client, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)) == 0);
    CHECK(setsockopt(ours, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size)) == 0);
    /* Until there is room for a few answers only; then more requests than that at once. */
    while (sent < 2000 && pending_answers(journal) + 10 < journal->tx_bytes / WIRE_ANSWER_MAX) {
        CHECK(
            rig_send(client, frame, rig_request(frame, sent++, WIRE_OP_GET_DEVICE_INFO, NULL, 0)));
        (void)rig_stats(m, &vm); /* the engine has turned */
        (void)rig_stats(m, &vm);
    }
    for (int i = 0; i < 40; i++)
        length += rig_request(batch + length, sent++, WIRE_OP_GET_DEVICE_INFO, NULL, 0);
    CHECK(rig_send(client, batch, length));
    (void)rig_stats(m, &vm);
    (void)rig_stats(m, &vm);
    CHECK(__atomic_load_n(&journal->stub.rx_span, __ATOMIC_ACQUIRE) != 0);
    size = 400000;
    CHECK(setsockopt(ours, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size)) == 0);
    while (answers < sent && answered(client, answers, WIRE_OK, &answer))
        answers++;
    CHECK(sent > 300 && answers == sent);

    CASE("an inherited connection may go on to use the id that the VM has now");
    CHECK(rig_send(client, frame, rig_frame(frame, WIRE_PING, 21, 0, NULL, 0)));
    CHECK(rig_receive(client, &answer) && answer.header.type == WIRE_PONG);
    close(client);
    close(ours);
    journal_unmap(journal, bytes);
    CHECK(RIG_UNTIL(m, &vm, stub_connected, 0));
    CHECK(mediator_vm_retire(m, vm.handle) == 0 && mediator_vm_remove(m, vm.handle) == 0);
    rig_vm_free(&vm);
}

int main(void)
{
    const struct mediator_config config = rig_config();
    struct mediator *m;

    test_streams();
    m = rig_engine(&config);
    CHECK(mediator_start(m) == 0);
    test_unblocked(m);
    mediator_free(m);
    return check_done();
}
