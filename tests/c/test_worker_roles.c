/*
 * test_worker_roles.c - Units as launcher and builder answer them, on the null device
 */
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "check.h"
#include "spawn/spawn_protocol.h"
#include "test_worker_tenant.h"
#include "worker/bind.h"
#include "worker/build.h"
#include "worker/launch.h"
#include "worker/ops.h"

_Static_assert((int)BIND_LAUNCH == SPAWN_ROLE_LAUNCH && (int)BIND_BUILD == SPAWN_ROLE_BUILD &&
                   (int)BIND_PROBE == SPAWN_ROLE_PROBE,
               "spawner and worker number the roles alike");

/* Both roles over the same slices, as in two processes. */
struct vm {
    struct tenant launcher;
    struct tenant builder;
    struct interrupted interrupted;
    uint32_t answered; /* replies so far */
    uint32_t
        known; /* of those, the ones that the engine has dealt with; all, unless it is behind */
    bool behind;
};

static void vm_open(struct vm *vm)
{
    int fds[2];

    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds) < 0)
        abort();
    tenant_of_null(&vm->launcher);
    tenant_of_null(&vm->builder);
    for (int i = 0; i < 2; i++) {
        free(vm->builder.slices.base[i]);
        vm->builder.slices.base[i] = vm->launcher.slices.base[i];
    }
    vm->launcher.exchange = fds[0];
    vm->builder.exchange = fds[1];
    vm->interrupted.count = 0;
    vm->answered = vm->known = 0;
    vm->behind = false;
}

static void vm_close(struct vm *vm)
{
    close(vm->launcher.exchange);
    close(vm->builder.exchange);
    tenant_close(&vm->builder);
    tenant_of_null_close(&vm->launcher);
}

static struct worker_reply launch(struct vm *vm, struct worker_unit unit)
{
    struct worker_reply reply;

    unit.reply_head = vm->known;
    launch_unit(&vm->launcher, &vm->interrupted, &unit, vm->answered++, &reply);
    if (!vm->behind)
        vm->known = vm->answered;
    return reply;
}

static struct worker_reply build(struct vm *vm, struct worker_unit unit)
{
    struct worker_reply reply;

    build_unit(&vm->builder, &unit, &reply);
    return reply;
}

static void builds(void)
{
    struct script script;
    struct worker_unit unit;
    struct worker_reply reply;
    struct vm vm;

    vm_open(&vm);
    script = (struct script){.tenant = &vm.launcher};
    script_load(&script, 1, "one");
    script_load(&script, 2, "#error two")->log =
        (struct vgpu_data_ref){.off = 2 * 65536 + 64, .len = 6};
    /* Both texts lie at DATA_AT; move the first one out of the way. */
    unit = script_unit(&script, VGPU_LANE_BUILD);
    {
        struct vgpu_op_module_load *first = (void *)vm.launcher.slices.base[0];

        first->code.off = DATA_AT + 32;
        memcpy(vm.launcher.slices.base[0] + DATA_AT + 32, "one", 3);
    }

    CASE("each load of a command asks for its own build, and the first stays loaded meanwhile");
    reply = launch(&vm, unit);
    CHECK(reply.outcome == WORKER_NEED_BUILD && reply.op_index == 0);
    reply = build(&vm, unit);
    CHECK(reply.outcome == WORKER_DONE && reply.status == VGPU_OK && reply.op_index == 0);
    unit.flags = WORKER_UNIT_BUILT;
    reply = launch(&vm, unit);
    CHECK(reply.outcome == WORKER_NEED_BUILD && reply.op_index == 1);
    unit.first_op = 1;
    reply = build(&vm, unit);
    CHECK(reply.status == VGPU_OK && reply.op_index == 1);
    reply = launch(&vm, unit);
    CHECK(reply.outcome == WORKER_DONE && reply.op_index == 1);
    unit.first_op = 0;
    unit.flags = 0;
    CHECK(launch(&vm, unit).status == VGPU_EXISTS);

    CASE("a failed build gives the log, cut to its reference");
    CHECK(reply.status == VGPU_BUILD_FAILED && reply.out_len == 6);
    CHECK(memcmp(vm.launcher.slices.base[0] + 2 * 65536 + 64, "#error\0", 7) == 0);

    CASE("a failure is not remembered against a new try");
    unit.flags = 0;
    unit.first_op = 1;
    CHECK(launch(&vm, unit).outcome == WORKER_NEED_BUILD);

    CASE("the builder answers units it cannot build with an error");
    unit.first_op = 2;
    CHECK(build(&vm, unit).status == VGPU_INVALID);
    unit.kind = 77;
    CHECK(build(&vm, unit).status == VGPU_INVALID);
    CASE("and one that it cannot hand over, too");
    unit.kind = WORKER_UNIT_VECTOR_ADD;
    CHECK(build(&vm, unit).status == VGPU_OK);
    shutdown(vm.builder.exchange, SHUT_WR);
    CHECK(build(&vm, unit).status == VGPU_FAILED);
    vm_close(&vm);
}

