/*
 * fake_worker.c - The worker's end of a channel, for tests of the engine
 */
#include "fake_worker.h"

#include <errno.h>
#include <linux/futex.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "engine_rig.h"

void fake_worker_new(struct fake_worker *worker, uint32_t worker_id)
{
    memset(worker, 0, sizeof(*worker));
    worker->worker_id = worker_id;
    worker->channel_fd = rig_memfd(WORKER_CHANNEL_BYTES);
    rig_seal(worker->channel_fd);
    worker->doorbell_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    worker->channel =
        mmap(NULL, WORKER_CHANNEL_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, worker->channel_fd, 0);
    rig_must(worker->doorbell_fd >= 0 && worker->channel != MAP_FAILED, "a channel");
}

void fake_worker_free(struct fake_worker *worker)
{
    munmap(worker->channel, WORKER_CHANNEL_BYTES);
    close(worker->channel_fd);
    close(worker->doorbell_fd);
}

int fake_worker_attach(struct fake_worker *worker, struct mediator *m, uint32_t handle, int lane)
{
    const struct mediator_worker attach = {.worker_id = worker->worker_id,
                                           .pid = (int32_t)(1000 + worker->worker_id),
                                           .channel = dup(worker->channel_fd),
                                           .doorbell = dup(worker->doorbell_fd)};

    return mediator_worker_attach(m, handle, lane, &attach);
}

bool fake_worker_take(struct fake_worker *worker, struct worker_unit *unit, int timeout_ms)
{
    struct worker_channel *channel = worker->channel;
    uint64_t end_ns = rig_now_ns() + (uint64_t)timeout_ms * 1000000u;
    uint32_t tail;

    for (;;) {
        uint64_t now_ns = rig_now_ns();
        struct timespec wait;

        __atomic_store_n(&channel->worker.worker_sleeps, 1, __ATOMIC_SEQ_CST);
        tail = __atomic_load_n(&channel->engine.unit_tail, __ATOMIC_SEQ_CST);
        if (tail != worker->taken || now_ns >= end_ns)
            break;
        wait = (struct timespec){.tv_sec = (time_t)((end_ns - now_ns) / 1000000000u),
                                 .tv_nsec = (long)((end_ns - now_ns) % 1000000000u)};
        syscall(SYS_futex, &channel->engine.unit_tail, FUTEX_WAIT, tail, &wait, NULL, 0);
    }
    __atomic_store_n(&channel->worker.worker_sleeps, 0, __ATOMIC_RELAXED);
    if (tail == worker->taken)
        return false;
    *unit = channel->units[worker->taken % WORKER_RING_ENTRIES];
    worker->taken++;
    __atomic_store_n(&channel->worker.unit_head, worker->taken, __ATOMIC_RELEASE);
    return true;
}

void fake_worker_reply(struct fake_worker *worker, const struct worker_reply *reply)
{
    struct worker_channel *channel = worker->channel;
    const uint64_t one = 1;

    channel->replies[worker->replied % WORKER_RING_ENTRIES] = *reply;
    worker->replied++;
    __atomic_store_n(&channel->worker.reply_tail, worker->replied, __ATOMIC_SEQ_CST);
    if (!__atomic_load_n(&channel->engine.engine_sleeps, __ATOMIC_SEQ_CST))
        return;
    worker->rings++;
    rig_must(write(worker->doorbell_fd, &one, sizeof(one)) == sizeof(one), "a ring");
}

void fake_worker_done(struct fake_worker *worker, const struct worker_unit *unit,
                      enum vgpu_status status)
{
    const struct worker_reply reply = {
        .token = unit->token, .outcome = WORKER_DONE, .status = (uint16_t)status};

    fake_worker_reply(worker, &reply);
}

void fake_worker_back(struct fake_worker *worker, const struct worker_unit *unit,
                      enum worker_outcome outcome, uint32_t op_index)
{
    const struct worker_reply reply = {
        .token = unit->token, .outcome = (uint8_t)outcome, .op_index = op_index};

    fake_worker_reply(worker, &reply);
}

static void *serve(void *argument)
{
    struct fake_worker *worker = argument;
    struct worker_unit unit;

    while (!__atomic_load_n(&worker->stop, __ATOMIC_ACQUIRE)) {
        struct worker_reply reply = {.outcome = WORKER_DONE};

        if (!fake_worker_take(worker, &unit, 20))
            continue;
        reply.token = unit.token;
        if (worker->behaviour)
            worker->behaviour(worker, &unit, &reply);
        else if (unit.kind == WORKER_UNIT_VECTOR_ADD)
            reply.result[0] = (uint32_t)(unit.args[0] + unit.args[1]);
        fake_worker_reply(worker, &reply);
    }
    return NULL;
}

void fake_worker_start(struct fake_worker *worker, fake_behaviour *behaviour, void *context)
{
    worker->behaviour = behaviour;
    worker->context = context;
    worker->stop = false;
    rig_must(pthread_create(&worker->thread, NULL, serve, worker) == 0, "a thread");
}

void fake_worker_stop(struct fake_worker *worker)
{
    __atomic_store_n(&worker->stop, true, __ATOMIC_RELEASE);
    pthread_join(worker->thread, NULL);
}
