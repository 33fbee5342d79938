/*
 * transport_unix.c - Version 1: the stub framing over a Unix stream socket
 *
 * Theory of operation
 *
 * One listener and at most one connection for each VM. Bytes are received into the journal and parsed
 * there, answers are appended to the journal's transmit ring and sent at the end of the turn, many at
 * a time. So a successor finds half a frame, and answers not yet sent, where they were.
 *
 * Nobody is waited for. A frame of which a part has come stays in the buffer. A client that does not
 * read its answers is not read from: a frame is parsed only while the transmit ring has room for its
 * answer and for those of all requests still outstanding, so an answer always fits. Frames whose
 * payload is of no use (CUDA calls, what is too long) are skipped as they arrive.
 *
 * What is wrong with a frame is answered, and the connection kept, as long as the next frame can be
 * found; a wrong magic is answered too, and then the connection is closed.
 *
 * Identity comes from the socket. A header's vm_id may be 0 or an id of the VM (stub_ids.c); another
 * one is refused and counts as a fault. Its pool and priority are ignored: the store decides.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "journal_map.h"
#include "stub_ids.h"
#include "stub_stream.h"
#include "transport.h"

#define FRAMES_PER_TURN 256

struct stub {
    struct transport base; /* must be first */
    struct journal_stub *journal;
    struct stub_stream stream;
    uint32_t outstanding; /* accepted and not answered */
    struct watch listener;
    struct watch connection;
};

static struct stub *stub_of(struct transport *t)
{
    return (struct stub *)t;
}

/* Is there room for one more answer, and for those that are owed? */
static bool has_room(const struct stub *s)
{
    return ((uint64_t)s->outstanding + 1) * WIRE_ANSWER_MAX <= stub_stream_room(&s->stream);
}

static void say(struct stub *s, const uint8_t *bytes, size_t length)
{
    stub_stream_append(&s->stream, bytes, length);
    transport_wake(&s->base);
}

/* ---- the connection ---- */

static void forget_client(struct stub *s)
{
    s->journal->connected = 0;
    s->journal->closing = 0;
    s->outstanding = 0;
    stub_stream_reset(&s->stream);
}

static void disconnect(struct stub *s)
{
    int fd = s->connection.fd;

    if (fd < 0)
        return;
    reactor_unwatch(s->base.reactor, &s->connection);
    transport_hang_up(&s->base, fd);
    s->base.attachment = 0;
    forget_client(s);
    transport_drop(&s->base);
    transport_detached(&s->base);
    transport_event(&s->base, MEDIATOR_DISCONNECTED, MEDIATOR_STUB, 0);
    reactor_change(s->base.reactor, &s->listener, EPOLLIN);
}

static void update_interest(struct stub *s)
{
    uint32_t events = 0;

    if (!s->journal->closing && has_room(s) && transport_may_take(&s->base))
        events |= EPOLLIN;
    if (stub_stream_pending(&s->stream))
        events |= EPOLLOUT;
    reactor_change(s->base.reactor, &s->connection, events);
}

static void answer_response(struct stub *s, const struct wire_header *echo, enum wire_status status)
{
    uint8_t frame[WIRE_ANSWER_MAX];

    say(s, frame, wire_write_response(frame, echo, status, 0, NULL, NULL, 0));
}

/* ---- frames ---- */

static void take_request(struct stub *s, const struct wire_frame *frame)
{
    const struct wire_header *header = &frame->header;
    struct wire_parsed_request request = {0};
    enum wire_status status = wire_parse_request(frame, &request);
    struct request_received what = {
        .cookie = header->request_id,
        .attachment = s->base.attachment,
        .args = {request.params[0], request.params[1]},
        .wire = {header->vm_id, header->pool_id | (uint32_t)header->priority << 8},
    };

    if (status != WIRE_OK) {
        if (status != WIRE_UNSUPPORTED) /* a request for what is not offered is no fault */
            transport_fault(&s->base, MEDIATOR_FAULT_FRAME, status);
        answer_response(s, header, status);
        return;
    }
    what.kind = request.opcode == WIRE_OP_NOP               ? REQUEST_NOP
                : request.opcode == WIRE_OP_GET_DEVICE_INFO ? REQUEST_DEVICE_INFO
                                                            : REQUEST_VECTOR_ADD;
    /* The answer may be given before submit() returns. */
    s->outstanding++;
    if (!submit(&s->base, &what))
        s->outstanding--;
}

