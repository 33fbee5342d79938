/*
 * admission.c - May this request be accepted, and if not, why not, and when would it be?
 *
 * Theory of operation
 *
 * Pure questions about a VM, asked in the order in which an administrator would: does it have a pool,
 * is the pool enabled, is there room. Every refusal has a status of its own. Nothing is changed here.
 */
#include "engine.h"

#define RETRY_MIN_US 100u

/** admission_retry_us() - About how long until one of this VM's requests is done, microseconds */
uint32_t admission_retry_us(const struct vm *vm)
{
    uint64_t us = vm->sched.party[SCHED_EXEC].estimate_ns / 1000;

    if (us < RETRY_MIN_US)
        return RETRY_MIN_US;
    return us > UINT32_MAX ? UINT32_MAX : (uint32_t)us;
}

/**
 * admission_check() - May this VM's request be accepted now?
 * @needs_slot: the transport cannot leave it where it is, so depth is part of the question
 * @retry_after_us: set with VGPU_BUSY
 *
 * Return: VGPU_OK, or the reason
 */
enum vgpu_status admission_check(const struct vm *vm, bool needs_slot, uint32_t *retry_after_us)
{
    if (vm->retired || !vm->sched.pool || !vm->sched.pool->enabled)
        return VGPU_POOL_DISABLED;
    if (needs_slot && !request_room(vm)) {
        *retry_after_us = admission_retry_us(vm);
        return VGPU_BUSY;
    }
    return VGPU_OK;
}
