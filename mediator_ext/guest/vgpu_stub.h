/*
 * vgpu_stub.h - libvgpu: version 1 of the interface, over a VM's stub socket (stub.c)
 *
 * Return values are those of vgpu.h, but for one thing: an answer that came is 0, whatever it says;
 * the answer's own status is in its structure. A stub belongs to one thread at a time.
 */
#ifndef VGPU_STUB_H
#define VGPU_STUB_H

#include <stdint.h>

#include "vgpu.h"
#include "wire_format.h"

struct vgpu_stub;

struct vgpu_stub_answer {
    uint32_t type;   /* WIRE_RESPONSE, WIRE_BUSY or WIRE_QUARANTINED */
    uint32_t status; /* enum wire_status; of BUSY and QUARANTINED the one that says the same */
    uint32_t exec_time_us;
    uint32_t vm_id; /* as the host's header has it */
    char pool_id;
    uint8_t priority;
    uint32_t result_count;
    uint32_t results[WIRE_REQUEST_MAX / 4];
    uint32_t data_bytes;
    uint8_t data[WIRE_REQUEST_MAX];
};

struct vgpu_stub_cuda {
    uint32_t type; /* WIRE_CUDA_RESULT; WIRE_BUSY, WIRE_QUARANTINED, WIRE_RESPONSE: refused */
    uint32_t wire_status; /* enum wire_status of a refusal; WIRE_OK with WIRE_CUDA_RESULT */
    uint32_t status;      /* CUresult */
    uint32_t num_results;
    uint64_t results[8];
    uint32_t data_bytes; /* read and dropped */
};

/** vgpu_wire_status_text() - What a version 1 status means, in words. */
const char *vgpu_wire_status_text(uint32_t status);

/**
 * vgpu_stub_connect() - Connect to a VM's stub socket, <run_dir>/vms/<uuid>/stub.sock; blocks
 * @timeout_ms: of this and of every later call on @stub; 1 or more
 *
 * Return: 0, -errno with @why (may be NULL) in words.
 */
int vgpu_stub_connect(const char *path, int timeout_ms, struct vgpu_stub **stub,
                      struct vgpu_reason *why);

/** vgpu_stub_connected() - The same over a connected stream socket, consumed also on failure. */
int vgpu_stub_connected(int connection, int timeout_ms, struct vgpu_stub **stub);

/** vgpu_stub_close() - Close the connection. NULL is allowed. */
void vgpu_stub_close(struct vgpu_stub *stub);

/**
 * vgpu_stub_request() - Send a REQUEST and wait for its one answer
 * @opcode: enum wire_opcode
 * @params: @param_count of them, at most 248
 *
 * Answers to earlier requests that came too late are passed over. Return: 0 when an answer came,
 * whatever it says; -ETIMEDOUT; -EPIPE closed by vgpud; -EPROTO; -EINVAL.
 */
int vgpu_stub_request(struct vgpu_stub *stub, uint32_t opcode, const uint32_t *params,
                      uint32_t param_count, struct vgpu_stub_answer *answer);

/** vgpu_stub_ping() - PING, and wait for the PONG. Return: as vgpu_stub_request(). */
int vgpu_stub_ping(struct vgpu_stub *stub);

/**
 * vgpu_stub_cuda_call() - A CUDA_CALL without arguments or data
 * @call_id: of the forwarded CUDA function
 *
 * Return: as vgpu_stub_request().
 */
int vgpu_stub_cuda_call(struct vgpu_stub *stub, uint32_t call_id, struct vgpu_stub_cuda *answer);

#endif
