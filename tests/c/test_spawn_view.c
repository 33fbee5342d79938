/*
 * test_spawn_view.c - Which files a worker is shown, by its role and its settings
 */
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

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

/* A file in a directory of its own, with a path that is not led to by links. */
static void make_library(char *path, size_t bytes, char *directory)
{
    int fd;

    CHECK(mkdtemp(directory) != NULL);
    snprintf(path, bytes, "%s/lib.so", directory);
    fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    CHECK(fd >= 0);
    close(fd);
}

int main(void)
{
    char too_long[VIEW_PATH_BYTES + 64] = "VGPU_OPENCL_LIBRARY=/";
    char directory[] = "/tmp/vgpu-view-XXXXXX", path[64], setting[128];

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
    make_library(path, sizeof(path), directory);
    snprintf(setting, sizeof(setting), "VGPU_OPENCL_LIBRARY=%s", path);
    CHECK(library(setting) == 0 && shows(directory) && !shows("/tmp"));
    snprintf(setting, sizeof(setting), "VGPU_CUDA_LIBRARY=%s", path);
    CHECK(library(setting) == 0 && shows(directory) && !shows("/tmp"));
    CHECK(unlink(path) == 0);

    CASE("a library that is not there is missed before its directory is shown");
    CHECK(library(setting) == -ENOENT);
    CHECK(symlink("/proc/cpuinfo", path) == 0 && library(setting) == -EINVAL);
    CHECK(unlink(path) == 0 && rmdir(directory) == 0);

    CASE("a library without a path is found where all are");
    CHECK(library("VGPU_OPENCL_LIBRARY=libOpenCL.so.1") == 0);

    CASE("a directory that holds more than libraries is not shown");
    CHECK(library("VGPU_OPENCL_LIBRARY=/libOpenCL.so") == -EINVAL);
    CHECK(library("VGPU_OPENCL_LIBRARY=/proc/1/root/lib.so") == -EINVAL);
    CHECK(library("VGPU_OPENCL_LIBRARY=/sys/lib.so") == -EINVAL);
    CHECK(library("VGPU_OPENCL_LIBRARY=/dev/lib.so") == -EINVAL);
    CHECK(library("VGPU_OPENCL_LIBRARY=/opt/../lib.so") == -EINVAL);
    CHECK(library("VGPU_OPENCL_LIBRARY=opt/lib.so") == -EINVAL);
    CHECK(library("VGPU_OPENCL_LIBRARY=/./proc/lib.so") == -EINVAL);
    CHECK(library("VGPU_OPENCL_LIBRARY=/./lib.so") == -EINVAL);
    CHECK(library("VGPU_OPENCL_LIBRARY=//proc/lib.so") == -EINVAL);
    CHECK(library("VGPU_OPENCL_LIBRARY=/usr/..") == -EINVAL);
    CHECK(library("VGPU_CUDA_LIBRARY=/libcuda.so") == -EINVAL);
    CHECK(library("VGPU_OPENCL_LIBRARY=/device/lib.so") == -ENOENT); /* not below /dev */
    memset(too_long + strlen(too_long), 'x', sizeof(too_long) - 8 - strlen(too_long));
    strcpy(too_long + sizeof(too_long) - 8, "/lib.so");
    CHECK(library(too_long) == -ENAMETOOLONG);

    CASE("what a driver tells is shown to those whose device has one");
    CHECK(make(SPAWN_ROLE_LAUNCH, "VGPU_DEVICE_NODES=0") == 0 && !shows("/sys") && !shows("/proc"));
    CHECK(make(SPAWN_ROLE_LAUNCH, "VGPU_DEVICE_NODES=1") == 0 && shows("/sys") && shows("/proc"));
    return check_done();
}
