/*
 * command.c - A command, taken out of the guest's reach
 *
 * The guest may write to its slice at any time, so the bytes are copied once, and everything else
 * in this process reads the copy. All headers are checked before the first op runs: a command with
 * a broken frame, or in the wrong lane, runs nothing at all. Bodies are checked by each op when its
 * turn comes (ops_*.c), since whether they are right may depend on the ops before.
 *
 * A unit that comes back after CONTINUE or NEED_BUILD is copied and checked afresh. A guest that
 * changed its command meanwhile gets what it wrote.
 */
#include "command.h"

#include <stdbool.h>
#include <string.h>

_Static_assert(sizeof(struct vgpu_op_header) == 8, "ops lie on multiples of 8");

static bool lane_allows(uint8_t lane, uint16_t op)
{
    return (lane == VGPU_LANE_BUILD) == (op == VGPU_OP_MODULE_LOAD);
}

uint16_t command_take(struct command *command, const struct slices *slices,
                      const struct worker_unit *unit, uint32_t *bad_op)
{
    const uint8_t *from;
    uint32_t at = 0;

    *bad_op = 0;
    command->count = 0;
    if (unit->lane == VGPU_LANE_COPY)
        return VGPU_UNSUPPORTED;
    if (unit->lane != VGPU_LANE_EXEC && unit->lane != VGPU_LANE_BUILD)
        return VGPU_INVALID;
    if (unit->cmd_len == 0 || unit->cmd_len % 8 || unit->cmd_len > VGPU_COMMAND_BYTES_MAX ||
        unit->cmd_off % 8)
        return VGPU_INVALID;
    from = slices_at(slices, unit->qp, unit->cmd_seg, unit->cmd_off, unit->cmd_len);
    if (!from)
        return VGPU_INVALID;
    memcpy(command->bytes, from, unit->cmd_len);

    while (at < unit->cmd_len) {
        const struct vgpu_op_header *head = (const void *)(command->bytes + at);

        *bad_op = command->count;
        if (command->count == VGPU_COMMAND_OPS_MAX)
            return VGPU_INVALID;
        if (head->size < sizeof(*head) || head->size % 8 || head->size > unit->cmd_len - at)
            return VGPU_INVALID;
        if (head->flags != 0 || !lane_allows(unit->lane, head->op))
            return VGPU_INVALID;
        command->offset[command->count++] = at;
        at += head->size;
    }
    *bad_op = 0;
    return unit->first_op < command->count ? VGPU_OK : VGPU_INVALID;
}
