/*
 * journal.c - Making and checking journals
 *
 * Theory of operation
 *
 * See journal.h. A journal is formatted once, before it is held; an engine that is given one checks
 * that it is of this version, of the size its own numbers imply, and sound (journal_check.c), and
 * refuses it otherwise: it was written by another release or is spoilt, and guessing would mean
 * losing requests or answering them twice.
 */
#include "journal.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "device.h"
#include "journal_map.h"
#include "wire.h"

#define TX_SLACK_BYTES 65536u

static uint64_t tx_bytes_for(uint32_t slots)
{
    uint64_t need = (uint64_t)slots * WIRE_ANSWER_MAX + TX_SLACK_BYTES, bytes = 4096;

    while (bytes < need)
        bytes *= 2;
    return bytes;
}

static uint64_t tx_offset_for(uint32_t slots)
{
    uint64_t end = sizeof(struct journal) + (uint64_t)slots * sizeof(struct journal_slot);

    return (end + 4095) & ~4095ull;
}

static uint64_t waits_offset_for(uint32_t slots)
{
    return tx_offset_for(slots) + tx_bytes_for(slots);
}

static uint64_t bytes_for(uint32_t slots)
{
    return waits_offset_for(slots) + (uint64_t)slots * VGPU_WAITS_MAX * sizeof(struct journal_wait);
}

/** mediator_journal_bytes() - Size of a journal of so many slots, and those that are kept in reserve */
uint64_t mediator_journal_bytes(uint32_t slots)
{
    return bytes_for(slots + JOURNAL_SLOTS_URGENT);
}

static int map(int fd, uint64_t bytes, struct journal **out)
{
    struct stat st;
    void *at;

    if (fstat(fd, &st))
        return -errno;
    if ((uint64_t)st.st_size != bytes)
        return -EPROTO;
    at = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (at == MAP_FAILED)
        return -errno;
    *out = at;
    return 0;
}

/**
 * mediator_journal_format() - Write an empty journal
 * @fd: memfd of mediator_journal_bytes(@slots) zero bytes
 *
 * Return: 0, -EINVAL when the numbers are out of range, or another negative errno
 */
int mediator_journal_format(int fd, uint32_t slots, uint32_t pairs, uint32_t entries,
                            uint64_t data_bytes)
{
    const struct journal_layout layout = {
        .qp_count = pairs, .entries = entries, .data_bytes = data_bytes};
    uint32_t all = slots + JOURNAL_SLOTS_URGENT;
    struct journal *journal;
    int rc;

    if (slots < JOURNAL_SLOTS_MIN || slots > JOURNAL_SLOTS_MAX || !device_layout_valid(&layout))
        return -EINVAL;
    rc = map(fd, bytes_for(all), &journal);
    if (rc)
        return rc;
    journal->version = JOURNAL_VERSION;
    journal->slot_count = all;
    journal->slot_bytes = sizeof(struct journal_slot);
    journal->tx_offset = tx_offset_for(all);
    journal->tx_bytes = tx_bytes_for(all);
    journal->waits_offset = waits_offset_for(all);
    journal->ring.layout = layout;
    journal->magic = JOURNAL_MAGIC;
    munmap(journal, bytes_for(all));
    return 0;
}

/**
 * journal_map() - Map a journal that an engine, perhaps an earlier one, has formatted
 * @fd: stays the caller's
 * @bytes: set to its size
 *
 * Return: 0, -EPROTO when it is not a sound journal of this version, or another negative errno
 */
int journal_map(int fd, struct journal **out, uint64_t *bytes)
{
    struct journal *journal;
    struct stat st;
    int rc;

    if (fstat(fd, &st))
        return -errno;
    if ((uint64_t)st.st_size < sizeof(struct journal))
        return -EPROTO;
    *bytes = (uint64_t)st.st_size;
    rc = map(fd, *bytes, &journal);
    if (rc)
        return rc;
    if (journal->magic != JOURNAL_MAGIC || journal->version != JOURNAL_VERSION ||
        journal->slot_bytes != sizeof(struct journal_slot) ||
        journal->slot_count < JOURNAL_SLOTS_MIN + JOURNAL_SLOTS_URGENT ||
        journal->slot_count > JOURNAL_SLOTS_MAX + JOURNAL_SLOTS_URGENT ||
        bytes_for(journal->slot_count) != *bytes ||
        journal->waits_offset != waits_offset_for(journal->slot_count) ||
        journal->tx_offset != tx_offset_for(journal->slot_count) ||
        journal->tx_bytes != tx_bytes_for(journal->slot_count) ||
        journal->slots_used > journal->slot_count || !device_layout_valid(&journal->ring.layout) ||
        !journal_sound(journal)) {
        munmap(journal, *bytes);
        return -EPROTO;
    }
    *out = journal;
    return 0;
}

/** journal_unmap() - The reverse of journal_map() */
void journal_unmap(struct journal *journal, uint64_t bytes)
{
    if (journal)
        munmap(journal, bytes);
}

/** mediator_ring_bytes() - Size of the shared memory of a layout; 0 when it is not allowed */
uint64_t mediator_ring_bytes(uint32_t pairs, uint32_t entries, uint64_t data_bytes)
{
    const struct journal_layout layout = {
        .qp_count = pairs, .entries = entries, .data_bytes = data_bytes};

    return device_layout_valid(&layout) ? device_geometry(&layout).bytes : 0;
}

/** mediator_channel_bytes() - Size of a worker's channel */
uint64_t mediator_channel_bytes(void)
{
    return WORKER_CHANNEL_BYTES;
}
