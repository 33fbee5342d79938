/*
 * command.h - A command, taken out of the guest's reach
 */
#ifndef VGPUD_WORKER_COMMAND_H
#define VGPUD_WORKER_COMMAND_H

#include <stdalign.h>
#include <stdint.h>

#include "ring_abi.h"
#include "slices.h"
#include "worker_channel.h"

struct command {
    uint32_t count;                        /* ops */
    uint32_t offset[VGPU_COMMAND_OPS_MAX]; /* of each op in bytes */
    alignas(8) uint8_t bytes[VGPU_COMMAND_BYTES_MAX];
};

/**
 * command_take() - Copy a unit's command once, and find its ops
 * @command: filled in
 * @slices:  where the guest wrote it
 * @unit:    of kind WORKER_UNIT_COMMAND
 * @bad_op:  index of the first malformed op on failure; 0 when the whole is at fault
 *
 * Afterwards every op's header lies within the command, is of the unit's lane, and its size holds:
 * what is in the op's body has not been looked at.
 *
 * Return: enum vgpu_status.
 */
uint16_t command_take(struct command *command, const struct slices *slices,
                      const struct worker_unit *unit, uint32_t *bad_op);

/**
 * command_op() - One op of a command
 * @command: taken
 * @index:   below its count
 *
 * Return: the op's header; head->size bytes from there are readable.
 */
static inline const struct vgpu_op_header *command_op(const struct command *command, uint32_t index)
{
    return (const struct vgpu_op_header *)(command->bytes + command->offset[index]);
}

#endif
