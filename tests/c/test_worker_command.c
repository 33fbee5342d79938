/*
 * test_worker_command.c - Commands of a guest on the null device
 *
 * Each op is tried as it should be, and then with every field that a guest could get wrong.
 */
#include <stddef.h>
#include <string.h>

#include "check.h"
#include "test_worker_tenant.h"
#include "worker/launch.h"
#include "worker/ops.h"

static struct worker_reply run(struct tenant *tenant, const struct worker_unit *unit)
{
    struct worker_reply reply = {0};

    ops_run(tenant, unit, true, 0, &reply);
    return reply;
}

static struct worker_reply run_script(struct script *script)
{
    struct worker_unit unit = script_unit(script, VGPU_LANE_EXEC);
    struct worker_reply reply;

    unit.budget_us = UINT32_MAX;
    ops_run(script->tenant, &unit, false, 0, &reply);
    script->len = 0;
    return reply;
}

/* Pokes `value` (of `bytes` bytes) into one op of a good command; says what became of it. */
static uint16_t poked(struct tenant *tenant, const void *op, uint32_t size, size_t at,
                      uint64_t value, size_t bytes)
{
    struct script script = {.tenant = tenant};

    memcpy(script_op(&script, 0, size), op, size);
    memcpy(tenant->slices.base[0] + at, &value, bytes);
    return run_script(&script).status;
}

#define POKED(tenant, op, field, value)                                                            \
    poked(tenant, &(op), sizeof(op), offsetof(__typeof__(op), field), (uint64_t)(value),           \
          sizeof((op).field))

static void frames(struct tenant *tenant)
{
    struct script script = {.tenant = tenant};
    struct vgpu_op_header *head;
    struct worker_unit unit;
    struct worker_reply reply;

    CASE("all ops that fit are run, and counted");
    for (uint32_t i = 0; i < VGPU_COMMAND_OPS_MAX; i++)
        script_op(&script, VGPU_OP_NOP, 8);
    reply = run_script(&script);
    CHECK(reply.outcome == WORKER_DONE && reply.status == VGPU_OK);
    CHECK(reply.op_index == VGPU_COMMAND_OPS_MAX);

    CASE("one op too many is invalid, and nothing is run");
    script_alloc(&script, 1, 8);
    for (uint32_t i = 0; i < VGPU_COMMAND_OPS_MAX; i++)
        script_op(&script, VGPU_OP_NOP, 8);
    reply = run_script(&script);
    CHECK(reply.status == VGPU_INVALID && reply.op_index == VGPU_COMMAND_OPS_MAX);
    CHECK(tenant->memory_used == 0);

    CASE("an op of size 0, off 8, beyond the end or with flags is invalid, and nothing is run");
    for (int i = 0; i < 5; i++) {
        static const uint32_t sizes[] = {0, 4, 12, 16, 8};

        script_alloc(&script, 1, 8);
        head = script_op(&script, VGPU_OP_NOP, 8);
        head->size = sizes[i];
        head->flags = i == 4;
        reply = run_script(&script);
        CHECK(reply.status == VGPU_INVALID && reply.op_index == 1);
        CHECK(tenant->memory_used == 0);
    }

    CASE("a command outside the slice, of a wrong length or alignment, is invalid");
    script_op(&script, VGPU_OP_NOP, 8);
    unit = script_unit(&script, VGPU_LANE_EXEC);
    CHECK(run(tenant, &unit).status == VGPU_OK);
#define WRONG(field, value)                                                                        \
    do {                                                                                           \
        struct worker_unit wrong = unit;                                                           \
        wrong.field = (value);                                                                     \
        CHECK(run(tenant, &wrong).status == VGPU_INVALID);                                         \
    } while (0)
    WRONG(cmd_len, 0);
    WRONG(cmd_len, 4);
    WRONG(cmd_len, VGPU_COMMAND_BYTES_MAX + 8);
    WRONG(cmd_off, 4);
    WRONG(cmd_off, SLICE_BYTES);
    WRONG(cmd_off, UINT64_MAX - 7);
    WRONG(cmd_seg, 1);
    WRONG(qp, 2);
    WRONG(first_op, 1);
    WRONG(first_op, UINT32_MAX);
    WRONG(lane, 3);
    CASE("the copy lane is not offered");
    unit.lane = VGPU_LANE_COPY;
    CHECK(run(tenant, &unit).status == VGPU_UNSUPPORTED);

    CASE("a module load outside the build lane, and anything else in it, is invalid");
    script.len = 0;
    script_load(&script, 1, "x");
    CHECK(run_script(&script).status == VGPU_INVALID);
    script_op(&script, VGPU_OP_NOP, 8);
    unit = script_unit(&script, VGPU_LANE_BUILD);
    CHECK(run(tenant, &unit).status == VGPU_INVALID);
}

