/*
 * stub_stream.c - The two byte streams of a version 1 connection, kept in the journal
 *
 * Theory of operation
 *
 * Received bytes and answers not yet sent are rings in the journal, so that the next engine goes on in
 * the middle of a frame. A ring's head and tail are one 64-bit word, moved by one store.
 *
 * What happens between a system call and the note of its outcome cannot be known afterwards: bytes may
 * have been taken from the socket, or given to it. The journal names the call while it runs; an engine
 * that finds it named must give the connection up (stub_stream_sane()).
 */
#include "stub_stream.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "closer.h"

static uint32_t span_head(uint64_t span)
{
    return (uint32_t)span;
}

static uint32_t span_length(uint64_t span)
{
    return (uint32_t)(span >> 32) - (uint32_t)span;
}

static void span_set(uint64_t *span, uint32_t head, uint32_t length)
{
    if (length == 0)
        head = 0; /* start over: pages that were never needed stay untouched */
    __atomic_store_n(span, (uint64_t)(head + length) << 32 | head, __ATOMIC_RELEASE);
}

static void set_io(struct stub_stream *s, enum journal_io io)
{
    __atomic_store_n(&s->journal->io, io, __ATOMIC_RELEASE);
    __atomic_signal_fence(__ATOMIC_SEQ_CST); /* what it announces is not done before */
}

/** stub_stream_init() - The streams of a mapped and checked journal, as they are */
void stub_stream_init(struct stub_stream *s, struct journal *journal)
{
    s->journal = &journal->stub;
    s->tx = (uint8_t *)journal + journal->tx_offset;
    s->tx_bytes = (uint32_t)journal->tx_bytes;
}

/** stub_stream_reset() - Nothing received, nothing to be sent */
void stub_stream_reset(struct stub_stream *s)
{
    s->journal->rx_skip = 0;
    span_set(&s->journal->rx_span, 0, 0);
    span_set(&s->journal->tx_span, 0, 0);
    set_io(s, JOURNAL_IO_NONE);
}

/** stub_stream_sane() - May one go on with what the last engine left? */
bool stub_stream_sane(const struct stub_stream *s)
{
    return s->journal->io == JOURNAL_IO_NONE &&
           span_length(s->journal->rx_span) <= JOURNAL_RX_BYTES &&
           span_length(s->journal->tx_span) <= s->tx_bytes;
}

/** stub_stream_received() - Bytes that were received and not used */
uint32_t stub_stream_received(const struct stub_stream *s)
{
    return span_length(s->journal->rx_span);
}

/** stub_stream_pending() - Bytes that are to be sent */
uint32_t stub_stream_pending(const struct stub_stream *s)
{
    return span_length(s->journal->tx_span);
}

/** stub_stream_room() - Bytes that may still be appended */
uint32_t stub_stream_room(const struct stub_stream *s)
{
    return s->tx_bytes - stub_stream_pending(s);
}

static void consume(struct stub_stream *s, uint32_t length)
{
    uint64_t span = s->journal->rx_span;

    span_set(&s->journal->rx_span, span_head(span) + length, span_length(span) - length);
}

/** stub_stream_discard() - Forget what was received */
void stub_stream_discard(struct stub_stream *s)
{
    consume(s, stub_stream_received(s));
}

/**
 * stub_stream_receive() - Take what the socket has, as far as there is room; does not block
 *
 * Return: is there more to come?
 */
enum stub_received stub_stream_receive(struct stub_stream *s, struct closer *closer, int fd)
{
    uint64_t span = s->journal->rx_span;
    uint32_t tail = (span_head(span) + span_length(span)) % JOURNAL_RX_BYTES;
    uint32_t room = JOURNAL_RX_BYTES - span_length(span);
    uint32_t first = JOURNAL_RX_BYTES - tail < room ? JOURNAL_RX_BYTES - tail : room;
    struct iovec iov[2] = {{s->journal->rx + tail, first}, {s->journal->rx, room - first}};
    struct msghdr message = {.msg_iov = iov, .msg_iovlen = room > first ? 2 : 1};
    ssize_t length;
    int error;

