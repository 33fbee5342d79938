/*
 * test_worker_cuda_faults.c - Every call of the CUDA driver fails once, and some errors are the last
 */
#include "cuda_scene.h"

#define WILD                                                                                       \
    ".version 6.0\n.target sm_50\n.address_size 64\n"                                              \
    ".visible .entry wild()\n{ ret; }\n.visible .entry none()\n{ ret; }\n"

/* Some error that means nothing in particular. */
#define OTHER 304

static void check_open(struct cuda_scene *scene)
{
    static const char *const calls[] = {"cuDeviceGetCount", "cuDeviceGet", "cuCtxCreate_v2",
                                        "cuStreamCreate", "cuEventCreate"};
    struct backend_settings launcher = {.library = scene->library, .device = -1};
    char reason[256];

    CASE("whatever fails while a device is opened, nothing is left of it");
    for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
        reason[0] = 0;
        scene->fail(calls[i], CUDA_ERROR_OUT_OF_MEMORY, 0);
        CHECK(scene_open(scene, -1, reason, sizeof(reason)) == -ENODEV);
        CHECK(strstr(reason, "CUDA_ERROR_OUT_OF_MEMORY (2)"));
        CHECK(scene->live() == 0);
    }
    scene->fail("cuEventCreate", OTHER, BACKEND_LAUNCHES_IN_FLIGHT - 1);
    CHECK(scene_open(scene, -1, reason, sizeof(reason)) == -ENODEV);
    CHECK(strstr(reason, "an error without a name (304)"));
    CHECK(scene->live() == 0);

    CASE("a driver without its compiler is found out when it is opened, by who builds");
    scene->fail("cuLinkCreate_v2", CUDA_ERROR_JIT_COMPILER_NOT_FOUND, 0);
    CHECK(scene_open(scene, -1, reason, sizeof(reason)) == -ENODEV);
    CHECK(strcmp(reason, "the CUDA driver cannot compile: an error without a name (221)") == 0);
    CHECK(scene->live() == 0);
    scene->fail("cuLinkCreate_v2", CUDA_ERROR_JIT_COMPILER_NOT_FOUND, 0);
    CHECK(backend_cuda.open(&launcher, &scene->backend, reason, sizeof(reason)) == 0);
    scene->fail("cuLinkCreate_v2", 0, 0);
    backend_cuda.close(scene->backend);

    CASE("a driver that does not start says why, by name and number");
    scene->fail("cuInit", CUDA_ERROR_NO_DEVICE, 0);
    CHECK(scene_open(scene, -1, reason, sizeof(reason)) == -ENODEV);
    CHECK(strcmp(reason, "the CUDA driver does not start: CUDA_ERROR_NO_DEVICE (100)") == 0);
}

/* Does the verdict say that? */
static bool is(struct backend_verdict verdict, uint16_t status, int32_t native)
{
    return verdict.status == status && verdict.native == native;
}

static void check_memory(struct cuda_scene *scene)
{
    struct backend_buffer *buffer = scene_buffer(scene, 64), *none;
    unsigned live = scene->live();
    uint8_t bytes[16] = {1, 2, 3};
    uint64_t raw;

    CASE("memory that could not be zeroed is not handed out");
    scene->fail("cuMemsetD8Async", OTHER, 0);
    CHECK(is(backend_cuda.alloc(scene->backend, 64, &none, &raw), VGPU_FAILED, OTHER));
    scene->fail("cuStreamSynchronize", OTHER, 0);
    CHECK(is(backend_cuda.alloc(scene->backend, 64, &none, &raw), VGPU_FAILED, OTHER));
    scene->fail("cuMemAlloc_v2", CUDA_ERROR_OUT_OF_MEMORY, 0);
    CHECK(is(backend_cuda.alloc(scene->backend, 64, &none, &raw), VGPU_NO_MEMORY, 2));
    CHECK(scene->live() == live);

    CASE("a transfer that fails says so with the driver's code");
    scene->fail("cuMemcpyHtoDAsync_v2", OTHER, 0);
    CHECK(is(backend_cuda.write(scene->backend, buffer, 0, bytes, 16), VGPU_FAILED, OTHER));
    scene->fail("cuMemcpyDtoHAsync_v2", OTHER, 0);
    CHECK(is(backend_cuda.read(scene->backend, buffer, 0, bytes, 16), VGPU_FAILED, OTHER));
    scene->fail("cuMemcpyDtoDAsync_v2", OTHER, 0);
    CHECK(is(backend_cuda.copy(scene->backend, buffer, 0, buffer, 32, 16), VGPU_FAILED, OTHER));
    for (uint32_t size = 1; size <= 16; size *= 2) {
        static const char *const calls[] = {"cuMemsetD8Async", "cuMemsetD16Async",
                                            "cuMemsetD32Async", "cuMemcpyHtoDAsync_v2",
                                            "cuMemcpyDtoDAsync_v2"};

        scene->fail(calls[__builtin_ctz(size)], OTHER, 0);
        CHECK(
            is(backend_cuda.fill(scene->backend, buffer, 0, 64, bytes, size), VGPU_FAILED, OTHER));
    }

    CASE("afterwards the buffer is as good as before");
    CHECK(backend_cuda.read(scene->backend, buffer, 0, bytes, 16).status == VGPU_OK);
    backend_cuda.free(scene->backend, buffer);
}