static void memory(struct tenant *tenant)
{
    struct script script = {.tenant = tenant};
    const struct vgpu_op_alloc alloc = {{VGPU_OP_ALLOC, 0, sizeof(alloc)}, 2, 0, 64};
    const struct vgpu_op_free drop = {{VGPU_OP_FREE, 0, sizeof(drop)}, 2, 0};
    const struct vgpu_op_write write = {
        {VGPU_OP_WRITE, 0, sizeof(write)}, {1, 0, 0}, {0, 0, DATA_AT, 64}};
    const struct vgpu_op_read read = {
        {VGPU_OP_READ, 0, sizeof(read)}, {1, 0, 0}, {0, 0, DATA_AT, 64}};

    script_alloc(&script, 1, 64);
    run_script(&script);

    CASE("good memory ops are run");
    CHECK(POKED(tenant, alloc, bytes, 64) == VGPU_OK);
    CHECK(POKED(tenant, drop, reserved, 0) == VGPU_OK);
    CHECK(POKED(tenant, write, dst.off, 0) == VGPU_OK);
    CHECK(POKED(tenant, read, src.off, 0) == VGPU_OK);
    CHECK(POKED(tenant, read, dst.len, 0) == VGPU_OK);

    CASE("a wrong field of a memory op is refused with its status");
    CHECK(POKED(tenant, alloc, id, 0) == VGPU_INVALID);
    CHECK(POKED(tenant, alloc, id, 1) == VGPU_EXISTS);
    CHECK(POKED(tenant, alloc, flags, 1) == VGPU_INVALID);
    CHECK(POKED(tenant, alloc, bytes, 0) == VGPU_INVALID);
    CHECK(POKED(tenant, alloc, bytes, QUOTA_BYTES) == VGPU_QUOTA);
    CHECK(POKED(tenant, alloc, bytes, UINT64_MAX) == VGPU_QUOTA);
    CHECK(POKED(tenant, drop, id, 0) == VGPU_INVALID);
    CHECK(POKED(tenant, drop, id, 9) == VGPU_NO_OBJECT);
    CHECK(POKED(tenant, drop, reserved, 1) == VGPU_INVALID);
    CHECK(POKED(tenant, write, dst.obj, 0) == VGPU_INVALID);
    CHECK(POKED(tenant, write, dst.obj, 9) == VGPU_NO_OBJECT);
    CHECK(POKED(tenant, write, dst.mode, VGPU_ADDRESS_RAW) == VGPU_INVALID);
    CHECK(POKED(tenant, write, dst.mode, 2) == VGPU_INVALID);
    CHECK(POKED(tenant, write, dst.off, 1) == VGPU_INVALID);
    CHECK(POKED(tenant, write, dst.off, UINT64_MAX) == VGPU_INVALID);
    CHECK(POKED(tenant, write, src.seg, 1) == VGPU_INVALID);
    CHECK(POKED(tenant, write, src.flags, 1) == VGPU_INVALID);
    CHECK(POKED(tenant, write, src.off, SLICE_BYTES - 63) == VGPU_INVALID);
    CHECK(POKED(tenant, write, src.len, UINT64_MAX) == VGPU_INVALID);
    CHECK(POKED(tenant, read, src.off, 65) == VGPU_INVALID);
    CHECK(POKED(tenant, read, dst.off, UINT64_MAX - 8) == VGPU_INVALID);
    CHECK(POKED(tenant, read, dst.flags, 4) == VGPU_INVALID);

    CASE("the size of an op must be its structure's");
    CHECK(POKED(tenant, drop, head.size, 8) == VGPU_INVALID);
    CHECK(tenant->memory_used == 64);
    script_free(&script, 1);
    CHECK(run_script(&script).status == VGPU_OK);
}

