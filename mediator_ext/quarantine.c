/*
 * quarantine.c - Keeping a VM out that has done too much wrong
 *
 * Theory of operation
 *
 * A quarantine begins by the engine, when a VM's faults reach the threshold, or by an administrator's
 * word; only such a word ends it. While it holds, new requests are refused, and what was queued has
 * been answered QUARANTINED. What runs is not cut: it ends within run_timeout_ms, or at its next op,
 * is answered, and frees the device; a worker that broke the rules is doomed for that, not for this.
 * So the VM finds its memory on the device again when the quarantine is lifted.
 *
 * The quarantines of a VM are numbered. The journal has the last one, and so has the caller's store,
 * and either may be behind the other after a death: the higher number is the truth, and of the same
 * one the caller's word. That way neither a quarantine that was not stored in time nor one that was
 * lifted while no engine was there is lost. The number and whether it holds are one word in the
 * journal, written last.
 */
#include <time.h>

#include "engine.h"

static uint32_t number_of(const struct vm *vm)
{
    return (uint32_t)(vm->journal->quarantine.word >> 1);
}

/** quarantine_holds() - Is it quarantined now? */
bool quarantine_holds(const struct vm *vm)
{
    return vm->journal->quarantine.word & 1;
}

static void write_word(struct vm *vm, uint32_t number, bool holds)
{
    __atomic_store_n(&vm->journal->quarantine.word, (uint64_t)number << 1 | holds,
                     __ATOMIC_RELEASE);
}

/* Nothing of it waits any more, neither for its turn nor for a worker. */
static void turn_out(struct vm *vm)
{
    for (int lane = 0; lane < SCHED_LANES; lane++)
        vm->link[lane].wanted = false;
    completion_end_queued(vm, VGPU_QUARANTINED);
}

static void begin(struct vm *vm, uint32_t number, enum mediator_fault fault, uint32_t points)
{
    struct journal_quarantine *q = &vm->journal->quarantine;
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    q->since_s = (uint64_t)now.tv_sec;
    q->fault = fault;
    q->points = points;
    write_word(vm, number, true);
    turn_out(vm);
}

/**
 * quarantine_begin() - Its faults have reached the threshold
 * @fault: the last of them
 * @points: that it has by now
 */
void quarantine_begin(struct vm *vm, enum mediator_fault fault, uint32_t points)
{
    begin(vm, number_of(vm) + 1, fault, points);
    vm_event(vm, MEDIATOR_QUARANTINED, fault, points);
}

/** quarantine_follow() - The caller says, in the VM's identity, whether a quarantine holds */
void quarantine_follow(struct vm *vm)
{
    uint32_t number = vm->identity.quarantine_number;
    bool holds = vm->identity.quarantined;

    if (number < number_of(vm) || (number == number_of(vm) && holds == quarantine_holds(vm)))
        return;
    if (!holds) {
        vm->journal->faults = (struct journal_faults){0};
        write_word(vm, number, false);
    } else if (quarantine_holds(vm)) {
        write_word(vm, number, true); /* it goes on under another number */
    } else {
        begin(vm, number, (enum mediator_fault)0, 0);
    }
}

/** quarantine_resume() - At a start: the last engine may have died before all was answered */
void quarantine_resume(struct vm *vm)
{
    if (quarantine_holds(vm))
        turn_out(vm);
}

/** quarantine_report() - What the statistics say of it */
void quarantine_report(const struct vm *vm, struct mediator_vm_stats *out)
{
    const struct journal_quarantine *q = &vm->journal->quarantine;

    out->quarantine_number = number_of(vm);
    out->quarantined = quarantine_holds(vm);
    out->quarantine_fault = q->fault;
    out->quarantine_points = q->points;
    out->quarantine_since_s = q->since_s;
}
