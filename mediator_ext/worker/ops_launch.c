/*
 * ops_launch.c - LAUNCH and SYNC
 *
 * What can be checked without asking the device is checked here: sizes without overflow, arguments
 * within the op, buffers that exist. Number, kind and size of a kernel's arguments are the
 * backend's to check.
 */
#include "ops.h"

/* Copies one dimension after the other; those past `dims` must be absent (0, or 1 item). */
static bool take_sizes(const struct vgpu_op_launch *body, uint64_t max_work_group,
                       struct backend_launch *launch)
{
    bool chosen = (body->local[0] | body->local[1] | body->local[2]) == 0;
    uint64_t items = 1, group = 1, end;

    if (body->dims < 1 || body->dims > 3)
        return false;
    for (uint32_t i = 0; i < 3; i++) {
        if (i >= body->dims) {
            if (body->offset[i] != 0 || body->global[i] > 1 || body->local[i] > 1)
                return false;
            continue;
        }
        if (body->global[i] == 0 || (!chosen && body->local[i] == 0))
            return false;
        if (__builtin_mul_overflow(items, body->global[i], &items) ||
            __builtin_add_overflow(body->offset[i], body->global[i], &end) || end > SIZE_MAX)
            return false;
        if (!chosen && __builtin_mul_overflow(group, body->local[i], &group))
            return false;
        launch->offset[i] = body->offset[i];
        launch->global[i] = body->global[i];
        launch->local[i] = body->local[i];
    }
    launch->dims = body->dims;
    return group <= max_work_group;
}

/* The struct vgpu_address of a buffer argument. */
static uint16_t take_buffer(struct op *op, const struct vgpu_address *address,
                            struct backend_buffer **buffer)
{
    struct object *object;

    if (address->mode == VGPU_ADDRESS_RAW)
        return address->obj == 0 ? VGPU_UNSUPPORTED : VGPU_INVALID;
    if (address->mode != VGPU_ADDRESS_OBJECT || address->obj == 0 || address->off != 0)
        return VGPU_INVALID;
    object = objects_find(op->tenant->objects, ops_name(op, OBJECT_BUFFER, address->obj));
    if (!object)
        return VGPU_NO_OBJECT;
    *buffer = object->buffer.handle;
    return VGPU_OK;
}

static uint16_t take_args(struct op *op, const struct vgpu_op_launch *body,
                          struct backend_arg args[VGPU_LAUNCH_ARGS_MAX])
{
    const uint8_t *at = (const uint8_t *)(body + 1);
    uint32_t left = body->head.size - (uint32_t)sizeof(*body);
    uint16_t status = VGPU_OK;

    if (body->arg_count > VGPU_LAUNCH_ARGS_MAX || left > VGPU_LAUNCH_ARGS_BYTES)
        return VGPU_INVALID;
    for (uint32_t i = 0; i < body->arg_count && status == VGPU_OK; i++) {
        const struct vgpu_arg *arg = (const void *)at;
        uint32_t follows = 0;

        if (left < sizeof(*arg))
            return VGPU_INVALID;
        at += sizeof(*arg);
        left -= (uint32_t)sizeof(*arg);
        if (arg->size == 0)
            return VGPU_INVALID;
        if (arg->kind != VGPU_ARG_LOCAL) {
            if (arg->size > left)
                return VGPU_INVALID;
            follows = (arg->size + 7) / 8 * 8; /* within `left`, which is a multiple of 8 */
        }
        args[i] = (struct backend_arg){.kind = arg->kind, .size = arg->size};
        switch (arg->kind) {
        case VGPU_ARG_VALUE:
            args[i].value = at;
            break;
        case VGPU_ARG_BUFFER:
            if (arg->size != sizeof(struct vgpu_address))
                return VGPU_INVALID;
            status = take_buffer(op, (const void *)at, &args[i].buffer);
            break;
        case VGPU_ARG_LOCAL:
            if (arg->size > op->tenant->info.local_mem_bytes)
                return VGPU_INVALID;
            break;
        default:
            return VGPU_INVALID;
        }
        at += follows;
        left -= follows;
    }
    if (status == VGPU_OK && left != 0)
        return VGPU_INVALID;
    return status;
}

uint16_t op_launch(struct op *op)
{
    const struct vgpu_op_launch *body = (const void *)op->head;
    struct backend_arg args[VGPU_LAUNCH_ARGS_MAX];
    struct backend_launch launch = {.args = args};
    struct tenant *tenant = op->tenant;
    struct object *kernel;
    uint16_t status;

    if (body->kernel == 0 || !take_sizes(body, tenant->info.max_work_group, &launch))
        return VGPU_INVALID;
    status = take_args(op, body, args);
    if (status != VGPU_OK)
        return status;
    kernel = objects_find(tenant->objects, ops_name(op, OBJECT_KERNEL, body->kernel));
    if (!kernel)
        return VGPU_NO_OBJECT;
    launch.kernel = kernel->kernel.handle;
    launch.shared_bytes = body->shared_bytes;
    launch.arg_count = body->arg_count;
    tenant->unfinished = true;
    return ops_verdict(op, tenant->ops->launch(tenant->backend, &launch));
}

uint16_t op_sync(struct op *op)
{
    return ops_verdict(op, tenant_finish(op->tenant));
}