static void take_frame(struct stub *s, const struct wire_frame *frame)
{
    const struct mediator_vm *identity = transport_identity(&s->base);
    const struct wire_header *header = &frame->header;
    uint8_t out[WIRE_ANSWER_MAX];
    struct wire_cuda_call call = {0};

    if (!stub_ids_has(s->journal, header->vm_id)) {
        transport_fault(&s->base, MEDIATOR_FAULT_FOREIGN_ID, header->vm_id);
        if (header->type == WIRE_CUDA_CALL && frame->kept >= sizeof(call)) {
            /* The stub matches nothing else to its call. */
            memcpy(&call, frame->payload, sizeof(call));
            say(s, out,
                wire_write_cuda_refusal(out, header, call.seq_num, WIRE_CUDA_INVALID_VALUE));
        } else {
            answer_response(s, header, WIRE_INVALID_REQUEST);
        }
        return;
    }
    switch (header->type) {
    case WIRE_REQUEST:
        if (header->pool_id != identity->pool_id || header->priority != identity->priority)
            transport_mismatch(&s->base);
        take_request(s, frame);
        return;
    case WIRE_PING:
        say(s, out, wire_write_pong(out, header->vm_id));
        return;
    case WIRE_PONG:
        return;
    case WIRE_CUDA_CALL:
        if (frame->kept < sizeof(call)) {
            transport_fault(&s->base, MEDIATOR_FAULT_FRAME, WIRE_INVALID_LENGTH);
            answer_response(s, header, WIRE_INVALID_LENGTH);
            return;
        }
        memcpy(&call, frame->payload, sizeof(call));
        say(s, out, wire_write_cuda_refusal(out, header, call.seq_num, WIRE_CUDA_NOT_SUPPORTED));
        return;
    default:
        transport_fault(&s->base, MEDIATOR_FAULT_FRAME, WIRE_UNSUPPORTED);
        answer_response(s, header, WIRE_UNSUPPORTED);
        return;
    }
}

/* Act on what has been received. Leaves in the ring what is incomplete or has no room yet. */
static void take_frames(struct stub *s)
{
    for (int frames = 0; frames < FRAMES_PER_TURN; frames++) {
        uint8_t scratch[WIRE_KEEP_MAX];
        struct wire_frame frame;

        if (s->journal->closing || !stub_stream_skip(&s->stream) || !has_room(s) ||
            !transport_may_take(&s->base))
            return;
        switch (stub_stream_next(&s->stream, scratch, &frame)) {
        case WIRE_NEED_MORE:
            return;
        case WIRE_LOST:
            transport_fault(&s->base, MEDIATOR_FAULT_FRAME, WIRE_INVALID_REQUEST);
            answer_response(s, &(struct wire_header){0}, WIRE_INVALID_REQUEST);
            s->journal->closing = 1;
            stub_stream_discard(&s->stream);
            return;
        case WIRE_FRAME:
            take_frame(s, &frame);
            break;
        }
    }
    transport_wake(&s->base); /* the rest of what came at once, after the others' turn */
}

static void connection_ready(struct watch *watch, uint32_t events)
{
    struct stub *s = (struct stub *)((char *)watch - offsetof(struct stub, connection));

    if (events & EPOLLIN) {
        switch (stub_stream_receive(&s->stream, transport_closer(&s->base), watch->fd)) {
        case STUB_ENDED:
            if (!transport_peer_left(watch->fd)) {
                s->journal->closing = 1; /* it may still read what it is owed */
                break;
            }
            /* fall through */
        case STUB_BROKEN:
            disconnect(s);
            return;
        case STUB_MAY_GO_ON:
            take_frames(s);
            break;
        }
    } else if (events & (EPOLLERR | EPOLLHUP)) {
        disconnect(s);
        return;
    }
    transport_wake(&s->base);
}

