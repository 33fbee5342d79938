/*
 * channel.c - The worker's end of the two rings it shares with the engine
 *
 * The order of stores is worker_channel.h's. Where it asks for a full fence between a store and a
 * load, both are sequentially consistent here: that is the same on every machine we run on, and
 * ThreadSanitizer understands it.
 *
 * The engine may die at any time; its page then keeps the last values, and this side sleeps until a
 * new engine moves unit_tail and wakes it. A page that makes no sense ends the worker: answering
 * units that nobody sent would be worse than losing the VM's objects.
 */
#include "channel.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "clock.h"

int channel_open(struct channel *channel, int fd, int doorbell)
{
    struct stat file, bell;
    int seals;
    void *map;

    if (fstat(fd, &file) < 0)
        return -errno;
    if (file.st_size < 0 || (uint64_t)file.st_size != WORKER_CHANNEL_BYTES)
        return -EINVAL;
    seals = fcntl(fd, F_GET_SEALS);
    if (seals < 0 || !(seals & F_SEAL_SHRINK))
        return -EPERM;
    if (fstat(doorbell, &bell) < 0)
        return -errno;
    if (bell.st_mode & S_IFMT) /* an eventfd's kind has no file type */
        return -EINVAL;
    map = mmap(NULL, WORKER_CHANNEL_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (map == MAP_FAILED)
        return -errno;

    channel->shared = map;
    channel->doorbell = doorbell;
    channel->unit_head = channel->shared->worker.unit_head;
    channel->unit_tail = channel->unit_head;
    channel->reply_tail = channel->shared->worker.reply_tail;
    channel->quiet = 0;
    channel->objects = 0;
    channel->spin = (struct spin){0};
    return 0;
}

void channel_close(struct channel *channel)
{
    munmap(channel->shared, WORKER_CHANNEL_BYTES);
    close(channel->doorbell);
    channel->shared = NULL;
    channel->doorbell = -1;
}

/* Returns 0 once unit_tail may have moved away from `seen`. */
static int sleep_on(struct channel *channel, uint32_t seen)
{
    uint32_t *tail = &channel->shared->engine.unit_tail;
    uint32_t *sleeps = &channel->shared->worker.worker_sleeps;
    int error = 0;

    __atomic_store_n(sleeps, 1, __ATOMIC_SEQ_CST);
    if (__atomic_load_n(tail, __ATOMIC_SEQ_CST) == seen &&
        syscall(SYS_futex, tail, FUTEX_WAIT, seen, NULL, NULL, 0) < 0 && errno != EAGAIN &&
        errno != EINTR)
        error = -errno;
    __atomic_store_n(sleeps, 0, __ATOMIC_RELAXED);
    return error;
}

/* The same, but it may look for a while before it sleeps. */
static int wait_for(struct channel *channel, uint32_t seen)
{
    uint32_t *tail = &channel->shared->engine.unit_tail;
    uint32_t limit_us = __atomic_load_n(&channel->shared->engine.spin_us, __ATOMIC_RELAXED);
    uint64_t since_ns, end_ns;
    int error = 0;

    channel_kick(channel);
    if (limit_us == 0 || limit_us > SPIN_MAX_US)
        return sleep_on(channel, seen);
    since_ns = end_ns = clock_ns();
    if (spin_worth(&channel->spin, limit_us))
        while (__atomic_load_n(tail, __ATOMIC_ACQUIRE) == seen &&
               end_ns - since_ns < limit_us * 1000ull) {
            spin_pause();
            end_ns = clock_ns();
        }
    if (__atomic_load_n(tail, __ATOMIC_ACQUIRE) == seen) {
        error = sleep_on(channel, seen);
        end_ns = clock_ns();
    }
    spin_note(&channel->spin, limit_us, end_ns - since_ns);
    return error;
}

int channel_take(struct channel *channel, struct worker_unit *unit)
{
    while (channel->unit_tail == channel->unit_head) {
        uint32_t tail = __atomic_load_n(&channel->shared->engine.unit_tail, __ATOMIC_ACQUIRE);

        if (tail - channel->unit_head > WORKER_RING_ENTRIES)
            return -EPROTO;
        if (tail == channel->unit_head) {
            int error = wait_for(channel, tail);

            if (error)
                return error;
        }
        channel->unit_tail = tail;
    }
    *unit = channel->shared->units[channel->unit_head % WORKER_RING_ENTRIES];
    channel->unit_head++;
    __atomic_store_n(&channel->shared->worker.unit_head, channel->unit_head, __ATOMIC_RELEASE);
    return 0;
}

int channel_put(struct channel *channel, const struct worker_reply *reply)
{
    uint32_t head = __atomic_load_n(&channel->shared->engine.reply_head, __ATOMIC_ACQUIRE);

    if (channel->reply_tail - head >= WORKER_RING_ENTRIES)
        return -EPROTO;
    channel->shared->replies[channel->reply_tail % WORKER_RING_ENTRIES] = *reply;
    channel->reply_tail++;
    channel->quiet++;
    __atomic_store_n(&channel->shared->worker.reply_tail, channel->reply_tail, __ATOMIC_RELEASE);
    return 0;
}

void channel_say_objects(struct channel *channel, uint32_t count)
{
    if (channel->objects == count + 1)
        return;
    channel->objects = count + 1;
    __atomic_store_n(&channel->shared->worker.objects, count + 1, __ATOMIC_RELEASE);
}

void channel_kick(struct channel *channel)
{
    static const uint64_t one = 1;
    struct worker_channel *shared = channel->shared;

    if (channel->quiet == 0)
        return;
    channel->quiet = 0;
    __atomic_store_n(&shared->worker.reply_tail, channel->reply_tail, __ATOMIC_SEQ_CST);
    if (!__atomic_load_n(&shared->engine.engine_sleeps, __ATOMIC_SEQ_CST))
        return;
    /* EAGAIN is a counter at its limit: the bell rings already. Anything else cannot be told to
       anybody through this channel; the engine's own timers find an unanswered unit. */
    while (write(channel->doorbell, &one, sizeof(one)) < 0 && errno == EINTR)
        ;
}
