/*
 * opencl_icd.c - Finding an OpenCL library and its functions at run time
 *
 * A loader exports the functions by name. A bare implementation need not: the cl_khr_icd extension
 * only asks it for clGetExtensionFunctionAddress, through which clIcdGetPlatformIDsKHR is found,
 * and for platforms that begin with a pointer to the table of all its functions. Both kinds are
 * taken.
 *
 * A name without a path is the dynamic linker's to find. A path is resolved first: implementations
 * look for their own parts beside themselves ($ORIGIN), and would look beside a symbolic link instead.
 */
#include "opencl_icd.h"

#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef cl_int(CL_API_CALL *get_platforms)(cl_uint count, cl_platform_id *platforms,
                                           cl_uint *found);

/* What every object of an implementation with cl_khr_icd begins with. */
struct icd_object {
    const cl_icd_dispatch *dispatch;
};

/* dlsym() returns an object pointer; POSIX promises that its bytes are a function's address. */
static bool symbol(void *library, const char *name, void *function)
{
    void *found = dlsym(library, name);

    memcpy(function, &found, sizeof(found));
    return found != NULL;
}

static bool bind_by_name(struct opencl *opencl)
{
    bool all = true;

#define X(name) all = symbol(opencl->library, "cl" #name, &opencl->name) && all;
    OPENCL_FUNCTIONS(X)
#undef X
    return all;
}

static bool bind_by_table(struct opencl *opencl)
{
    const cl_icd_dispatch *table = ((const struct icd_object *)opencl->platforms[0])->dispatch;
    bool all = table != NULL;

#define X(name) all = all && (opencl->name = table->cl##name) != NULL;
    OPENCL_FUNCTIONS(X)
#undef X
    return all;
}

static get_platforms find_get_platforms(void *library, bool by_name)
{
    cl_api_clGetExtensionFunctionAddress address;
    get_platforms found = NULL;
    void *function;

    if (by_name)
        return symbol(library, "clGetPlatformIDs", &found) ? found : NULL;
    if (!symbol(library, "clGetExtensionFunctionAddress", &address))
        return NULL;
    function = address("clIcdGetPlatformIDsKHR");
    memcpy(&found, &function, sizeof(found));
    return found;
}

int opencl_load(struct opencl *opencl, const char *path, char *reason, size_t reason_bytes)
{
    char resolved[PATH_MAX];
    get_platforms platforms;
    const char *name = path ? path : "libOpenCL.so.1";
    bool by_name;
    cl_int code;

    memset(opencl, 0, sizeof(*opencl));
    if (strchr(name, '/') && !realpath(name, resolved)) {
        snprintf(reason, reason_bytes, "OpenCL library %.160s: %s", name, strerror(errno));
        return -ENODEV;
    }
    opencl->library = dlopen(strchr(name, '/') ? resolved : name, RTLD_NOW | RTLD_LOCAL);
    if (!opencl->library) {
        snprintf(reason, reason_bytes, "cannot load OpenCL: %s", dlerror());
        return -ENODEV;
    }
    by_name = bind_by_name(opencl);
    platforms = find_get_platforms(opencl->library, by_name);
    if (!platforms) {
        snprintf(reason, reason_bytes, "%.180s is no OpenCL library", name);
        return -ENODEV;
    }
    code = platforms(OPENCL_PLATFORMS_MAX, opencl->platforms, &opencl->platform_count);
    if (opencl->platform_count > OPENCL_PLATFORMS_MAX)
        opencl->platform_count = OPENCL_PLATFORMS_MAX;
    if (code != CL_SUCCESS || opencl->platform_count == 0) {
        snprintf(reason, reason_bytes, "the OpenCL library has no platform (code %d)", code);
        return -ENODEV;
    }
    if (!by_name && !bind_by_table(opencl)) {
        snprintf(reason, reason_bytes, "the OpenCL library is older than OpenCL 1.2");
        return -ENODEV;
    }
    return 0;
}

/* The table is as long as the platform is new: its version says what may be read of it. */
static bool is_at_least_2_1(const struct opencl *opencl, cl_platform_id platform)
{
    char version[128] = "";
    unsigned int major = 0, minor = 0;

    opencl->GetPlatformInfo(platform, CL_PLATFORM_VERSION, sizeof(version) - 1, version, NULL);
    return sscanf(version, "OpenCL %u.%u", &major, &minor) == 2 &&
           (major > 2 || (major == 2 && minor >= 1));
}

cl_api_clCreateProgramWithIL opencl_spirv(const struct opencl *opencl, cl_platform_id platform,
                                          cl_device_id device)
{
    cl_api_clCreateProgramWithIL by_name;
    char languages[256] = "";

    if (!is_at_least_2_1(opencl, platform) ||
        opencl->GetDeviceInfo(device, CL_DEVICE_IL_VERSION, sizeof(languages) - 1, languages,
                              NULL) != CL_SUCCESS ||
        !strstr(languages, "SPIR-V"))
        return NULL;
    if (symbol(opencl->library, "clCreateProgramWithIL", &by_name))
        return by_name;
    return ((const struct icd_object *)platform)->dispatch->clCreateProgramWithIL;
}