static void stub_flush(struct transport *t)
{
    struct stub *s = stub_of(t);

    if (s->connection.fd < 0)
        return;
    if (!stub_stream_send(&s->stream, s->connection.fd) ||
        (s->journal->closing && s->outstanding == 0 && stub_stream_pending(&s->stream) == 0)) {
        disconnect(s);
        return;
    }
    /* What had no room before: after sending, as nothing else may come to wake us for it. */
    if (stub_stream_received(&s->stream))
        take_frames(s);
    update_interest(s);
}

static int start_connection(struct stub *s, int fd)
{
    int rc = reactor_watch(s->base.reactor, &s->connection, fd, EPOLLIN, connection_ready);

    if (rc)
        s->connection.fd = -1;
    return rc;
}

static void listener_ready(struct watch *watch, uint32_t events)
{
    struct stub *s = (struct stub *)((char *)watch - offsetof(struct stub, listener));
    struct journal_stub *j = s->journal;
    int pid = 0, fd;

    (void)events;
    if (s->connection.fd >= 0 && transport_peer_left(s->connection.fd))
        disconnect(s); /* who comes now may be its successor */
    fd = transport_accept(&s->base, watch->fd, s->connection.fd >= 0, &pid);
    if (fd == -EAGAIN || fd == -EACCES)
        return;
    if (fd < 0) {
        /* EBUSY: listen() follows. Short of something: to ask at once would spin, the next asks. */
        reactor_change(s->base.reactor, &s->listener, fd == -EBUSY ? 0 : EPOLLIN | EPOLLET);
        return;
    }
    reactor_change(s->base.reactor, &s->listener, EPOLLIN);
    forget_client(s);
    j->ids_count = 0;
    stub_ids_add(s->journal, transport_identity(&s->base)->vm_id);
    j->attachment++;
    /* Held before it is served: what is read from it can be answered by a successor. */
    if (transport_hold(&s->base, fd)) {
        transport_hang_up(&s->base, fd);
        return;
    }
    if (start_connection(s, fd)) {
        transport_drop(&s->base);
        transport_hang_up(&s->base, fd);
        return;
    }
    j->connected = 1;
    s->base.attachment = j->attachment;
    transport_event(&s->base, MEDIATOR_CONNECTED, MEDIATOR_STUB, (uint64_t)pid);
}

/* ---- what the engine calls ---- */

static struct wire_header echo_of(const uint32_t wire[2], uint64_t cookie)
{
    return (struct wire_header){.vm_id = wire[0],
                                .request_id = (uint32_t)cookie,
                                .pool_id = (uint8_t)wire[1],
                                .priority = (uint8_t)(wire[1] >> 8)};
}

static void stub_answer(struct transport *t, struct journal_slot *slot)
{
    struct stub *s = stub_of(t);
    const struct vgpu_device_info *device = transport_device(t);
    struct wire_header echo = echo_of(slot->wire, slot->cookie);
    uint64_t us = (slot->end_ns - slot->arrival_ns) / 1000;
    enum wire_status status = wire_status_of(slot->status);
    uint32_t exec_us = us > UINT32_MAX ? UINT32_MAX : (uint32_t)us;
    uint32_t result = (uint32_t)slot->result[0];
    uint8_t frame[WIRE_ANSWER_MAX];
    size_t length;

    if (slot->kind == REQUEST_DEVICE_INFO && status == WIRE_OK && !device)
        status = WIRE_UNAVAILABLE;
    if (status == WIRE_VM_QUARANTINED)
        length = wire_write_plain(frame, &echo, WIRE_QUARANTINED);
    else if (status == WIRE_OK && slot->kind == REQUEST_DEVICE_INFO)
        length = wire_write_response(frame, &echo, status, exec_us, NULL, device, sizeof(*device));
    else
        length = wire_write_response(
            frame, &echo, status, exec_us,
            status == WIRE_OK && slot->kind == REQUEST_VECTOR_ADD ? &result : NULL, NULL, 0);
    __atomic_store_n(&slot->state, REQUEST_FREE, __ATOMIC_RELEASE);
    s->outstanding--;
    say(s, frame, length);
}

