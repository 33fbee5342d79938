/*
 * tenant.h - Everything that one VM has in this process
 */
#ifndef VGPUD_WORKER_TENANT_H
#define VGPUD_WORKER_TENANT_H

#include <stdbool.h>
#include <stdint.h>

#include "backend.h"
#include "binaries.h"
#include "builtin.h"
#include "command.h"
#include "module_source.h"
#include "objects.h"
#include "slices.h"

#define TENANT_OBJECTS_MAX 65536u

struct tenant {
    const struct backend_ops *ops;
    struct backend *backend;
    struct vgpu_device_info info;
    struct slices slices;
    int exchange; /* the launch worker's or the build worker's end; -1 = none */

    uint32_t generation;   /* of the attachment that the objects belong to */
    uint64_t memory_bytes; /* quota */
    uint64_t memory_used;
    bool unfinished; /* launches that finish() has not confirmed */

    struct objects *objects;
    struct command *command;
    struct module_source *source;
    struct binaries *binaries;
    struct builtin builtin;
};

/**
 * tenant_open() - A VM without objects on an open device
 * @tenant:       filled in; slices and exchange are for the caller to set
 * @ops:          the backend
 * @backend:      its open device, the tenant's on success
 * @memory_bytes: of device memory that may be allocated at a time
 *
 * Return: 0 or -ENOMEM.
 */
int tenant_open(struct tenant *tenant, const struct backend_ops *ops, struct backend *backend,
                uint64_t memory_bytes);

/**
 * tenant_reset() - Give back every object, as after a reset of the guest's device
 * @tenant:     open
 * @generation: of the attachment that the objects to come belong to
 *
 * What was built stays known: the same source need not be compiled again.
 */
void tenant_reset(struct tenant *tenant, uint32_t generation);

/**
 * tenant_close() - Give everything back, and close the device
 * @tenant: open
 */
void tenant_close(struct tenant *tenant);

/**
 * tenant_describe() - The device as this VM sees it
 * @ops:          the backend
 * @backend:      its open device
 * @memory_bytes: quota
 * @info:         filled in
 */
void tenant_describe(const struct backend_ops *ops, struct backend *backend, uint64_t memory_bytes,
                     struct vgpu_device_info *info);

/**
 * tenant_finish() - Wait for every launch of this VM
 * @tenant: open
 *
 * Return: the device's verdict on them; fine when there was none.
 */
struct backend_verdict tenant_finish(struct tenant *tenant);

#endif