static void copies(struct tenant *tenant)
{
    struct script script = {.tenant = tenant};
    const struct vgpu_op_copy copy = {{VGPU_OP_COPY, 0, sizeof(copy)}, {1, 0, 32}, {1, 0, 0}, 32};
    const struct vgpu_op_fill fill = {
        {VGPU_OP_FILL, 0, sizeof(fill)}, {1, 0, 8}, 16, 4, 0, {1, 2, 3, 4}};
    struct vgpu_op_fill stray = fill;

    script_alloc(&script, 1, 64);
    script_alloc(&script, 2, 40);
    run_script(&script);

    CASE("a copy within a buffer is run when its ranges only touch, or are empty");
    CHECK(POKED(tenant, copy, len, 32) == VGPU_OK);
    CHECK(POKED(tenant, copy, src.obj, 2) == VGPU_OK);
    CHECK(POKED(tenant, copy, len, 0) == VGPU_OK);

    CASE("ranges of one buffer that overlap are invalid, whichever is first");
    CHECK(POKED(tenant, copy, dst.off, 31) == VGPU_INVALID);
    CHECK(POKED(tenant, copy, dst.off, 0) == VGPU_INVALID);
    CHECK(POKED(tenant, copy, src.off, 1) == VGPU_INVALID);
    CHECK(POKED(tenant, copy, src.off, 32) == VGPU_INVALID);

    CASE("a wrong field of a copy is refused with its status");
    CHECK(POKED(tenant, copy, dst.obj, 0) == VGPU_INVALID);
    CHECK(POKED(tenant, copy, dst.obj, 9) == VGPU_NO_OBJECT);
    CHECK(POKED(tenant, copy, src.obj, 9) == VGPU_NO_OBJECT);
    CHECK(POKED(tenant, copy, src.mode, 2) == VGPU_INVALID);
    CHECK(POKED(tenant, copy, dst.off, 33) == VGPU_INVALID);
    CHECK(POKED(tenant, copy, src.off, UINT64_MAX) == VGPU_INVALID);
    CHECK(POKED(tenant, copy, len, UINT64_MAX) == VGPU_INVALID);
    CHECK(POKED(tenant, copy, len, UINT64_MAX - 31) == VGPU_INVALID);
    CHECK(POKED(tenant, copy, head.size, 40) == VGPU_INVALID);

    CASE("a fill of every size of pattern is run");
    CHECK(POKED(tenant, fill, len, 0) == VGPU_OK);
    for (uint32_t bytes = 4; bytes <= 8; bytes *= 2)
        CHECK(POKED(tenant, fill, pattern_bytes, bytes) == VGPU_OK);

    CASE("a wrong field of a fill is refused with its status");
    for (uint32_t bytes = 0; bytes <= 40; bytes++)
        if (bytes != 4 && bytes != 8)
            CHECK(POKED(tenant, fill, pattern_bytes, bytes) == VGPU_INVALID);
    CHECK(POKED(tenant, fill, pattern_bytes, UINT32_MAX) == VGPU_INVALID);
    CHECK(POKED(tenant, fill, reserved, 1) == VGPU_INVALID);
    CHECK(POKED(tenant, fill, dst.obj, 9) == VGPU_NO_OBJECT);
    CHECK(POKED(tenant, fill, dst.off, 10) == VGPU_INVALID);
    CHECK(POKED(tenant, fill, dst.off, 52) == VGPU_INVALID);
    CHECK(POKED(tenant, fill, len, 18) == VGPU_INVALID);
    CHECK(POKED(tenant, fill, len, UINT64_MAX - 3) == VGPU_INVALID);
    stray.pattern[15] = 1;
    CHECK(POKED(tenant, stray, len, 16) == VGPU_INVALID);
}

static void first_failure_ends(struct tenant *tenant)
{
    struct script script = {.tenant = tenant};
    struct worker_reply reply;

    CASE("the first op that fails ends the command: those before it were run, those behind not");
    script_alloc(&script, 1, 16);
    script_free(&script, 5);
    script_alloc(&script, 2, 16);
    reply = run_script(&script);
    CHECK(reply.status == VGPU_NO_OBJECT && reply.op_index == 1);
    CHECK(tenant->memory_used == 16);
    script_free(&script, 1);
    CHECK(run_script(&script).status == VGPU_OK);

    CASE("reserved and unknown ops are unsupported");
    script_op(&script, 0x16, 8);
    CHECK(run_script(&script).status == VGPU_UNSUPPORTED);
    script_op(&script, 0x7777, 8);
    CHECK(run_script(&script).status == VGPU_UNSUPPORTED);
}

