/*
 * binaries.c - What the build worker has made so far
 *
 * A module load takes milliseconds, so a search through 64 entries is nothing.
 */
#include "binaries.h"

#include <string.h>
#include <sys/mman.h>

static uint64_t size_of(const struct binary *binary)
{
    return binary->log_bytes + binary->binary_bytes;
}

static void drop(struct binaries *binaries, uint32_t at)
{
    struct binary *entry = &binaries->entries[at];

    if (entry->map)
        munmap((void *)entry->map, size_of(entry));
    binaries->bytes -= size_of(entry);
    *entry = binaries->entries[--binaries->count];
}

static uint32_t index_of(const struct binaries *binaries, struct hash_key key)
{
    uint32_t i = 0;

    while (i < binaries->count && !hash_same(binaries->entries[i].key, key))
        i++;
    return i;
}

const struct binary *binaries_find(struct binaries *binaries, struct hash_key key)
{
    uint32_t at = index_of(binaries, key);

    if (at == binaries->count)
        return NULL;
    binaries->entries[at].last_use = ++binaries->clock;
    return &binaries->entries[at];
}

void binaries_put(struct binaries *binaries, const struct binary *binary)
{
    uint32_t at = index_of(binaries, binary->key);

    if (at < binaries->count)
        drop(binaries, at);
    while (binaries->count == BINARIES_MAX ||
           (binaries->count > 0 && size_of(binary) > BINARIES_MAX_BYTES - binaries->bytes)) {
        uint32_t oldest = 0;

        for (uint32_t i = 1; i < binaries->count; i++)
            if (binaries->entries[i].last_use < binaries->entries[oldest].last_use)
                oldest = i;
        drop(binaries, oldest);
    }
    binaries->entries[binaries->count] = *binary;
    binaries->entries[binaries->count].last_use = ++binaries->clock;
    binaries->bytes += size_of(binary);
    binaries->count++;
}

void binaries_clear(struct binaries *binaries)
{
    while (binaries->count > 0)
        drop(binaries, binaries->count - 1);
}
