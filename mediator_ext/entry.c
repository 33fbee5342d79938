/*
 * entry.c - What a submission asks for
 *
 * Theory of operation
 *
 * The entry has been copied out of the ring; what it refers to, its waits, is copied here, so that
 * nothing is read twice. What is malformed is INVALID, what is well formed and not offered, or was
 * not accepted when the features were agreed on, UNSUPPORTED. Commands are not looked into.
 */
#include "entry.h"

#include <string.h>

/** entry_urgent() - Is this kind answered at once, whatever else is queued? */
bool entry_urgent(uint8_t kind)
{
    return kind == VGPU_KIND_SIGNAL || kind == VGPU_KIND_CANCEL || kind == VGPU_KIND_QUERY;
}

static bool well_formed(const struct vgpu_submission *e, uint64_t data_bytes)
{
    bool command = e->kind == VGPU_KIND_COMMAND;

    if (e->kind == 0 || e->kind > VGPU_KIND_QUERY || e->flags || e->reserved0 || e->reserved1 ||
        e->lane > VGPU_LANE_COPY || e->wait_count > VGPU_WAITS_MAX)
        return false;
    if (e->wait_count ? e->wait_off % 8 || e->wait_off > data_bytes ||
                            e->wait_count * sizeof(struct vgpu_wait) > data_bytes - e->wait_off
                      : e->wait_off)
        return false;
    if (command)
        return e->cmd_seg || (e->cmd_len >= sizeof(struct vgpu_op_header) &&
                              e->cmd_len <= VGPU_COMMAND_BYTES_MAX && e->cmd_len % 8 == 0 &&
                              e->cmd_off % 8 == 0 && e->cmd_off <= data_bytes &&
                              e->cmd_len <= data_bytes - e->cmd_off);
    if (e->cmd_len || e->cmd_off || (e->cmd_seg && e->kind != VGPU_KIND_QUERY))
        return false;
    if (!entry_urgent(e->kind))
        return true;
    return !e->lane && !e->wait_count && !e->timeout_ms &&
           (e->kind == VGPU_KIND_CANCEL || !e->signal == (e->kind == VGPU_KIND_QUERY));
}

static bool has(const struct journal_ring *ring, enum vgpu_feature feature)
{
    return ring->accepted >> feature & 1;
}

static bool offered(const struct vgpu_submission *e, const struct journal_ring *ring)
{
    if (e->kind == VGPU_KIND_RESET_CTX || e->lane == VGPU_LANE_COPY ||
        (e->kind == VGPU_KIND_COMMAND && e->cmd_seg))
        return false;
    if (e->kind == VGPU_KIND_QUERY)
        return has(ring, VGPU_FEATURE_QUERY) && e->cmd_seg >= VGPU_QUERY_CLOCKS &&
               e->cmd_seg <= VGPU_QUERY_STREAM_TIMELINE;
    if (e->kind == VGPU_KIND_CANCEL)
        return true;
    if (e->kind == VGPU_KIND_SIGNAL)
        return has(ring, VGPU_FEATURE_TIMELINES);
    if ((e->wait_count || e->signal) && !has(ring, VGPU_FEATURE_TIMELINES))
        return false;
    return !e->stream || has(ring, VGPU_FEATURE_STREAMS);
}

static bool take_waits(const struct vgpu_submission *e, const uint8_t *data,
                       struct journal_wait *waits, struct request_received *what)
{
    struct vgpu_wait wait[VGPU_WAITS_MAX];

    memcpy(wait, data + e->wait_off, e->wait_count * sizeof(wait[0]));
    __asm__ volatile("" ::: "memory"); /* from here on only the copy */
    for (uint32_t i = 0; i < e->wait_count; i++) {
        if (wait[i].kind > VGPU_TIMELINE_STREAM)
            return false;
        waits[i] = (struct journal_wait){
            .value = wait[i].value, .timeline = wait[i].timeline, .kind = wait[i].kind};
    }
    what->waits = waits;
    what->wait_count = e->wait_count;
    return true;
}

static enum request_kind kind_of(uint8_t kind)
{
    switch (kind) {
    case VGPU_KIND_NOP:
        return REQUEST_NOP;
    case VGPU_KIND_SIGNAL:
        return REQUEST_SIGNAL;
    case VGPU_KIND_CANCEL:
        return REQUEST_CANCEL;
    case VGPU_KIND_QUERY:
        return REQUEST_QUERY;
    default:
        return REQUEST_COMMAND;
    }
}

/**
 * entry_read() - Check an entry that has been copied out of the ring, and say what it asks for
 * @data: the pair's slice, for the waits
 * @waits: written, and lent to @what, when it has some
 * @what: status is left VGPU_OK, or set to why it is refused
 */
void entry_read(const struct vgpu_submission *e, const struct journal_ring *ring,
                const uint8_t *data, struct journal_wait waits[VGPU_WAITS_MAX],
                struct request_received *what)
{
    what->cookie = e->cookie;
    what->ctx = e->ctx;
    what->stream = e->stream;
    what->cmd_seg = e->cmd_seg;
    what->cmd_len = e->cmd_len;
    what->cmd_off = e->cmd_off;
    what->signal = e->signal;
    what->vgpu_lane = e->lane;
    what->timeout_ms = e->timeout_ms;
    what->kind = (uint8_t)kind_of(e->kind);
    if (!well_formed(e, ring->layout.data_bytes))
        what->status = VGPU_INVALID;
    else if (!offered(e, ring))
        what->status = VGPU_UNSUPPORTED;
    else if (e->wait_count && !take_waits(e, data, waits, what))
        what->status = VGPU_INVALID;
}
