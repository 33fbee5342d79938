/*
 * build_log.c - What a guest is shown of a compiler's words
 */
#include "build_log.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

static const char instead[] = "<program>";

/* The next path below @directory in a text, or NULL; what only starts alike is another one. */
static const char *find_path(const char *text, const char *directory, size_t length)
{
    while ((text = strstr(text, directory))) {
        if (text[length] == '/')
            return text;
        text += length;
    }
    return NULL;
}

static const char *end_of_path(const char *path)
{
    return path + strcspn(path, ":'\"<>()[], \t\r\n");
}

char *build_log_hide(const char *log, const char *directory)
{
    size_t length = directory ? strlen(directory) : 0;
    size_t room = strlen(log) + 1;
    const char *path;
    char *made, *to;

    if (length == 0)
        return strdup(log);
    for (path = log; (path = find_path(path, directory, length)); path = end_of_path(path))
        room += sizeof(instead);
    made = malloc(room);
    if (!made)
        return NULL;
    to = made;
    while ((path = find_path(log, directory, length))) {
        memcpy(to, log, (size_t)(path - log));
        to += path - log;
        memcpy(to, instead, sizeof(instead) - 1);
        to += sizeof(instead) - 1;
        log = end_of_path(path);
    }
    memcpy(to, log, strlen(log) + 1);
    return made;
}

void build_log_blank(uint8_t *binary, uint64_t bytes, const char *directory)
{
    size_t length = directory ? strlen(directory) : 0;
    uint8_t *at = binary, *end = binary + bytes;

    while (length > 0 && (at = memmem(at, (size_t)(end - at), directory, length))) {
        memset(at, '.', length);
        at += length;
    }
}
