/*
 * scratch.h - A private directory for each worker
 *
 * All of a spawner's lie in one directory that it makes, and removes when it is empty at the end.
 */
#ifndef VGPUD_SPAWN_SCRATCH_H
#define VGPUD_SPAWN_SCRATCH_H

#include <limits.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define SCRATCH_PREFIX "vgpu-spawn-" /* of the name of the directory of all workers */

struct scratch {
    int directory; /* of all workers; -1 = none */
    char path[PATH_MAX];
};

/**
 * scratch_open() - Make the directory of all workers
 * @scratch: filled
 * @parent: existing directory, absolute
 *
 * Return: 0, or -errno; -ENAMETOOLONG if a worker's path would not fit into its environment
 */
int scratch_open(struct scratch *scratch, const char *parent);

/** scratch_close() - Remove the directory of all workers if it is empty, and forget it */
void scratch_close(struct scratch *scratch);

/**
 * scratch_make() - Make the directory of one worker, mode 0700
 * @scratch: opened
 * @worker_id: whose
 * @owner: uid and gid that it shall belong to
 * @path: filled with its absolute path
 * @size: bytes at @path
 *
 * Return: 0, or -errno
 */
int scratch_make(const struct scratch *scratch, uint32_t worker_id, uid_t owner, char *path,
                 size_t size);

/**
 * scratch_remove() - Remove the directory of one worker with all that is in it
 *
 * To be called when no process of its owner is left. Symbolic links are removed, not followed.
 *
 * Return: 0, also if there is none; or the first -errno, and then something may be left
 */
int scratch_remove(const struct scratch *scratch, uint32_t worker_id);

#endif
