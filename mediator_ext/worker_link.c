/*
 * worker_link.c - The engine's end of a channel to one worker
 *
 * Theory of operation
 *
 * The channel is described in worker_channel.h. Reply k answers unit k, so one index says which
 * requests are out: those from reply_head to unit_tail, both kept in the journal. A unit counts as sent
 * once the journal says so; publishing it is repeated when a worker is attached, so an engine that died
 * in between loses nothing.
 *
 * A worker is woken once for all units of a turn. It wakes the engine by its doorbell only while
 * engine_sleeps is set; that is set for links with units out just before the reactor waits, followed by
 * a fence and a last look, as the worker does the reverse.
 */
#include "worker_link.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static void wake_worker(struct worker_channel *channel)
{
    /* One: a hostile worker may have put any number of threads there. */
    syscall(SYS_futex, &channel->engine.unit_tail, FUTEX_WAKE, 1, NULL, NULL, 0);
}

/* Has this worker had units, of an engine that knew it? */
static bool has_served(const struct worker_channel *channel)
{
    return __atomic_load_n(&channel->worker.unit_head, __ATOMIC_RELAXED) ||
           __atomic_load_n(&channel->worker.reply_tail, __ATOMIC_RELAXED);
}

/**
 * worker_link_attach() - Use a worker's channel
 * @worker: its channel and doorbell are consumed on success
 * @ready: called when the doorbell rings
 *
 * A worker that the journal knows is taken over with all that it has; another one starts from nothing,
 * and then there must be no units out. One that the engine has let go of is never taken back.
 *
 * Return: 0, or a negative errno
 */
int worker_link_attach(struct worker_link *link, struct reactor *reactor,
                       const struct mediator_worker *worker, watch_fn *ready)
{
    int seals = fcntl(worker->channel, F_GET_SEALS);
    struct worker_channel *channel;
    struct stat st;
    int rc;

    if (link->channel || worker->worker_id == 0)
        return -EINVAL;
    if (fstat(worker->channel, &st))
        return -errno;
    if ((uint64_t)st.st_size != WORKER_CHANNEL_BYTES || seals < 0 || !(seals & F_SEAL_SHRINK))
        return -EPROTO;
    if (link->journal->worker_id != worker->worker_id && link->in_flight)
        return -EBUSY;
    channel =
        mmap(NULL, WORKER_CHANNEL_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, worker->channel, 0);
    if (channel == MAP_FAILED)
        return -errno;
    if (link->journal->worker_id != worker->worker_id && has_served(channel)) {
        munmap(channel, WORKER_CHANNEL_BYTES);
        return -ESTALE;
    }
    rc = reactor_watch(reactor, &link->doorbell, worker->doorbell, EPOLLIN | EPOLLET, ready);
    if (rc) {
        munmap(channel, WORKER_CHANNEL_BYTES);
        return rc;
    }
    close(worker->channel);
    if (link->journal->worker_id != worker->worker_id) {
        /* Indices are believed only of a worker that is known: never of half a change. */
        __atomic_store_n(&link->journal->worker_id, 0, __ATOMIC_RELEASE);
        __atomic_store_n(&link->journal->unit_tail, 0, __ATOMIC_RELEASE);
        __atomic_store_n(&link->journal->reply_head, 0, __ATOMIC_RELEASE);
        __atomic_store_n(&link->journal->worker_id, worker->worker_id, __ATOMIC_RELEASE);
        link->adopted = false;
    } else {
        link->adopted = true;
    }
    link->channel = channel;
    link->pid = worker->pid;
    link->used_ns = 0;
    link->wanted = link->doomed = link->timed_out = false;
    link->published = true;
    __atomic_store_n(&channel->engine.reply_head, link->journal->reply_head, __ATOMIC_RELEASE);
    worker_link_publish(link);
    wake_worker(channel); /* the last engine may have died before it did */
    return 0;
}

/** worker_link_detach() - The worker is gone; what it had out is the caller's to settle */
void worker_link_detach(struct worker_link *link, struct reactor *reactor)
{
    int fd = link->channel ? link->doorbell.fd : -1;

    if (link->channel) {
        reactor_unwatch(reactor, &link->doorbell);
        munmap(link->channel, WORKER_CHANNEL_BYTES);
        link->channel = NULL;
    }
    if (fd >= 0)
        close(fd);
    link->pid = 0;
}

