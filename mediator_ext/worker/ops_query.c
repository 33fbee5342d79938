/*
 * ops_query.c - QUERY: what a guest may ask about its kernels and modules
 *
 * Log and binary of a module are those that its build left in this VM's cache. The cache is bounded, so
 * what has not been used for long is forgotten, although the module lives on: a guest that asks then is
 * told that there is no memory of it, and may load the code again.
 */
#include <string.h>

#include "ops.h"

/* Room for an answer of @bytes. Return: VGPU_OK with *to NULL when only its size is asked for. */
static uint16_t place(struct op *op, const struct vgpu_data_ref *out, uint64_t bytes, uint8_t **to)
{
    *to = slices_at(&op->tenant->slices, op->unit->qp, out->seg, out->off, out->len);
    if (!*to || out->flags != 0)
        return VGPU_INVALID;
    op->result[0] = bytes;
    if (out->len == 0)
        *to = NULL;
    else if (out->len < bytes)
        return VGPU_INVALID;
    else
        op->out_len = (uint32_t)bytes;
    return VGPU_OK;
}

static uint16_t kernel_args(struct op *op, const struct vgpu_op_query *body)
{
    const struct tenant *tenant = op->tenant;
    const struct object *kernel =
        objects_find(tenant->objects, ops_name(op, OBJECT_KERNEL, body->obj));
    uint32_t count;
    uint16_t status;
    uint8_t *to;

    if (!kernel)
        return VGPU_NO_OBJECT;
    count = tenant->ops->kernel_arg ? kernel->kernel.args : 0;
    status = place(op, &body->out, count * sizeof(struct vgpu_arg_info), &to);
    for (uint32_t i = 0; i < count && status == VGPU_OK && to; i++) {
        struct vgpu_arg_info info = {.kind = VGPU_ARG_NOT_KNOWN};

        tenant->ops->kernel_arg(tenant->backend, kernel->kernel.handle, i, &info);
        memcpy(to + i * sizeof(info), &info, sizeof(info));
    }
    return status;
}

static uint16_t of_build(struct op *op, const struct vgpu_op_query *body)
{
    const struct object *module =
        objects_find(op->tenant->objects, ops_name(op, OBJECT_MODULE, body->obj));
    const struct binary *build;
    bool log = body->what == VGPU_FACT_BUILD_LOG;
    uint64_t bytes;
    uint16_t status;
    uint8_t *to;

    if (!module)
        return VGPU_NO_OBJECT;
    build = binaries_find(op->tenant->binaries, module->module.build);
    if (!build)
        return VGPU_NO_MEMORY;
    bytes = log ? build->log_bytes : build->binary_bytes;
    status = place(op, &body->out, bytes, &to);
    if (status == VGPU_OK && to && bytes > 0)
        memcpy(to, build->map + (log ? 0 : build->log_bytes), bytes);
    return status;
}

uint16_t op_query(struct op *op)
{
    const struct vgpu_op_query *body = (const void *)op->head;

    if (body->obj == 0)
        return VGPU_INVALID;
    switch (body->what) {
    case VGPU_FACT_KERNEL_ARGS:
        return kernel_args(op, body);
    case VGPU_FACT_BUILD_LOG:
    case VGPU_FACT_BINARY:
        return of_build(op, body);
    default:
        return VGPU_UNSUPPORTED;
    }
}
