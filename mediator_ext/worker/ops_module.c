/*
 * ops_module.c - Ops on modules and kernels, on the launch side
 *
 * No compiler runs here. A MODULE_LOAD is looked up by the hash of what it names; what is not known
 * is asked for (NEED_BUILD), and the unit comes back with WORKER_UNIT_BUILT after the build worker
 * has put its result on the exchange. If the result is not there even then, the guest changed the
 * code between the two copies: that is the guest's mistake, and it is told so.
 *
 * A kernel lives as long as its module: unloading takes both.
 */
#include <string.h>

#include "exchange.h"
#include "ops.h"

const struct binary *ops_find_build(struct tenant *tenant, struct hash_key key, bool tried,
                                    bool *need)
{
    const struct binary *known = binaries_find(tenant->binaries, key);

    *need = false;
    if (known && known->status == VGPU_OK)
        return known;
    /* A result that came for another unit, or after its unit was given up, serves as well. */
    if (tenant->exchange >= 0)
        exchange_drain(tenant->exchange, tenant->binaries);
    known = binaries_find(tenant->binaries, key);
    if (tried || (known && known->status == VGPU_OK))
        return known;
    *need = true;
    return NULL;
}

static void write_log(struct op *op, const struct vgpu_data_ref *ref, const struct binary *build)
{
    uint8_t *to = slices_at(&op->tenant->slices, op->unit->qp, ref->seg, ref->off, ref->len);
    uint64_t len = build->log_bytes < ref->len ? build->log_bytes : ref->len;

    if (len == 0)
        return;
    memcpy(to, build->map, len);
    op->out_len = (uint32_t)len;
}

uint16_t op_module_load(struct op *op)
{
    const struct vgpu_op_module_load *body = (const void *)op->head;
    struct object_name name = ops_name(op, OBJECT_MODULE, body->id);
    struct tenant *tenant = op->tenant;
    struct backend_verdict verdict;
    const struct binary *build;
    struct object *object;
    uint16_t status;

    status = module_source_take(tenant->source, &tenant->slices, op->unit->qp,
                                tenant->info.module_kinds, op->head);
    if (status != VGPU_OK)
        return status;
    if (objects_find(tenant->objects, name))
        return VGPU_EXISTS;
    build = ops_find_build(tenant, tenant->source->key, op->build_tried, &op->need_build);
    if (op->need_build)
        return VGPU_OK;
    if (!build)
        return VGPU_INVALID;

    write_log(op, &body->log, build);
    op->native = build->native;
    if (build->status != VGPU_OK)
        return build->status;
    object = objects_add(tenant->objects, name);
    if (!object)
        return VGPU_NO_MEMORY;
    verdict = tenant->ops->module_load(tenant->backend, build->map + build->log_bytes,
                                       build->binary_bytes, &object->module.handle);
    object->module.build = tenant->source->key;
    if (verdict.status != VGPU_OK)
        objects_remove(tenant->objects, object);
    return ops_verdict(op, verdict);
}

void ops_drop_module(struct tenant *tenant, struct object *module)
{
    struct object *kernel = module->module.kernels;

    while (kernel) {
        struct object *next = kernel->kernel.next;

        tenant->ops->kernel_release(tenant->backend, kernel->kernel.handle);
        objects_remove(tenant->objects, kernel);
        kernel = next;
    }
    tenant->ops->module_unload(tenant->backend, module->module.handle);
    objects_remove(tenant->objects, module);
}

uint16_t op_module_unload(struct op *op)
{
    const struct vgpu_op_module_unload *body = (const void *)op->head;
    struct backend_verdict finished;
    struct object *module;

    if (body->id == 0 || body->reserved != 0)
        return VGPU_INVALID;
    module = objects_find(op->tenant->objects, ops_name(op, OBJECT_MODULE, body->id));
    if (!module)
        return VGPU_NO_OBJECT;
    finished = tenant_finish(op->tenant);
    ops_drop_module(op->tenant, module);
    return ops_verdict(op, finished);
}

/* A name of `len` bytes without NUL, and zeroes up to the end of the op. */
static bool copy_name(const struct vgpu_op_kernel_create *body, char name[VGPU_NAME_MAX + 1])
{
    const uint8_t *text = (const uint8_t *)(body + 1);
    uint32_t room = body->head.size - (uint32_t)sizeof(*body);

    if (body->name_len == 0 || body->name_len > VGPU_NAME_MAX ||
        room != (body->name_len + 7) / 8 * 8 || memchr(text, 0, body->name_len))
        return false;
    for (uint32_t i = body->name_len; i < room; i++)
        if (text[i] != 0)
            return false;
    memcpy(name, text, body->name_len);
    name[body->name_len] = 0;
    return true;
}

uint16_t op_kernel_create(struct op *op)
{
    const struct vgpu_op_kernel_create *body = (const void *)op->head;
    struct object_name id = ops_name(op, OBJECT_KERNEL, body->id);
    struct tenant *tenant = op->tenant;
    struct object *module, *kernel;
    struct backend_verdict verdict;
    char name[VGPU_NAME_MAX + 1];
    uint32_t args = 0;

    if (body->id == 0 || body->module == 0 || body->reserved != 0 || !copy_name(body, name))
        return VGPU_INVALID;
    if (objects_find(tenant->objects, id))
        return VGPU_EXISTS;
    module = objects_find(tenant->objects, ops_name(op, OBJECT_MODULE, body->module));
    if (!module)
        return VGPU_NO_OBJECT;
    kernel = objects_add(tenant->objects, id);
    if (!kernel)
        return VGPU_NO_MEMORY;
    verdict = tenant->ops->kernel_create(tenant->backend, module->module.handle, name,
                                         &kernel->kernel.handle, &args);
    if (verdict.status != VGPU_OK) {
        objects_remove(tenant->objects, kernel);
        return ops_verdict(op, verdict);
    }
    kernel->kernel.args = args;
    kernel->kernel.next = module->module.kernels;
    module->module.kernels = kernel;
    op->result[0] = args;
    return VGPU_OK;
}