/** worker_link_usable() - Is somebody there who may be given work? */
bool worker_link_usable(const struct worker_link *link)
{
    return link->channel && !link->doomed;
}

/** worker_link_full() - As many units are out as the channel holds */
bool worker_link_full(const struct worker_link *link)
{
    return link->in_flight == WORKER_RING_ENTRIES;
}

/** worker_link_put() - Add a unit; the worker sees it at worker_link_publish() */
void worker_link_put(struct worker_link *link, const struct worker_unit *unit, uint32_t slot)
{
    uint32_t tail = link->journal->unit_tail;

    memcpy(&link->channel->units[tail % WORKER_RING_ENTRIES], unit, sizeof(*unit));
    link->slot[tail % WORKER_RING_ENTRIES] = slot;
    link->in_flight++;
    __atomic_store_n(&link->journal->unit_tail, tail + 1, __ATOMIC_RELEASE);
    link->published = true;
}

/** worker_link_publish() - Let the worker see what was put, and wake it if it sleeps */
void worker_link_publish(struct worker_link *link)
{
    struct worker_channel *channel = link->channel;

    if (!channel || !link->published)
        return;
    link->published = false;
    __atomic_store_n(&channel->engine.engine_sleeps, 0, __ATOMIC_RELAXED);
    __atomic_store_n(&channel->engine.unit_tail, link->journal->unit_tail, __ATOMIC_RELEASE);
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    if (__atomic_load_n(&channel->worker.worker_sleeps, __ATOMIC_RELAXED))
        wake_worker(channel);
}

/** worker_link_peek() - Copy the next reply out, leaving it where it is */
int worker_link_peek(struct worker_link *link, struct worker_reply *reply)
{
    uint32_t head = link->journal->reply_head, tail;

    if (!link->channel)
        return 0;
    tail = __atomic_load_n(&link->channel->worker.reply_tail, __ATOMIC_ACQUIRE);
    if (tail == head)
        return 0;
    if (tail - head > link->journal->unit_tail - head)
        return -EPROTO;
    memcpy(reply, &link->channel->replies[head % WORKER_RING_ENTRIES], sizeof(*reply));
    __asm__ volatile("" ::: "memory"); /* from here on only the copy */
    return 1;
}

/** worker_link_consume() - The reply has been dealt with */
void worker_link_consume(struct worker_link *link)
{
    uint32_t head = link->journal->reply_head + 1;

    __atomic_store_n(&link->journal->reply_head, head, __ATOMIC_RELEASE);
    __atomic_store_n(&link->channel->engine.reply_head, head, __ATOMIC_RELEASE);
}

/** worker_link_answered() - Is there a reply that was not looked at? */
bool worker_link_answered(const struct worker_link *link)
{
    return link->channel && !link->doomed && link->in_flight &&
           __atomic_load_n(&link->channel->worker.reply_tail, __ATOMIC_ACQUIRE) !=
               link->journal->reply_head;
}

/** worker_link_let_spin() - Say how long the worker may look for units before it sleeps */
void worker_link_let_spin(struct worker_link *link, uint32_t spin_us)
{
    if (link->channel)
        __atomic_store_n(&link->channel->engine.spin_us, spin_us, __ATOMIC_RELAXED);
}

/** worker_link_holds_nothing() - Does a launch worker say that it holds nothing of its VM? */
bool worker_link_holds_nothing(const struct worker_link *link)
{
    return link->channel && __atomic_load_n(&link->channel->worker.objects, __ATOMIC_ACQUIRE) == 1;
}

/** worker_link_sleep() - Ask for the doorbell. Return: false = something is there already */
bool worker_link_sleep(struct worker_link *link)
{
    if (!link->channel || link->doomed || link->in_flight == 0)
        return true;
    __atomic_store_n(&link->channel->engine.engine_sleeps, 1, __ATOMIC_RELAXED);
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    if (__atomic_load_n(&link->channel->worker.reply_tail, __ATOMIC_ACQUIRE) ==
        link->journal->reply_head)
        return true;
    __atomic_store_n(&link->channel->engine.engine_sleeps, 0, __ATOMIC_RELAXED);
    return false;
}
