/*
 * tenant.c - Everything that one VM has in this process
 *
 * One process serves one VM, so there is one of these in it; tests have as many as they like.
 */
#include "tenant.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ops.h"

void tenant_describe(const struct backend_ops *ops, struct backend *backend, uint64_t memory_bytes,
                     struct vgpu_device_info *info)
{
    memset(info, 0, sizeof(*info));
    ops->describe(backend, info);
    info->size = sizeof(*info);
    snprintf(info->backend, sizeof(info->backend), "%s", ops->name);
    info->vm_memory_bytes = memory_bytes;
}

int tenant_open(struct tenant *tenant, const struct backend_ops *ops, struct backend *backend,
                uint64_t memory_bytes)
{
    memset(tenant, 0, sizeof(*tenant));
    tenant->ops = ops;
    tenant->exchange = -1;
    tenant->memory_bytes = memory_bytes;
    tenant->objects = objects_new(TENANT_OBJECTS_MAX);
    tenant->command = calloc(1, sizeof(*tenant->command));
    tenant->binaries = calloc(1, sizeof(*tenant->binaries));
    tenant->source = module_source_new();
    if (!tenant->objects || !tenant->command || !tenant->binaries || !tenant->source) {
        objects_free(tenant->objects);
        free(tenant->command);
        free(tenant->binaries);
        module_source_free(tenant->source);
        return -ENOMEM;
    }
    tenant->backend = backend;
    tenant_describe(ops, backend, memory_bytes, &tenant->info);
    return 0;
}

void tenant_reset(struct tenant *tenant, uint32_t generation)
{
    struct object *object;
    uint32_t cursor = 0;

    /* What a launch still uses must not be given back under it; its verdict interests nobody now.
     */
    (void)tenant_finish(tenant);
    while ((object = objects_next(tenant->objects, OBJECT_MODULE, &cursor)))
        ops_drop_module(tenant, object);
    cursor = 0;
    while ((object = objects_next(tenant->objects, OBJECT_BUFFER, &cursor)))
        ops_drop_buffer(tenant, object);
    tenant->generation = generation;
}

void tenant_close(struct tenant *tenant)
{
    tenant_reset(tenant, 0);
    builtin_close(&tenant->builtin, tenant->ops, tenant->backend);
    tenant->ops->close(tenant->backend);
    binaries_clear(tenant->binaries);
    objects_free(tenant->objects);
    free(tenant->command);
    free(tenant->binaries);
    module_source_free(tenant->source);
}

struct backend_verdict tenant_finish(struct tenant *tenant)
{
    if (!tenant->unfinished)
        return BACKEND_FINE;
    tenant->unfinished = false;
    return tenant->ops->finish(tenant->backend);
}
