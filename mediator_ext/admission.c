/*
 * admission.c - May this request be accepted, and if not, why not, and when would it be?
 *
 * Theory of operation
 *
 * Questions about a VM, asked in the order in which an administrator would: does it have a pool, is
 * the pool enabled, is the VM quarantined, is it within its rate, is there room. Every refusal has a
 * reason of its own, for the statistics, and a status for the client: those two for which waiting
 * helps say for how long. Every kind of request counts for the rate, also those that need no device: a
 * flood of NOPs is a flood. Only the urgent ones (urgent.c) have a rate of their own, or who is over its
 * rate could not even cancel what it has queued.
 *
 * Nothing is changed by asking. Only what is accepted takes a token: one that is refused for want of
 * room has cost nothing.
 */
#include "bucket.h"
#include "engine.h"

#define RETRY_MIN_US 100u

/* About how long until one of this VM's requests is done. */
static uint32_t estimate_us(const struct vm *vm)
{
    uint64_t us = vm->sched.party[SCHED_EXEC].estimate_ns / 1000;

    if (us < RETRY_MIN_US)
        return RETRY_MIN_US;
    return us > UINT32_MAX ? UINT32_MAX : (uint32_t)us;
}

/** admission_no_slot() - There is no room: its own limit, or that of all together? */
struct admission admission_no_slot(const struct vm *vm)
{
    return (struct admission){.status = VGPU_BUSY,
                              .why = vm->in_use >= request_limit(vm) ? MEDIATOR_REFUSED_VM_DEPTH
                                                                     : MEDIATOR_REFUSED_TOTAL_DEPTH,
                              .retry_after_us = estimate_us(vm)};
}

/** admission_no_stream() - All streams that it may have are in use */
struct admission admission_no_stream(const struct vm *vm)
{
    return (struct admission){
        .status = VGPU_BUSY, .why = MEDIATOR_REFUSED_STREAMS, .retry_after_us = estimate_us(vm)};
}

/** admission_no_timeline() - All timelines that it may have are in use */
struct admission admission_no_timeline(const struct vm *vm)
{
    return (struct admission){
        .status = VGPU_BUSY, .why = MEDIATOR_REFUSED_TIMELINES, .retry_after_us = estimate_us(vm)};
}

/** admission_turned_down() - What the transport has turned down itself, with @status */
struct admission admission_turned_down(const struct vm *vm, enum vgpu_status status)
{
    if (status == VGPU_BUSY)
        return admission_no_slot(vm);
    return (struct admission){.status = status,
                              .why = status == VGPU_UNSUPPORTED ? MEDIATOR_REFUSED_UNSUPPORTED
                                                                : MEDIATOR_REFUSED_MALFORMED};
}

/** admission_urgent() - What waits for nothing is refused to who is quarantined, or asks too often */
struct admission admission_urgent(struct vm *vm)
{
    struct admission verdict = {.status = VGPU_OK, .why = MEDIATOR_REFUSED_RATE};

    if (quarantine_holds(vm))
        return (struct admission){.status = VGPU_QUARANTINED, .why = MEDIATOR_REFUSED_QUARANTINE};
    verdict.status = urgent_admit(vm, &verdict.retry_after_us);
    return verdict;
}

/**
 * admission_check() - May this VM's request be accepted now?
 * @needs_slot: the transport cannot leave it where it is, so depth is part of the question
 */
struct admission admission_check(const struct vm *vm, bool needs_slot)
{
    const struct journal_bucket *bucket = &vm->journal->bucket;
    uint32_t wait_us;

    if (vm->retired || !vm->sched.pool || !vm->sched.pool->enabled)
        return (struct admission){.status = VGPU_POOL_DISABLED, .why = MEDIATOR_REFUSED_POOL};
    if (quarantine_holds(vm))
        return (struct admission){.status = VGPU_QUARANTINED, .why = MEDIATOR_REFUSED_QUARANTINE};
    wait_us = bucket->rate ? bucket_wait_us(bucket, engine_now_ns()) : 0;
    if (wait_us)
        return (struct admission){
            .status = VGPU_RATE, .why = MEDIATOR_REFUSED_RATE, .retry_after_us = wait_us};
    if (needs_slot && !request_room(vm))
        return admission_no_slot(vm);
    return (struct admission){.status = VGPU_OK};
}

/** admission_accepted() - A request that admission_check() let pass is accepted: it takes its token */
void admission_accepted(struct vm *vm)
{
    if (vm->journal->bucket.rate)
        bucket_take(&vm->journal->bucket, engine_now_ns());
    vm->mediator->accepted++;
}
