/*
 * fake_cuda.c - The fake CUDA driver: faults and misuse, objects, devices, contexts
 */
#include "fake_cuda.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FAULTS_MAX   16u
#define MISUSE_BYTES 4096u

static const char *const kind_names[FAKE_KINDS] = {"context", "stream", "event",
                                                   "memory",  "module", "link"};

static struct {
    char symbol[64];
    CUresult code;
    unsigned after;
} faults[FAULTS_MAX];

static char misuse[MISUSE_BYTES];
static struct fake_object *objects;
static bool initialized;
static int device_count = 1;
static __thread CUcontext current;
static pthread_t owner; /* of the current context */

/* All of it is told on standard error; what is kept may be cut. */
void fake_misuse(const char *symbol, const char *what)
{
    size_t used = strlen(misuse);

    snprintf(misuse + used, sizeof(misuse) - used, "%s: %s\n", symbol, what);
    fprintf(stderr, "fake CUDA driver: %s: %s\n", symbol, what);
    if (getenv("FAKE_CUDA_ABORT"))
        abort();
}

static void __attribute__((format(printf, 2, 3))) misuse_of(const char *symbol, const char *format,
                                                            ...)
{
    char text[256];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    fake_misuse(symbol, text);
}

FAKE_CUDA_EXPORT const char *fake_cuda_misuse(void);
const char *fake_cuda_misuse(void)
{
    return misuse;
}

FAKE_CUDA_EXPORT void fake_cuda_fail(const char *symbol, CUresult code, unsigned after);
void fake_cuda_fail(const char *symbol, CUresult code, unsigned after)
{
    uint32_t at = 0;

    while (at < FAULTS_MAX && faults[at].code && strcmp(faults[at].symbol, symbol) != 0)
        at++;
    if (at == FAULTS_MAX)
        abort();
    snprintf(faults[at].symbol, sizeof(faults[at].symbol), "%s", symbol);
    faults[at].code = code;
    faults[at].after = after;
}

FAKE_CUDA_EXPORT unsigned fake_cuda_live(void);
unsigned fake_cuda_live(void)
{
    unsigned count = 0;

    for (const struct fake_object *each = objects; each; each = each->next)
        count++;
    return count;
}

static CUresult injected(const char *symbol)
{
    for (uint32_t i = 0; i < FAULTS_MAX; i++) {
        CUresult code = faults[i].code;

        if (!code || strcmp(faults[i].symbol, symbol) != 0)
            continue;
        if (faults[i].after-- > 0)
            return CUDA_SUCCESS;
        faults[i].code = 0;
        return code;
    }
    return CUDA_SUCCESS;
}

/* Is an error the last thing that a context says? */
static bool is_last(CUresult code)
{
    static const CUresult last[] = {4,   214, 220, 226, 700, 702, 709, 710, 714,
                                    715, 716, 717, 718, 719, 721, 806, 810, 999};

    for (size_t i = 0; i < sizeof(last) / sizeof(last[0]); i++)
        if (last[i] == code)
            return true;
    return false;
}

CUcontext fake_current(void)
{
    return current;
}

CUresult fake_enter(const char *symbol, bool needs_context)
{
    CUresult code;

    if (!initialized) {
        fake_misuse(symbol, "called before cuInit");
        return FAKE_CUDA_ERROR_NOT_INITIALIZED;
    }
    if (needs_context && !current) {
        fake_misuse(symbol, "called without a current context");
        return CUDA_ERROR_INVALID_CONTEXT;
    }
    if (needs_context && !pthread_equal(owner, pthread_self()))
        fake_misuse(symbol, "called by another thread");
    code = injected(symbol);
    if (!needs_context)
        return code;
    if (is_last(code) && !current->sticky)
        current->sticky = code;
    return current->sticky ? current->sticky : code;
}

void *fake_make(enum fake_kind kind, size_t bytes)
{
    struct fake_object *made = calloc(1, bytes);

    if (!made)
        abort();
    made->kind = kind;
    made->context = kind == FAKE_CONTEXT ? NULL : &current->object;
    made->next = objects;
    objects = made;
    return made;
}

struct fake_object *fake_first(void)
{
    return objects;
}

bool fake_alive(const char *symbol, const void *object, enum fake_kind kind)
{
    for (const struct fake_object *each = objects; each; each = each->next) {
        if (each != object)
            continue;
        if (each->kind == kind && (kind == FAKE_CONTEXT || each->context == &current->object))
            return true;
        misuse_of(symbol, "given a %s for a %s", kind_names[each->kind], kind_names[kind]);
        return false;
    }
    misuse_of(symbol, "no %s, or none any more", kind_names[kind]);
    return false;
}

void fake_unmake(void *object)
{
    struct fake_object **at = &objects;

    while (*at != object)
        at = &(*at)->next;
    *at = (*at)->next;
    free(object);
}

/* ---- the driver ---- */

static void take_environment(void)
{
    const char *fail = getenv("FAKE_CUDA_FAIL"), *devices = getenv("FAKE_CUDA_DEVICES");
    const char *equals = fail ? strchr(fail, '=') : NULL;
    char symbol[64];

    if (equals) {
        snprintf(symbol, sizeof(symbol), "%.*s", (int)(equals - fail), fail);
        fake_cuda_fail(symbol, atoi(equals + 1), 0);
    }
    device_count = devices ? atoi(devices) : 1;
}

