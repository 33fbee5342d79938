/*
 * test_worker_cuda_launch.c - What a CUDA launch is made of, and what is wrong with one
 */
#include "cuda_scene.h"

#define KERNELS                                                                                    \
    ".version 6.0\n.target sm_50\n.address_size 64\n"                                              \
    ".visible .entry none()\n{ ret; }\n"                                                           \
    ".visible .entry mixed(.param .u8 a, .param .align 4 .b8 b[12], .param .u64 c)\n{ ret; }\n"    \
    ".visible .entry wide(.param .align 4 .b8 a[2000], .param .align 4 .b8 b[2000])\n{ ret; }\n"   \
    ".visible .entry narrow()\n.maxntid 64\n{ ret; }\n"                                            \
    ".visible .entry vgpu_vector_add(.param .u32 a, .param .u32 b, .param .u64 sum)\n{ ret; }\n"

static struct backend_verdict run(struct cuda_scene *scene, const struct backend_launch *launch)
{
    struct backend_verdict verdict = backend_cuda.launch(scene->backend, launch);

    CHECK(backend_cuda.finish(scene->backend).status == VGPU_OK);
    return verdict;
}

static bool ran_as(struct cuda_scene *scene, uint32_t grid_x, uint32_t grid_y, uint32_t grid_z,
                   uint32_t block_x, uint32_t block_y, uint32_t block_z)
{
    struct fake_cuda_launch last = scene->last_launch();

    return last.grid[0] == grid_x && last.grid[1] == grid_y && last.grid[2] == grid_z &&
           last.block[0] == block_x && last.block[1] == block_y && last.block[2] == block_z;
}

static void check_division(struct cuda_scene *scene, struct backend_module *module)
{
    struct backend_kernel *none = scene_kernel(scene, module, "none");
    struct backend_kernel *narrow = scene_kernel(scene, module, "narrow");
    struct backend_launch launch = {.kernel = none, .dims = 1, .global = {4096}, .local = {128}};

    CASE("the grid is the work divided by the block, in each dimension");
    CHECK(run(scene, &launch).status == VGPU_OK && ran_as(scene, 32, 1, 1, 128, 1, 1));
    launch = (struct backend_launch){
        .kernel = none, .dims = 3, .global = {64, 30, 8}, .local = {8, 10, 4}};
    CHECK(run(scene, &launch).status == VGPU_OK && ran_as(scene, 8, 3, 2, 8, 10, 4));

    CASE("work that the block does not divide is INVALID");
    launch.global[1] = 31;
    CHECK(run(scene, &launch).status == VGPU_INVALID);

    CASE("an offset is UNSUPPORTED: no kernel would see it");
    launch.global[1] = 30;
    launch.offset[2] = 4;
    CHECK(run(scene, &launch).status == VGPU_UNSUPPORTED);

    CASE("of work that nobody divided a block of whole warps is chosen");
    launch = (struct backend_launch){.kernel = none, .dims = 1, .global = {1 << 20}};
    CHECK(run(scene, &launch).status == VGPU_OK && ran_as(scene, 2048, 1, 1, 512, 1, 1));
    launch.global[0] = 1600; /* 400 divides it as well */
    CHECK(run(scene, &launch).status == VGPU_OK && ran_as(scene, 5, 1, 1, 320, 1, 1));
    launch.global[0] = 96 * 1000;
    CHECK(run(scene, &launch).status == VGPU_OK && ran_as(scene, 125, 1, 1, 768, 1, 1));

    CASE("or the largest divisor, where there is none of whole warps");
    launch.global[0] = 1000;
    CHECK(run(scene, &launch).status == VGPU_OK && ran_as(scene, 2, 1, 1, 500, 1, 1));
    launch.global[0] = 65537; /* a prime */
    CHECK(run(scene, &launch).status == VGPU_OK && ran_as(scene, 65537, 1, 1, 1, 1, 1));

    CASE("also of work of more dimensions, along the first of them");
    launch = (struct backend_launch){.kernel = none, .dims = 2, .global = {256, 3}};
    CHECK(run(scene, &launch).status == VGPU_OK && ran_as(scene, 1, 3, 1, 256, 1, 1));

    CASE("a block that is larger than the kernel may have is INVALID, and chosen smaller");
    launch = (struct backend_launch){.kernel = narrow, .dims = 1, .global = {4096}, .local = {128}};
    CHECK(run(scene, &launch).status == VGPU_INVALID);
    launch.local[0] = 0;
    CHECK(run(scene, &launch).status == VGPU_OK && ran_as(scene, 64, 1, 1, 64, 1, 1));

    CASE("sizes beyond what the driver can be told are INVALID");
    launch = (struct backend_launch){
        .kernel = none, .dims = 1, .global = {1ull << 40}, .local = {1ull << 32}};
    CHECK(run(scene, &launch).status == VGPU_INVALID);
    launch.local[0] = 1;
    CHECK(run(scene, &launch).status == VGPU_INVALID);
    launch.global[0] = UINT32_MAX; /* the driver's to refuse */
    CHECK(run(scene, &launch).status == VGPU_INVALID);
    backend_cuda.kernel_release(scene->backend, none);
    backend_cuda.kernel_release(scene->backend, narrow);
}

