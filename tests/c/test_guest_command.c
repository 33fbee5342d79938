/* sanitizers: address */
/*
 * test_guest_command.c - The builder's bytes against ring_abi.h (guest/command.c)
 *
 * Expected bytes are written out as numbers, not built from the same structures: a changed field
 * shows up here on both sides of the interface.
 */
#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "check.h"
#include "guest/vgpu.h"

static _Alignas(8) uint8_t buffer[VGPU_COMMAND_BYTES_MAX + 64];
static struct vgpu_command command;

static void begin(void)
{
    memset(buffer, 0xaa, sizeof(buffer));
    vgpu_command_begin(&command, buffer, VGPU_COMMAND_BYTES_MAX);
}

static int is(const uint64_t *words, size_t count)
{
    return vgpu_command_end(&command) == 0 && command.len == count * 8 &&
           memcmp(buffer, words, count * 8) == 0;
}

#define IS(...)        is((const uint64_t[]){__VA_ARGS__}, sizeof((uint64_t[]){__VA_ARGS__}) / 8)
#define TWO(low, high) ((uint64_t)(high) << 32 | (uint32_t)(low))
#define HEAD(op, size) TWO(op, size)

static void plain_ops(void)
{
    CASE("nop and sync are a header alone");
    begin();
    vgpu_command_nop(&command);
    vgpu_command_sync(&command);
    CHECK(IS(HEAD(0x01, 8), HEAD(0x40, 8)));
    CHECK(command.ops == 2 && command.lane == VGPU_LANE_EXEC);

    CASE("alloc and free have id and size");
    begin();
    vgpu_command_alloc(&command, 7, 0x123456789a);
    vgpu_command_free(&command, 7);
    CHECK(IS(HEAD(0x10, 24), TWO(7, 0), 0x123456789a, HEAD(0x11, 16), TWO(7, 0)));

    CASE("write goes from the data area to the device, read the other way");
    begin();
    vgpu_command_write(&command, vgpu_object(9, 256), vgpu_ref(4096, 100));
    vgpu_command_read(&command, vgpu_object(9, 512), vgpu_ref(8192, 200));
    CHECK(IS(HEAD(0x12, 48), TWO(9, 0), 256, TWO(0, 0), 4096, 100, HEAD(0x13, 48), TWO(9, 0), 512,
             TWO(0, 0), 8192, 200));

    CASE("copy has two addresses, fill its pattern with zeroes behind");
    begin();
    vgpu_command_copy(&command, vgpu_object(9, 256), vgpu_object(8, 512), 100);
    vgpu_command_fill(&command, vgpu_object(9, 12), 8, "abcd", 4);
    CHECK(IS(HEAD(0x14, 48), TWO(9, 0), 256, TWO(8, 0), 512, 100, HEAD(0x15, 56), TWO(9, 0), 12, 8,
             TWO(4, 0), 0x64636261 /* "abcd" */, 0));

    CASE("a pattern of a wrong size, or that does not fit its place, is refused");
    for (uint32_t bytes = 0; bytes <= 32; bytes++) {
        bool right = bytes == 1 || bytes == 2 || bytes == 4 || bytes == 8 || bytes == 16;

        begin();
        vgpu_command_fill(&command, vgpu_object(1, 0), 0, buffer, bytes);
        CHECK(vgpu_command_end(&command) == (right ? 0 : -EINVAL));
    }
    begin();
    vgpu_command_fill(&command, vgpu_object(1, 2), 8, "abcd", 4);
    CHECK(vgpu_command_end(&command) == -EINVAL);
    begin();
    vgpu_command_fill(&command, vgpu_object(1, 4), 6, "abcd", 4);
    CHECK(vgpu_command_end(&command) == -EINVAL);

    CASE("a query says what is asked of which object");
    begin();
    vgpu_command_query(&command, VGPU_FACT_BINARY, 9, vgpu_ref(64, 4096));
    CHECK(IS(HEAD(0x03, 40), TWO(3, 9), TWO(0, 0), 64, 4096));

    CASE("device info has a reference to write to");
    begin();
    vgpu_command_device_info(&command, vgpu_ref(64, 272));
    CHECK(IS(HEAD(0x02, 32), 0, 64, 272));
}

static void modules(void)
{
    const struct vgpu_module_source module = {.id = 3,
                                              .kind = VGPU_MODULE_OPENCL_C,
                                              .code = vgpu_ref(64, 1000),
                                              .options = vgpu_ref(1064, 5),
                                              .log = vgpu_ref(2048, 4096)};

    CASE("a module load has code, options and log, and is of the build lane");
    begin();
    vgpu_command_module_load(&command, &module);
    CHECK(IS(HEAD(0x20, 88), TWO(3, 1), 0, 64, 1000, 0, 1064, 5, 0, 2048, 4096));
    CHECK(command.lane == VGPU_LANE_BUILD);

    CASE("a module load beside another op is refused: the lanes differ");
    vgpu_command_sync(&command);
    CHECK(vgpu_command_end(&command) == -EINVAL);
    CHECK(command.len == 88);
    begin();
    vgpu_command_nop(&command);
    vgpu_command_module_load(&command, &module);
    CHECK(vgpu_command_end(&command) == -EINVAL);

    CASE("a module unload is of the exec lane");
    begin();
    vgpu_command_module_unload(&command, 3);
    CHECK(IS(HEAD(0x21, 16), TWO(3, 0)));
    CHECK(command.lane == VGPU_LANE_EXEC);

    CASE("a kernel's name follows, padded with zeroes to 8");
    begin();
    vgpu_command_kernel_create(&command, 4, 3, "saxpy");
    CHECK(IS(HEAD(0x22, 32), TWO(4, 3), TWO(5, 0), 0x7970786173 /* "saxpy" */));
    begin();
    vgpu_command_kernel_create(&command, 4, 3, "12345678");
    CHECK(command.len == 32);
    CHECK(memcmp(buffer + 24, "12345678", 8) == 0);

    CASE("a name of no or too many bytes is refused");
    {
        char name[VGPU_NAME_MAX + 2];

        memset(name, 'n', sizeof(name));
        name[VGPU_NAME_MAX + 1] = 0;
        begin();
        vgpu_command_kernel_create(&command, 4, 3, name);
        CHECK(vgpu_command_end(&command) == -EINVAL);
        name[VGPU_NAME_MAX] = 0;
        begin();
        vgpu_command_kernel_create(&command, 4, 3, name);
        CHECK(vgpu_command_end(&command) == 0);
        begin();
        vgpu_command_kernel_create(&command, 4, 3, "");
        CHECK(vgpu_command_end(&command) == -EINVAL);
    }
}

