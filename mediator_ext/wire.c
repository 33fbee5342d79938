/*
 * wire.c - Reading and writing version 1 frames; pure
 *
 * Theory of operation
 *
 * A frame is a 24-byte header and payload_len bytes. Only so much of a payload is kept as its type can
 * use (a REQUEST: 1,024 bytes; a CUDA call: its 88-byte header); the rest is skipped as it arrives, so
 * that a frame that declares 3 GiB costs no memory and the framing stays intact. Framing is lost only
 * when the magic is wrong.
 *
 * The bytes are in a buffer that no guest can reach: they were copied out of the socket.
 */
#include "wire.h"

#include <string.h>

static uint32_t kept_of(uint32_t type)
{
    if (type == WIRE_REQUEST)
        return WIRE_REQUEST_MAX;
    if (type == WIRE_CUDA_CALL)
        return sizeof(struct wire_cuda_call);
    return 0;
}

/**
 * wire_parse() - Take one frame from the start of a buffer
 * @bytes, @length: what has been received and not yet used
 * @frame: set with WIRE_FRAME; its payload points into @bytes
 * @used: set with WIRE_FRAME: bytes of the buffer that the frame takes up
 *
 * Return: WIRE_NEED_MORE, WIRE_FRAME or WIRE_LOST
 */
enum wire_parsed wire_parse(const uint8_t *bytes, size_t length, struct wire_frame *frame,
                            size_t *used)
{
    uint32_t keep, magic;

    if (length >= sizeof(magic)) {
        memcpy(&magic, bytes, sizeof(magic));
        if (magic != WIRE_MAGIC)
            return WIRE_LOST;
    }
    if (length < sizeof(frame->header))
        return WIRE_NEED_MORE;
    memcpy(&frame->header, bytes, sizeof(frame->header));
    keep = kept_of(frame->header.type);
    if (keep > frame->header.payload_len)
        keep = frame->header.payload_len;
    if (length - sizeof(frame->header) < keep)
        return WIRE_NEED_MORE;
    frame->payload = bytes + sizeof(frame->header);
    frame->kept = keep;
    frame->skip = (uint64_t)frame->header.payload_len - keep;
    *used = sizeof(frame->header) + keep;
    return WIRE_FRAME;
}

/**
 * wire_parse_request() - Check a REQUEST and take out what it asks for
 *
 * Return: WIRE_OK, or the status to refuse it with
 */
enum wire_status wire_parse_request(const struct wire_frame *frame,
                                    struct wire_parsed_request *request)
{
    struct wire_request head;

    if (frame->skip)
        return WIRE_TOO_LARGE;
    if (frame->kept < sizeof(head))
        return WIRE_INVALID_LENGTH;
    memcpy(&head, frame->payload, sizeof(head));
    if (head.version != WIRE_VERSION || head.flags || head.reserved[0] || head.reserved[1])
        return WIRE_INVALID_REQUEST;
    if (head.param_count > (frame->kept - sizeof(head)) / sizeof(uint32_t))
        return WIRE_INVALID_LENGTH;
    if (head.data_length &&
        (head.data_offset > frame->kept || head.data_length > frame->kept - head.data_offset))
        return WIRE_INVALID_LENGTH;
    request->opcode = head.opcode;
    switch (head.opcode) {
    case WIRE_OP_NOP:
    case WIRE_OP_GET_DEVICE_INFO:
        return WIRE_OK;
    case WIRE_OP_VECTOR_ADD:
        if (head.param_count != 2)
            return WIRE_INVALID_REQUEST;
        memcpy(request->params, frame->payload + sizeof(head), sizeof(request->params));
        return WIRE_OK;
    default:
        return WIRE_UNSUPPORTED;
    }
}

/** wire_status_of() - The RESPONSE status that says what an engine status says */
enum wire_status wire_status_of(enum vgpu_status status)
{
    switch (status) {
    case VGPU_OK:
        return WIRE_OK;
    case VGPU_INVALID:
    case VGPU_NO_OBJECT:
    case VGPU_EXISTS:
        return WIRE_INVALID_REQUEST;
    case VGPU_UNSUPPORTED:
        return WIRE_UNSUPPORTED;
    case VGPU_BUSY:
        return WIRE_QUEUE_FULL;
    case VGPU_RATE:
        return WIRE_RATE_LIMITED;
    case VGPU_TIMEOUT:
        return WIRE_TIMEOUT;
    case VGPU_CANCELLED:
    case VGPU_ABORTED:
        return WIRE_CANCELLED;
    case VGPU_DEVICE_LOST:
        return WIRE_DEVICE_LOST;
    case VGPU_NO_CONTEXT:
        return WIRE_UNAVAILABLE;
    case VGPU_QUARANTINED:
        return WIRE_VM_QUARANTINED;
    case VGPU_POOL_DISABLED:
        return WIRE_INVALID_POOL;
    default:
        return WIRE_DEVICE_ERROR;
    }
}

static size_t put_header(uint8_t *out, const struct wire_header *echo, enum wire_type type,
                         uint32_t payload_len)
{
    struct wire_header header = *echo;

    header.magic = WIRE_MAGIC;
    header.type = type;
    header.pad = 0;
    header.payload_len = payload_len;
    memcpy(out, &header, sizeof(header));
    return sizeof(header);
}

/** wire_write_pong() - The answer to a PING: nothing but the VM's id is echoed */
size_t wire_write_pong(uint8_t *out, uint32_t vm_id)
{
    const struct wire_header echo = {.vm_id = vm_id};

    return put_header(out, &echo, WIRE_PONG, 0);
}

/** wire_write_plain() - A frame without payload: BUSY, QUARANTINED */
size_t wire_write_plain(uint8_t *out, const struct wire_header *echo, enum wire_type type)
{
    return put_header(out, echo, type, 0);
}

/**
 * wire_write_response() - A RESPONSE
 * @exec_time_us: from arrival to answer
 * @result: one word, or NULL
 * @data: bytes behind the result, or NULL
 */
size_t wire_write_response(uint8_t *out, const struct wire_header *echo, enum wire_status status,
                           uint32_t exec_time_us, const uint32_t *result, const void *data,
                           uint32_t data_length)
{
    uint32_t result_bytes = result ? sizeof(*result) : 0;
    const struct wire_response body = {
        .version = WIRE_VERSION,
        .status = status,
        .result_count = result ? 1 : 0,
        .data_offset = (uint32_t)sizeof(body) + result_bytes,
        .data_length = data_length,
        .exec_time_us = exec_time_us,
    };
    size_t at =
        put_header(out, echo, WIRE_RESPONSE, (uint32_t)sizeof(body) + result_bytes + data_length);

    memcpy(out + at, &body, sizeof(body));
    at += sizeof(body);
    if (result)
        memcpy(out + at, result, result_bytes);
    at += result_bytes;
    if (data_length)
        memcpy(out + at, data, data_length);
    return at + data_length;
}

/** wire_write_cuda_refusal() - The answer to a CUDA call; @result is a CUresult */
size_t wire_write_cuda_refusal(uint8_t *out, const struct wire_header *echo, uint32_t seq_num,
                               uint32_t result)
{
    const struct wire_cuda_result body = {
        .magic = WIRE_MAGIC, .seq_num = seq_num, .status = result};
    size_t at = put_header(out, echo, WIRE_CUDA_RESULT, sizeof(body));

    memcpy(out + at, &body, sizeof(body));
    return at + sizeof(body);
}