static void bounces(void)
{
    struct script script;
    struct worker_unit unit, other;
    struct vm vm;

    vm_open(&vm);
    script = (struct script){.tenant = &vm.launcher};
    script_op(&script, VGPU_OP_NOP, 8);
    script_op(&script, VGPU_OP_NOP, 8);
    unit = script_unit(&script, VGPU_LANE_EXEC);
    unit.budget_us = 0;

    CASE("a stream is closed from the interruption to the return of the unit, and no other is");
    vm.behind = true;
    CHECK(launch(&vm, unit).outcome == WORKER_CONTINUE);
    other = unit;
    other.token = 8;
    other.budget_us = 1000000;
    CHECK(launch(&vm, other).outcome == WORKER_BOUNCED);
    other.stream = 2;
    CHECK(launch(&vm, other).outcome == WORKER_DONE);
    other.stream = 1;
    other.qp = 1;
    CHECK(launch(&vm, other).outcome == WORKER_DONE);
    unit.first_op = 1;
    vm.known = vm.answered;
    CHECK(launch(&vm, unit).outcome == WORKER_DONE);
    other.qp = 0;
    CHECK(launch(&vm, other).outcome == WORKER_DONE);

    CASE("when no more streams can be interrupted, a command runs on beyond its budget");
    unit.first_op = 0;
    for (uint32_t i = 0; i < INTERRUPTED_MAX; i++) {
        unit.stream = 100 + i;
        if (launch(&vm, unit).outcome != WORKER_CONTINUE)
            abort();
    }
    unit.stream = 99;
    CHECK(launch(&vm, unit).outcome == WORKER_DONE);
    other.stream = 98;
    CASE("and a build is refused");
    script.len = 0;
    script_load(&script, 1, "x");
    other = script_unit(&script, VGPU_LANE_BUILD);
    CHECK(launch(&vm, other).outcome == WORKER_DONE);
    CHECK(launch(&vm, other).status == VGPU_NO_MEMORY);
    vm_close(&vm);
}

static void given_up(void)
{
    struct interrupted table = {.count = 0};
    const uint32_t cut = UINT32_MAX - 1; /* numbers wrap on the way */
    struct worker_unit unit = {.stream = 1, .reply_head = cut - 3}, other = unit;

    /* The unit of reply `cut` was interrupted; two more were in the ring, then the engine took the
       reply, and sent others without the interrupted one. */
    CASE("what was sent before the engine knew of an interruption bounces");
    interrupted_add(&table, &unit, cut);
    CHECK(interrupted_blocks(&table, &unit));
    unit.reply_head = cut;
    CHECK(interrupted_blocks(&table, &unit));
    other.stream = 2;
    other.reply_head = cut;
    CHECK(!interrupted_blocks(&table, &other));

    CASE("the first unit sent afterwards runs, though the interrupted unit never came back");
    unit.reply_head = cut + 1;
    CHECK(!interrupted_blocks(&table, &unit));
    CHECK(table.count == 0);

    CASE("as many streams are interrupted at once as units can be unanswered");
    for (uint32_t i = 0; i < WORKER_RING_ENTRIES; i++) {
        unit.stream = i;
        CHECK(interrupted_has_room(&table));
        interrupted_add(&table, &unit, cut + 1 + i);
    }
    CHECK(!interrupted_has_room(&table));
    unit.reply_head = cut + 1 + WORKER_RING_ENTRIES / 2;
    other.stream = WORKER_RING_ENTRIES;
    CHECK(!interrupted_blocks(&table, &other) && table.count == WORKER_RING_ENTRIES);
    unit.stream = WORKER_RING_ENTRIES - 1;
    CHECK(interrupted_blocks(&table, &unit) && table.count == WORKER_RING_ENTRIES / 2);
}

