/*
 * ops_memory.c - Ops on buffers
 *
 * Bulk data goes between the mapped slice and the device without a stop in between. The guest may
 * change it meanwhile: it is its own data, and nothing here looks at it.
 */
#include "ops.h"

/* The bytes of a buffer that an address and a length name. */
static uint16_t locate(struct op *op, const struct vgpu_address *address, uint64_t len,
                       struct object **buffer)
{
    if (address->mode == VGPU_ADDRESS_RAW)
        return address->obj == 0 ? VGPU_UNSUPPORTED : VGPU_INVALID;
    if (address->mode != VGPU_ADDRESS_OBJECT || address->obj == 0)
        return VGPU_INVALID;
    *buffer = objects_find(op->tenant->objects, ops_name(op, OBJECT_BUFFER, address->obj));
    if (!*buffer)
        return VGPU_NO_OBJECT;
    if (address->off > (*buffer)->buffer.bytes || len > (*buffer)->buffer.bytes - address->off)
        return VGPU_INVALID;
    return VGPU_OK;
}

uint16_t op_alloc(struct op *op)
{
    const struct vgpu_op_alloc *body = (const void *)op->head;
    struct object_name name = ops_name(op, OBJECT_BUFFER, body->id);
    struct tenant *tenant = op->tenant;
    struct backend_verdict verdict;
    struct object *object;
    uint64_t raw;

    if (body->id == 0 || body->flags != 0 || body->bytes == 0)
        return VGPU_INVALID;
    if (objects_find(tenant->objects, name))
        return VGPU_EXISTS;
    if (body->bytes > tenant->memory_bytes - tenant->memory_used)
        return VGPU_QUOTA;
    object = objects_add(tenant->objects, name);
    if (!object)
        return VGPU_NO_MEMORY;
    verdict = tenant->ops->alloc(tenant->backend, body->bytes, &object->buffer.handle, &raw);
    if (verdict.status != VGPU_OK) {
        objects_remove(tenant->objects, object);
        return ops_verdict(op, verdict);
    }
    object->buffer.bytes = body->bytes;
    tenant->memory_used += body->bytes;
    op->result[0] = raw;
    return VGPU_OK;
}

void ops_drop_buffer(struct tenant *tenant, struct object *buffer)
{
    tenant->ops->free(tenant->backend, buffer->buffer.handle);
    tenant->memory_used -= buffer->buffer.bytes;
    objects_remove(tenant->objects, buffer);
}

uint16_t op_free(struct op *op)
{
    const struct vgpu_op_free *body = (const void *)op->head;
    struct backend_verdict finished;
    struct object *buffer;

    if (body->id == 0 || body->reserved != 0)
        return VGPU_INVALID;
    buffer = objects_find(op->tenant->objects, ops_name(op, OBJECT_BUFFER, body->id));
    if (!buffer)
        return VGPU_NO_OBJECT;
    finished = tenant_finish(op->tenant);
    ops_drop_buffer(op->tenant, buffer);
    return ops_verdict(op, finished);
}

uint16_t op_write(struct op *op)
{
    const struct vgpu_op_write *body = (const void *)op->head;
    struct tenant *tenant = op->tenant;
    struct object *buffer;
    const uint8_t *from;
    uint16_t status;

    from = slices_at(&tenant->slices, op->unit->qp, body->src.seg, body->src.off, body->src.len);
    if (!from || body->src.flags != 0)
        return VGPU_INVALID;
    status = locate(op, &body->dst, body->src.len, &buffer);
    if (status != VGPU_OK || body->src.len == 0)
        return status;
    return ops_verdict(op, tenant->ops->write(tenant->backend, buffer->buffer.handle, body->dst.off,
                                              from, body->src.len));
}

uint16_t op_read(struct op *op)
{
    const struct vgpu_op_read *body = (const void *)op->head;
    struct tenant *tenant = op->tenant;
    struct object *buffer;
    uint16_t status;
    uint8_t *to;

    to = slices_at(&tenant->slices, op->unit->qp, body->dst.seg, body->dst.off, body->dst.len);
    if (!to || body->dst.flags != 0 || body->dst.len > UINT32_MAX)
        return VGPU_INVALID;
    status = locate(op, &body->src, body->dst.len, &buffer);
    if (status != VGPU_OK || body->dst.len == 0)
        return status;
    status = ops_verdict(op, tenant->ops->read(tenant->backend, buffer->buffer.handle,
                                               body->src.off, to, body->dst.len));
    if (status == VGPU_OK)
        op->out_len = (uint32_t)body->dst.len;
    return status;
}

uint16_t op_copy(struct op *op)
{
    const struct vgpu_op_copy *body = (const void *)op->head;
    struct tenant *tenant = op->tenant;
    struct object *to, *from;
    uint16_t status;

    status = locate(op, &body->dst, body->len, &to);
    if (status == VGPU_OK)
        status = locate(op, &body->src, body->len, &from);
    if (status != VGPU_OK || body->len == 0)
        return status;
    /* Both ranges lie in the buffer: their ends do not overflow. */
    if (to == from && body->dst.off < body->src.off + body->len &&
        body->src.off < body->dst.off + body->len)
        return VGPU_INVALID;
    return ops_verdict(op, tenant->ops->copy(tenant->backend, to->buffer.handle, body->dst.off,
                                             from->buffer.handle, body->src.off, body->len));
}

static bool is_pattern(const struct vgpu_op_fill *body)
{
    uint32_t bytes = body->pattern_bytes;

    if (bytes == 0 || bytes > VGPU_PATTERN_BYTES_MAX || (bytes & (bytes - 1)) != 0)
        return false;
    for (uint32_t i = bytes; i < VGPU_PATTERN_BYTES_MAX; i++)
        if (body->pattern[i] != 0)
            return false;
    return true;
}

uint16_t op_fill(struct op *op)
{
    const struct vgpu_op_fill *body = (const void *)op->head;
    struct tenant *tenant = op->tenant;
    struct object *buffer;
    uint16_t status;

    if (body->reserved != 0 || !is_pattern(body) || body->dst.off % body->pattern_bytes != 0 ||
        body->len % body->pattern_bytes != 0)
        return VGPU_INVALID;
    status = locate(op, &body->dst, body->len, &buffer);
    if (status != VGPU_OK || body->len == 0)
        return status;
    return ops_verdict(op, tenant->ops->fill(tenant->backend, buffer->buffer.handle, body->dst.off,
                                             body->len, body->pattern, body->pattern_bytes));
}
