/*
 * test_worker_cuda.c - The CUDA backend on a fake driver: devices, memory, modules, launches
 *
 * No GPU is used: what is shown is which calls are made, in which order and with which arguments.
 */
#include <elf.h>
#include <stdio.h>

#include "cuda_scene.h"

/* A whole kernel of each kind that the tests ask for. */
#define KERNELS                                                                                    \
    ".version 6.0\n.target sm_50\n.address_size 64\n"                                              \
    ".visible .entry none()\n{ ret; }\n"                                                           \
    ".visible .entry mixed(.param .u8 a, .param .align 4 .b8 b[12], .param .u64 c)\n{ ret; }\n"    \
    ".visible .entry narrow(.param .u32 a)\n.maxntid 64\n{ ret; }\n"

static void check_device(void)
{
    struct vgpu_device_info info = {0};
    struct cuda_scene scene;
    char reason[256] = "";

    CASE("a library that is not there is named");
    scene_prepare(&scene, "libfake_cuda.so");
    free((void *)(uintptr_t)scene.library);
    scene.library = "/nowhere/libcuda.so.1";
    CHECK(scene_open(&scene, -1, reason, sizeof(reason)) == -ENODEV);
    CHECK(strstr(reason, "/nowhere/libcuda.so.1"));

    CASE("a function that the library does not have is named");
    scene.library = strdup(fake_cuda_path("libfake_cuda_broken.so"));
    CHECK(scene_open(&scene, -1, reason, sizeof(reason)) == -ENODEV);
    CHECK(strstr(reason, "libfake_cuda_broken.so has no cuLinkComplete: "));
    free((void *)(uintptr_t)scene.library);

    CASE("a device that is not there is named by its number");
    scene_prepare(&scene, "libfake_cuda.so");
    CHECK(scene_open(&scene, 1, reason, sizeof(reason)) == -ENODEV);
    CHECK(strcmp(reason, "there is no CUDA device 1: there are 1") == 0);
    setenv("FAKE_CUDA_DEVICES", "0", 1);
    CHECK(scene_open(&scene, -1, reason, sizeof(reason)) == -ENODEV);
    CHECK(strcmp(reason, "there is no CUDA device 0: there are 0") == 0);
    setenv("FAKE_CUDA_DEVICES", "3", 1);

    CASE("the device of a number is described by what its driver says");
    CHECK(scene_open(&scene, 2, reason, sizeof(reason)) == 0);
    backend_cuda.describe(scene.backend, &info);
    CHECK(info.type == VGPU_DEVICE_TYPE_GPU && strcmp(info.name, "Fake CUDA device 2") == 0);
    CHECK(strcmp(info.vendor, "NVIDIA") == 0 && strcmp(info.driver, "CUDA 12.4") == 0);
    CHECK(info.global_mem_bytes == FAKE_CUDA_MEMORY && info.max_alloc_bytes == FAKE_CUDA_MEMORY);
    CHECK(info.local_mem_bytes == FAKE_CUDA_SHARED_OPTIN);
    CHECK(info.max_work_group == FAKE_CUDA_THREADS && info.compute_units == 108 &&
          info.clock_mhz == 1410);
    CHECK(info.module_kinds == (1u << VGPU_MODULE_PTX | 1u << VGPU_MODULE_CUBIN));
    CHECK(backend_find("cuda") == &backend_cuda);
    scene_end(&scene);
    unsetenv("FAKE_CUDA_DEVICES");
}

