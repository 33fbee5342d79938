/*
 * ops.c - Running the ops of a command
 *
 * Launches are asynchronous inside a unit, and the device is waited for before its reply: the
 * engine charges by its own clock, and what it measures must be what the device did. The budget is
 * looked at between two ops. That is honest because a backend keeps at most
 * BACKEND_LAUNCHES_IN_FLIGHT launches unfinished: a unit exceeds its budget by no more than those.
 * At least one op is run each time, so a unit always comes to its end.
 */
#include "ops.h"

#include <string.h>

#include "clock.h"

static uint16_t op_nop(struct op *op)
{
    (void)op;
    return VGPU_OK;
}

static uint16_t op_device_info(struct op *op)
{
    const struct vgpu_op_device_info *body = (const void *)op->head;
    const struct tenant *tenant = op->tenant;
    uint8_t *to =
        slices_at(&tenant->slices, op->unit->qp, body->out.seg, body->out.off, body->out.len);
    uint64_t len = body->out.len;

    if (!to || body->out.flags != 0)
        return VGPU_INVALID;
    if (len > sizeof(tenant->info))
        len = sizeof(tenant->info);
    memcpy(to, &tenant->info, len);
    op->out_len = (uint32_t)len;
    return VGPU_OK;
}

struct op_entry {
    uint16_t op;
    bool longer; /* something may follow the structure */
    uint32_t bytes;
    uint16_t (*run)(struct op *op);
};

/* Numbers of a later version are not in it: UNSUPPORTED. */
static const struct op_entry table[] = {
    {VGPU_OP_NOP, false, sizeof(struct vgpu_op_header), op_nop},
    {VGPU_OP_DEVICE_INFO, false, sizeof(struct vgpu_op_device_info), op_device_info},
    {VGPU_OP_QUERY, false, sizeof(struct vgpu_op_query), op_query},
    {VGPU_OP_ALLOC, false, sizeof(struct vgpu_op_alloc), op_alloc},
    {VGPU_OP_FREE, false, sizeof(struct vgpu_op_free), op_free},
    {VGPU_OP_WRITE, false, sizeof(struct vgpu_op_write), op_write},
    {VGPU_OP_READ, false, sizeof(struct vgpu_op_read), op_read},
    {VGPU_OP_COPY, false, sizeof(struct vgpu_op_copy), op_copy},
    {VGPU_OP_FILL, false, sizeof(struct vgpu_op_fill), op_fill},
    {VGPU_OP_MODULE_LOAD, false, sizeof(struct vgpu_op_module_load), op_module_load},
    {VGPU_OP_MODULE_UNLOAD, false, sizeof(struct vgpu_op_module_unload), op_module_unload},
    {VGPU_OP_KERNEL_CREATE, true, sizeof(struct vgpu_op_kernel_create), op_kernel_create},
    {VGPU_OP_LAUNCH, true, sizeof(struct vgpu_op_launch), op_launch},
    {VGPU_OP_SYNC, false, sizeof(struct vgpu_op_header), op_sync},
};

static uint16_t run_one(struct op *op)
{
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        const struct op_entry *entry = &table[i];

        if (entry->op != op->head->op)
            continue;
        if (op->head->size < entry->bytes || (!entry->longer && op->head->size > entry->bytes))
            return VGPU_INVALID;
        return entry->run(op);
    }
    return VGPU_UNSUPPORTED;
}

static void answer(struct worker_reply *reply, const struct op *op, uint8_t outcome,
                   uint16_t status, uint32_t op_index)
{
    reply->outcome = outcome;
    reply->status = status;
    reply->op_index = op_index;
    reply->native = op->native;
    reply->out_len = op->out_len;
    reply->result[0] = op->result[0];
    reply->result[1] = op->result[1];
}

void ops_run(struct tenant *tenant, const struct worker_unit *unit, bool may_interrupt,
             uint64_t start_ns, struct worker_reply *reply)
{
    uint64_t budget_ns = (uint64_t)unit->budget_us * 1000;
    struct command *command = tenant->command;
    uint8_t outcome = WORKER_DONE;
    struct op op = {.tenant = tenant, .unit = unit};
    struct backend_verdict finished;
    uint32_t index, bad_op;
    uint16_t status;

    status = command_take(command, &tenant->slices, unit, &bad_op);
    if (status != VGPU_OK) {
        answer(reply, &op, WORKER_DONE, status, bad_op);
        return;
    }
    for (index = unit->first_op; index < command->count; index++) {
        op = (struct op){.tenant = tenant, .unit = unit, .head = command_op(command, index)};
        if (index > unit->first_op && may_interrupt && clock_ns() - start_ns >= budget_ns) {
            outcome = WORKER_CONTINUE;
            break;
        }
        op.build_tried = index == unit->first_op && (unit->flags & WORKER_UNIT_BUILT);
        status = run_one(&op);
        if (op.need_build) {
            outcome = may_interrupt ? WORKER_NEED_BUILD : WORKER_DONE;
            status = may_interrupt ? VGPU_OK : VGPU_NO_MEMORY;
            break;
        }
        if (status != VGPU_OK)
            break;
    }

    finished = tenant_finish(tenant);
    if (finished.status != VGPU_OK && status == VGPU_OK) {
        /* The device does not say which launch it was: the last op that was run is named. */
        outcome = WORKER_DONE;
        status = ops_verdict(&op, finished);
        op.out_len = 0;
        index--;
    }
    answer(reply, &op, outcome, status, index);
}
