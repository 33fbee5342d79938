/*
 * device.c - The version 2 device: queue pairs in shared memory
 *
 * Theory of operation
 *
 * The guest may write to any byte of the memory at any time, also to the parts that are the host's.
 * So nothing is ever read back that the host wrote: indices, layout and state are the journal's, and
 * what the guest owns is read once into a local and checked there. The worst a guest can do here is
 * to be told nonsense about its own requests.
 *
 * Three things keep memory and time bounded. An entry is taken only while there is a slot for it and
 * room in the completion ring for all that is owed. A turn takes at most DEVICE_ENTRIES_PER_TURN of a
 * device, over all its pairs, which its transport looks at from another one each time.
 * An impossible index (more submitted than there are entries, completions consumed that were never
 * posted) puts the pair into its error state until the next attach.
 *
 * Doorbells: while a pair is active it is polled at the end of every turn, with sq_need_doorbell 0.
 * When nothing more is there, the flag is set, and the tail looked at once more after a full fence;
 * the guest does the mirror image, so a wake-up is never lost. A pair with entries for which there is
 * no slot stays active: its guest has rung and will not again; the engine wakes the transport.
 */
#include "device.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "clock.h"
#include "entry.h"

#define DATA_BYTES_MAX (1ull << 36)

/**
 * device_map() - Map the memory of a device
 * @journal: with a valid layout
 * @fd: memfd, sealed against shrinking; stays the caller's
 *
 * Return: 0, or -EPROTO when size or seals are not as they must be, or another negative errno
 */
