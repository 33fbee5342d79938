/*
 * stub.c - Version 1 of the interface: requests and answers on a stream socket
 *
 * One request is outstanding at a time. Its answer carries its request_id; an answer with a smaller
 * one belongs to a request that was given up after a timeout and is passed over. A PONG carries no
 * id, so pings that were given up are counted. A PING from the host is answered in between.
 *
 * The payload of a message is received completely before it is looked at; lengths are checked
 * against the room there is before anything is received. After an -EPROTO, a -EPIPE, or a timeout
 * in the middle of a message, the stream has no known boundary any more: every later call fails.
 *
 * vm_id, pool and priority of our headers are 0: the socket says who we are.
 */
#include "vgpu_stub.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "link.h"

#define PARAMS_MAX ((WIRE_REQUEST_MAX - sizeof(struct wire_request)) / sizeof(uint32_t))

_Static_assert(PARAMS_MAX == 248, "vgpu.h says how many parameters a request can have");
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the wire format is used as it lies");

struct vgpu_stub {
    int connection;
    int broken; /* -errno: why the stream cannot be used any more; 0 = it can */
    uint32_t last_id;
    uint32_t pongs_owed; /* of pings that were given up */
    uint64_t timeout_ns;
};

int vgpu_stub_connected(int connection, int timeout_ms, struct vgpu_stub **out)
{
    struct timeval limit = {.tv_sec = timeout_ms / 1000, .tv_usec = timeout_ms % 1000 * 1000};
    struct vgpu_stub *stub = timeout_ms < 1 ? NULL : calloc(1, sizeof(*stub));
    int rc = timeout_ms < 1 ? -EINVAL : stub ? 0 : -ENOMEM;

    if (!rc && (setsockopt(connection, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)) < 0 ||
                setsockopt(connection, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit)) < 0))
        rc = -errno;
    if (rc) {
        free(stub);
        close(connection);
        return rc;
    }
    stub->connection = connection;
    stub->timeout_ns = (uint64_t)timeout_ms * 1000000u;
    *out = stub;
    return 0;
}

int vgpu_stub_connect(const char *path, int timeout_ms, struct vgpu_stub **stub,
                      struct vgpu_reason *why)
{
    int connection = unix_connect(path, "stub", timeout_ms, why);
    int rc;

    if (connection < 0)
        return connection;
    rc = vgpu_stub_connected(connection, timeout_ms, stub);
    if (rc)
        reason_set(why, "cannot use the stub socket %s: %s", path, strerror(-rc));
    return rc;
}

void vgpu_stub_close(struct vgpu_stub *stub)
{
    if (!stub)
        return;
    close(stub->connection);
    free(stub);
}

static int broken(struct vgpu_stub *stub, int rc)
{
    stub->broken = rc;
    return rc;
}

static int send_all(struct vgpu_stub *stub, const void *bytes, size_t len)
{
    size_t sent = 0;

    while (sent < len) {
        ssize_t n = send(stub->connection, (const uint8_t *)bytes + sent, len - sent, MSG_NOSIGNAL);

        if (n >= 0)
            sent += (size_t)n;
        else if (errno == EAGAIN)
            return sent ? broken(stub, -ETIMEDOUT) : -ETIMEDOUT;
        else if (errno != EINTR)
            return broken(stub, errno == ECONNRESET ? -EPIPE : -errno);
    }
    return 0;
}

/* @whole: a timeout before the first byte leaves the stream at a message boundary. */
static int receive_all(struct vgpu_stub *stub, void *bytes, size_t len, bool whole)
{
    size_t have = 0;

    while (have < len) {
        ssize_t n = recv(stub->connection, (uint8_t *)bytes + have, len - have, 0);

        if (n > 0)
            have += (size_t)n;
        else if (n == 0)
            return broken(stub, -EPIPE);
        else if (errno == EAGAIN)
            return have || !whole ? broken(stub, -ETIMEDOUT) : -ETIMEDOUT;
        else if (errno != EINTR)
            return broken(stub, errno == ECONNRESET ? -EPIPE : -errno);
    }
    return 0;
}