DRIVER(cuInit, (unsigned int flags))
{
    if (flags != 0)
        return CUDA_ERROR_INVALID_VALUE;
    if (!getenv("CUDA_CACHE_DISABLE") || strcmp(getenv("CUDA_CACHE_DISABLE"), "1") != 0)
        fake_misuse("cuInit", "programs would be kept in files");
    take_environment();
    initialized = true;
    return injected("cuInit");
}

DRIVER(cuDriverGetVersion, (int *version))
{
    *version = 12040;
    return CUDA_SUCCESS;
}

DRIVER(cuGetErrorName, (CUresult code, const char **name))
{
    static const struct {
        CUresult code;
        const char *name;
    } names[] = {
        {CUDA_SUCCESS, "CUDA_SUCCESS"},
        {CUDA_ERROR_INVALID_VALUE, "CUDA_ERROR_INVALID_VALUE"},
        {CUDA_ERROR_OUT_OF_MEMORY, "CUDA_ERROR_OUT_OF_MEMORY"},
        {CUDA_ERROR_NO_DEVICE, "CUDA_ERROR_NO_DEVICE"},
        {CUDA_ERROR_INVALID_IMAGE, "CUDA_ERROR_INVALID_IMAGE"},
        {CUDA_ERROR_INVALID_PTX, "CUDA_ERROR_INVALID_PTX"},
        {CUDA_ERROR_ILLEGAL_ADDRESS, "CUDA_ERROR_ILLEGAL_ADDRESS"},
    };

    *name = NULL;
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (names[i].code == code)
            *name = names[i].name;
    return *name ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

DRIVER(cuDeviceGetCount, (int *count))
{
    *count = device_count;
    return fake_enter("cuDeviceGetCount", false);
}

DRIVER(cuDeviceGet, (CUdevice * device, int ordinal))
{
    if (ordinal < 0 || ordinal >= device_count)
        return CUDA_ERROR_INVALID_VALUE;
    *device = 100 + ordinal;
    return fake_enter("cuDeviceGet", false);
}

static bool is_device(const char *symbol, CUdevice device)
{
    if (device >= 100 && device < 100 + device_count)
        return true;
    fake_misuse(symbol, "no device");
    return false;
}

DRIVER(cuDeviceGetName, (char *name, int bytes, CUdevice device))
{
    if (!is_device("cuDeviceGetName", device))
        return CUDA_ERROR_INVALID_VALUE;
    snprintf(name, (size_t)bytes, "Fake CUDA device %d", device - 100);
    return fake_enter("cuDeviceGetName", false);
}

DRIVER(cuDeviceTotalMem_v2, (size_t *bytes, CUdevice device))
{
    if (!is_device("cuDeviceTotalMem_v2", device))
        return CUDA_ERROR_INVALID_VALUE;
    *bytes = FAKE_CUDA_MEMORY;
    return fake_enter("cuDeviceTotalMem_v2", false);
}

DRIVER(cuDeviceGetAttribute, (int *value, CUdevice_attribute what, CUdevice device))
{
    if (!is_device("cuDeviceGetAttribute", device))
        return CUDA_ERROR_INVALID_VALUE;
    switch (what) {
    case CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_BLOCK:
        *value = FAKE_CUDA_THREADS;
        break;
    case CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK:
        *value = FAKE_CUDA_SHARED;
        break;
    case CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN:
        *value = FAKE_CUDA_SHARED_OPTIN;
        break;
    case CU_DEVICE_ATTRIBUTE_CLOCK_RATE:
        *value = 1410000;
        break;
    case CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT:
        *value = 108;
        break;
    default:
        return CUDA_ERROR_INVALID_VALUE;
    }
    return fake_enter("cuDeviceGetAttribute", false);
}

DRIVER(cuCtxCreate_v2, (CUcontext * context, unsigned int flags, CUdevice device))
{
    CUresult code = fake_enter("cuCtxCreate_v2", false);

    if (code != CUDA_SUCCESS)
        return code;
    if (flags != CU_CTX_SCHED_BLOCKING_SYNC || !is_device("cuCtxCreate_v2", device))
        return CUDA_ERROR_INVALID_VALUE;
    if (current)
        fake_misuse("cuCtxCreate_v2", "a second context in one process");
    *context = current = fake_make(FAKE_CONTEXT, sizeof(**context));
    owner = pthread_self();
    return CUDA_SUCCESS;
}

static void drop(struct fake_object *object)
{
    switch (object->kind) {
    case FAKE_STREAM:
        fake_drop_stream(object);
        break;
    case FAKE_MEMORY:
        fake_drop_memory(object);
        break;
    case FAKE_MODULE:
        fake_drop_module(object);
        break;
    case FAKE_LINK:
        fake_drop_link(object);
        break;
    default:
        break;
    }
    fake_unmake(object);
}

DRIVER(cuCtxDestroy_v2, (CUcontext context))
{
    struct fake_object *each, *next;

    if (!fake_alive("cuCtxDestroy_v2", context, FAKE_CONTEXT))
        return CUDA_ERROR_INVALID_CONTEXT;
    for (each = objects; each; each = next) {
        next = each->next;
        if (each->context != &context->object)
            continue;
        misuse_of("cuCtxDestroy_v2", "a %s is left", kind_names[each->kind]);
        drop(each);
    }
    if (current == context)
        current = NULL;
    fake_unmake(context);
    return CUDA_SUCCESS;
}
