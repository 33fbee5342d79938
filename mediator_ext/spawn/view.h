/*
 * view.h - Which of the host's files a worker sees
 */
#ifndef VGPUD_SPAWN_VIEW_H
#define VGPUD_SPAWN_VIEW_H

#include <stdint.h>

#include "spawn/spawn_protocol.h"

#define VIEW_PATHS_MAX  128 /* a host of 16 GPUs has 35 device nodes */
#define VIEW_PATH_BYTES 512

enum view_kind {
    VIEW_IF_THERE, /* not every host has it, or has it open to workers */
    VIEW_NEEDED,   /* without it there is no worker */
    VIEW_DEVICES,  /* if it is there; device nodes in it work */
};

struct view_path {
    enum view_kind kind;
    char path[VIEW_PATH_BYTES]; /* absolute */
};

struct view {
    uint32_t count;
    struct view_path paths[VIEW_PATHS_MAX];
};

/**
 * view_make() - Find out what a worker needs to see
 * @view: filled
 * @role: a compiler needs more than a launcher, and a probe all that there is
 * @program: the worker program, absolute
 * @environment: the worker's, from settings_parse(); ends with NULL
 *
 * Says what is wrong.
 *
 * Return: 0; -EINVAL for a library whose directory is not for workers to see; -ENAMETOOLONG;
 * -E2BIG for too many paths
 */
int view_make(struct view *view, enum spawn_role role, const char *program,
              char *const *environment);

#endif
