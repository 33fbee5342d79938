/*
 * root.h - A root directory for one worker
 */
#ifndef VGPUD_SPAWN_ROOT_H
#define VGPUD_SPAWN_ROOT_H

#include <stdbool.h>
#include <sys/types.h>

#include "spawn/view.h"

struct root_plan {
    const struct view *view;
    const char *scratch; /* the worker's directory, absolute; there it can write */
    uid_t owner;         /* of the scratch directory */
    bool own_uid;        /* files are looked for with the rights of @owner, not with ours */
};

/**
 * root_enter() - Live in a root that shows a view, read-only, and the scratch directory
 * @plan: what is shown
 * @culprit: set to the path that failed, or to ""; VIEW_PATH_BYTES bytes
 *
 * Called in the new process, in a mount namespace of its own. On failure the process is good for
 * nothing any more.
 *
 * Return: 0 or -errno
 */
int root_enter(const struct root_plan *plan, char *culprit);

#endif