static void launches(void)
{
    const uint32_t value = 0x01020304;
    struct vgpu_launch_arg args[VGPU_LAUNCH_ARGS_MAX + 1] = {
        vgpu_arg_value(&value, sizeof(value)), vgpu_arg_buffer(9), vgpu_arg_local(256)};
    struct vgpu_launch launch = {.kernel = 4,
                                 .dims = 2,
                                 .offset = {1, 2, 3},
                                 .global = {100, 200, 1},
                                 .local = {10, 20, 1},
                                 .shared_bytes = 16,
                                 .arg_count = 3,
                                 .args = args};

    CASE("a launch has geometry, then each argument with its bytes padded to 8");
    begin();
    vgpu_command_launch(&command, &launch);
    CHECK(IS(HEAD(0x30, 96 + 16 + 24 + 8), TWO(4, 2), 1, 2, 3, 100, 200, 1, 10, 20, 1, TWO(16, 3),
             TWO(0, 4), 0x01020304, TWO(1, 16), TWO(9, 0), 0, TWO(2, 256)));

    CASE("wrong dimensions and arguments are refused");
    launch.dims = 4;
    begin();
    vgpu_command_launch(&command, &launch);
    CHECK(vgpu_command_end(&command) == -EINVAL);
    launch.dims = 0;
    begin();
    vgpu_command_launch(&command, &launch);
    CHECK(vgpu_command_end(&command) == -EINVAL);
    launch.dims = 1;
    args[0].size = 0;
    begin();
    vgpu_command_launch(&command, &launch);
    CHECK(vgpu_command_end(&command) == -EINVAL);
    args[0] = (struct vgpu_launch_arg){.kind = 3, .size = 4, .value = &value};
    begin();
    vgpu_command_launch(&command, &launch);
    CHECK(vgpu_command_end(&command) == -EINVAL);

    CASE("more arguments, or more bytes of them, than the format has are refused");
    for (size_t i = 0; i < VGPU_LAUNCH_ARGS_MAX + 1; i++)
        args[i] = vgpu_arg_local(4);
    launch.arg_count = VGPU_LAUNCH_ARGS_MAX + 1;
    begin();
    vgpu_command_launch(&command, &launch);
    CHECK(vgpu_command_end(&command) == -EINVAL);
    launch.arg_count = VGPU_LAUNCH_ARGS_MAX;
    begin();
    vgpu_command_launch(&command, &launch);
    CHECK(vgpu_command_end(&command) == 0);
    {
        static uint8_t large[VGPU_LAUNCH_ARGS_BYTES];

        args[0] = vgpu_arg_value(large, sizeof(large) - 8);
        launch.arg_count = 1;
        begin();
        vgpu_command_launch(&command, &launch);
        CHECK(vgpu_command_end(&command) == 0);
        args[0] = vgpu_arg_value(large, sizeof(large));
        begin();
        vgpu_command_launch(&command, &launch);
        CHECK(vgpu_command_end(&command) == -EINVAL);
    }
}

static void limits(void)
{
    CASE("an empty command cannot be submitted");
    begin();
    CHECK(vgpu_command_end(&command) == -EINVAL);

    CASE("the op after the last allowed one is refused, and the error sticks");
    begin();
    for (uint32_t i = 0; i < VGPU_COMMAND_OPS_MAX; i++)
        vgpu_command_nop(&command);
    CHECK(vgpu_command_end(&command) == 0);
    vgpu_command_nop(&command);
    CHECK(vgpu_command_end(&command) == -E2BIG);
    vgpu_command_sync(&command);
    CHECK(vgpu_command_end(&command) == -E2BIG);
    CHECK(command.ops == VGPU_COMMAND_OPS_MAX);

    CASE("an op that does not fit is refused, and nothing is written behind the room");
    begin();
    vgpu_command_begin(&command, buffer, 40);
    vgpu_command_alloc(&command, 1, 1);
    vgpu_command_alloc(&command, 2, 1);
    CHECK(vgpu_command_end(&command) == -ENOSPC);
    CHECK(command.len == 24 && buffer[24] == 0xaa && buffer[40] == 0xaa);

    CASE("a command is never longer than the format allows, whatever room there is");
    memset(buffer, 0xaa, sizeof(buffer));
    vgpu_command_begin(&command, buffer, sizeof(buffer));
    CHECK(command.capacity == VGPU_COMMAND_BYTES_MAX);

    CASE("unaligned memory is refused");
    vgpu_command_begin(&command, buffer + 4, 64);
    vgpu_command_nop(&command);
    CHECK(vgpu_command_end(&command) == -EINVAL);
}

int main(void)
{
    plain_ops();
    modules();
    launches();
    limits();
    return check_done();
}
