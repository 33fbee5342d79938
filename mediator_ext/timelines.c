/*
 * timelines.c - Values that only grow, and who waits for them
 *
 * Theory of operation
 *
 * The values are the journal's. A timeline has an entry while its value is not 0 or somebody waits
 * for it; entries are given back when the client goes. A request waits for one thing at a time: it
 * stands in the list of the timeline of its first wait that is not satisfied, and when that has
 * moved far enough goes on to the next. For the scheduler that is one wait, over when the last of
 * them is.
 *
 * A failure moves a timeline, too. What waited for a value that it was moved over is ABORTED: it
 * keeps its place in its stream, but needs nothing any more than to come to its head.
 *
 * Whatever becomes answerable by that is noted (completion_move()) and dealt with by whoever deals
 * with completions, in a loop: a chain of thousands that each wait for the one before takes no stack.
 */
#include "engine.h"

/*
 * The place of a timeline: its own entry, or the free one where it would be; NO_TIMELINE = neither.
 * Entries are never taken out one by one, so the search ends at the first free one.
 */
static uint16_t place_of(const struct vm *vm, uint32_t qp, uint8_t kind, uint32_t id)
{
    const struct journal_timeline *all = vm->journal->ring.timeline;
    uint32_t hash = (id * 2u + kind + qp * 0x61c88647u) * 0x9e3779b1u >> 24;

    for (uint32_t i = 0; i < VGPU_TIMELINES_MAX; i++) {
        uint32_t at = (hash + i) % VGPU_TIMELINES_MAX;

        if (!all[at].used || (all[at].id == id && all[at].kind == kind && all[at].qp == qp))
            return (uint16_t)at;
    }
    return NO_TIMELINE;
}

/** timelines_find() - The entry of a timeline, or NULL: it is at 0, and nobody waits for it */
const struct journal_timeline *timelines_find(const struct vm *vm, uint32_t qp, uint8_t kind,
                                              uint32_t id)
{
    uint16_t at = place_of(vm, qp, kind, id);
    const struct journal_timeline *all = vm->journal->ring.timeline;

    return at == NO_TIMELINE || !all[at].used ? NULL : &all[at];
}

/* The index of a timeline's entry, made if need be; NO_TIMELINE = none is free. */
static uint16_t entry_of(struct vm *vm, uint32_t qp, uint8_t kind, uint32_t id)
{
    struct journal_timeline *all = vm->journal->ring.timeline;
    uint16_t at = place_of(vm, qp, kind, id);

    if (at != NO_TIMELINE && !all[at].used) {
        all[at] = (struct journal_timeline){.id = id, .qp = (uint16_t)qp, .kind = kind};
        __atomic_store_n(&all[at].used, 1, __ATOMIC_RELEASE);
    }
    return at;
}

/**
 * timelines_reserve() - Make entries for all that a new request waits for and will move
 *
 * So nothing can be in the way when they are needed.
 *
 * Return: false = the table is full
 */
bool timelines_reserve(struct vm *vm, const struct request_received *what)
{
    uint8_t moves = what->kind == REQUEST_SIGNAL ? VGPU_TIMELINE_USER : VGPU_TIMELINE_STREAM;

    for (uint32_t i = 0; i < what->wait_count; i++)
        if (entry_of(vm, what->qp, (uint8_t)what->waits[i].kind, what->waits[i].timeline) ==
            NO_TIMELINE)
            return false;
    return !what->signal || what->kind == REQUEST_CANCEL ||
           entry_of(vm, what->qp, moves, what->stream) != NO_TIMELINE;
}

static void list_insert(struct vm *vm, uint16_t at, struct request *r)
{
    r->wait_timeline = at;
    r->wait_prev = NULL;
    r->wait_next = vm->waiter[at];
    if (r->wait_next)
        r->wait_next->wait_prev = r;
    vm->waiter[at] = r;
    vm->waiters++;
}

static void list_remove(struct vm *vm, struct request *r)
{
    if (r->wait_prev)
        r->wait_prev->wait_next = r->wait_next;
    else
        vm->waiter[r->wait_timeline] = r->wait_next;
    if (r->wait_next)
        r->wait_next->wait_prev = r->wait_prev;
    r->wait_timeline = NO_TIMELINE;
    vm->waiters--;
}

/* It is not to run any more, but to be answered when it is its turn. */
static void abort_it(struct request *r)
{
    r->slot->status = VGPU_ABORTED;
    r->unit.lane = SCHED_INSTANT;
    r->unit.settled = true;
}

static bool failed_over(const struct journal_timeline *timeline, uint64_t value)
{
    return value > timeline->failed_from && value <= timeline->failed_to;
}

/* Go through a request's waits. Return: does it still wait? */
static bool still_waits(struct request *r)
{
    struct vm *vm = r->vm;
    const struct journal_wait *waits = journal_waits(vm->journal, (uint32_t)(r - vm->request));

    for (; r->wait_at < r->slot->wait_count; r->wait_at++) {
        const struct journal_wait *wait = &waits[r->wait_at];
        uint16_t at = entry_of(vm, r->slot->qp, (uint8_t)wait->kind, wait->timeline);
        const struct journal_timeline *timeline;

        if (at == NO_TIMELINE) { /* cannot be: room was made before it was accepted */
            abort_it(r);
            return false;
        }
        timeline = &vm->journal->ring.timeline[at];
        if (timeline->value < wait->value) {
            list_insert(vm, at, r);
            return true;
        }
        if (failed_over(timeline, wait->value)) {
            abort_it(r);
            return false;
        }
    }
    return false;
}

/** timelines_wait() - A request is about to be queued: see what it waits for. Sets its unit's waits */
void timelines_wait(struct request *r)
{
    r->unit.waits = r->slot->wait_count && still_waits(r);
}

/** timelines_forget() - A request is taken out of the queue: it waits for nothing any more */
void timelines_forget(struct request *r)
{
    if (r->wait_timeline != NO_TIMELINE)
        list_remove(r->vm, r);
}

/**
 * timelines_move() - Move a timeline on; it never goes back
 * @failed: what it is moved over did not go well
 *
 * May be repeated: a second time it changes nothing.
 */
void timelines_move(struct vm *vm, uint32_t qp, uint8_t kind, uint32_t id, uint64_t value,
                    bool failed)
{
    uint16_t at = entry_of(vm, qp, kind, id);
    struct journal_timeline *timeline;
    struct request *next;

    if (at == NO_TIMELINE)
        return; /* cannot be, see timelines_have_room() */
    timeline = &vm->journal->ring.timeline[at];
    if (value <= timeline->value)
        return;
    if (failed) {
        timeline->failed_from = timeline->value;
        timeline->failed_to = value;
    }
    __atomic_store_n(&timeline->value, value, __ATOMIC_RELEASE);
    for (struct request *r = vm->waiter[at]; r; r = next) {
        const struct journal_wait *waits = journal_waits(vm->journal, (uint32_t)(r - vm->request));

        next = r->wait_next;
        if (waits[r->wait_at].value > value)
            continue;
        list_remove(vm, r);
        if (still_waits(r))
            continue;
        scheduler_satisfied(&vm->mediator->scheduler, &r->unit);
        completion_move(vm, (struct stream *)r->unit.stream);
    }
}
