/*
 * launch.h - From a plan to a running program, or to the reason why not
 */
#ifndef VGPUD_SPAWN_LAUNCH_H
#define VGPUD_SPAWN_LAUNCH_H

#include <sys/types.h>

#include "spawn/isolate.h"

#define LAUNCH_TIMEOUT_MS 5000

/**
 * launch_process() - Fork, isolate, execute, and wait until the program runs
 * @plan: what to become
 * @group: directory of the control group in which all of that happens; -1 = where the spawner is
 * @pid: set on success
 * @pidfd: set on success, close-on-exec; the caller's
 * @failure: says which stage failed, on failure
 *
 * Return: 0; -ETIMEDOUT after LAUNCH_TIMEOUT_MS; or the -errno of what failed. On failure there is
 * no process
 */
int launch_process(const struct isolate_plan *plan, int group, pid_t *pid, int *pidfd,
                   struct isolate_failure *failure);

/** launch_undo() - Kill a launched process, wait for it, and close its pidfd */
void launch_undo(pid_t pid, int pidfd);

#endif
