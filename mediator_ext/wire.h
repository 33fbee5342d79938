/*
 * wire.h - Reading and writing version 1 frames; pure
 */
#ifndef VGPUD_WIRE_H
#define VGPUD_WIRE_H

#include <stddef.h>
#include <stdint.h>

#include "ring_abi.h"
#include "wire_format.h"

/* The longest answer: header, response, device information. */
#define WIRE_ANSWER_MAX                                                                            \
    (sizeof(struct wire_header) + sizeof(struct wire_response) + sizeof(struct vgpu_device_info))

/* What must be buffered of a frame before it can be understood. */
#define WIRE_KEEP_MAX (sizeof(struct wire_header) + WIRE_REQUEST_MAX)

struct wire_frame {
    struct wire_header header;
    const uint8_t *payload; /* in the caller's buffer */
    uint32_t kept;          /* bytes at payload */
    uint64_t skip;          /* bytes that follow and are of no interest */
};

enum wire_parsed {
    WIRE_NEED_MORE = 0,
    WIRE_FRAME = 1,
    WIRE_LOST = 2, /* not a header: where the next one starts cannot be known */
};

struct wire_parsed_request {
    uint32_t opcode;
    uint32_t params[2];
};

enum wire_parsed wire_parse(const uint8_t *bytes, size_t length, struct wire_frame *frame,
                            size_t *used);
enum wire_status wire_parse_request(const struct wire_frame *frame,
                                    struct wire_parsed_request *request);
enum wire_status wire_status_of(enum vgpu_status status);

/* Writers: return the length of the frame at @out, at most WIRE_ANSWER_MAX. @echo is the header
 * that is answered. */
size_t wire_write_pong(uint8_t *out, uint32_t vm_id);
size_t wire_write_plain(uint8_t *out, const struct wire_header *echo, enum wire_type type);
size_t wire_write_response(uint8_t *out, const struct wire_header *echo, enum wire_status status,
                           uint32_t exec_time_us, const uint32_t *result, const void *data,
                           uint32_t data_length);
size_t wire_write_cuda_refusal(uint8_t *out, const struct wire_header *echo, uint32_t seq_num,
                               uint32_t result);

#endif
