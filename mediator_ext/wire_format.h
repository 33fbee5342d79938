/*
 * wire_format.h - The version 1 stub framing: bytes between the vGPU-STUB device and vgpud
 *
 * A stream socket. Every message is a 24-byte header and payload_len bytes. All integers are
 * little-endian; the structures are packed by construction, without padding. Shared by the engine
 * and by host-side clients (libvgpu).
 */
#ifndef VGPU_WIRE_FORMAT_H
#define VGPU_WIRE_FORMAT_H

#include <stdint.h>

#define WIRE_MAGIC              0x56475055u
#define WIRE_VERSION            0x00010000u
#define WIRE_REQUEST_MAX        1024u              /* payload of a REQUEST and of a RESPONSE */
#define WIRE_CUDA_DATA_MAX      (8u * 1024 * 1024) /* bulk data behind a CUDA header */
#define WIRE_CUDA_INVALID_VALUE 1u                 /* CUDA_ERROR_INVALID_VALUE */
#define WIRE_CUDA_NOT_SUPPORTED 801u               /* CUDA_ERROR_NOT_SUPPORTED */

enum wire_type {
    WIRE_REQUEST = 0x01,
    WIRE_RESPONSE = 0x02,
    WIRE_PING = 0x03,
    WIRE_PONG = 0x04,
    WIRE_BUSY = 0x05,
    WIRE_QUARANTINED = 0x06,
    WIRE_CUDA_CALL = 0x10,
    WIRE_CUDA_RESULT = 0x11,
    WIRE_CUDA_DATA = 0x12, /* reserved */
};

enum wire_opcode {
    WIRE_OP_NOP = 0x0000,
    WIRE_OP_VECTOR_ADD = 0x0001, /* exactly two params, int32 a and b; result a + b */
    WIRE_OP_GET_DEVICE_INFO = 0x0005,
};

/* RESPONSE status; up to 0x0B as the device's ERROR_CODE register has them, then ours. */
enum wire_status {
    WIRE_OK = 0x00,
    WIRE_INVALID_REQUEST = 0x01,
    WIRE_TOO_LARGE = 0x02,
    WIRE_UNAVAILABLE = 0x03,
    WIRE_TIMEOUT = 0x04,
    WIRE_DEVICE_ERROR = 0x05,
    WIRE_INVALID_POOL = 0x06, /* the VM's pool is disabled, or the VM has none */
    WIRE_QUEUE_FULL = 0x07,
    WIRE_UNSUPPORTED = 0x08,
    WIRE_INVALID_LENGTH = 0x09,
    WIRE_RATE_LIMITED = 0x0A,
    WIRE_VM_QUARANTINED = 0x0B,
    WIRE_DEVICE_LOST = 0x0C,
    WIRE_CANCELLED = 0x0D,
};

struct wire_header {
    uint32_t magic;
    uint32_t type; /* enum wire_type */
    uint32_t vm_id;
    uint32_t request_id; /* echoed unchanged, but for PONG */
    uint8_t pool_id;     /* ASCII */
    uint8_t priority;
    uint16_t pad;
    uint32_t payload_len;
};

struct wire_request {
    uint32_t version;
    uint32_t opcode; /* enum wire_opcode */
    uint32_t flags;
    uint32_t param_count; /* u32 each, behind this structure */
    uint32_t data_offset; /* from the start of this structure */
    uint32_t data_length;
    uint32_t reserved[2];
};

struct wire_response {
    uint32_t version;
    uint32_t status;       /* enum wire_status */
    uint32_t result_count; /* u32 each, behind this structure */
    uint32_t data_offset;
    uint32_t data_length;
    uint32_t exec_time_us; /* from the arrival of the request to its answer */
    uint32_t reserved[2];
};

struct wire_cuda_call {
    uint32_t magic;
    uint32_t call_id;
    uint32_t seq_num;
    uint32_t vm_id;
    uint32_t num_args;
    uint32_t data_len;
    uint32_t args[16];
};

struct wire_cuda_result {
    uint32_t magic;
    uint32_t seq_num;
    uint32_t status; /* CUresult */
    uint32_t num_results;
    uint32_t data_len;
    uint32_t reserved;
    uint64_t results[8];
};

_Static_assert(sizeof(struct wire_header) == 24, "wire header");
_Static_assert(sizeof(struct wire_request) == 32, "wire request");
_Static_assert(sizeof(struct wire_response) == 32, "wire response");
_Static_assert(sizeof(struct wire_cuda_call) == 88, "wire CUDA call");
_Static_assert(sizeof(struct wire_cuda_result) == 88, "wire CUDA result");

#endif