static int receive_and_drop(struct vgpu_stub *stub, size_t len)
{
    uint8_t dropped[4096];

    while (len) {
        size_t piece = len < sizeof(dropped) ? len : sizeof(dropped);
        int rc = receive_all(stub, dropped, piece, false);

        if (rc)
            return rc;
        len -= piece;
    }
    return 0;
}

static int send_bare(struct vgpu_stub *stub, uint32_t type, uint32_t id)
{
    struct wire_header header = {.magic = WIRE_MAGIC, .type = type, .request_id = id};

    return send_all(stub, &header, sizeof(header));
}

/*
 * Receive up to the next message that is not a PING: its header, and into @payload its payload of
 * at most @room bytes. What is more of a CUDA_RESULT is dropped; of any other type it is an error.
 */
static int receive_message(struct vgpu_stub *stub, struct wire_header *header, void *payload,
                           size_t room)
{
    for (;;) {
        size_t len, kept;
        int rc = receive_all(stub, header, sizeof(*header), true);

        if (rc)
            return rc;
        len = header->payload_len;
        if (header->magic != WIRE_MAGIC ||
            (len > room && (header->type != WIRE_CUDA_RESULT ||
                            len > sizeof(struct wire_cuda_result) + WIRE_CUDA_DATA_MAX)))
            return broken(stub, -EPROTO);
        kept = len < room ? len : room;
        rc = receive_all(stub, payload, kept, false);
        if (!rc)
            rc = receive_and_drop(stub, len - kept);
        if (rc || header->type != WIRE_PING)
            return rc;
        rc = send_bare(stub, WIRE_PONG, 0);
        if (rc)
            return rc;
    }
}

/*
 * Wait for the answer to request @id, or (@id 0) for a PONG. The socket's timeout is of one
 * receive; a host that keeps sending something else is stopped by the deadline.
 */
static int await_answer(struct vgpu_stub *stub, uint32_t id, struct wire_header *header,
                        void *payload, size_t room)
{
    uint64_t deadline_ns = vgpu_now_ns() + stub->timeout_ns;

    for (;;) {
        int rc = receive_message(stub, header, payload, room);

        if (rc)
            return rc;
        if (header->type == WIRE_PONG) {
            if (stub->pongs_owed) {
                stub->pongs_owed--;
            } else if (id == 0) {
                return 0;
            } else {
                return broken(stub, -EPROTO);
            }
        } else if (header->request_id == id && id != 0) {
            return 0;
        } else if (header->request_id == 0 || header->request_id > stub->last_id) {
            return broken(stub, -EPROTO); /* an answer to nothing */
        }
        if (vgpu_now_ns() >= deadline_ns)
            return -ETIMEDOUT;
    }
}

static int read_response(struct vgpu_stub *stub, const struct wire_header *header,
                         const uint8_t *payload, struct vgpu_stub_answer *answer)
{
    struct wire_response response;
    uint32_t len = header->payload_len;

    if (len < sizeof(response))
        return broken(stub, -EPROTO);
    memcpy(&response, payload, sizeof(response));
    if (response.version != WIRE_VERSION ||
        response.result_count > (len - sizeof(response)) / sizeof(uint32_t))
        return broken(stub, -EPROTO);
    if (response.data_length &&
        (response.data_offset < sizeof(response) || response.data_offset > len ||
         response.data_length > len - response.data_offset))
        return broken(stub, -EPROTO);
    answer->status = response.status;
    answer->exec_time_us = response.exec_time_us;
    answer->result_count = response.result_count;
    memcpy(answer->results, payload + sizeof(response), response.result_count * sizeof(uint32_t));
    answer->data_bytes = response.data_length;
    if (response.data_length)
        memcpy(answer->data, payload + response.data_offset, response.data_length);
    return 0;
}

static int read_answer(struct vgpu_stub *stub, const struct wire_header *header,
                       const uint8_t *payload, struct vgpu_stub_answer *answer)
{
    answer->type = header->type;
    answer->vm_id = header->vm_id;
    answer->pool_id = (char)header->pool_id;
    answer->priority = header->priority;
    answer->exec_time_us = answer->result_count = answer->data_bytes = 0;
    switch (header->type) {
    case WIRE_BUSY:
        answer->status = WIRE_QUEUE_FULL;
        return 0;
    case WIRE_QUARANTINED:
        answer->status = WIRE_VM_QUARANTINED;
        return 0;
    case WIRE_RESPONSE:
        return read_response(stub, header, payload, answer);
    default:
        return broken(stub, -EPROTO);
    }
}

