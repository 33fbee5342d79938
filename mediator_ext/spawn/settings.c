/*
 * settings.c - The environment of a worker: what a client may set, and what it never may
 *
 * Names are allowed one by one, because the environment of a program decides which code it loads:
 * LD_* and LIBRARY_PATH are therefore not among them. What OpenCL's loader reads is allowed, since
 * choosing the driver is the purpose, and the worker runs with its own uid and nothing to lose.
 * PoCL has many tuning variables, allowed by prefix; its cache directory is ours to choose.
 */
#include "spawn/settings.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const allowed_names[] = {
    "OCL_ICD_VENDORS",   "OCL_ICD_FILENAMES", "VGPU_BACKEND",     "VGPU_OPENCL_LIBRARY",
    "VGPU_CUDA_LIBRARY", "VGPU_DEVICE_INDEX", "VGPU_CPU_THREADS", SETTINGS_MEMORY,
    SETTINGS_TASKS,      "VGPU_DEVICE_NODES",
};

static const char allowed_prefix[] = "POCL_";
static const char cache_name[] = "POCL_CACHE_DIR";

static bool name_equals(const char *entry, size_t length, const char *name)
{
    return strlen(name) == length && memcmp(entry, name, length) == 0;
}

static bool name_allowed(const char *entry, size_t length)
{
    if (name_equals(entry, length, cache_name)) {
        return false;
    }
    for (size_t i = 0; i < sizeof(allowed_names) / sizeof(allowed_names[0]); i++) {
        if (name_equals(entry, length, allowed_names[i])) {
            return true;
        }
    }
    if (length < sizeof(allowed_prefix) ||
        memcmp(entry, allowed_prefix, sizeof(allowed_prefix) - 1) != 0) {
        return false;
    }
    for (size_t i = 0; i < length; i++) {
        bool letter = (entry[i] >= 'A' && entry[i] <= 'Z') || entry[i] == '_';
        bool digit = entry[i] >= '0' && entry[i] <= '9';

        if (!letter && !digit) {
            return false;
        }
    }
    return true;
}

/* @entry is ended by a NUL. */
static int check_entry(const struct settings *settings, unsigned int count, const char *entry)
{
    const char *equals = strchr(entry, '=');
    size_t length;

    if (!equals) {
        return -EINVAL;
    }
    length = (size_t)(equals - entry);
    if (!name_allowed(entry, length)) {
        return -EINVAL;
    }
    for (const char *byte = equals + 1; *byte; byte++) {
        if ((unsigned char)*byte < ' ' || *byte == 0x7f) {
            return -EINVAL;
        }
    }
    for (unsigned int i = 0; i < count; i++) {
        /* The '=' belongs to what is compared, so that no name matches a longer one. */
        if (strncmp(settings->environment[i], entry, length + 1) == 0) {
            return -EINVAL;
        }
    }
    return 0;
}

int settings_parse(struct settings *settings, const char *detail, const char *scratch)
{
    static const char *const own_names[] = {"HOME", "TMPDIR", cache_name};
    static char path[] = "PATH=/usr/bin:/bin";
    unsigned int count = 0;
    size_t offset = 0;

    if (strlen(scratch) >= SETTINGS_SCRATCH_BYTES) {
        return -ENAMETOOLONG;
    }
    if (detail[SPAWN_DETAIL_BYTES - 1] != '\0') {
        return -EINVAL;
    }
    memcpy(settings->asked, detail, SPAWN_DETAIL_BYTES);
    while (settings->asked[offset]) {
        char *entry = settings->asked + offset;
        int rc = count < SETTINGS_MAX ? check_entry(settings, count, entry) : -E2BIG;

        if (rc < 0) {
            return rc;
        }
        settings->environment[count++] = entry;
        offset += strlen(entry) + 1;
        if (offset == SPAWN_DETAIL_BYTES) {
            break;
        }
    }
    for (; offset < SPAWN_DETAIL_BYTES; offset++) {
        if (settings->asked[offset]) {
            return -EINVAL;
        }
    }
    for (unsigned int i = 0; i < 3; i++) {
        snprintf(settings->own[i], sizeof(settings->own[i]), "%s=%s", own_names[i], scratch);
        settings->environment[count++] = settings->own[i];
    }
    settings->environment[count++] = path;
    settings->environment[count] = NULL;
    return 0;
}

const char *settings_value(char *const *environment, const char *name)
{
    size_t length = strlen(name);

    for (; *environment; environment++) {
        if (strncmp(*environment, name, length) == 0 && (*environment)[length] == '=') {
            return *environment + length + 1;
        }
    }
    return NULL;
}

int settings_limit(const struct settings *settings, const char *name, uint64_t *limit)
{
    const char *text = settings_value(settings->environment, name);
    char *end;

    *limit = 0;
    if (!text) {
        return 0;
    }
    errno = 0;
    *limit = strtoull(text, &end, 10);
    return errno || *text < '0' || *text > '9' || *end ? -EINVAL : 0;
}
