/*
 * command.c - Building commands: the ops of one submission, as bytes
 *
 * An op is reserved in one piece (header, body, tail padded to 8 with zeroes) and then filled, so a
 * command never ends in half an op. Errors stick: a caller appends the whole chain and asks once.
 * Values are checked here as far as the format goes (names, dimensions, argument sizes); whether
 * an id exists is the host's to say.
 */
#include "vgpu.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

#define ALIGN_8(bytes) (((bytes) + 7u) & ~7u)

static void fail(struct vgpu_command *command, int error)
{
    if (!command->error)
        command->error = error;
}

/* Room for an op of @bytes (a multiple of 8), zeroed but for its header; NULL after an error. */
static void *append(struct vgpu_command *command, uint16_t op, uint32_t bytes)
{
    uint8_t lane = op == VGPU_OP_MODULE_LOAD ? VGPU_LANE_BUILD : VGPU_LANE_EXEC;
    struct vgpu_op_header header = {.op = op, .size = bytes};
    uint8_t *place;

    if (command->error)
        return NULL;
    if (command->ops && lane != command->lane) {
        fail(command, -EINVAL);
        return NULL;
    }
    if (command->ops == VGPU_COMMAND_OPS_MAX) {
        fail(command, -E2BIG);
        return NULL;
    }
    if (bytes > command->capacity - command->len) {
        fail(command, -ENOSPC);
        return NULL;
    }
    place = command->bytes + command->len;
    memset(place, 0, bytes);
    memcpy(place, &header, sizeof(header));
    command->lane = lane;
    command->len += bytes;
    command->ops++;
    return place;
}

void vgpu_command_begin(struct vgpu_command *command, void *bytes, uint32_t capacity)
{
    *command = (struct vgpu_command){.bytes = bytes, .capacity = capacity};
    if (command->capacity > VGPU_COMMAND_BYTES_MAX)
        command->capacity = VGPU_COMMAND_BYTES_MAX;
    if (!bytes || (uintptr_t)bytes % 8)
        fail(command, -EINVAL);
}

int vgpu_command_end(const struct vgpu_command *command)
{
    if (command->error)
        return command->error;
    return command->ops ? 0 : -EINVAL;
}

void vgpu_command_nop(struct vgpu_command *command)
{
    append(command, VGPU_OP_NOP, sizeof(struct vgpu_op_header));
}

void vgpu_command_sync(struct vgpu_command *command)
{
    append(command, VGPU_OP_SYNC, sizeof(struct vgpu_op_header));
}

void vgpu_command_device_info(struct vgpu_command *command, struct vgpu_data_ref out)
{
    struct vgpu_op_device_info *op = append(command, VGPU_OP_DEVICE_INFO, sizeof(*op));

    if (op)
        op->out = out;
}

void vgpu_command_query(struct vgpu_command *command, uint32_t what, uint32_t id,
                        struct vgpu_data_ref out)
{
    struct vgpu_op_query *op = append(command, VGPU_OP_QUERY, sizeof(*op));

    if (!op)
        return;
    op->what = what;
    op->obj = id;
    op->out = out;
}

void vgpu_command_alloc(struct vgpu_command *command, uint32_t id, uint64_t bytes)
{
    struct vgpu_op_alloc *op = append(command, VGPU_OP_ALLOC, sizeof(*op));

    if (!op)
        return;
    op->id = id;
    op->bytes = bytes;
}

void vgpu_command_free(struct vgpu_command *command, uint32_t id)
{
    struct vgpu_op_free *op = append(command, VGPU_OP_FREE, sizeof(*op));

    if (op)
        op->id = id;
}

void vgpu_command_write(struct vgpu_command *command, struct vgpu_address dst,
                        struct vgpu_data_ref src)
{
    struct vgpu_op_write *op = append(command, VGPU_OP_WRITE, sizeof(*op));

    if (!op)
        return;
    op->dst = dst;
    op->src = src;
}

void vgpu_command_read(struct vgpu_command *command, struct vgpu_address src,
                       struct vgpu_data_ref dst)
{
    struct vgpu_op_read *op = append(command, VGPU_OP_READ, sizeof(*op));

    if (!op)
        return;
    op->src = src;
    op->dst = dst;
}

void vgpu_command_copy(struct vgpu_command *command, struct vgpu_address dst,
                       struct vgpu_address src, uint64_t bytes)
{
    struct vgpu_op_copy *op = append(command, VGPU_OP_COPY, sizeof(*op));

    if (!op)
        return;
    op->dst = dst;
    op->src = src;
    op->len = bytes;
}