int device_map(struct ring_device *d, struct journal_ring *journal, int fd)
{
    struct ring_geometry g = device_geometry(&journal->layout);
    int seals = fcntl(fd, F_GET_SEALS);
    void *memory;
    struct stat st;

    if (fstat(fd, &st))
        return -errno;
    if ((uint64_t)st.st_size != g.bytes || seals < 0 || !(seals & F_SEAL_SHRINK))
        return -EPROTO;
    memory = mmap(NULL, g.bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (memory == MAP_FAILED)
        return -errno;
    *d = (struct ring_device){
        .memory = memory, .bytes = g.bytes, .journal = journal, .budget = DEVICE_ENTRIES_PER_TURN};
    d->pair = calloc(journal->layout.qp_count, sizeof(*d->pair));
    if (!d->pair) {
        device_unmap(d);
        return -ENOMEM;
    }
    d->host = memory;
    d->guest = (void *)(d->memory + VGPU_PAGE_BYTES);
    for (uint32_t i = 0; i < journal->layout.qp_count; i++) {
        uint8_t *base = d->memory + g.qp_base + g.qp_stride * i;

        d->pair[i] = (struct ring_pair){
            .journal = &journal->pair[i],
            .host = (void *)base,
            .guest = (void *)(base + VGPU_PAGE_BYTES),
            .submissions = (void *)(base + g.sq_offset),
            .completions = (void *)(base + g.cq_offset),
            .data = base + g.data_offset,
        };
    }
    return 0;
}

/** device_unmap() - The reverse of device_map() */
void device_unmap(struct ring_device *d)
{
    if (d->memory)
        munmap(d->memory, d->bytes);
    d->memory = NULL;
    free(d->pair);
    d->pair = NULL;
}

static uint64_t features_of(const struct vgpu_device_info *info)
{
    uint64_t features =
        1u << VGPU_FEATURE_STREAMS | 1u << VGPU_FEATURE_TIMELINES | 1u << VGPU_FEATURE_QUERY;

    if (info && info->module_kinds & 1u << VGPU_MODULE_OPENCL_C)
        features |= 1u << VGPU_FEATURE_OPENCL_C;
    if (info && info->module_kinds & 1u << VGPU_MODULE_SPIRV)
        features |= 1u << VGPU_FEATURE_SPIRV;
    if (info && info->module_kinds & 1u << VGPU_MODULE_PTX)
        features |= 1u << VGPU_FEATURE_PTX;
    return features;
}

/** device_identity() - Show the guest which VM, pool and priority it is */
void device_identity(struct ring_device *d, const struct mediator_vm *vm)
{
    d->host->vm_id = vm->vm_id;
    d->host->pool_id = vm->pool_id;
    d->host->priority = vm->priority;
}

/** device_attach() - A new client: a new generation, everything as after power-on */
void device_attach(struct ring_device *d, const struct mediator_vm *vm,
                   const struct vgpu_device_info *info)
{
    struct journal_ring *j = d->journal;
    const struct ring_geometry g = device_geometry(&j->layout);

    j->attachment++;
    j->device_status = VGPU_DEVICE_WAITING;
    j->layout.features = features_of(info);
    j->accepted = 0;
    memset(j->timeline, 0, sizeof(j->timeline));
    for (uint32_t i = 0; i < j->layout.qp_count; i++) {
        struct ring_pair *pair = &d->pair[i];

        *pair->journal = (struct journal_pair){0};
        memset(pair->guest, 0, sizeof(*pair->guest));
        *pair->host = (struct vgpu_pair_host){.sq_need_doorbell = 1};
        pair->outstanding = 0;
        pair->posted_from = 0;
        pair->active = false;
        pair->attention = false;
    }
    *d->host = (struct vgpu_host_page){
        .magic = VGPU_RING_MAGIC,
        .major = VGPU_RING_MAJOR,
        .minor = VGPU_RING_MINOR,
        .page_bytes = sizeof(struct vgpu_host_page),
        .generation = j->attachment,
        .features = {j->layout.features, 0},
        .region_bytes = g.bytes,
        .qp_count = (uint16_t)j->layout.qp_count,
        .device_count = info ? 1 : 0,
        .qp_base = g.qp_base,
        .qp_stride = g.qp_stride,
        .sq_entries = j->layout.entries,
        .cq_entries = device_completions(&j->layout),
        .sq_offset = g.sq_offset,
        .cq_offset = g.cq_offset,
        .data_offset = g.data_offset,
        .data_bytes = j->layout.data_bytes,
    };
    device_identity(d, vm);
    /* Last: a guest that has asked for a reset, in which an engine dies, still asks for it then. */
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    memset(d->guest, 0, sizeof(*d->guest));
}

/** device_resume() - Take up a device where the last engine stopped, after its answers were reposted */
void device_resume(struct ring_device *d, const struct journal *journal)
{
    /* The journal was written first: the guest may not have been told. */
    d->host->device_status = d->journal->device_status;
    for (uint32_t i = 0; i < d->journal->layout.qp_count; i++) {
        struct ring_pair *pair = &d->pair[i];

        /* What the last engine posted may not have been announced. Before the features are agreed on
         * there is nothing to poll for. */
        pair->attention = true;
        pair->posted_from = pair->journal->cq_tail;
        pair->active = d->journal->device_status == VGPU_DEVICE_OK;
        __atomic_store_n(&pair->host->sq_head, pair->journal->sq_head, __ATOMIC_RELEASE);
        __atomic_store_n(&pair->host->cq_tail, pair->journal->cq_tail, __ATOMIC_RELEASE);
        pair->host->state = pair->journal->error ? VGPU_PAIR_ERROR : VGPU_PAIR_OK;
    }
    for (uint32_t i = 0; i < journal->slots_used; i++) {
        const struct journal_slot *slot = &journal->slot[i];
        bool ours = slot->transport == MEDIATOR_RING &&
                    slot->attachment == d->journal->attachment &&
                    slot->qp < d->journal->layout.qp_count;

        if (!ours || slot->state == REQUEST_FREE || slot->state == REQUEST_CANCELLED)
            continue;
        if (slot->state == REQUEST_RECEIVED &&
            (int32_t)(slot->sq_index - d->pair[slot->qp].journal->sq_head) >= 0)
            continue; /* still in the ring */
        d->pair[slot->qp].outstanding++;
    }
}

/* The guest's features are latched once. Return: may it be served? */
static bool negotiated(struct ring_device *d)
{
    const uint32_t ready = VGPU_GUEST_ACK | VGPU_GUEST_FEATURES_OK;
    struct journal_ring *j = d->journal;
    uint64_t accepted[2];
    uint32_t status;

    if (j->device_status != VGPU_DEVICE_WAITING)
        return j->device_status == VGPU_DEVICE_OK;
    status = __atomic_load_n(&d->guest->status, __ATOMIC_ACQUIRE);
    if (status != ready && !(status & ~ready))
        return false;
    accepted[0] = __atomic_load_n(&d->guest->accepted[0], __ATOMIC_RELAXED);
    accepted[1] = __atomic_load_n(&d->guest->accepted[1], __ATOMIC_RELAXED);
    j->accepted = accepted[0];
    j->device_status = status != ready || accepted[0] & ~j->layout.features || accepted[1] ||
                               __atomic_load_n(&d->guest->reserved, __ATOMIC_RELAXED)
                           ? VGPU_DEVICE_FAILED
                           : VGPU_DEVICE_OK;
    __atomic_store_n(&d->host->device_status, j->device_status, __ATOMIC_RELEASE);
    d->pair[0].attention = true;
    return j->device_status == VGPU_DEVICE_OK;
}

/** device_reset_wanted() - Has the guest asked for a reset? */
bool device_reset_wanted(const struct ring_device *d)
{
    return __atomic_load_n(&d->guest->status, __ATOMIC_ACQUIRE) == VGPU_GUEST_RESET;
}

static void pair_fails(struct ring_device *d, struct transport *t, uint32_t qp)
{
    struct ring_pair *pair = &d->pair[qp];

    pair->journal->error = 1;
    pair->host->state = VGPU_PAIR_ERROR;
    pair->active = false;
    pair->attention = true;
    transport_wake(t);
    transport_fault(t, MEDIATOR_FAULT_RING, qp);
}

/* How many entries may be taken now if they are urgent? Sets the pair's error state when the indices
 * are impossible. @plain: how many that are not */
static uint32_t takeable(struct ring_device *d, struct transport *t, uint32_t qp, uint32_t *plain)
{
    struct ring_pair *pair = &d->pair[qp];
    uint32_t entries = d->journal->layout.entries, most = device_completions(&d->journal->layout);
    uint32_t waiting, unread, owed;

    *plain = 0;

    if (pair->journal->error)
        return 0;
    waiting = __atomic_load_n(&pair->guest->sq_tail, __ATOMIC_ACQUIRE) - pair->journal->sq_head;
    unread = pair->journal->cq_tail - __atomic_load_n(&pair->guest->cq_head, __ATOMIC_ACQUIRE);
    if (waiting > entries || unread > most) {
        pair_fails(d, t, qp);
        return 0;
    }
    owed = unread + pair->outstanding;
    *plain = owed < entries ? entries - owed : 0;
    return waiting < most - owed ? waiting : most - owed;
}

static bool head_is_urgent(const struct ring_device *d, uint32_t qp)
{
    const struct ring_pair *pair = &d->pair[qp];
    uint32_t at = pair->journal->sq_head & (d->journal->layout.entries - 1);

    return entry_urgent(__atomic_load_n(&pair->submissions[at].kind, __ATOMIC_RELAXED));
}

/* May the entry at the head be taken now, as far as the completion ring goes? */
static bool may_take(struct ring_device *d, struct transport *t, uint32_t qp)
{
    uint32_t plain, any = takeable(d, t, qp, &plain);

    if (any == 0)
        return false;
    if (plain)
        return true;
    return head_is_urgent(d, qp);
}

/** device_taken() - The entry at the head is in the journal: it has left the ring */
void device_taken(struct ring_device *d, uint32_t qp)
{
    struct ring_pair *pair = &d->pair[qp];

    pair->outstanding++;
    __atomic_store_n(&pair->journal->sq_head, pair->journal->sq_head + 1, __ATOMIC_RELEASE);
    __atomic_store_n(&pair->host->sq_head, pair->journal->sq_head, __ATOMIC_RELEASE);
}

/* Leave the ring without a request: it was written for a device that has been reset since. */
static void drop_entry(struct ring_device *d, struct transport *t, uint32_t qp)
{
    struct ring_pair *pair = &d->pair[qp];

    transport_mismatch(t);
    __atomic_store_n(&pair->journal->sq_head, pair->journal->sq_head + 1, __ATOMIC_RELEASE);
    __atomic_store_n(&pair->host->sq_head, pair->journal->sq_head, __ATOMIC_RELEASE);
}

/* Take the entry at the head. Return: false = it has to stay there for now */
static bool take_one(struct ring_device *d, struct transport *t, uint32_t qp, bool plain)
{
    struct ring_pair *pair = &d->pair[qp];
    uint32_t head = pair->journal->sq_head;
    struct request_received what = {
        .received_ns = d->received_ns,
        .attachment = d->journal->attachment,
        .qp = qp,
        .sq_index = head,
    };
    struct journal_wait waits[VGPU_WAITS_MAX];
    struct vgpu_submission entry;

    memcpy(&entry, &pair->submissions[head & (d->journal->layout.entries - 1)], sizeof(entry));
    __asm__ volatile("" ::: "memory"); /* from here on only the copy */
    if (entry.generation != d->journal->attachment) {
        drop_entry(d, t, qp);
        return true;
    }
    if (!entry_urgent(entry.kind)) {
        if (!plain)
            return false;
        if (!transport_has_room(t)) {
            if (!transport_stuck(t))
                return false;
            what.status = VGPU_BUSY;
        }
    }
    if (what.status == VGPU_OK)
        entry_read(&entry, d->journal, pair->data, waits, &what);
    if (what.status == VGPU_INVALID)
        transport_fault(t, MEDIATOR_FAULT_ENTRY, qp);
    submit(t, &what);
    return true;
}

/** device_take() - Take what the guest has submitted on a pair, as far as the turn's budget goes */
void device_take(struct ring_device *d, struct transport *t, uint32_t qp)
{
    struct ring_pair *pair = &d->pair[qp];
    uint32_t count, plain;

    if (!negotiated(d))
        return;
    if (!pair->active && !pair->journal->error) {
        pair->active = true;
        __atomic_store_n(&pair->host->sq_need_doorbell, 0, __ATOMIC_RELAXED);
    }
    count = takeable(d, t, qp, &plain);
    d->received_ns = count ? engine_now_ns() : 0;
    for (; count && d->budget && transport_may_take(t); count--) {
        if (!take_one(d, t, qp, plain > 0))
            return;
        d->budget--;
        plain -= plain > 0;
    }
}

/** device_arm() - Nothing to do for a pair: let its doorbell wake us. True when there is after all */
bool device_arm(struct ring_device *d, struct transport *t, uint32_t qp)
{
    struct ring_pair *pair = &d->pair[qp];

    if (!pair->active)
        return false;
    __atomic_store_n(&pair->host->sq_need_doorbell, 1, __ATOMIC_RELAXED);
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    if (!may_take(d, t, qp)) {
        pair->active = false;
        return false;
    }
    __atomic_store_n(&pair->host->sq_need_doorbell, 0, __ATOMIC_RELAXED);
    return transport_may_take(t) &&
           (transport_has_room(t) || transport_stuck(t) || head_is_urgent(d, qp));
}

static void write_completion(struct ring_device *d, struct journal_slot *slot)
{
    struct ring_pair *pair = &d->pair[slot->qp];
    const struct vgpu_completion completion = {
        .cookie = slot->cookie,
        .status = slot->status,
        .op_index = slot->op_index,
        .native = slot->native,
        .retry_after_us = slot->retry_after_us,
        .generation = slot->attachment,
        .out_len = slot->out_len,
        .result = {slot->result[0], slot->result[1]},
        .start_ns = slot->start_ns,
        .end_ns = slot->end_ns,
    };

    memcpy(&pair->completions[slot->cq_index & (device_completions(&d->journal->layout) - 1)],
           &completion, sizeof(completion));
    __atomic_store_n(&pair->host->cq_tail, slot->cq_index + 1, __ATOMIC_RELEASE);
    __atomic_store_n(&pair->journal->cq_tail, slot->cq_index + 1, __ATOMIC_RELEASE);
    __atomic_store_n(&slot->state, REQUEST_FREE, __ATOMIC_RELEASE);
}

/** device_answer() - Post the completion that is in the slot; the slot is free afterwards */
void device_answer(struct ring_device *d, struct journal_slot *slot)
{
    struct ring_pair *pair = &d->pair[slot->qp];

    slot->cq_index = pair->journal->cq_tail;
    __atomic_store_n(&slot->state, REQUEST_POSTING, __ATOMIC_RELEASE);
    pair->outstanding--;
    write_completion(d, slot);
}

/** device_repost() - The last engine died while it posted this: once more, at the same place */
void device_repost(struct ring_device *d, struct journal_slot *slot)
{
    write_completion(d, slot);
}

/** device_interrupt_due() - Does what was posted, or happened, since the last call want one? */
bool device_interrupt_due(struct ring_device *d, uint32_t qp)
{
    struct ring_pair *pair = &d->pair[qp];
    uint32_t from = pair->posted_from, to = pair->journal->cq_tail, event;

    if (pair->attention) {
        pair->attention = false;
        pair->posted_from = to;
        return true;
    }
    if (from == to)
        return false;
    pair->posted_from = to;
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    event = __atomic_load_n(&pair->guest->cq_event, __ATOMIC_RELAXED);
    return event - from < to - from;
}
