/*
 * fuzz_worker_command.c - Any bytes as commands, in both roles, on the null device
 *
 * An input is a list of commands: six bytes that choose the unit, then the command, which lies in
 * the guest's slice from its start, so that references can reach the command itself, and behind it
 * what was there before. Every input starts with a VM of its own and ends with everything given
 * back: what is lost on the way, the sanitizers report.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <unistd.h>

#include "input.h"
#include "replay.h"
#include "test_worker_tenant.h"
#include "worker/build.h"
#include "worker/launch.h"

#define COMMANDS_MAX 8

/* A VM's two workers. The builder is there once it was needed. */
struct pair {
    struct tenant launcher, builder;
    struct interrupted interrupted;
    uint32_t replies;
    bool has_builder;
    int fds[2];
};

/* Makes a sound frame of any bytes, so that the fuzzer gets past it to the bodies of the ops. */
static void mend_frames(uint8_t *bytes, uint32_t len, bool loads)
{
    static const struct {
        uint16_t op;
        uint16_t size;
    } shapes[] = {
        {VGPU_OP_NOP, 8},
        {VGPU_OP_DEVICE_INFO, sizeof(struct vgpu_op_device_info)},
        {VGPU_OP_QUERY, sizeof(struct vgpu_op_query)},
        {VGPU_OP_ALLOC, sizeof(struct vgpu_op_alloc)},
        {VGPU_OP_FREE, sizeof(struct vgpu_op_free)},
        {VGPU_OP_WRITE, sizeof(struct vgpu_op_write)},
        {VGPU_OP_READ, sizeof(struct vgpu_op_read)},
        {VGPU_OP_COPY, sizeof(struct vgpu_op_copy)},
        {VGPU_OP_FILL, sizeof(struct vgpu_op_fill)},
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

/* One unit, sent again until it is done, as the engine does. */
static void run_unit(struct pair *pair, struct worker_unit *unit)
{
    struct worker_reply reply;

    for (int step = 0; step < 16; step++) {
        launch_unit(&pair->launcher, &pair->interrupted, unit, pair->replies++, &reply);
        if (reply.outcome == WORKER_DONE)
            break;
        /* The only unit of its stream cannot be bounced. */
        FUZZ_CHECK(reply.outcome == WORKER_CONTINUE || reply.outcome == WORKER_NEED_BUILD);
        FUZZ_CHECK(reply.op_index < VGPU_COMMAND_OPS_MAX);
        unit->first_op = reply.op_index;
        unit->flags = 0;
        unit->reply_head = pair->replies; /* the engine knows of the interruption */
        if (reply.outcome == WORKER_NEED_BUILD) {
            if (!pair->has_builder)
                builder_of(&pair->builder, &pair->launcher, pair->fds[1]);
            pair->has_builder = true;
            build_unit(&pair->builder, unit, &reply);
            unit->flags = WORKER_UNIT_BUILT;
        }
    }
}

/* The next command of the input. Each has a stream of its own: one that is given up holds no other. */
static void run_command(struct pair *pair, struct input *in, uint32_t number)
{
    struct worker_unit unit = {
        .token = number, .kind = WORKER_UNIT_COMMAND, .ctx = 1, .stream = number};
    uint32_t flags = (uint32_t)take(in, 1), len;

    unit.lane = flags & 3;
    unit.budget_us = flags & 4 ? 0 : 1000000;
    unit.generation = flags & 16 ? number : 0;
    unit.qp = flags & 32 ? 1 : 0;
    unit.first_op = (uint32_t)take(in, 1) & 7;
    unit.cmd_off = take(in, 1) & 0xf8;
    unit.args[0] = (uint32_t)take(in, 1);
    if (flags & 64)
        unit.kind = WORKER_UNIT_VECTOR_ADD;
    len = (uint32_t)take(in, 2) % 4096;
    if (len > in->left)
        len = (uint32_t)in->left;
    take_bytes(in, pair->launcher.slices.base[0], len);
    unit.cmd_len = len & ~7u;
    if (flags & 8) {
        unit.cmd_off = 0;
        unit.first_op = 0;
        mend_frames(pair->launcher.slices.base[0], unit.cmd_len, unit.lane == VGPU_LANE_BUILD);
    }
    run_unit(pair, &unit);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input in = {data, size};
    struct pair pair = {.has_builder = false};

    FUZZ_CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair.fds) == 0);
    tenant_of_null(&pair.launcher);
    pair.launcher.exchange = pair.fds[0];
    for (uint32_t number = 1; in.left && number <= COMMANDS_MAX; number++)
        run_command(&pair, &in, number);
    if (pair.has_builder)
        tenant_close(&pair.builder);
    tenant_of_null_close(&pair.launcher);
    close(pair.fds[0]);
    close(pair.fds[1]);
    return 0;
}