void vgpu_command_fill(struct vgpu_command *command, struct vgpu_address dst, uint64_t bytes,
                       const void *pattern, uint32_t pattern_bytes)
{
    struct vgpu_op_fill *op;

    if (pattern_bytes < 1 || pattern_bytes > VGPU_PATTERN_BYTES_MAX ||
        (pattern_bytes & (pattern_bytes - 1)) || bytes % pattern_bytes || dst.off % pattern_bytes) {
        fail(command, -EINVAL);
        return;
    }
    op = append(command, VGPU_OP_FILL, sizeof(*op));
    if (!op)
        return;
    op->dst = dst;
    op->len = bytes;
    op->pattern_bytes = pattern_bytes;
    memcpy(op->pattern, pattern, pattern_bytes);
}

void vgpu_command_module_load(struct vgpu_command *command, const struct vgpu_module_source *module)
{
    struct vgpu_op_module_load *op = append(command, VGPU_OP_MODULE_LOAD, sizeof(*op));

    if (!op)
        return;
    op->id = module->id;
    op->kind = module->kind;
    op->code = module->code;
    op->options = module->options;
    op->log = module->log;
}

void vgpu_command_module_unload(struct vgpu_command *command, uint32_t id)
{
    struct vgpu_op_module_unload *op = append(command, VGPU_OP_MODULE_UNLOAD, sizeof(*op));

    if (op)
        op->id = id;
}

void vgpu_command_kernel_create(struct vgpu_command *command, uint32_t id, uint32_t module,
                                const char *name)
{
    struct vgpu_op_kernel_create *op;
    size_t length = strnlen(name, VGPU_NAME_MAX + 1);

    if (length < 1 || length > VGPU_NAME_MAX) {
        fail(command, -EINVAL);
        return;
    }
    op = append(command, VGPU_OP_KERNEL_CREATE, (uint32_t)(sizeof(*op) + ALIGN_8(length)));
    if (!op)
        return;
    op->id = id;
    op->module = module;
    op->name_len = (uint32_t)length;
    memcpy(op + 1, name, length);
}

static bool launch_arg_right(const struct vgpu_launch_arg *arg)
{
    switch (arg->kind) {
    case VGPU_ARG_VALUE:
        return arg->size && arg->size <= VGPU_LAUNCH_ARGS_BYTES && arg->value;
    case VGPU_ARG_BUFFER:
        return arg->size == sizeof(arg->buffer) && arg->buffer.off == 0;
    case VGPU_ARG_LOCAL:
        return arg->size != 0;
    default:
        return false;
    }
}

/* Bytes that follow an argument's struct vgpu_arg. */
static uint32_t launch_arg_tail(const struct vgpu_launch_arg *arg)
{
    return arg->kind == VGPU_ARG_LOCAL ? 0 : ALIGN_8(arg->size);
}

void vgpu_command_launch(struct vgpu_command *command, const struct vgpu_launch *launch)
{
    struct vgpu_op_launch *op;
    uint32_t args_bytes = 0;
    uint8_t *place;

    if (launch->dims < 1 || launch->dims > 3 || launch->arg_count > VGPU_LAUNCH_ARGS_MAX) {
        fail(command, -EINVAL);
        return;
    }
    for (uint32_t i = 0; i < launch->arg_count; i++) {
        if (!launch_arg_right(&launch->args[i])) {
            fail(command, -EINVAL);
            return;
        }
        args_bytes += (uint32_t)sizeof(struct vgpu_arg) + launch_arg_tail(&launch->args[i]);
    }
    if (args_bytes > VGPU_LAUNCH_ARGS_BYTES) {
        fail(command, -EINVAL);
        return;
    }
    op = append(command, VGPU_OP_LAUNCH, (uint32_t)sizeof(*op) + args_bytes);
    if (!op)
        return;
    op->kernel = launch->kernel;
    op->dims = launch->dims;
    memcpy(op->offset, launch->offset, sizeof(op->offset));
    memcpy(op->global, launch->global, sizeof(op->global));
    memcpy(op->local, launch->local, sizeof(op->local));
    op->shared_bytes = launch->shared_bytes;
    op->arg_count = launch->arg_count;
    place = (uint8_t *)(op + 1);
    for (uint32_t i = 0; i < launch->arg_count; i++) {
        const struct vgpu_launch_arg *arg = &launch->args[i];
        struct vgpu_arg head = {.kind = arg->kind, .size = arg->size};

        memcpy(place, &head, sizeof(head));
        place += sizeof(head);
        if (arg->kind == VGPU_ARG_VALUE)
            memcpy(place, arg->value, arg->size);
        else if (arg->kind == VGPU_ARG_BUFFER)
            memcpy(place, &arg->buffer, sizeof(arg->buffer));
        place += launch_arg_tail(arg);
    }
}
