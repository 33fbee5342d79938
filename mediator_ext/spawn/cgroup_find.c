/*
 * cgroup_find.c - Where in the file system this process's control group is
 *
 * Beside version 1, version 2 is mounted wherever the host likes, and in a container only a part of
 * it is: so the mount says which group its root is, and the process's own is looked for below that.
 */
#include "spawn/cgroup_find.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#define FIELD_ROOT  3
#define FIELD_POINT 4

/* One line of mountinfo(5): "id parent dev root point options [optional...] - type source options".
 * Return: is it of the version 2 hierarchy? */
static bool read_mount(char *line, const char **root, const char **point)
{
    char *rest, *type = strstr(line, " - ");

    if (!type || strncmp(type + 3, "cgroup2 ", 8) != 0) {
        return false;
    }
    *type = '\0';
    *root = *point = NULL;
    for (int field = 0; (rest = strsep(&line, " ")); field++) {
        if (field == FIELD_ROOT) {
            *root = rest;
        } else if (field == FIELD_POINT) {
            *point = rest;
        }
    }
    return *root && *point;
}

/* The group of the hierarchy without controllers of its own in the line: version 2. */
static const char *read_group(char *groups)
{
    char *line;

    while ((line = strsep(&groups, "\n"))) {
        if (strncmp(line, "0::/", 4) == 0) {
            return line + 3;
        }
    }
    return NULL;
}

int cgroup_find(char *mounts, char *groups, char *path, size_t bytes)
{
    const char *root = NULL, *point = NULL, *group = read_group(groups);
    size_t length;
    char *line;
    int written;

    while ((line = strsep(&mounts, "\n")) && !read_mount(line, &root, &point)) {
        root = point = NULL;
    }
    if (!group || !point || strstr(group, "/..")) {
        return -ENOENT;
    }
    length = strcmp(root, "/") == 0 ? 0 : strlen(root);
    if (strncmp(group, root, length) != 0 || (group[length] != '/' && group[length] != '\0')) {
        return -ENOENT;
    }
    group += length;
    written = snprintf(path, bytes, "%s%s", point, strcmp(group, "/") == 0 ? "" : group);
    return written < 0 || (size_t)written >= bytes ? -ENAMETOOLONG : 0;
}
