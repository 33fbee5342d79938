/*
 * settings.h - The environment of a worker: what a client may set, and what it never may
 */
#ifndef VGPUD_SPAWN_SETTINGS_H
#define VGPUD_SPAWN_SETTINGS_H

#include <stdint.h>

#include "spawn/spawn_protocol.h"

#define SETTINGS_MAX           16
#define SETTINGS_SCRATCH_BYTES 160 /* of the scratch directory's path, with its NUL */

/* Read by the spawner itself: what the worker's control group is limited to. */
#define SETTINGS_MEMORY "VGPU_MEMORY_LIMIT"
#define SETTINGS_TASKS  "VGPU_TASKS_LIMIT"

struct settings {
    char asked[SPAWN_DETAIL_BYTES];
    char own[3][SETTINGS_SCRATCH_BYTES + 16];
    char *environment[SETTINGS_MAX + 5]; /* points into the above; ends with NULL */
};

/**
 * settings_parse() - Check a client's settings and make the worker's whole environment of them
 * @settings: filled; not to be copied afterwards, since it points into itself
 * @detail: SPAWN_DETAIL_BYTES bytes: NAME=VALUE entries, each ended by a NUL, the rest zeroes
 * @scratch: the worker's own directory, shorter than SETTINGS_SCRATCH_BYTES
 *
 * The environment is the client's entries, then PATH, HOME, TMPDIR and POCL_CACHE_DIR, which a
 * client cannot set. Nothing is inherited.
 *
 * Return: 0; -EINVAL for a name that is not allowed or comes twice, for a control character, for a
 * missing NUL; -E2BIG for more than SETTINGS_MAX entries; -ENAMETOOLONG for @scratch
 */
int settings_parse(struct settings *settings, const char *detail, const char *scratch);

/** settings_value() - What a name is set to in an environment that ends with NULL; NULL: it is not */
const char *settings_value(char *const *environment, const char *name);

/**
 * settings_limit() - A limit that is among the settings
 * @settings: parsed
 * @name: SETTINGS_MEMORY or SETTINGS_TASKS
 * @limit: set to it; 0 = none
 *
 * Return: 0, or -EINVAL if it is no number
 */
int settings_limit(const struct settings *settings, const char *name, uint64_t *limit);

#endif