static void vector_add(void)
{
    struct worker_unit unit = {.kind = WORKER_UNIT_VECTOR_ADD, .args = {0xffffffffu, 3}};
    struct worker_reply reply;
    struct vm vm;

    CASE("vector add wraps around, and the null device needs no build for it");
    vm_open(&vm);
    reply = launch(&vm, unit);
    CHECK(reply.outcome == WORKER_DONE && reply.status == VGPU_OK && reply.result[0] == 2);
    CASE("a unit of unknown kind is invalid");
    unit.kind = 0;
    CHECK(launch(&vm, unit).status == VGPU_INVALID);
    vm_close(&vm);
}

static void modules_and_kernels(void)
{
    struct script script;
    struct vgpu_op_kernel_create *create;
    struct vgpu_op_module_unload *unload;
    struct vgpu_op_launch *launched;
    struct worker_unit unit;
    struct worker_reply reply;
    struct vm vm;

    vm_open(&vm);
    script = (struct script){.tenant = &vm.launcher};
    script_load(&script, 1, "code");
    unit = script_unit(&script, VGPU_LANE_BUILD);
    launch(&vm, unit);
    build(&vm, unit);
    unit.flags = WORKER_UNIT_BUILT;
    CHECK(launch(&vm, unit).status == VGPU_OK);

    CASE("kernels of a module can be launched until it is unloaded, and then their ids are free");
    script.len = 0;
    for (uint32_t id = 1; id <= 2; id++) {
        create = script_op(&script, VGPU_OP_KERNEL_CREATE, sizeof(*create) + 8);
        create->id = id;
        create->module = 1;
        create->name_len = 3;
        memcpy(create + 1, "add", 3);
    }
    launched = script_op(&script, VGPU_OP_LAUNCH, sizeof(*launched));
    launched->kernel = 2;
    launched->dims = 1;
    launched->global[0] = 1;
    unload = script_op(&script, VGPU_OP_MODULE_UNLOAD, sizeof(*unload));
    unload->id = 1;
    memcpy(script_op(&script, VGPU_OP_LAUNCH, sizeof(*launched)), launched, sizeof(*launched));
    reply = launch(&vm, script_unit(&script, VGPU_LANE_EXEC));
    CHECK(reply.status == VGPU_NO_OBJECT && reply.op_index == 4);

    CASE("a kernel name of a wrong length, with NUL, or with something behind it is invalid");
    script.len = 0;
    create = script_op(&script, VGPU_OP_KERNEL_CREATE, sizeof(*create) + 8);
    create->id = create->module = 1;
    for (int i = 0; i < 5; i++) {
        static const uint32_t lengths[] = {0, 9, 3, 4, UINT32_MAX};

        memcpy(create + 1, i == 2 ? "addx" : "ad\0d", 4);
        create->name_len = lengths[i];
        CHECK(launch(&vm, script_unit(&script, VGPU_LANE_EXEC)).status == VGPU_INVALID);
    }
    vm_close(&vm);
}

int main(void)
{
    builds();
    bounces();
    given_up();
    vector_add();
    modules_and_kernels();
    return check_done();
}