static void module_loads(struct tenant *tenant)
{
    struct script script = {.tenant = tenant};
    struct vgpu_op_module_load *op = script_load(&script, 1, "__kernel void k() {}");
    const struct vgpu_op_module_load good = *op;
    struct worker_unit unit = script_unit(&script, VGPU_LANE_BUILD);

    CASE("a load of unknown code asks for a build, and names the op");
    CHECK(run(tenant, &unit).outcome == WORKER_NEED_BUILD);

    CASE("a wrong field of a module load is refused before any build");
#define LOAD(field, value, expected)                                                               \
    do {                                                                                           \
        *op = good;                                                                                \
        op->field = (value);                                                                       \
        CHECK(run(tenant, &unit).outcome == WORKER_DONE);                                          \
        CHECK(run(tenant, &unit).status == (expected));                                            \
    } while (0)
    LOAD(id, 0, VGPU_INVALID);
    LOAD(kind, 0, VGPU_INVALID);
    LOAD(kind, 99, VGPU_INVALID);
    LOAD(kind, VGPU_MODULE_PTX, VGPU_UNSUPPORTED);
    LOAD(code.len, 0, VGPU_INVALID);
    LOAD(code.len, SLICE_BYTES, VGPU_INVALID);
    LOAD(code.seg, 1, VGPU_INVALID);
    LOAD(code.flags, 1, VGPU_INVALID);
    LOAD(options.len, MODULE_OPTIONS_BYTES_MAX + 1, VGPU_INVALID);
    LOAD(options.len, 4, VGPU_INVALID); /* zeroes: a text with NUL */
    LOAD(options.off, UINT64_MAX, VGPU_INVALID);
    LOAD(log.off, SLICE_BYTES + 1, VGPU_INVALID);
    LOAD(log.flags, 1, VGPU_INVALID);

    CASE("a build that was tried and left nothing is the guest's mistake");
    *op = good;
    unit.flags = WORKER_UNIT_BUILT;
    CHECK(run(tenant, &unit).status == VGPU_INVALID);
}