/* Ids are 1 and up: 0 is what a PONG has. A client that used them all must connect anew. */
static int next_id(struct vgpu_stub *stub)
{
    if (stub->broken)
        return stub->broken;
    if (stub->last_id == UINT32_MAX)
        return broken(stub, -EOVERFLOW);
    stub->last_id++;
    return 0;
}

int vgpu_stub_request(struct vgpu_stub *stub, uint32_t opcode, const uint32_t *params,
                      uint32_t param_count, struct vgpu_stub_answer *answer)
{
    struct {
        struct wire_header header;
        struct wire_request request;
        uint32_t params[PARAMS_MAX];
    } message = {.header = {.magic = WIRE_MAGIC, .type = WIRE_REQUEST},
                 .request = {.version = WIRE_VERSION, .opcode = opcode}};
    uint8_t payload[WIRE_REQUEST_MAX];
    struct wire_header header;
    uint32_t payload_len = (uint32_t)(sizeof(message.request) + param_count * sizeof(uint32_t));
    int rc;

    if (param_count > PARAMS_MAX)
        return -EINVAL;
    rc = next_id(stub);
    if (rc)
        return rc;
    message.header.request_id = stub->last_id;
    message.header.payload_len = payload_len;
    message.request.param_count = param_count;
    message.request.data_offset = payload_len;
    if (param_count)
        memcpy(message.params, params, param_count * sizeof(uint32_t));
    rc = send_all(stub, &message, sizeof(message.header) + payload_len);
    if (!rc)
        rc = await_answer(stub, stub->last_id, &header, payload, sizeof(payload));
    if (rc)
        return rc;

    return read_answer(stub, &header, payload, answer);
}

int vgpu_stub_ping(struct vgpu_stub *stub)
{
    uint8_t payload[WIRE_REQUEST_MAX];
    struct wire_header header;
    int rc = stub->broken ? stub->broken : send_bare(stub, WIRE_PING, 0);

    if (rc)
        return rc;
    rc = await_answer(stub, 0, &header, payload, sizeof(payload));
    if (rc == -ETIMEDOUT)
        stub->pongs_owed++;
    return rc;
}

int vgpu_stub_cuda_call(struct vgpu_stub *stub, uint32_t call_id, struct vgpu_stub_cuda *answer)
{
    struct {
        struct wire_header header;
        struct wire_cuda_call call;
    } message = {.header = {.magic = WIRE_MAGIC,
                            .type = WIRE_CUDA_CALL,
                            .payload_len = sizeof(struct wire_cuda_call)},
                 .call = {.magic = WIRE_MAGIC, .call_id = call_id}};
    uint8_t payload[WIRE_REQUEST_MAX];
    struct wire_cuda_result result;
    struct wire_header header;
    int rc = next_id(stub);

    if (rc)
        return rc;
    message.header.request_id = message.call.seq_num = stub->last_id;
    rc = send_all(stub, &message, sizeof(message));
    if (!rc)
        rc = await_answer(stub, stub->last_id, &header, payload, sizeof(payload));
    if (rc)
        return rc;
    *answer = (struct vgpu_stub_cuda){.type = header.type};
    if (header.type != WIRE_CUDA_RESULT) {
        struct vgpu_stub_answer refusal;

        rc = read_answer(stub, &header, payload, &refusal);
        if (!rc)
            answer->wire_status = refusal.status;
        return rc;
    }
    if (header.payload_len < sizeof(result))
        return broken(stub, -EPROTO);
    memcpy(&result, payload, sizeof(result));
    if (result.magic != WIRE_MAGIC || result.seq_num != stub->last_id || result.num_results > 8 ||
        result.data_len != header.payload_len - sizeof(result))
        return broken(stub, -EPROTO);
    answer->status = result.status;
    answer->num_results = result.num_results;
    memcpy(answer->results, result.results, sizeof(answer->results));
    answer->data_bytes = result.data_len;
    return 0;
}