    if (room == 0)
        return STUB_MAY_GO_ON;
    set_io(s, JOURNAL_IO_RECV);
    length = closer_receive(closer, fd, &message);
    error = errno;
    if (length > 0)
        span_set(&s->journal->rx_span, span_head(span), span_length(span) + (uint32_t)length);
    set_io(s, JOURNAL_IO_NONE);
    if (length == 0)
        return STUB_ENDED;
    return length > 0 || error == EAGAIN || error == EINTR ? STUB_MAY_GO_ON : STUB_BROKEN;
}

/**
 * stub_stream_skip() - Throw away what is left of a payload that nobody reads
 *
 * Return: false when more of it is to come
 */
bool stub_stream_skip(struct stub_stream *s)
{
    struct journal_stub *j = s->journal;
    uint32_t length = stub_stream_received(s);

    if (j->rx_skip == 0)
        return true;
    if (length > j->rx_skip)
        length = (uint32_t)j->rx_skip;
    set_io(s, JOURNAL_IO_SKIP);
    j->rx_skip -= length;
    consume(s, length);
    set_io(s, JOURNAL_IO_NONE);
    return j->rx_skip == 0;
}

/* The start of what was received, in one piece: in place, or copied at the end of the ring. */
static const uint8_t *peek(const struct stub_stream *s, uint8_t scratch[WIRE_KEEP_MAX],
                           uint32_t *length)
{
    uint32_t at = span_head(s->journal->rx_span) % JOURNAL_RX_BYTES;
    uint32_t first = JOURNAL_RX_BYTES - at;

    *length = stub_stream_received(s);
    if (*length > WIRE_KEEP_MAX)
        *length = WIRE_KEEP_MAX;
    if (*length <= first)
        return s->journal->rx + at;
    memcpy(scratch, s->journal->rx + at, first);
    memcpy(scratch + first, s->journal->rx, *length - first);
    return scratch;
}

/**
 * stub_stream_next() - Take one frame out of what was received
 * @scratch: may hold its payload afterwards
 * @frame: its payload stays readable until the next stub_stream_receive()
 *
 * Return: as wire_parse()
 */
enum wire_parsed stub_stream_next(struct stub_stream *s, uint8_t scratch[WIRE_KEEP_MAX],
                                  struct wire_frame *frame)
{
    uint32_t length;
    const uint8_t *bytes = peek(s, scratch, &length);
    size_t used = 0;
    enum wire_parsed parsed = wire_parse(bytes, length, frame, &used);

    if (parsed != WIRE_FRAME)
        return parsed;
    if (frame->skip) {
        set_io(s, JOURNAL_IO_SKIP);
        s->journal->rx_skip = frame->skip;
    }
    consume(s, (uint32_t)used);
    if (frame->skip)
        set_io(s, JOURNAL_IO_NONE);
    return WIRE_FRAME;
}

/** stub_stream_append() - Add bytes to be sent; the caller has asked stub_stream_room() */
void stub_stream_append(struct stub_stream *s, const uint8_t *bytes, size_t length)
{
    uint64_t span = s->journal->tx_span;
    uint32_t at = (span_head(span) + span_length(span)) & (s->tx_bytes - 1);
    size_t first = s->tx_bytes - at;

    if (first > length)
        first = length;
    memcpy(s->tx + at, bytes, first);
    memcpy(s->tx, bytes + first, length - first);
    span_set(&s->journal->tx_span, span_head(span), span_length(span) + (uint32_t)length);
}

/**
 * stub_stream_send() - Send what the socket takes; does not block
 *
 * Return: false when the peer is gone
 */
bool stub_stream_send(struct stub_stream *s, int fd)
{
    while (stub_stream_pending(s)) {
        uint32_t head = span_head(s->journal->tx_span), length = stub_stream_pending(s);
        uint32_t at = head & (s->tx_bytes - 1);
        uint32_t first = s->tx_bytes - at < length ? s->tx_bytes - at : length;
        struct iovec iov[2] = {{s->tx + at, first}, {s->tx, length - first}};
        struct msghdr message = {.msg_iov = iov, .msg_iovlen = length > first ? 2 : 1};
        ssize_t sent;
        int error;

        set_io(s, JOURNAL_IO_SEND);
        sent = sendmsg(fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
        error = errno;
        if (sent > 0)
            span_set(&s->journal->tx_span, head + (uint32_t)sent, length - (uint32_t)sent);
        set_io(s, JOURNAL_IO_NONE);
        if (sent < 0 && error != EINTR)
            return error == EAGAIN;
    }
    return true;
}
