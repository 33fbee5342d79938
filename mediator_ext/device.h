/*
 * device.h - The version 2 device: queue pairs in shared memory
 *
 * Knows the memory, not how the guest came by it, nor how a doorbell sounds: that is the
 * transport's.
 */
#ifndef VGPUD_DEVICE_H
#define VGPUD_DEVICE_H

#include <stdbool.h>

#include "journal.h"
#include "transport.h"

#define DEVICE_ENTRIES_PER_TURN 128u

struct ring_pair {
    struct journal_pair *journal;
    struct vgpu_pair_host *host;
    struct vgpu_pair_guest *guest;
    struct vgpu_submission *submissions;
    struct vgpu_completion *completions;
    const uint8_t *data;
    uint32_t outstanding; /* taken and not answered */
    uint32_t posted_from; /* cq_tail when interrupts were last considered */
    bool active;          /* polled each turn; its doorbell is disarmed */
    bool attention;       /* something but a completion is to be looked at: interrupt it */
};

struct ring_device {
    uint8_t *memory;
    uint64_t bytes;
    struct journal_ring *journal;
    struct vgpu_host_page *host;
    struct vgpu_guest_page *guest;
    uint64_t received_ns; /* when it was looked what there is to take */
    uint32_t budget; /* entries that may still be taken in this turn; the transport renews it */
    struct ring_pair *pair; /* as many as the layout has: a thousand VMs have one each */
};

/* Sizes and places that follow from a layout. */
struct ring_geometry {
    uint64_t qp_base, qp_stride, sq_offset, cq_offset, data_offset, bytes;
};

uint32_t device_completions(const struct journal_layout *layout);
bool device_layout_valid(const struct journal_layout *layout);
struct ring_geometry device_geometry(const struct journal_layout *layout);

int device_map(struct ring_device *d, struct journal_ring *journal, int fd);
void device_unmap(struct ring_device *d);
void device_attach(struct ring_device *d, const struct mediator_vm *vm,
                   const struct vgpu_device_info *info);
/* Has the guest asked for a reset? Then its client is as good as gone, and device_attach() is due.
 * */
bool device_reset_wanted(const struct ring_device *d);
void device_resume(struct ring_device *d, const struct journal *journal);
void device_identity(struct ring_device *d, const struct mediator_vm *vm);

/* Take what the guest has submitted on a pair, at most a turn's worth. */
void device_take(struct ring_device *d, struct transport *t, uint32_t qp);
void device_taken(struct ring_device *d, uint32_t qp);
void device_answer(struct ring_device *d, struct journal_slot *slot);
void device_repost(struct ring_device *d, struct journal_slot *slot);
/* Arm the doorbell. Return: true when something has come meanwhile; then it is not armed. */
bool device_arm(struct ring_device *d, struct transport *t, uint32_t qp);
/* Does what was posted, or happened, since the last call want an interrupt? */
bool device_interrupt_due(struct ring_device *d, uint32_t qp);

#endif