/* A launch of a kernel that is not there: NO_OBJECT means that everything else was right. */
static void launches(struct tenant *tenant)
{
    struct script script = {.tenant = tenant};
    struct {
        struct vgpu_op_launch op;
        struct vgpu_arg value;
        uint8_t bytes[8];
        struct vgpu_arg buffer;
        struct vgpu_address address;
        struct vgpu_arg local;
    } good = {
        .op = {.head = {VGPU_OP_LAUNCH, 0, sizeof(good)},
               .kernel = 1,
               .dims = 2,
               .global = {64, 64, 1},
               .local = {8, 8, 1},
               .arg_count = 3},
        .value = {VGPU_ARG_VALUE, 5},
        .buffer = {VGPU_ARG_BUFFER, 16},
        .address = {1, VGPU_ADDRESS_OBJECT, 0},
        .local = {VGPU_ARG_LOCAL, 64},
    };

    script_alloc(&script, 1, 64);
    run_script(&script);
    CASE("a launch that is right in itself gets as far as its kernel");
    CHECK(POKED(tenant, good, op.dims, 2) == VGPU_NO_OBJECT);
    CHECK(POKED(tenant, good, value.size, 8) == VGPU_NO_OBJECT);
    CHECK(POKED(tenant, good, op.offset[0], 1000) == VGPU_NO_OBJECT);

    CASE("a wrong field of a launch is refused");
    CHECK(POKED(tenant, good, op.kernel, 0) == VGPU_INVALID);
    CHECK(POKED(tenant, good, op.dims, 0) == VGPU_INVALID);
    CHECK(POKED(tenant, good, op.dims, 4) == VGPU_INVALID);
    CHECK(POKED(tenant, good, op.dims, 1) == VGPU_INVALID); /* sizes past dims */
    CHECK(POKED(tenant, good, op.global[0], 0) == VGPU_INVALID);
    CHECK(POKED(tenant, good, op.global[0], UINT64_MAX) == VGPU_INVALID);
    CHECK(POKED(tenant, good, op.offset[1], UINT64_MAX) == VGPU_INVALID);
    CHECK(POKED(tenant, good, op.offset[2], 1) == VGPU_INVALID);
    CHECK(POKED(tenant, good, op.local[1], 0) == VGPU_INVALID);
    CHECK(POKED(tenant, good, op.local[0], 1u << 20) == VGPU_INVALID);
    CHECK(POKED(tenant, good, op.local[0], 1ull << 62) == VGPU_INVALID);
    CHECK(POKED(tenant, good, op.arg_count, 2) == VGPU_INVALID);
    CHECK(POKED(tenant, good, op.arg_count, 4) == VGPU_INVALID);
    CHECK(POKED(tenant, good, op.arg_count, UINT32_MAX) == VGPU_INVALID);
    CHECK(POKED(tenant, good, value.kind, 3) == VGPU_INVALID);
    CHECK(POKED(tenant, good, value.size, 0) == VGPU_INVALID);
    CHECK(POKED(tenant, good, value.size, 1000) == VGPU_INVALID);
    CHECK(POKED(tenant, good, value.size, UINT32_MAX) == VGPU_INVALID);
    CHECK(POKED(tenant, good, buffer.size, 8) == VGPU_INVALID);
    CHECK(POKED(tenant, good, address.obj, 0) == VGPU_INVALID);
    CHECK(POKED(tenant, good, address.obj, 9) == VGPU_NO_OBJECT);
    CHECK(POKED(tenant, good, address.mode, 7) == VGPU_INVALID);
    CHECK(POKED(tenant, good, address.off, 8) == VGPU_INVALID);
    CHECK(POKED(tenant, good, local.size, 0) == VGPU_INVALID);
    CHECK(POKED(tenant, good, local.size, 1u << 30) == VGPU_INVALID);
}

static void device_info(struct tenant *tenant)
{
    struct script script = {.tenant = tenant};
    struct vgpu_op_device_info *op = script_op(&script, VGPU_OP_DEVICE_INFO, sizeof(*op));
    struct vgpu_device_info *info = (void *)(tenant->slices.base[0] + DATA_AT);
    struct worker_reply reply;

    CASE("device information says what device this is, and is cut to its reference");
    op->out = (struct vgpu_data_ref){.off = DATA_AT, .len = 4096};
    reply = run_script(&script);
    CHECK(reply.status == VGPU_OK && reply.out_len == sizeof(*info));
    CHECK(info->size == sizeof(*info) && strcmp(info->backend, "null") == 0);
    CHECK(info->vm_memory_bytes == QUOTA_BYTES);
    op = script_op(&script, VGPU_OP_DEVICE_INFO, sizeof(*op));
    op->out = (struct vgpu_data_ref){.off = SLICE_BYTES - 5, .len = 5};
    CHECK(run_script(&script).out_len == 5);
}

static void generations(struct tenant *tenant)
{
    struct script script = {.tenant = tenant};
    struct interrupted interrupted = {.count = 0};
    struct worker_unit unit;
    struct worker_reply reply;

    CASE("objects stay within a generation");
    script_alloc(&script, 1, QUOTA_BYTES);
    unit = script_unit(&script, VGPU_LANE_EXEC);
    unit.generation = 1;
    launch_unit(tenant, &interrupted, &unit, 0, &reply);
    CHECK(reply.status == VGPU_OK);
    launch_unit(tenant, &interrupted, &unit, 1, &reply);
    CHECK(reply.status == VGPU_EXISTS);

    CASE("a new generation finds no object, and the whole quota");
    unit.generation = 2;
    launch_unit(tenant, &interrupted, &unit, 2, &reply);
    CHECK(reply.status == VGPU_OK);
    CHECK(tenant->memory_used == QUOTA_BYTES);
}

int main(void)
{
    static void (*const parts[])(struct tenant *) = {
        frames,       memory,   copies,      first_failure_ends,
        module_loads, launches, device_info, generations,
    };

    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
        struct tenant tenant;

        tenant_of_null(&tenant);
        parts[i](&tenant);
        tenant_of_null_close(&tenant);
    }
    return check_done();
}