static void stub_refuse(struct transport *t, const struct request_received *what,
                        enum vgpu_status status, uint32_t retry_after_us)
{
    struct stub *s = stub_of(t);
    struct wire_header echo = echo_of(what->wire, what->cookie);
    uint8_t frame[WIRE_ANSWER_MAX];

    (void)retry_after_us; /* version 1 has no field for it */
    if (status == VGPU_BUSY || status == VGPU_RATE)
        say(s, frame, wire_write_plain(frame, &echo, WIRE_BUSY));
    else if (status == VGPU_QUARANTINED)
        say(s, frame, wire_write_plain(frame, &echo, WIRE_QUARANTINED));
    else
        answer_response(s, &echo, wire_status_of(status));
}

static void stub_listen(struct transport *t)
{
    reactor_change(t->reactor, &stub_of(t)->listener, EPOLLIN);
}

static void stub_identity_changed(struct transport *t, const struct mediator_vm *vm)
{
    stub_ids_add(stub_of(t)->journal, vm->vm_id);
    stub_listen(t);
}

static void stub_hang_up(struct transport *t)
{
    struct stub *s = stub_of(t);
    int fd = s->connection.fd;

    reactor_unwatch(t->reactor, &s->connection);
    if (fd >= 0)
        transport_hang_up(t, fd);
}

static void stub_free(struct transport *t)
{
    struct stub *s = stub_of(t);
    int listener = s->listener.fd, connection = s->connection.fd;

    reactor_unwatch(t->reactor, &s->connection);
    reactor_unwatch(t->reactor, &s->listener);
    if (connection >= 0)
        close(connection);
    if (listener >= 0)
        close(listener);
    free(s);
}

static const struct transport_ops stub_ops = {
    .name = "stub",
    .id = MEDIATOR_STUB,
    .answer = stub_answer,
    .refuse = stub_refuse,
    .flush = stub_flush,
    .listen = stub_listen,
    .identity_changed = stub_identity_changed,
    .hang_up = stub_hang_up,
    .free = stub_free,
};

/* Take up where the last engine stopped. What cannot be known for sure is not guessed. */
static void resume(struct stub *s, const struct journal *journal, int connection)
{
    struct journal_stub *j = s->journal;
    uint64_t answers = (uint64_t)journal_stub_owed(journal) * WIRE_ANSWER_MAX;
    bool sane =
        j->connected && stub_stream_sane(&s->stream) && answers <= stub_stream_room(&s->stream);

    if (connection < 0 || !sane || start_connection(s, connection)) {
        if (connection >= 0)
            transport_hang_up(&s->base, connection);
        forget_client(s);
        transport_drop(&s->base);
        return;
    }
    s->base.attachment = j->attachment;
    stub_ids_add(s->journal,
                 transport_identity(&s->base)->vm_id); /* it may have changed meanwhile */
    s->outstanding = journal_stub_owed(journal);
    transport_wake(&s->base);
}

/**
 * transport_unix_new() - The version 1 way into a VM
 * @journal: mapped and checked
 * @listener: listening and non-blocking; consumed on success
 * @connection: of the last engine, or -1; consumed on success
 *
 * Return: 0, or a negative errno
 */
int transport_unix_new(struct transport **out, struct vm *vm, struct reactor *reactor,
                       struct journal *journal, int listener, int connection)
{
    struct stub *s = calloc(1, sizeof(*s));
    int rc;

    if (!s)
        return -ENOMEM;
    s->base = (struct transport){.ops = &stub_ops, .vm = vm, .reactor = reactor};
    s->journal = &journal->stub;
    stub_stream_init(&s->stream, journal);
    s->connection.fd = -1;
    transport_listens(listener);
    rc = reactor_watch(reactor, &s->listener, listener, EPOLLIN, listener_ready);
    if (rc) {
        free(s);
        return rc;
    }
    *out = &s->base;
    resume(s, journal, connection);
    return 0;
}
