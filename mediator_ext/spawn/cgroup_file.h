/*
 * cgroup_file.h - The files of a control group, and its end
 */
#ifndef VGPUD_SPAWN_CGROUP_FILE_H
#define VGPUD_SPAWN_CGROUP_FILE_H

#include <stddef.h>
#include <sys/types.h>

#define CGROUP_REMOVE_MS 1000

/**
 * cgroup_file_read() - Read as much of a small file as fits
 * @text: filled, and ended by a NUL
 *
 * Return: bytes read, or -errno
 */
ssize_t cgroup_file_read(int directory, const char *name, char *text, size_t bytes);

/** cgroup_file_write() - Write a text in one go. Return: 0 or -errno */
int cgroup_file_write(int directory, const char *name, const char *text);

/**
 * cgroup_file_remove() - End what is in a group, and remove it
 * @parent: directory that it is in
 *
 * Waits for that, at most CGROUP_REMOVE_MS.
 *
 * Return: 0, also if there is no such group, or -errno
 */
int cgroup_file_remove(int parent, const char *name);

#endif
