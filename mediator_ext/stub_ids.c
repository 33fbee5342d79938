/*
 * stub_ids.c - Which VM ids the header of a version 1 frame may name
 *
 * Theory of operation
 *
 * The stub's vm_id is fixed when its QEMU starts, ours may change while it runs. So any id is right
 * that the VM has had since its client connected, as far as the journal remembers; and so is 0.
 */
#include "stub_ids.h"

#define REMEMBERED (sizeof(((struct journal_stub *)0)->ids) / sizeof(uint32_t))

/** stub_ids_has() - Is this an id that the client may use? */
bool stub_ids_has(const struct journal_stub *j, uint32_t vm_id)
{
    if (vm_id == 0)
        return true;
    for (uint32_t i = 0; i < j->ids_count && i < REMEMBERED; i++)
        if (j->ids[i] == vm_id)
            return true;
    return false;
}

/** stub_ids_add() - The VM has this id from now on */
void stub_ids_add(struct journal_stub *j, uint32_t vm_id)
{
    if (stub_ids_has(j, vm_id))
        return;
    j->ids[j->ids_count % REMEMBERED] = vm_id;
    j->ids_count++;
}