static void check_shared(struct cuda_scene *scene, struct backend_module *module)
{
    struct backend_kernel *none = scene_kernel(scene, module, "none");
    struct backend_launch launch = {.kernel = none, .dims = 1, .global = {1}, .local = {1}};

    CASE("shared memory is given to a launch, and asked for where it is more than usual");
    launch.shared_bytes = FAKE_CUDA_SHARED;
    CHECK(run(scene, &launch).status == VGPU_OK);
    CHECK(scene->last_launch().shared_bytes == FAKE_CUDA_SHARED);
    launch.shared_bytes = FAKE_CUDA_SHARED_OPTIN;
    CHECK(run(scene, &launch).status == VGPU_OK);
    CHECK(scene->last_launch().shared_bytes == FAKE_CUDA_SHARED_OPTIN);
    launch.shared_bytes = 0;
    CHECK(run(scene, &launch).status == VGPU_OK);

    CASE("more shared memory than the device has is INVALID");
    launch.shared_bytes = FAKE_CUDA_SHARED_OPTIN + 1;
    CHECK(run(scene, &launch).status == VGPU_INVALID);
    launch.shared_bytes = UINT32_MAX;
    CHECK(run(scene, &launch).status == VGPU_INVALID);
    backend_cuda.kernel_release(scene->backend, none);
}

static void check_arguments(struct cuda_scene *scene, struct backend_module *module)
{
    struct backend_kernel *mixed = scene_kernel(scene, module, "mixed");
    struct backend_buffer *buffer = scene_buffer(scene, 64);
    uint8_t bytes[16] = {0};
    const struct backend_arg good[] = {arg_value(bytes, 1), arg_value(bytes, 12),
                                       arg_buffer(buffer), arg_value(bytes, 8)};
    struct backend_arg args[4];
    struct backend_launch launch = {
        .kernel = mixed, .dims = 1, .global = {1}, .local = {1}, .arg_count = 3, .args = args};

    CASE("arguments of the sizes that the kernel takes are taken");
    memcpy(args, good, sizeof(args));
    CHECK(run(scene, &launch).status == VGPU_OK);
    args[2] = arg_value(bytes, 8); /* an address, calculated by the guest */
    CHECK(run(scene, &launch).status == VGPU_OK);

    CASE("too few and too many arguments are INVALID");
    launch.arg_count = 2;
    CHECK(run(scene, &launch).status == VGPU_INVALID);
    launch.arg_count = 4;
    CHECK(run(scene, &launch).status == VGPU_INVALID);
    launch.arg_count = 3;

    CASE("an argument of another size is INVALID, also a buffer in the place of a number");
    memcpy(args, good, sizeof(args));
    args[0].size = 4;
    CHECK(run(scene, &launch).status == VGPU_INVALID);
    args[0] = arg_buffer(buffer);
    CHECK(run(scene, &launch).status == VGPU_INVALID);
    memcpy(args, good, sizeof(args));
    args[2].kind = VGPU_ARG_VALUE;
    args[2].value = bytes;
    args[2].size = 4;
    CHECK(run(scene, &launch).status == VGPU_INVALID);

    CASE("local memory as an argument is UNSUPPORTED");
    memcpy(args, good, sizeof(args));
    args[2] = (struct backend_arg){.kind = VGPU_ARG_LOCAL, .size = 8};
    CHECK(run(scene, &launch).status == VGPU_UNSUPPORTED);
    backend_cuda.free(scene->backend, buffer);
    backend_cuda.kernel_release(scene->backend, mixed);
}

