/*
 * view.c - Which of the host's files a worker sees
 *
 * The host's directories of libraries, whole, since which of them a driver loads next nobody can say
 * beforehand; they come with packages and hold nothing that is anybody's. The worker program. The
 * directory of the CUDA or OpenCL library that vgpud asks for, in which PoCL has its parts, or those of
 * the libraries that the ICD loader is told of. What PoCL must know of the machine. For who compiles, a
 * linker and PoCL's own library of functions. For who has a device with a driver in the kernel, the
 * device nodes, and what the driver tells in /proc and /sys: there, no code of a guest runs in the
 * worker that could read them.
 *
 * Of a client comes one path only, and it is used with the worker's rights, not with ours (root.c).
 */
#include "spawn/view.h"

#include <errno.h>
#include <glob.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "spawn/log.h"
#include "spawn/settings.h"

#define ICD_FILES "/etc/OpenCL/vendors/*.icd"

static const char *const for_everybody[] = {
    "/usr/lib",
    "/usr/lib32",
    "/usr/lib64",
    "/lib",
    "/lib32",
    "/lib64",
    "/usr/local/lib",
    "/etc/ld.so.cache",
    "/etc/alternatives",
    "/etc/OpenCL/vendors",
    "/sys/devices/system/node",
    "/sys/devices/system/cpu",
    "/proc/cpuinfo",
};

static const char *const for_compilers[] = {
    "/usr/bin/ld",
    "/usr/share/pocl",
    "/usr/local/share/pocl",
};

static const char *const for_drivers[] = {"/sys", "/proc"};

static const char *const device_nodes[] = {"/dev/nvidia*", "/dev/dri", "/dev/kfd", "/dev/dxg"};

/* Where an OpenCL library has its parts, besides its own directory: so many directories up, and down
 * from there. The first is PoCL's as it is built, the second that of its Python package. */
static const struct {
    int up;
    const char *down;
} companions[] = {{1, "share/pocl"}, {2, "pocl_binary_distribution/.libs"}};

/* Not of files: what lies there is not what an OpenCL library is loaded from. */
static const char *const no_libraries[] = {"/proc", "/sys", "/dev"};

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static int add(struct view *view, const char *path, enum view_kind kind)
{
    struct view_path *entry;

    for (uint32_t i = 0; i < view->count; i++) {
        entry = &view->paths[i];
        if (strcmp(entry->path, path) == 0) {
            entry->kind = entry->kind == VIEW_IF_THERE ? kind : entry->kind;
            return 0;
        }
    }
    if (view->count == VIEW_PATHS_MAX) {
        return -E2BIG;
    }
    entry = &view->paths[view->count];
    if (strlen(path) >= sizeof(entry->path)) {
        return -ENAMETOOLONG;
    }
    strcpy(entry->path, path);
    entry->kind = kind;
    view->count++;
    return 0;
}

static int add_all(struct view *view, const char *const *paths, size_t count)
{
    int rc = 0;

    for (size_t i = 0; i < count && rc == 0; i++) {
        rc = add(view, paths[i], VIEW_IF_THERE);
    }
    return rc;
}

/* The directory of a library. A view of "/" or of a device's would be of more than libraries. */
static int add_directory_of(struct view *view, const char *library, enum view_kind kind)
{
    char directory[VIEW_PATH_BYTES];
    const char *slash = strrchr(library, '/');
    size_t length = slash ? (size_t)(slash - library) : 0;

    /* What names a directory in another way would hide which one it is. */
    if (library[0] != '/' || length == 0 || strstr(library, "//") || strstr(library, "/./") ||
        strstr(library, "/..")) {
        return -EINVAL;
    }
    if (length >= sizeof(directory)) {
        return -ENAMETOOLONG;
    }
    memcpy(directory, library, length);
    directory[length] = 0;
    for (size_t i = 0; i < COUNT(no_libraries); i++) {
        size_t known = strlen(no_libraries[i]);

        if (strncmp(directory, no_libraries[i], known) == 0 &&
            (directory[known] == 0 || directory[known] == '/')) {
            return -EINVAL;
        }
    }
    return add(view, directory, kind);
}

