/*
 * engine_rig.h - An engine on a test bench: VMs made of descriptors, and clients of both kinds
 *
 * What a VM lives on (journal, ring, listeners, doorbells) is the rig's; an engine gets duplicates,
 * so that a second engine can be given the same. Functions abort the test when the machine is short
 * of something; what a test is about, they return.
 */
#ifndef VGPUD_TESTS_ENGINE_RIG_H
#define VGPUD_TESTS_ENGINE_RIG_H

#include <stdbool.h>
#include <stdint.h>

#include "mediator.h"
#include "ring_abi.h"
#include "wire.h"

#define RIG_LONG_MS       5000 /* what is to happen has happened by then, also under a sanitizer */
#define RIG_ENTRIES       16u
#define RIG_DATA_BYTES    65536u
#define RIG_TRACE_ENTRIES 64u

struct rig_vm {
    struct mediator_vm identity;
    uint32_t handle;
    uint32_t pairs;
    int journal_fd;
    int ring_fd;
    int stub_listener;
    int ring_listener;
    char stub_path[64];
    char ring_path[64];
    int host_doorbells[VGPU_QP_MAX];
    int guest_doorbells[VGPU_QP_MAX];
};

void rig_must(bool held, const char *what);
uint64_t rig_now_ns(void);
int rig_memfd(uint64_t bytes);
void rig_seal(int fd);

struct mediator_config rig_config(void);

/** rig_engine() - An engine with pools A and B (weight 50, enabled) and a device; not started */
struct mediator *rig_engine(const struct mediator_config *config);

/** rig_device() - What rig_engine() has told the engine its device is */
struct vgpu_device_info rig_device(void);

/** rig_vm_new() - A VM of this process's uid; @slots requests, rings of 16 entries */
void rig_vm_new(struct rig_vm *vm, uint32_t vm_id, uint8_t pool, uint8_t priority, uint32_t slots,
                uint32_t pairs);
void rig_vm_free(struct rig_vm *vm);

/** rig_vm_add() - Give a VM to an engine, with connections or -1. Sets the handle and returns it */
int rig_vm_add(struct rig_vm *vm, struct mediator *m, int stub_connection, int ring_connection);

/** rig_vm_fds() - Duplicates of all that a VM lives on */
void rig_vm_fds(const struct rig_vm *vm, struct mediator_vm_fds *fds);

struct mediator_vm_stats rig_stats(struct mediator *m, const struct rig_vm *vm);

/** rig_event() - Wait for an event, throwing away others. Return: false = none in RIG_LONG_MS */
bool rig_event(struct mediator *m, enum mediator_event_type type, struct mediator_event *event);

/** rig_forget_events() - Throw away what has happened so far */
void rig_forget_events(struct mediator *m);

/** rig_until() - Wait until a counter of a VM, by its offset, has a value. Return: did it? */
bool rig_until(struct mediator *m, const struct rig_vm *vm, size_t offset, size_t size,
               uint64_t value);
#define RIG_UNTIL(m, vm, field, value)                                                             \
    rig_until(m, vm, offsetof(struct mediator_vm_stats, field),                                    \
              sizeof(((struct mediator_vm_stats *)0)->field), value)

/* ---- a version 1 client ---- */

/** rig_connect() - Connect to a path. Return: the socket; reads on it end after RIG_LONG_MS */
int rig_connect(const char *path);

struct rig_answer {
    struct wire_header header;
    uint8_t payload[1024];
};

/** rig_frame() - Write a frame. Return: its length */
size_t rig_frame(uint8_t *out, uint32_t type, uint32_t vm_id, uint32_t request_id,
                 const void *payload, uint32_t length);
/** rig_request() - Write a REQUEST frame of vm_id 0 with @count params. Return: its length */
size_t rig_request(uint8_t *out, uint32_t request_id, uint32_t opcode, const uint32_t *params,
                   uint32_t count);
bool rig_send(int socket, const void *bytes, size_t length);
/** rig_receive() - One whole frame. Return: false = closed, or none in RIG_LONG_MS */
bool rig_receive(int socket, struct rig_answer *answer);
/** rig_closed() - Does the other end close without saying more? */
bool rig_closed(int socket);

/* ---- a version 2 client ---- */

struct rig_ring {
    int socket;
    int memory_fd;
    uint8_t *memory;
    uint64_t bytes;
    struct vgpu_host_page *host;
    struct vgpu_guest_page *guest;
    int host_doorbells[VGPU_QP_MAX];
    int guest_doorbells[VGPU_QP_MAX];
    uint32_t pairs;
};

/** rig_ring_connect() - Connect, and wait for nothing */
void rig_ring_connect(struct rig_ring *ring, const struct rig_vm *vm);
/** rig_ring_greeted() - Take the greeting and map the memory. Return: did it come as it should? */
bool rig_ring_greeted(struct rig_ring *ring);
/** rig_ring_attach() - Connect and take the greeting */
bool rig_ring_attach(struct rig_ring *ring, const struct rig_vm *vm);
/** rig_ring_accept() - Write features, and wait for the host's word. Return: device_status */
uint32_t rig_ring_accept(struct rig_ring *ring, uint64_t features);
void rig_ring_leave(struct rig_ring *ring);

struct vgpu_pair_host *rig_pair_host(const struct rig_ring *ring, uint32_t qp);
struct vgpu_pair_guest *rig_pair_guest(const struct rig_ring *ring, uint32_t qp);
/** rig_ring_put() - Write an entry and move the tail. The doorbell is rung if it must be */
void rig_ring_put(struct rig_ring *ring, uint32_t qp, const struct vgpu_submission *entry);
void rig_ring_bell(struct rig_ring *ring, uint32_t qp);
/** rig_ring_take() - Wait for the next completion. Return: false = none in @timeout_ms */
bool rig_ring_take(struct rig_ring *ring, uint32_t qp, struct vgpu_completion *completion,
                   int timeout_ms);
struct vgpu_submission rig_nop(uint64_t cookie, uint32_t stream);
struct vgpu_submission rig_command(uint64_t cookie, uint32_t stream);
/** rig_query() - Ask for @what (enum vgpu_query), of a timeline */
struct vgpu_submission rig_query(uint64_t cookie, uint32_t what, uint32_t timeline);
/** rig_cancel() - Cancel what has the cookie @meant */
struct vgpu_submission rig_cancel(uint64_t cookie, uint64_t meant);

#endif