/* A driver that does not tell reads what the kernel takes: a sanitizer sees every byte beyond. */
static void check_old_driver(void)
{
    static uint8_t large[VGPU_LAUNCH_ARGS_BYTES];
    struct backend_launch launch = {.dims = 1, .global = {1}, .local = {1}};
    struct backend_kernel *adds, *wide;
    struct backend_module *module;
    struct backend_buffer *sum;
    struct backend_arg args[3];
    uint32_t a = 3, b = 4, is = 0, count = 9;
    struct cuda_scene scene;

    scene_new(&scene, "libfake_cuda_old.so");
    module = scene_module(&scene, KERNELS);
    wide = scene_kernel(&scene, module, "wide");
    sum = scene_buffer(&scene, 4);

    CASE("a driver before 12.4 does not say how many arguments a kernel takes");
    CHECK(backend_cuda.kernel_create(scene.backend, module, "vgpu_vector_add", &adds, &count)
              .status == VGPU_OK);
    CHECK(count == 0);

    CASE("on it a right launch computes");
    args[0] = arg_value(&a, 4);
    args[1] = arg_value(&b, 4);
    args[2] = arg_buffer(sum);
    launch.kernel = adds;
    launch.arg_count = 3;
    launch.args = args;
    CHECK(run(&scene, &launch).status == VGPU_OK);
    CHECK(backend_cuda.read(scene.backend, sum, 0, &is, 4).status == VGPU_OK && is == 7);

    CASE("on it no memory of the worker is read, however short or few the arguments are");
    launch.kernel = wide;
    args[1] = args[2] = arg_value(large, 1);
    CHECK(run(&scene, &launch).status == VGPU_OK);
    args[0] = arg_value(large, sizeof(large) - 16);
    launch.arg_count = 2;
    CHECK(run(&scene, &launch).status == VGPU_OK);
    launch.arg_count = 1;
    CHECK(run(&scene, &launch).status == VGPU_OK);
    launch.arg_count = 0;
    CHECK(run(&scene, &launch).status == VGPU_OK);

    CASE("arguments that are too many bytes for every kernel are INVALID");
    launch.arg_count = 2;
    args[0] = args[1] = arg_value(large, sizeof(large) / 2 + 1);
    CHECK(run(&scene, &launch).status == VGPU_INVALID);

    CASE("an argument that is not given is zeroes, and not what the last launch gave");
    args[0] = arg_value(&a, 4);
    args[1] = arg_value(&b, 4);
    args[2] = arg_buffer(sum);
    launch.kernel = adds;
    launch.arg_count = 3;
    CHECK(run(&scene, &launch).status == VGPU_OK);
    launch.arg_count = 2;
    CHECK(backend_cuda.launch(scene.backend, &launch).status == VGPU_OK);
    CHECK(backend_cuda.finish(scene.backend).native == CUDA_ERROR_ILLEGAL_ADDRESS);

    CASE("what a lost device held is given back all the same");
    backend_cuda.kernel_release(scene.backend, adds);
    backend_cuda.kernel_release(scene.backend, wide);
    backend_cuda.module_unload(scene.backend, module);
    backend_cuda.free(scene.backend, sum);
    scene_end(&scene);
}

int main(void)
{
    struct backend_module *module;
    struct cuda_scene scene;

    scene_new(&scene, "libfake_cuda.so");
    module = scene_module(&scene, KERNELS);
    check_division(&scene, module);
    check_shared(&scene, module);
    check_arguments(&scene, module);
    backend_cuda.module_unload(scene.backend, module);
    CASE("after all that nothing is left, and the driver was never misused");
    scene_end(&scene);
    check_old_driver();
    return check_done();
}
