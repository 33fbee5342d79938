/*
 * ops.h - Running the ops of a command
 *
 * ops.c has the table and the loop; ops_memory.c, ops_module.c, ops_launch.c and ops_query.c have the ops. An op
 * function gets a header whose size is right for it, checks the body, acts, and returns an enum
 * vgpu_status; what else it has to say it leaves in struct op.
 */
#ifndef VGPUD_WORKER_OPS_H
#define VGPUD_WORKER_OPS_H

#include <stdbool.h>
#include <stdint.h>

#include "ring_abi.h"
#include "tenant.h"
#include "worker_channel.h"

struct op {
    struct tenant *tenant;
    const struct worker_unit *unit;
    const struct vgpu_op_header *head; /* in the copied command */
    bool build_tried;                  /* the build that this very op needed has been tried */
    /* The answer. */
    int32_t native;
    uint32_t out_len;
    uint64_t result[2];
    bool need_build; /* not run: the code's binary is not here */
};

/**
 * ops_run() - Run a unit of kind WORKER_UNIT_COMMAND
 * @tenant:        whose
 * @unit:          the unit
 * @may_interrupt: false: never answer CONTINUE or NEED_BUILD
 * @start_ns:      when the unit's budget began
 * @reply:         outcome, status, op_index, native, out_len and result are filled in
 *
 * Blocks until the device is done with it.
 */
void ops_run(struct tenant *tenant, const struct worker_unit *unit, bool may_interrupt,
             uint64_t start_ns, struct worker_reply *reply);

/**
 * ops_find_build() - What is known of a build on the launch side
 * @tenant: whose
 * @key:    of the build
 * @tried:  the build has been tried since it was asked for
 * @need:   set when a build is to be asked for
 *
 * Return: the build: one that went well or, when it was @tried, how it failed; NULL otherwise.
 */
const struct binary *ops_find_build(struct tenant *tenant, struct hash_key key, bool tried,
                                    bool *need);

/**
 * ops_name() - The name of an object that an op speaks of
 * @op:   the op
 * @kind: enum object_kind
 * @id:   the guest's
 *
 * Return: the name.
 */
static inline struct object_name ops_name(const struct op *op, uint32_t kind, uint32_t id)
{
    return (struct object_name){.qp = op->unit->qp, .ctx = op->unit->ctx, .kind = kind, .id = id};
}

/**
 * ops_verdict() - Take over what the backend said
 * @op:      its native code is set
 * @verdict: the backend's
 *
 * Return: the status.
 */
static inline uint16_t ops_verdict(struct op *op, struct backend_verdict verdict)
{
    op->native = verdict.native;
    return verdict.status;
}

/**
 * ops_drop_buffer() - Give a buffer back and forget it; nothing may be running
 * @tenant: whose
 * @buffer: of kind OBJECT_BUFFER
 */
void ops_drop_buffer(struct tenant *tenant, struct object *buffer);

/**
 * ops_drop_module() - Give a module and its kernels back and forget them; nothing may be running
 * @tenant: whose
 * @module: of kind OBJECT_MODULE
 */
void ops_drop_module(struct tenant *tenant, struct object *module);

uint16_t op_query(struct op *op);
uint16_t op_alloc(struct op *op);
uint16_t op_free(struct op *op);
uint16_t op_write(struct op *op);
uint16_t op_read(struct op *op);
uint16_t op_copy(struct op *op);
uint16_t op_fill(struct op *op);
uint16_t op_module_load(struct op *op);
uint16_t op_module_unload(struct op *op);
uint16_t op_kernel_create(struct op *op);
uint16_t op_launch(struct op *op);
uint16_t op_sync(struct op *op);

#endif