static void check_memory(struct cuda_scene *scene)
{
    uint8_t bytes[4099], read[4099], zeroes[4099] = {0};
    struct backend_buffer *one, *other;
    uint64_t raw = 0;

    for (size_t i = 0; i < sizeof(bytes); i++)
        bytes[i] = (uint8_t)(i * 7 + 1);

    CASE("a fresh buffer is full of zeroes, and has an address");
    CHECK(backend_cuda.alloc(scene->backend, sizeof(read), &one, &raw).status == VGPU_OK);
    CHECK(raw != 0);
    CHECK(backend_cuda.read(scene->backend, one, 0, read, sizeof(read)).status == VGPU_OK);
    CHECK(memcmp(read, zeroes, sizeof(read)) == 0);

    CASE("what is written at an offset is read there");
    CHECK(backend_cuda.write(scene->backend, one, 99, bytes, 4000).status == VGPU_OK);
    CHECK(backend_cuda.read(scene->backend, one, 100, read, 3999).status == VGPU_OK);
    CHECK(memcmp(read, bytes + 1, 3999) == 0);
    CHECK(backend_cuda.read(scene->backend, one, 0, read, 99).status == VGPU_OK);
    CHECK(memcmp(read, zeroes, 99) == 0);

    CASE("a copy goes from one place to another, also within a buffer");
    other = scene_buffer(scene, 4099);
    CHECK(backend_cuda.copy(scene->backend, other, 3, one, 99, 4000).status == VGPU_OK);
    CHECK(backend_cuda.copy(scene->backend, one, 0, one, 99, 99).status == VGPU_OK);
    CHECK(backend_cuda.read(scene->backend, other, 3, read, 4000).status == VGPU_OK);
    CHECK(memcmp(read, bytes, 4000) == 0);
    CHECK(backend_cuda.read(scene->backend, one, 0, read, 99).status == VGPU_OK);
    CHECK(memcmp(read, bytes, 99) == 0);

    CASE("a buffer is wiped before it is given back");
    backend_cuda.free(scene->backend, one);
    backend_cuda.free(scene->backend, other);
    CHECK(scene->dirty() == 0);

    CASE("memory that the device does not have is NO_MEMORY, with the driver's code");
    CHECK(backend_cuda.alloc(scene->backend, FAKE_CUDA_MEMORY + 1, &one, &raw).native ==
          CUDA_ERROR_OUT_OF_MEMORY);
    CHECK(backend_cuda.alloc(scene->backend, FAKE_CUDA_MEMORY + 1, &one, &raw).status ==
          VGPU_NO_MEMORY);
}

static void check_fill(struct cuda_scene *scene)
{
    static const uint8_t pattern[16] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16};
    static const uint8_t same[16] = {9, 8, 9, 8, 9, 8, 9, 8, 9, 8, 9, 8, 9, 8, 9, 8};
    struct backend_buffer *buffer = scene_buffer(scene, 4096);
    uint8_t read[4096];

    CASE("a fill repeats patterns of 1, 2, 4, 8 and 16 bytes, and touches nothing else");
    for (uint32_t bytes = 1; bytes <= 16; bytes *= 2) {
        uint64_t wrong = 0, count = 96 * bytes + bytes; /* no power of two */

        CHECK(backend_cuda.fill(scene->backend, buffer, 0, 4096, "", 1).status == VGPU_OK);
        CHECK(backend_cuda.fill(scene->backend, buffer, 32, count, pattern, bytes).status ==
              VGPU_OK);
        CHECK(backend_cuda.read(scene->backend, buffer, 0, read, 4096).status == VGPU_OK);
        for (uint64_t i = 0; i < 4096; i++)
            wrong += read[i] != (i < 32 || i >= 32 + count ? 0 : pattern[(i - 32) % bytes]);
        CHECK(wrong == 0);
    }

    CASE("a pattern that is a shorter one again and again fills the same");
    CHECK(backend_cuda.fill(scene->backend, buffer, 0, 4096, same, 16).status == VGPU_OK);
    CHECK(backend_cuda.read(scene->backend, buffer, 0, read, 4096).status == VGPU_OK);
    CHECK(memcmp(read, same, 16) == 0 && memcmp(read, read + 16, 4080) == 0);
    backend_cuda.free(scene->backend, buffer);
}

