/*
 * cuda_scene.h - The CUDA backend on the fake driver, for tests
 */
#ifndef VGPUD_TESTS_CUDA_SCENE_H
#define VGPUD_TESTS_CUDA_SCENE_H

#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "check.h"
#include "fake_cuda.h"
#include "worker/cuda_device.h"

#define VECADD                                                                                     \
    ".version 6.0\n.target sm_50\n.address_size 64\n"                                              \
    ".visible .entry vecadd(.param .u64 a, .param .u64 b, .param .u64 sum, .param .u32 count)\n"   \
    "{ ret; }\n"

struct cuda_scene {
    const char *library; /* of the backend, and of the functions below */
    struct backend *backend;
    fake_cuda_fail_t fail;
    fake_cuda_misuse_t misuse;
    fake_cuda_live_t live;
    fake_cuda_dirty_t dirty;
    fake_cuda_most_in_flight_t most_in_flight;
    fake_cuda_last_launch_t last_launch;
};

/* The library of that name in the directory above the test program's. */
static inline const char *fake_cuda_path(const char *name)
{
    static char path[PATH_MAX];
    ssize_t length = readlink("/proc/self/exe", path, sizeof(path) - 1);

    if (length < 0)
        abort();
    path[length] = 0;
    for (int i = 0; i < 2; i++)
        *strrchr(path, '/') = 0;
    strcat(strcat(path, "/"), name);
    return path;
}

static inline int scene_open(struct cuda_scene *scene, int32_t device, char *reason, size_t bytes)
{
    struct backend_settings settings = {
        .library = scene->library, .device = device, .builds = true};

    return backend_cuda.open(&settings, &scene->backend, reason, bytes);
}

static inline void fake_find(void *library, const char *name, void *function)
{
    void *found = dlsym(library, name);

    if (!found)
        abort();
    memcpy(function, &found, sizeof(found));
}

/* A scene without a device: the fake can be told how it is to fail. */
static inline void scene_prepare(struct cuda_scene *scene, const char *library)
{
    void *handle;

    memset(scene, 0, sizeof(*scene));
    scene->library = strdup(fake_cuda_path(library));
    handle = dlopen(scene->library, RTLD_NOW | RTLD_LOCAL);
    if (!scene->library || !handle) {
        fprintf(stderr, "%s: %s\n", scene->library, dlerror());
        abort();
    }
    fake_find(handle, "fake_cuda_fail", &scene->fail);
    fake_find(handle, "fake_cuda_misuse", &scene->misuse);
    fake_find(handle, "fake_cuda_live", &scene->live);
    fake_find(handle, "fake_cuda_dirty", &scene->dirty);
    fake_find(handle, "fake_cuda_most_in_flight", &scene->most_in_flight);
    fake_find(handle, "fake_cuda_last_launch", &scene->last_launch);
}

static inline void scene_new(struct cuda_scene *scene, const char *library)
{
    char reason[256] = "";

    scene_prepare(scene, library);
    if (scene_open(scene, -1, reason, sizeof(reason)) != 0) {
        fprintf(stderr, "%s\n", reason);
        abort();
    }
}

/* Nothing is left, and nothing was done that must not be done. */
static inline void scene_end(struct cuda_scene *scene)
{
    backend_cuda.close(scene->backend);
    CHECK(scene->live() == 0);
    CHECK(strcmp(scene->misuse(), "") == 0);
    free((void *)(uintptr_t)scene->library);
}

static inline struct backend_verdict scene_build(struct cuda_scene *scene, uint32_t kind,
                                                 const void *bytes, uint64_t size,
                                                 const char *options, struct backend_built *built)
{
    struct backend_code code = {kind, bytes, size, options};

    *built = (struct backend_built){0};
    return backend_cuda.build(scene->backend, &code, built);
}

static inline void built_drop(struct backend_built *built)
{
    free(built->log);
    free(built->binary);
    *built = (struct backend_built){0};
}

/* A module from PTX, built and loaded. */
static inline struct backend_module *scene_module(struct cuda_scene *scene, const char *ptx)
{
    struct backend_module *module = NULL;
    struct backend_built built;

    CHECK(scene_build(scene, VGPU_MODULE_PTX, ptx, strlen(ptx), "", &built).status == VGPU_OK);
    CHECK(backend_cuda.module_load(scene->backend, built.binary, built.binary_bytes, &module)
              .status == VGPU_OK);
    built_drop(&built);
    return module;
}

static inline struct backend_kernel *scene_kernel(struct cuda_scene *scene,
                                                  struct backend_module *module, const char *name)
{
    struct backend_kernel *kernel = NULL;
    uint32_t args;

    CHECK(backend_cuda.kernel_create(scene->backend, module, name, &kernel, &args).status ==
          VGPU_OK);
    return kernel;
}

static inline struct backend_buffer *scene_buffer(struct cuda_scene *scene, uint64_t bytes)
{
    struct backend_buffer *buffer = NULL;
    uint64_t raw;

    CHECK(backend_cuda.alloc(scene->backend, bytes, &buffer, &raw).status == VGPU_OK);
    return buffer;
}

static inline struct backend_arg arg_value(const void *value, uint32_t size)
{
    return (struct backend_arg){.kind = VGPU_ARG_VALUE, .size = size, .value = value};
}

static inline struct backend_arg arg_buffer(struct backend_buffer *buffer)
{
    return (struct backend_arg){
        .kind = VGPU_ARG_BUFFER, .size = sizeof(struct vgpu_address), .buffer = buffer};
}

#endif
