/*
 * journal_check.c - Could an engine have left this journal?
 *
 * Theory of operation
 *
 * A journal is written by engines only, and one that is killed between any two stores leaves it as
 * journal.h says. Something else may still have spoilt it: a bug of another release, memory that
 * went bad. So everything in it that the engine uses as an index, or believes without looking again,
 * is checked once, before it is used: the numbers in slots that are in use, how far workers are, and
 * that no two slots claim one unit. A journal that fails is refused as a whole. What is only shown
 * or sent back (cookies, times, results) may be anything.
 */
#include "journal_map.h"
#include "scheduler.h"
#include "transport.h"

static bool is_instant(const struct journal_slot *slot)
{
    return slot->kind == REQUEST_NOP || slot->kind == REQUEST_DEVICE_INFO;
}

/* Does a worker do it? */
static bool is_work(const struct journal_slot *slot)
{
    return slot->kind == REQUEST_VECTOR_ADD || slot->kind == REQUEST_COMMAND;
}

static bool is_urgent(const struct journal_slot *slot)
{
    return slot->kind >= REQUEST_SIGNAL;
}

static bool is_out(const struct journal_slot *slot)
{
    return slot->state == REQUEST_RUNNING || slot->state == REQUEST_CANCELLED;
}

static bool is_newest(const struct journal *j, const struct journal_slot *slot)
{
    return slot->seq + 1 == j->next_seq;
}

/*
 * A slot is RECEIVED within one call, and so is an urgent one until it is answered (a recovery that is
 * cut short leaves it QUEUED): it can only be the last one that was taken.
 */
static bool order_sound(const struct journal *j, const struct journal_slot *slot)
{
    bool last =
        slot->state == REQUEST_RECEIVED || (slot->state == REQUEST_QUEUED && is_urgent(slot));

    return slot->seq < j->next_seq && (!last || is_newest(j, slot));
}

static bool slot_sound(const struct journal *j, const struct journal_slot *slot)
{
    if (slot->state == REQUEST_FREE)
        return true;
    return slot->state <= REQUEST_POSTING && slot->kind >= REQUEST_NOP &&
           slot->kind <= REQUEST_QUERY && slot->transport <= MEDIATOR_LOOP &&
           slot->lane <= SCHED_INSTANT && (slot->lane == SCHED_INSTANT) == is_instant(slot) &&
           (!is_out(slot) || is_work(slot)) && slot->qp < j->ring.layout.qp_count &&
           slot->wait_count <= VGPU_WAITS_MAX && order_sound(j, slot);
}

/** journal_sent() - Did the worker of its lane get this slot's unit, and not answer it yet? */
bool journal_sent(const struct journal *j, const struct journal_slot *slot)
{
    const struct journal_link *link =
        &j->link[slot->lane == SCHED_BUILD ? MEDIATOR_BUILD : MEDIATOR_LAUNCH];

    return is_out(slot) && link->worker_id && (int32_t)(slot->unit_index - link->unit_tail) < 0 &&
           (int32_t)(slot->unit_index - link->reply_head) >= 0;
}

/** journal_stub_owed() - How many answers are owed to the version 1 client that was there last */
uint32_t journal_stub_owed(const struct journal *j)
{
    uint32_t count = 0;

    for (uint32_t i = 0; i < j->slots_used; i++) {
        const struct journal_slot *slot = &j->slot[i];

        count += slot->state != REQUEST_FREE && slot->state != REQUEST_CANCELLED &&
                 slot->transport == MEDIATOR_STUB && slot->attachment == j->stub.attachment;
    }
    return count;
}

/* No more is out than a channel holds, one slot for a unit, one build at a time. */
static bool links_sound(const struct journal *j)
{
    uint64_t claimed[2] = {0, 0};

    for (int lane = 0; lane < 2; lane++)
        if (j->link[lane].worker_id &&
            j->link[lane].unit_tail - j->link[lane].reply_head > WORKER_RING_ENTRIES)
            return false;
    for (uint32_t i = 0; i < j->slots_used; i++) {
        const struct journal_slot *slot = &j->slot[i];
        uint64_t bit = 1ull << slot->unit_index % WORKER_RING_ENTRIES;

        if (!journal_sent(j, slot))
            continue;
        if (claimed[slot->lane] & bit || (slot->lane == SCHED_BUILD && claimed[SCHED_BUILD]))
            return false;
        claimed[slot->lane] |= bit;
    }
    return true;
}

_Static_assert(WORKER_RING_ENTRIES == 64, "a bit for each unit");

/** journal_sound() - Is all right that the engine will rely on? The header has been checked */
bool journal_sound(const struct journal *j)
{
    uint32_t newest = 0;

    for (uint32_t i = 0; i < j->slots_used; i++) {
        if (!slot_sound(j, &j->slot[i]))
            return false;
        newest += j->slot[i].state != REQUEST_FREE && is_newest(j, &j->slot[i]);
    }
    return newest <= 1 && links_sound(j) && (!j->stub.connected || j->stub.attachment) &&
           (!j->ring.connected || j->ring.attachment) &&
           j->ring.device_status <= VGPU_DEVICE_FAILED;
}