static void check_build(struct cuda_scene *scene)
{
    static const char bad[] = "int main;\n", nul[] = VECADD "\0behind";
    struct backend_built built, again;
    struct backend_module *module;
    Elf64_Ehdr *head;

    CASE("PTX becomes a cubin, which is all that is loaded");
    CHECK(scene_build(scene, VGPU_MODULE_PTX, VECADD, strlen(VECADD), " \n", &built).status ==
          VGPU_OK);
    CHECK(built.binary_bytes > 64 && memcmp(built.binary, ELFMAG, SELFMAG) == 0);
    CHECK(!built.log && built.log_bytes == 0);
    CHECK(backend_cuda.module_load(scene->backend, built.binary, built.binary_bytes, &module)
              .status == VGPU_OK);
    backend_cuda.module_unload(scene->backend, module);

    CASE("a cubin is handed on as it is");
    CHECK(scene_build(scene, VGPU_MODULE_CUBIN, built.binary, built.binary_bytes, "", &again)
              .status == VGPU_OK);
    CHECK(again.binary_bytes == built.binary_bytes &&
          memcmp(again.binary, built.binary, built.binary_bytes) == 0);
    built_drop(&again);

    CASE("what is no cubin, or not a whole one, never reaches the driver");
    CHECK(scene_build(scene, VGPU_MODULE_CUBIN, VECADD, strlen(VECADD), "", &again).status ==
          VGPU_BUILD_FAILED);
    CHECK(again.log && !again.binary);
    built_drop(&again);
    head = (Elf64_Ehdr *)(void *)built.binary;
    head->e_shoff = built.binary_bytes - 8;
    head->e_shentsize = sizeof(Elf64_Shdr);
    head->e_shnum = 1;
    CHECK(scene_build(scene, VGPU_MODULE_CUBIN, built.binary, built.binary_bytes, "", &again)
              .status == VGPU_BUILD_FAILED);
    built_drop(&again);
    CHECK(backend_cuda.module_load(scene->backend, built.binary, built.binary_bytes, &module)
              .status == VGPU_FAILED);
    head->e_shoff = head->e_shnum = 0;
    CHECK(backend_cuda.module_load(scene->backend, built.binary, 63, &module).native ==
          CUDA_ERROR_INVALID_IMAGE);

    CASE("a cubin that the driver refuses did not build");
    built.binary[64] ^= 1;
    CHECK(scene_build(scene, VGPU_MODULE_CUBIN, built.binary, built.binary_bytes, "", &again)
              .status == VGPU_BUILD_FAILED);
    CHECK(again.log && strcmp(again.log, "CUDA_ERROR_INVALID_IMAGE\n") == 0 && !again.binary);
    built_drop(&again);
    built_drop(&built);

    CASE("PTX that does not compile is BUILD_FAILED, with the compiler's log");
    CHECK(scene_build(scene, VGPU_MODULE_PTX, bad, strlen(bad), "", &built).native ==
          CUDA_ERROR_INVALID_PTX);
    CHECK(built.log && strstr(built.log, "line 1; fatal") && !built.binary);
    CHECK(built.log_bytes == strlen(built.log));
    built_drop(&built);

    CASE("PTX with a NUL in it, and options, are BUILD_FAILED, and the log says why");
    CHECK(scene_build(scene, VGPU_MODULE_PTX, nul, sizeof(nul) - 1, "", &built).status ==
          VGPU_BUILD_FAILED);
    CHECK(built.log && strstr(built.log, "NUL"));
    built_drop(&built);
    CHECK(scene_build(scene, VGPU_MODULE_PTX, VECADD, strlen(VECADD), "-w", &built).status ==
          VGPU_BUILD_FAILED);
    CHECK(built.log && strstr(built.log, "options"));
    built_drop(&built);

    CASE("OpenCL C and SPIR-V are UNSUPPORTED");
    CHECK(scene_build(scene, VGPU_MODULE_OPENCL_C, "x", 1, "", &built).status == VGPU_UNSUPPORTED);
    CHECK(scene_build(scene, VGPU_MODULE_SPIRV, "x", 1, "", &built).status == VGPU_UNSUPPORTED);
}

