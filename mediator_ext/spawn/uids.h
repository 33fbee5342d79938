/*
 * uids.h - Which uid a worker runs as, and how a uid is made free of processes
 *
 * A spawner with the right to change uids owns a range of 4 x slots numbers, used for uid and gid
 * alike: base + 4 * slot + role. So the launch, build and probe processes of one slot are strangers
 * to each other, and no two living workers share a uid. The fourth number of each slot runs nothing
 * but the sweeper, which ends what a worker left behind.
 *
 * Two spawners on one machine must not share a number: each locks its range in one file.
 */
#ifndef VGPUD_SPAWN_UIDS_H
#define VGPUD_SPAWN_UIDS_H

#include <stdbool.h>
#include <stdint.h>

#include "spawn/spawn_protocol.h"

#define UIDS_PER_SLOT  4u
#define UIDS_LOCK_FILE "/run/vgpu-spawn.uids"

struct uid_range {
    bool enabled;   /* false: workers keep the spawner's own uid */
    uint32_t base;  /* a multiple of UIDS_PER_SLOT */
    uint32_t slots; /* slot numbers are 0 .. slots - 1 */
    int lock_fd;    /* holds the lock on the range; -1 if not enabled */
};

/**
 * uids_reserve() - Lock a range of uids for this process's life
 * @range: filled
 * @base: first uid, or 0 for the first range that is free
 * @slots: how many slots, 1 to 16384
 * @lock_file: the file all spawners of this machine lock their ranges in; made if absent
 *
 * What goes wrong is logged in words.
 *
 * Return: 0; -EINVAL if the range is not for workers: it meets the uids of people and services, or
 * of systemd's dynamic users; -EBUSY if it meets another spawner's; another -errno for the
 * file
 */
int uids_reserve(struct uid_range *range, uint32_t base, uint32_t slots, const char *lock_file);

/** uids_release() - Give the range back; nothing if it is not enabled */
void uids_release(struct uid_range *range);

/**
 * uids_of() - The uid, and gid, of a worker
 * @slot: below range->slots
 * @role: launch, build or probe
 *
 * Return: the number, or the spawner's own effective uid if the range is not enabled
 */
uint32_t uids_of(const struct uid_range *range, uint32_t slot, enum spawn_role role);

/**
 * uids_sweep() - Kill every process of a worker's uid
 * @range: an enabled one
 * @uid: one of its workers' numbers
 *
 * Waits for the kill to be delivered (about a millisecond), not for the processes to be gone; none
 * of them runs another instruction of its own.
 *
 * Return: 0, or -errno
 */
int uids_sweep(const struct uid_range *range, uint32_t uid);

#endif
