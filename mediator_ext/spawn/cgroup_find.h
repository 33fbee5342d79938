/*
 * cgroup_find.h - Where in the file system this process's control group is
 */
#ifndef VGPUD_SPAWN_CGROUP_FIND_H
#define VGPUD_SPAWN_CGROUP_FIND_H

#include <stddef.h>

/**
 * cgroup_find() - The directory of a process's group in the version 2 hierarchy
 * @mounts: what /proc/self/mountinfo says; changed
 * @groups: what /proc/self/cgroup says; changed
 * @path: set to the directory
 * @bytes: of @path
 *
 * Return: 0; -ENOENT where that hierarchy is not mounted, or the group lies outside what is mounted;
 * -ENAMETOOLONG
 */
int cgroup_find(char *mounts, char *groups, char *path, size_t bytes);

#endif