static void check_kernels(struct cuda_scene *scene)
{
    struct backend_module *module = scene_module(scene, KERNELS);
    struct vgpu_arg_info info[3] = {{VGPU_ARG_NOT_KNOWN, 0, "", ""},
                                    {VGPU_ARG_NOT_KNOWN, 0, "", ""},
                                    {VGPU_ARG_NOT_KNOWN, 0, "", ""}};
    struct backend_kernel *kernel;
    char many[8192] = ".version 6.0\n.visible .entry many(";
    uint32_t args = 9;

    CASE("a kernel tells how many arguments it takes");
    CHECK(backend_cuda.kernel_create(scene->backend, module, "none", &kernel, &args).status ==
          VGPU_OK);
    CHECK(args == 0);
    backend_cuda.kernel_release(scene->backend, kernel);
    CHECK(backend_cuda.kernel_create(scene->backend, module, "mixed", &kernel, &args).status ==
          VGPU_OK);
    CHECK(args == 3);

    CASE("it tells the size of each, and that what is no address is a value");
    backend_cuda.kernel_arg(scene->backend, kernel, 0, &info[0]);
    backend_cuda.kernel_arg(scene->backend, kernel, 1, &info[1]);
    backend_cuda.kernel_arg(scene->backend, kernel, 2, &info[2]);
    CHECK(info[0].kind == VGPU_ARG_VALUE && info[0].size == 1);
    CHECK(info[1].kind == VGPU_ARG_VALUE && info[1].size == 12);
    CHECK(info[2].kind == VGPU_ARG_NOT_KNOWN && info[2].size == 8);
    backend_cuda.kernel_release(scene->backend, kernel);

    CASE("a name that is not in the module is NO_OBJECT");
    CHECK(backend_cuda.kernel_create(scene->backend, module, "mix", &kernel, &args).status ==
          VGPU_NO_OBJECT);
    backend_cuda.module_unload(scene->backend, module);

    CASE("a kernel with more arguments than a launch can have is UNSUPPORTED");
    for (uint32_t i = 0; i <= VGPU_LAUNCH_ARGS_MAX; i++)
        sprintf(many + strlen(many), "%s.param .u32 p%u", i ? ", " : "", i);
    strcat(many, ")\n{ ret; }\n");
    module = scene_module(scene, many);
    CHECK(backend_cuda.kernel_create(scene->backend, module, "many", &kernel, &args).status ==
          VGPU_UNSUPPORTED);
    backend_cuda.module_unload(scene->backend, module);
}

static void check_vecadd(struct cuda_scene *scene)
{
    enum { COUNT = 1000 };
    struct backend_module *module = scene_module(scene, VECADD);
    struct backend_kernel *kernel = scene_kernel(scene, module, "vecadd");
    struct backend_buffer *a = scene_buffer(scene, 4 * COUNT), *b = scene_buffer(scene, 4 * COUNT);
    uint32_t count = COUNT, wrong = 0, numbers[COUNT], sums[COUNT];
    struct backend_arg args[] = {arg_buffer(a), arg_buffer(b), arg_buffer(b),
                                 arg_value(&count, sizeof(count))};
    struct backend_launch launch = {
        .kernel = kernel, .dims = 1, .global = {COUNT}, .arg_count = 4, .args = args};

    for (uint32_t i = 0; i < COUNT; i++)
        numbers[i] = i * i;
    CHECK(backend_cuda.write(scene->backend, a, 0, numbers, sizeof(numbers)).status == VGPU_OK);

    CASE("a kernel computes on what was written before, and is read after");
    for (int i = 0; i < 5; i++)
        CHECK(backend_cuda.launch(scene->backend, &launch).status == VGPU_OK);
    CHECK(backend_cuda.read(scene->backend, b, 0, sums, sizeof(sums)).status == VGPU_OK);
    for (uint32_t i = 0; i < COUNT; i++)
        wrong += sums[i] != 5 * i * i;
    CHECK(wrong == 0);

    CASE("no more launches are unfinished than may be");
    CHECK(scene->most_in_flight() == BACKEND_LAUNCHES_IN_FLIGHT);
    CHECK(backend_cuda.finish(scene->backend).status == VGPU_OK);

    CASE("a value that is gone when the launch returns was taken");
    CHECK(backend_cuda.fill(scene->backend, b, 0, 4 * COUNT, "", 1).status == VGPU_OK);
    CHECK(backend_cuda.launch(scene->backend, &launch).status == VGPU_OK);
    count = 0;
    CHECK(backend_cuda.read(scene->backend, b, 0, sums, sizeof(sums)).status == VGPU_OK);
    CHECK(sums[COUNT - 1] == numbers[COUNT - 1]);
    CHECK(backend_cuda.finish(scene->backend).status == VGPU_OK);
    backend_cuda.kernel_release(scene->backend, kernel);
    backend_cuda.module_unload(scene->backend, module);
    backend_cuda.free(scene->backend, a);
    backend_cuda.free(scene->backend, b);
}

int main(void)
{
    struct cuda_scene scene;

    check_device();
    scene_new(&scene, "libfake_cuda.so");
    check_memory(&scene);
    check_fill(&scene);
    check_build(&scene);
    check_kernels(&scene);
    check_vecadd(&scene);

    CASE("after all that nothing is left, and the driver was never misused");
    scene_end(&scene);
    return check_done();
}