static int add_companions(struct view *view, const char *library)
{
    int rc = 0;

    for (size_t i = 0; i < COUNT(companions) && rc == 0; i++) {
        char path[PATH_MAX + VIEW_PATH_BYTES];
        char *slash = NULL;

        snprintf(path, PATH_MAX, "%s", library);
        for (int up = 0; up <= companions[i].up; up++) {
            slash = strrchr(path, '/');
            if (!slash) {
                break;
            }
            *slash = 0;
        }
        if (slash) {
            snprintf(slash, VIEW_PATH_BYTES, "/%s", companions[i].down);
            rc = add(view, path, VIEW_IF_THERE);
        }
    }
    return rc;
}

/* Where it is said to be, where it is, and what belongs to it. */
static int add_library(struct view *view, const char *library, enum view_kind kind)
{
    char resolved[PATH_MAX];
    int rc = add_directory_of(view, library, kind);

    if (rc == 0 && !realpath(library, resolved)) {
        rc = kind == VIEW_NEEDED ? -errno : 0;
    } else if (rc == 0) {
        rc = strcmp(resolved, library) != 0 ? add_directory_of(view, resolved, kind) : 0;
        if (rc == 0) {
            rc = add_companions(view, resolved);
        }
    }
    return rc;
}

/* What the ICD loader would load. A name without a path is found where all libraries are. */
static int add_icds(struct view *view)
{
    glob_t found;
    int rc = 0;

    if (glob(ICD_FILES, 0, NULL, &found) != 0) {
        return 0;
    }
    for (size_t i = 0; i < found.gl_pathc && rc == 0; i++) {
        char line[VIEW_PATH_BYTES] = "";
        FILE *file = fopen(found.gl_pathv[i], "re");

        if (!file) {
            continue;
        }
        if (fgets(line, sizeof(line), file)) {
            line[strcspn(line, " \t\r\n")] = 0;
        }
        fclose(file);
        if (line[0] == '/') {
            rc = add_library(view, line, VIEW_IF_THERE);
        }
    }
    globfree(&found);
    return rc;
}

/* @demanded: vgpud says that the device has a driver; else only what can be found is shown */
static int add_driver(struct view *view, bool demanded)
{
    uint32_t before = view->count;
    int rc = 0;

    for (size_t i = 0; i < COUNT(device_nodes) && rc == 0; i++) {
        glob_t found;

        if (glob(device_nodes[i], 0, NULL, &found) != 0) {
            continue;
        }
        for (size_t k = 0; k < found.gl_pathc && rc == 0; k++) {
            rc = add(view, found.gl_pathv[k], VIEW_DEVICES);
        }
        globfree(&found);
    }
    if (rc == 0 && (demanded || view->count > before)) {
        rc = add_all(view, for_drivers, COUNT(for_drivers));
    }
    return rc;
}

int view_make(struct view *view, enum spawn_role role, const char *program,
              char *const *environment)
{
    const char *opencl = settings_value(environment, "VGPU_OPENCL_LIBRARY");
    const char *cuda = settings_value(environment, "VGPU_CUDA_LIBRARY");
    const char *nodes = settings_value(environment, "VGPU_DEVICE_NODES");
    bool compiles = role != SPAWN_ROLE_LAUNCH;
    bool demanded = nodes && strcmp(nodes, "1") == 0;
    int rc;

    view->count = 0;
    rc = add_all(view, for_everybody, COUNT(for_everybody));
    if (rc == 0) {
        rc = add(view, program, VIEW_IF_THERE); /* whoever executes it says that it is not */
    }
    if (rc == 0 && opencl && strchr(opencl, '/')) {
        rc = add_library(view, opencl, VIEW_NEEDED);
    } else if (rc == 0) {
        rc = add_icds(view);
    }
    if (rc == 0 && cuda && strchr(cuda, '/')) {
        rc = add_library(view, cuda, VIEW_NEEDED);
    }
    if (rc == 0 && compiles) {
        rc = add_all(view, for_compilers, COUNT(for_compilers));
    }
    if (rc == 0 && (demanded || role == SPAWN_ROLE_PROBE)) {
        rc = add_driver(view, demanded);
    }
    if (rc < 0) {
        log_error("cannot show a worker the directory of its OpenCL or CUDA library, %s: %s",
                  cuda     ? cuda
                  : opencl ? opencl
                           : "-",
                  strerror(-rc));
    }
    return rc;
}
