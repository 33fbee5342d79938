/*
 * fuzz_worker_command.c - Any bytes as a command, in both roles, on the null device
 *
 * The first bytes of an input choose the unit; the rest fills the guest's slice from its start, so
 * that references can reach the command itself. Every input starts with a VM of its own and ends
 * with everything given back: what is lost on the way, the sanitizers report.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <unistd.h>

#include "test_worker_tenant.h"
#include "worker/build.h"
#include "worker/launch.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Makes a sound frame of any bytes, so that the fuzzer gets past it to the bodies of the ops. */
static void mend_frames(uint8_t *bytes, uint32_t len, bool loads)
{
    static const struct {
        uint16_t op;
        uint16_t size;
    } shapes[] = {
        {VGPU_OP_NOP, 8},
        {VGPU_OP_DEVICE_INFO, sizeof(struct vgpu_op_device_info)},
        {VGPU_OP_ALLOC, sizeof(struct vgpu_op_alloc)},
        {VGPU_OP_FREE, sizeof(struct vgpu_op_free)},
        {VGPU_OP_WRITE, sizeof(struct vgpu_op_write)},
        {VGPU_OP_READ, sizeof(struct vgpu_op_read)},
        {VGPU_OP_MODULE_UNLOAD, sizeof(struct vgpu_op_module_unload)},
        {VGPU_OP_KERNEL_CREATE, sizeof(struct vgpu_op_kernel_create) + 8},
        {VGPU_OP_LAUNCH, sizeof(struct vgpu_op_launch)},
        {VGPU_OP_LAUNCH, sizeof(struct vgpu_op_launch) + 24},
        {VGPU_OP_LAUNCH, sizeof(struct vgpu_op_launch) + 56},
        {VGPU_OP_SYNC, 8},
    };
    uint32_t at = 0;

    while (at < len) {
        struct vgpu_op_header *head = (void *)(bytes + at);
        uint32_t which = head->op % (sizeof(shapes) / sizeof(shapes[0]));

        head->op = loads ? VGPU_OP_MODULE_LOAD : shapes[which].op;
        head->flags = 0;
        head->size = loads ? sizeof(struct vgpu_op_module_load) : shapes[which].size;
        if (head->size > len - at) {
            head->op = loads ? VGPU_OP_MODULE_LOAD : VGPU_OP_NOP;
            head->size = len - at;
        }
        at += head->size;
    }
}

/* A builder over the launcher's slices. */
static void builder_of(struct tenant *builder, const struct tenant *launcher, int exchange)
{
    tenant_of_null(builder);
    free(builder->slices.base[0]);
    free(builder->slices.base[1]);
    builder->slices = launcher->slices;
    builder->exchange = exchange;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct worker_unit unit = {.token = 1, .kind = WORKER_UNIT_COMMAND, .ctx = 1, .stream = 1};
    struct interrupted interrupted = {.count = 0};
    struct tenant launcher, builder;
    struct worker_reply reply;
    bool has_builder = false;
    int fds[2];

    if (size < 4 || size > SLICE_BYTES)
        return 0;
    unit.lane = data[0] & 3;
    unit.budget_us = data[0] & 4 ? 0 : 1000000;
    unit.first_op = data[1] & 7;
    unit.cmd_off = data[2] & 0xf8;
    unit.cmd_len = (uint32_t)(size - 4) & ~7u;
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds) < 0)
        abort();
    tenant_of_null(&launcher);
    launcher.exchange = fds[0];
    memcpy(launcher.slices.base[0], data + 4, size - 4);
    if (data[0] & 8) {
        unit.cmd_off = 0;
        mend_frames(launcher.slices.base[0], unit.cmd_len, unit.lane == VGPU_LANE_BUILD);
    }

    for (int step = 0; step < 16; step++) {
        launch_unit(&launcher, &interrupted, &unit, (uint32_t)step, &reply);
        if (reply.outcome == WORKER_DONE)
            break;
        if (reply.outcome != WORKER_CONTINUE && reply.outcome != WORKER_NEED_BUILD)
            abort(); /* the only unit of its stream cannot be bounced */
        if (reply.op_index >= VGPU_COMMAND_OPS_MAX)
            abort();
        unit.first_op = reply.op_index;
        unit.flags = 0;
        unit.reply_head = (uint32_t)step + 1;
        if (reply.outcome == WORKER_NEED_BUILD) {
            if (!has_builder)
                builder_of(&builder, &launcher, fds[1]);
            has_builder = true;
            build_unit(&builder, &unit, &reply);
            unit.flags = WORKER_UNIT_BUILT;
        }
    }
    if (has_builder)
        tenant_close(&builder);
    tenant_of_null_close(&launcher);
    close(fds[0]);
    close(fds[1]);
    return 0;
}