static void check_modules(struct cuda_scene *scene)
{
    static const char *const calls[] = {"cuLinkCreate_v2", "cuLinkAddData_v2", "cuLinkComplete"};
    struct backend_module *module;
    struct backend_kernel *kernel;
    struct backend_built built, again;
    unsigned live = scene->live();
    uint32_t args;

    CASE("a compiler that fails without a word is BUILD_FAILED, and its name is the log");
    for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
        scene->fail(calls[i], CUDA_ERROR_INVALID_IMAGE, 0);
        CHECK(is(scene_build(scene, VGPU_MODULE_PTX, WILD, strlen(WILD), "", &built),
                 VGPU_BUILD_FAILED, CUDA_ERROR_INVALID_IMAGE));
        CHECK(!built.binary && built.log && strcmp(built.log, "CUDA_ERROR_INVALID_IMAGE\n") == 0);
        built_drop(&built);
        CHECK(scene->live() == live);
    }

    CASE("a compiler without memory is NO_MEMORY, which the guest may try again");
    scene->fail("cuLinkAddData_v2", CUDA_ERROR_OUT_OF_MEMORY, 0);
    CHECK(is(scene_build(scene, VGPU_MODULE_PTX, WILD, strlen(WILD), "", &built), VGPU_NO_MEMORY,
             CUDA_ERROR_OUT_OF_MEMORY));
    built_drop(&built);

    CASE("a module that is not loaded, in either role, leaves nothing");
    CHECK(scene_build(scene, VGPU_MODULE_PTX, WILD, strlen(WILD), "", &built).status == VGPU_OK);
    scene->fail("cuModuleLoadDataEx", OTHER, 0);
    CHECK(is(backend_cuda.module_load(scene->backend, built.binary, built.binary_bytes, &module),
             VGPU_FAILED, OTHER));
    scene->fail("cuModuleLoadDataEx", OTHER, 0);
    CHECK(is(scene_build(scene, VGPU_MODULE_CUBIN, built.binary, built.binary_bytes, "", &again),
             VGPU_BUILD_FAILED, OTHER));
    CHECK(!again.binary);
    built_drop(&again);
    built_drop(&built);
    CHECK(scene->live() == live);

    CASE("a kernel of which the driver does not tell what must be known is not made");
    module = scene_module(scene, WILD);
    scene->fail("cuFuncGetAttribute", OTHER, 0);
    CHECK(is(backend_cuda.kernel_create(scene->backend, module, "none", &kernel, &args),
             VGPU_FAILED, OTHER));
    scene->fail("cuFuncGetAttribute", OTHER, 1);
    CHECK(is(backend_cuda.kernel_create(scene->backend, module, "none", &kernel, &args),
             VGPU_FAILED, OTHER));
    scene->fail("cuFuncGetAttribute", 0, 0);
    scene->fail("cuModuleGetFunction", OTHER, 0);
    CHECK(is(backend_cuda.kernel_create(scene->backend, module, "none", &kernel, &args),
             VGPU_FAILED, OTHER));
    backend_cuda.module_unload(scene->backend, module);
    CHECK(scene->live() == live);
}

static void check_launches(struct cuda_scene *scene)
{
    static const char *const calls[] = {"cuLaunchKernel", "cuEventRecord",
                                        "cuOccupancyMaxPotentialBlockSize"};
    struct backend_module *module = scene_module(scene, WILD);
    struct backend_kernel *kernel = scene_kernel(scene, module, "none");
    struct backend_launch launch = {.kernel = kernel, .dims = 1, .global = {64}};

    CASE("a launch that fails says so, and those after it run");
    for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
        scene->fail(calls[i], OTHER, 0);
        CHECK(is(backend_cuda.launch(scene->backend, &launch), VGPU_FAILED, OTHER));
        for (uint32_t n = 0; n < 2 * BACKEND_LAUNCHES_IN_FLIGHT + 1; n++)
            CHECK(backend_cuda.launch(scene->backend, &launch).status == VGPU_OK);
    }
    scene->fail("cuEventSynchronize", OTHER, 0);
    CHECK(is(backend_cuda.launch(scene->backend, &launch), VGPU_FAILED, OTHER));
    CHECK(backend_cuda.launch(scene->backend, &launch).status == VGPU_OK);
    CHECK(backend_cuda.finish(scene->backend).status == VGPU_OK);

    CASE("a launch for which the device has not the registers is NO_MEMORY");
    scene->fail("cuLaunchKernel", CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES, 0);
    CHECK(is(backend_cuda.launch(scene->backend, &launch), VGPU_NO_MEMORY, 701));
    CHECK(backend_cuda.finish(scene->backend).status == VGPU_OK);
    backend_cuda.kernel_release(scene->backend, kernel);
    backend_cuda.module_unload(scene->backend, module);
}

