/*
 * held.c - The descriptors that the spawner keeps for vgpud
 *
 * One array of entries, as many as there may be descriptors (an entry has at least one), chained
 * into hash buckets by index. An entry never moves, so a walk by array position survives changes
 * between its steps. Entries up to high_water have been used at least once; the rest of the array
 * is never touched and costs no memory.
 */
#include "spawn/held.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define NO_ENTRY UINT32_MAX

struct held {
    struct held_entry *entries;
    uint32_t *buckets;
    uint32_t bucket_mask;
    uint32_t max_fds;
    uint32_t fd_count;
    uint32_t high_water;
    uint32_t free_head;
};

static uint32_t hash_key(const char *key)
{
    uint32_t hash = 2166136261u; /* FNV-1a */

    for (; *key; key++) {
        hash = (hash ^ (unsigned char)*key) * 16777619u;
    }
    return hash;
}

static void close_fds(struct held_entry *entry)
{
    for (uint32_t i = 0; i < entry->fd_count; i++) {
        close(entry->fds[i]);
    }
}

/* The link that points at the key's entry, or at NO_ENTRY where it would be appended. */
static uint32_t *find_link(const struct held *held, const char *key)
{
    uint32_t *link = &held->buckets[hash_key(key) & held->bucket_mask];

    while (*link != NO_ENTRY && strcmp(held->entries[*link].key, key) != 0) {
        link = &held->entries[*link].next;
    }
    return link;
}

static void forget_all(struct held *held)
{
    memset(held->buckets, 0xff, ((size_t)held->bucket_mask + 1) * sizeof(*held->buckets));
    held->fd_count = 0;
    held->high_water = 0;
    held->free_head = NO_ENTRY;
}

struct held *held_new(uint32_t max_fds)
{
    struct held *held;
    uint32_t buckets = 16;

    if (max_fds == 0 || max_fds > 1u << 24) {
        errno = EINVAL;
        return NULL;
    }
    while (buckets < max_fds) {
        buckets *= 2;
    }
    held = calloc(1, sizeof(*held));
    if (!held) {
        return NULL;
    }
    held->max_fds = max_fds;
    held->bucket_mask = buckets - 1;
    held->entries = calloc(max_fds, sizeof(*held->entries));
    held->buckets = malloc(buckets * sizeof(*held->buckets));
    if (!held->entries || !held->buckets) {
        free(held->entries);
        free(held->buckets);
        free(held);
        errno = ENOMEM;
        return NULL;
    }
    forget_all(held);
    return held;
}

void held_clear(struct held *held)
{
    for (uint32_t i = 0; i < held->high_water; i++) {
        close_fds(&held->entries[i]);
        held->entries[i].fd_count = 0;
    }
    forget_all(held);
}

void held_free(struct held *held)
{
    if (!held) {
        return;
    }
    held_clear(held);
    free(held->buckets);
    free(held->entries);
    free(held);
}

int held_put(struct held *held, const char *key, uint32_t arg, const int *fds, uint32_t fd_count)
{
    uint32_t *link, index, replaced;
    struct held_entry *entry;

    if (fd_count == 0 || fd_count > SPAWN_MAX_FDS) {
        return -EINVAL;
    }
    link = find_link(held, key);
    replaced = *link == NO_ENTRY ? 0 : held->entries[*link].fd_count;
    if (held->fd_count - replaced + fd_count > held->max_fds) {
        return -ENOSPC;
    }
    if (*link != NO_ENTRY) {
        entry = &held->entries[*link];
        close_fds(entry);
    } else {
        /* There is room: each entry in use holds at least one of the max_fds descriptors. */
        if (held->free_head != NO_ENTRY) {
            index = held->free_head;
            held->free_head = held->entries[index].next;
        } else {
            index = held->high_water++;
        }
        entry = &held->entries[index];
        entry->next = NO_ENTRY;
        strncpy(entry->key, key, sizeof(entry->key) - 1);
        *link = index;
    }
    entry->arg = arg;
    entry->fd_count = fd_count;
    memcpy(entry->fds, fds, fd_count * sizeof(*fds));
    held->fd_count += fd_count - replaced;
    return 0;
}

int held_drop(struct held *held, const char *key)
{
    uint32_t *link = find_link(held, key);
    uint32_t index = *link;
    struct held_entry *entry;

    if (index == NO_ENTRY) {
        return -ENOENT;
    }
    entry = &held->entries[index];
    close_fds(entry);
    held->fd_count -= entry->fd_count;
    *link = entry->next;
    memset(entry, 0, sizeof(*entry));
    entry->next = held->free_head;
    held->free_head = index;
    return 0;
}

const struct held_entry *held_next(const struct held *held, const char *prefix, uint32_t *cursor)
{
    size_t length = strlen(prefix);

    while (*cursor < held->high_water) {
        const struct held_entry *entry = &held->entries[(*cursor)++];

        if (entry->fd_count && strncmp(entry->key, prefix, length) == 0) {
            return entry;
        }
    }
    return NULL;
}

uint32_t held_fd_count(const struct held *held)
{
    return held->fd_count;
}

bool held_key_valid(const char *key, bool may_be_empty)
{
    size_t length = 0;

    while (length < SPAWN_KEY_BYTES && key[length]) {
        if (key[length] <= ' ' || key[length] > '~') {
            return false;
        }
        length++;
    }
    return length < SPAWN_KEY_BYTES && (length > 0 || may_be_empty);
}
