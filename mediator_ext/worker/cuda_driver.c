/*
 * cuda_driver.c - Finding the CUDA driver library and its functions at run time
 */
#include "cuda_driver.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#define SYSTEM_LIBRARY "libcuda.so.1"

/* dlsym() returns an object pointer; POSIX promises that its bytes are a function's address. */
static bool symbol(void *library, const char *name, void *function)
{
    void *found = dlsym(library, name);

    memcpy(function, &found, sizeof(found));
    return found != NULL;
}

int cuda_load(struct cuda_driver *driver, const char *path, char *reason, size_t reason_bytes)
{
    const char *name = path ? path : SYSTEM_LIBRARY, *missing = NULL;

    memset(driver, 0, sizeof(*driver));
    driver->library = dlopen(name, RTLD_NOW | RTLD_LOCAL);
    if (!driver->library) {
        snprintf(reason, reason_bytes, "cannot load the CUDA driver: %s", dlerror());
        return -ENODEV;
    }
#define X(field, name_in_library, parameters)                                                      \
    if (!symbol(driver->library, #name_in_library, &driver->field))                                \
        missing = missing ? missing : #name_in_library;
    CUDA_FUNCTIONS(X)
#undef X
#define X(field, name_in_library, parameters)                                                      \
    (void)symbol(driver->library, #name_in_library, &driver->field);
    CUDA_NEWER_FUNCTIONS(X)
#undef X
    if (missing) {
        snprintf(reason, reason_bytes,
                 "%.160s has no %s: it is no CUDA driver, or one that is too old", name, missing);
        return -ENODEV;
    }
    return 0;
}

const char *cuda_error_name(const struct cuda_driver *driver, CUresult code)
{
    const char *name = NULL;

    if (driver->GetErrorName(code, &name) != CUDA_SUCCESS || !name)
        return "an error without a name";
    return name;
}
