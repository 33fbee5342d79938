/*
 * held.h - The descriptors that the spawner keeps for vgpud
 *
 * A table from key to 1..SPAWN_MAX_FDS descriptors and one word. The spawner never reads from or
 * writes to them. All memory is taken by held_new(); nothing is allocated afterwards.
 */
#ifndef VGPUD_SPAWN_HELD_H
#define VGPUD_SPAWN_HELD_H

#include <stdbool.h>
#include <stdint.h>

#include "spawn/spawn_protocol.h"

struct held;

struct held_entry {
    char key[SPAWN_KEY_BYTES];
    uint32_t arg;      /* the holder's word */
    uint32_t next;     /* of the same bucket, or of the free list */
    uint32_t fd_count; /* 0 = free */
    int fds[SPAWN_MAX_FDS];
};

/**
 * held_new() - Make an empty table
 * @max_fds: descriptors it may hold in all, 1 to 2^24
 *
 * Return: the table, or NULL with errno set
 */
struct held *held_new(uint32_t max_fds);

/** held_free() - Close everything that is held and release the table; NULL is allowed */
void held_free(struct held *held);

/** held_clear() - Close everything that is held */
void held_clear(struct held *held);

/**
 * held_put() - Keep descriptors under a key, instead of what was there
 * @held: table
 * @key: valid by held_key_valid()
 * @arg: the caller's word
 * @fds: descriptors; the table's on success, still the caller's on failure
 * @fd_count: 1 to SPAWN_MAX_FDS
 *
 * Return: 0; -EINVAL for a wrong count; -ENOSPC if more than max_fds would be held (the old entry
 * of that key then remains)
 */
int held_put(struct held *held, const char *key, uint32_t arg, const int *fds, uint32_t fd_count);

/**
 * held_drop() - Close the descriptors of one key
 *
 * Return: 0, or -ENOENT
 */
int held_drop(struct held *held, const char *key);

/**
 * held_next() - Walk the entries whose key starts with a prefix
 * @held: table
 * @prefix: "" for all
 * @cursor: where to go on; 0 at first
 *
 * The table may change between two calls: an entry that is there all the time is found exactly
 * once, one that comes or goes in between may or may not be.
 *
 * Return: the next entry, valid until the table changes, or NULL at the end
 */
const struct held_entry *held_next(const struct held *held, const char *prefix, uint32_t *cursor);

/** held_fd_count() - How many descriptors are held in all */
uint32_t held_fd_count(const struct held *held);

/**
 * held_key_valid() - Whether bytes from a client are a key
 * @key: SPAWN_KEY_BYTES bytes
 * @may_be_empty: for prefixes and labels
 *
 * Return: true if they are printable ASCII without white space, ended by a NUL
 */
bool held_key_valid(const char *key, bool may_be_empty);

#endif