/* A device that is lost by that error of cuStreamSynchronize. */
static void check_lost_by(CUresult code)
{
    struct backend_buffer *buffer, *none;
    struct cuda_scene scene;
    uint64_t raw;

    scene_new(&scene, "libfake_cuda.so");
    buffer = scene_buffer(&scene, 4);
    scene.fail("cuStreamSynchronize", code, 0);
    CHECK(is(backend_cuda.finish(scene.backend), VGPU_DEVICE_LOST, code));
    CHECK(is(backend_cuda.alloc(scene.backend, 4, &none, &raw), VGPU_DEVICE_LOST, code));
    backend_cuda.free(scene.backend, buffer);
    scene_end(&scene);
}

static void check_lost(void)
{
    static const CUresult last[] = {4,   214, 220, 226, 700, 702, 709, 710, 714,
                                    715, 716, 717, 718, 719, 721, 806, 810, 999};
    struct backend_launch launch = {.dims = 1, .global = {64}};
    struct backend_module *module;
    struct backend_buffer *buffer;
    struct backend_built built;
    struct cuda_scene scene;
    uint8_t bytes[4];

    CASE("a kernel that writes where nothing is loses its process the device");
    scene_new(&scene, "libfake_cuda.so");
    module = scene_module(&scene, WILD);
    buffer = scene_buffer(&scene, 4);
    launch.kernel = scene_kernel(&scene, module, "wild");
    CHECK(backend_cuda.launch(scene.backend, &launch).status == VGPU_OK);
    CHECK(is(backend_cuda.finish(scene.backend), VGPU_DEVICE_LOST, CUDA_ERROR_ILLEGAL_ADDRESS));

    CASE("then every verdict is DEVICE_LOST, with the error that did it");
    CHECK(is(backend_cuda.launch(scene.backend, &launch), VGPU_DEVICE_LOST, 700));
    CHECK(is(backend_cuda.finish(scene.backend), VGPU_DEVICE_LOST, 700));
    CHECK(is(backend_cuda.read(scene.backend, buffer, 0, bytes, 4), VGPU_DEVICE_LOST, 700));
    CHECK(is(backend_cuda.write(scene.backend, buffer, 0, bytes, 4), VGPU_DEVICE_LOST, 700));
    CHECK(is(backend_cuda.fill(scene.backend, buffer, 0, 4, bytes, 4), VGPU_DEVICE_LOST, 700));
    CHECK(is(scene_build(&scene, VGPU_MODULE_PTX, WILD, strlen(WILD), "", &built), VGPU_DEVICE_LOST,
             700));
    built_drop(&built);
    backend_cuda.kernel_release(scene.backend, launch.kernel);
    backend_cuda.module_unload(scene.backend, module);
    backend_cuda.free(scene.backend, buffer);
    scene_end(&scene);

    CASE("a launch that waits for one that went wrong is lost with it");
    scene_new(&scene, "libfake_cuda.so");
    module = scene_module(&scene, WILD);
    launch.kernel = scene_kernel(&scene, module, "wild");
    for (uint32_t i = 0; i < BACKEND_LAUNCHES_IN_FLIGHT; i++)
        CHECK(backend_cuda.launch(scene.backend, &launch).status == VGPU_OK);
    CHECK(is(backend_cuda.launch(scene.backend, &launch), VGPU_DEVICE_LOST, 700));
    backend_cuda.kernel_release(scene.backend, launch.kernel);
    backend_cuda.module_unload(scene.backend, module);
    scene_end(&scene);

    CASE("so is it with every error after which CUDA serves a process no more");
    for (size_t i = 0; i < sizeof(last) / sizeof(last[0]); i++)
        check_lost_by(last[i]);
}

int main(void)
{
    struct cuda_scene scene;
    char reason[256];

    scene_prepare(&scene, "libfake_cuda.so");
    check_open(&scene);
    CHECK(scene_open(&scene, -1, reason, sizeof(reason)) == 0);
    check_memory(&scene);
    check_modules(&scene);
    check_launches(&scene);
    CASE("after all that nothing is left, and the driver was never misused");
    scene_end(&scene);
    check_lost();
    return check_done();
}
