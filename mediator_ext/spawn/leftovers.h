/*
 * leftovers.h - What a spawner that was killed has left behind
 */
#ifndef VGPUD_SPAWN_LEFTOVERS_H
#define VGPUD_SPAWN_LEFTOVERS_H

#include "spawn/uids.h"

/**
 * leftovers_end() - Kill every process that runs under a worker's uid
 * @range: this spawner's, locked; nothing if it is not enabled
 *
 * To be called before the first worker is started. What cannot be ended is logged.
 */
void leftovers_end(const struct uid_range *range);

/**
 * leftovers_remove() - Remove the empty directories of spawners that are gone
 * @parent: where spawners make theirs
 * @range: whose workers' directories may go, too; to be called after leftovers_end()
 */
void leftovers_remove(const char *parent, const struct uid_range *range);

#endif
