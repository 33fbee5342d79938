/*
 * tenants.h - Pools and VMs of the engine: adding, changing, taking out; on the reactor thread
 */
#ifndef VGPUD_TENANTS_H
#define VGPUD_TENANTS_H

#include "engine.h"

int tenants_pool_set(struct mediator *m, uint8_t pool_id, uint32_t weight, bool enabled);
int tenants_pool_remove(struct mediator *m, uint8_t pool_id);
int tenants_vm_add(struct mediator *m, const struct mediator_vm *identity,
                   const struct mediator_vm_fds *fds);
int tenants_vm_set(struct vm *vm, const struct mediator_vm *identity);
void tenants_vm_retire(struct vm *vm);
int tenants_vm_remove(struct vm *vm);
void tenants_free(struct mediator *m);
struct vm *tenants_vm(const struct mediator *m, uint32_t handle);

#endif
