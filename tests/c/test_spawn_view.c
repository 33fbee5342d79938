/*
 * test_spawn_view.c - Which files a worker is shown, by its role and its settings
 */
#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "check.h"
#include "spawn/view.h"

static struct view view;

/* @setting: NAME=VALUE, or NULL */
static int make(enum spawn_role role, char *setting)
{
    char *environment[] = {"VGPU_BACKEND=opencl", setting, NULL};

    return view_make(&view, role, "/opt/vgpud/vgpu-worker", environment);
}

static bool shows(const char *path)
{
    for (uint32_t i = 0; i < view.count; i++) {
        if (strcmp(view.paths[i].path, path) == 0) {
            return true;
        }
    }
    return false;
}

static int library(char *setting)
{
    return make(SPAWN_ROLE_LAUNCH, setting);
}

int main(void)
{
    char too_long[VIEW_PATH_BYTES + 64] = "VGPU_OPENCL_LIBRARY=/";

    CASE("everybody is shown the program and the libraries, a compiler the linker too");
    CHECK(make(SPAWN_ROLE_LAUNCH, NULL) == 0);
    CHECK(shows("/opt/vgpud/vgpu-worker") && shows("/usr/lib") && !shows("/usr/bin/ld"));
    CHECK(make(SPAWN_ROLE_BUILD, NULL) == 0 && shows("/usr/bin/ld"));
    CHECK(make(SPAWN_ROLE_PROBE, NULL) == 0 && shows("/usr/bin/ld"));

    CASE("nobody is shown where people and services keep things");
    for (int role = SPAWN_ROLE_LAUNCH; role <= SPAWN_ROLE_PROBE; role++) {
        CHECK(make((enum spawn_role)role, NULL) == 0);
        CHECK(!shows("/") && !shows("/etc") && !shows("/home") && !shows("/var") &&
              !shows("/run") && !shows("/dev") && !shows("/usr"));
    }

    CASE("a library is shown with its directory and where its parts may be");
    CHECK(library("VGPU_OPENCL_LIBRARY=/usr/lib/libnothing.so.1") == 0);
    CHECK(shows("/usr/lib"));
    CHECK(library("VGPU_OPENCL_LIBRARY=/opt/x/lib/libOpenCL.so") == 0);
    CHECK(shows("/opt/x/lib") && !shows("/opt/x"));
    CHECK(library("VGPU_CUDA_LIBRARY=/opt/cuda/lib/libcuda.so.1") == 0);
    CHECK(shows("/opt/cuda/lib") && !shows("/opt/cuda"));

    CASE("a library without a path is found where all are");
    CHECK(library("VGPU_OPENCL_LIBRARY=libOpenCL.so.1") == 0);

    CASE("a directory that holds more than libraries is not shown");
    CHECK(library("VGPU_OPENCL_LIBRARY=/libOpenCL.so") == -EINVAL);
    CHECK(library("VGPU_OPENCL_LIBRARY=/proc/1/root/lib.so") == -EINVAL);
    CHECK(library("VGPU_OPENCL_LIBRARY=/sys/lib.so") == -EINVAL);
    CHECK(library("VGPU_OPENCL_LIBRARY=/dev/lib.so") == -EINVAL);
    CHECK(library("VGPU_OPENCL_LIBRARY=/opt/../lib.so") == -EINVAL);
    CHECK(library("VGPU_OPENCL_LIBRARY=opt/lib.so") == -EINVAL);
    CHECK(library("VGPU_CUDA_LIBRARY=/libcuda.so") == -EINVAL);
    CHECK(library("VGPU_OPENCL_LIBRARY=/device/lib.so") == 0);
    memset(too_long + strlen(too_long), 'x', sizeof(too_long) - 8 - strlen(too_long));
    strcpy(too_long + sizeof(too_long) - 8, "/lib.so");
    CHECK(library(too_long) == -ENAMETOOLONG);

    CASE("what a driver tells is shown to those whose device has one");
    CHECK(make(SPAWN_ROLE_LAUNCH, "VGPU_DEVICE_NODES=0") == 0 && !shows("/sys") && !shows("/proc"));
    CHECK(make(SPAWN_ROLE_LAUNCH, "VGPU_DEVICE_NODES=1") == 0 && shows("/sys") && shows("/proc"));
    return check_done();
}
