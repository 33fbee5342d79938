/*
 * test_worker_channel.c - The worker's end of the rings
 *
 * The test is the engine. The indices start shortly before 2^32, so that they wrap on the way.
 */
/* sanitizers: address thread */
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <pthread.h>
#include <stdbool.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "check.h"
#include "worker/channel.h"

#define START  (0u - 100u)
#define ROUNDS 300u

struct engine {
    struct worker_channel *shared;
    struct channel worker;
    int fd;
    int doorbell;
};

static int memfd_of(uint64_t bytes, int seals)
{
    int fd = memfd_create("channel", MFD_CLOEXEC | MFD_ALLOW_SEALING);

    if (fd < 0 || ftruncate(fd, (off_t)bytes) < 0 || fcntl(fd, F_ADD_SEALS, seals) < 0)
        abort();
    return fd;
}

static void engine_open(struct engine *engine)
{
    engine->fd = memfd_of(WORKER_CHANNEL_BYTES, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL);
    engine->doorbell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    engine->shared =
        mmap(NULL, WORKER_CHANNEL_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, engine->fd, 0);
    if (engine->shared == MAP_FAILED)
        abort();
    engine->shared->engine.unit_tail = START;
    engine->shared->engine.reply_head = START;
    engine->shared->worker.unit_head = START;
    engine->shared->worker.reply_tail = START;
    if (channel_open(&engine->worker, engine->fd, dup(engine->doorbell)) != 0)
        abort();
}

static void engine_close(struct engine *engine)
{
    channel_close(&engine->worker);
    munmap(engine->shared, WORKER_CHANNEL_BYTES);
    close(engine->fd);
    close(engine->doorbell);
}

static void engine_send(struct engine *engine, uint64_t token)
{
    uint32_t tail = __atomic_load_n(&engine->shared->engine.unit_tail, __ATOMIC_RELAXED);
    struct worker_unit *unit = &engine->shared->units[tail % WORKER_RING_ENTRIES];

    *unit = (struct worker_unit){.token = token, .qp = (uint32_t)token};
    __atomic_store_n(&engine->shared->engine.unit_tail, tail + 1, __ATOMIC_SEQ_CST);
    if (__atomic_load_n(&engine->shared->worker.worker_sleeps, __ATOMIC_SEQ_CST))
        syscall(SYS_futex, &engine->shared->engine.unit_tail, FUTEX_WAKE, 1, NULL, NULL, 0);
}

static bool rang(struct engine *engine)
{
    uint64_t count;

    return read(engine->doorbell, &count, sizeof(count)) == sizeof(count);
}

static void wrong_files(void)
{
    struct channel channel;
    int fd;

    CASE("a file of another size, or one that may shrink, is no channel");
    fd = memfd_of(WORKER_CHANNEL_BYTES + 4096, F_SEAL_SHRINK);
    CHECK(channel_open(&channel, fd, -1) == -EINVAL);
    close(fd);
    fd = memfd_of(WORKER_CHANNEL_BYTES, F_SEAL_GROW);
    CHECK(channel_open(&channel, fd, -1) == -EPERM);
    close(fd);

    CASE("a doorbell at which a write could end the worker is none");
    fd = memfd_of(WORKER_CHANNEL_BYTES, F_SEAL_SHRINK);
    CHECK(channel_open(&channel, fd, -1) == -EBADF);
    CHECK(channel_open(&channel, fd, fd) == -EINVAL);
    close(fd);
}

static void units_and_replies_wrap(void)
{
    struct engine engine;
    uint32_t wrong = 0;

    CASE("units and replies keep their order when the indices wrap");
    engine_open(&engine);
    for (uint64_t round = 0; round < ROUNDS; round++) {
        struct worker_reply reply = {.outcome = WORKER_DONE};
        struct worker_unit unit;
        uint32_t at;

        engine_send(&engine, 2 * round);
        engine_send(&engine, 2 * round + 1);
        for (uint64_t i = 0; i < 2; i++) {
            wrong += channel_take(&engine.worker, &unit) != 0 || unit.token != 2 * round + i;
            reply.token = unit.token;
            at = engine.shared->worker.reply_tail;
            wrong += channel_put(&engine.worker, &reply) != 0;
            wrong += engine.shared->worker.reply_tail != at + 1;
            wrong += engine.shared->replies[at % WORKER_RING_ENTRIES].token != unit.token;
            engine.shared->engine.reply_head++;
        }
    }
    CHECK(wrong == 0);
    CHECK(engine.shared->worker.unit_head == START + 2 * ROUNDS);
    engine_close(&engine);
}

static void impossible_indices(void)
{
    struct worker_reply reply = {.outcome = WORKER_DONE};
    struct worker_unit unit;
    struct engine engine;

    CASE("a tail more than the ring ahead, or behind, is a broken channel");
    engine_open(&engine);
    engine.shared->engine.unit_tail = START + WORKER_RING_ENTRIES + 1;
    CHECK(channel_take(&engine.worker, &unit) == -EPROTO);
    engine.shared->engine.unit_tail = START - 1;
    CHECK(channel_take(&engine.worker, &unit) == -EPROTO);

    CASE("a reply that would overwrite an unread one is a broken channel");
    for (uint32_t i = 0; i < WORKER_RING_ENTRIES; i++)
        CHECK(channel_put(&engine.worker, &reply) == 0);
    CHECK(channel_put(&engine.worker, &reply) == -EPROTO);
    engine.shared->engine.reply_head = START + WORKER_RING_ENTRIES + 1;
    CHECK(channel_put(&engine.worker, &reply) == -EPROTO);
    engine_close(&engine);
}

static void doorbell(void)
{
    struct worker_reply reply = {.outcome = WORKER_DONE};
    struct engine engine;

    CASE("only an engine that sleeps is rung, once for all replies since the last kick");
    engine_open(&engine);
    channel_put(&engine.worker, &reply);
    channel_kick(&engine.worker);
    CHECK(!rang(&engine));
    engine.shared->engine.engine_sleeps = 1;
    channel_kick(&engine.worker);
    CHECK(!rang(&engine));
    channel_put(&engine.worker, &reply);
    channel_put(&engine.worker, &reply);
    channel_kick(&engine.worker);
    CHECK(rang(&engine));
    channel_kick(&engine.worker);
    CHECK(!rang(&engine));
    engine_close(&engine);
}

static void *echo(void *argument)
{
    struct channel *worker = argument;
    struct worker_unit unit;

    do {
        struct worker_reply reply = {.outcome = WORKER_DONE};

        if (channel_take(worker, &unit) != 0)
            abort();
        reply.token = unit.token;
        if (channel_put(worker, &reply) != 0)
            abort();
    } while (unit.token != ROUNDS);
    channel_kick(worker);
    return NULL;
}

static void waiting_worker(uint32_t spin_us)
{
    struct engine engine;
    pthread_t thread;
    uint32_t wrong = 0;

    engine_open(&engine);
    engine.shared->engine.spin_us = spin_us;
    if (pthread_create(&thread, NULL, echo, &engine.worker) != 0)
        abort();
    for (uint64_t token = 1; token <= ROUNDS; token++) {
        uint32_t head = engine.shared->engine.reply_head;

        engine_send(&engine, token);
        while (__atomic_load_n(&engine.shared->worker.reply_tail, __ATOMIC_ACQUIRE) == head)
            sched_yield();
        wrong += engine.shared->replies[head % WORKER_RING_ENTRIES].token != token;
        __atomic_store_n(&engine.shared->engine.reply_head, head + 1, __ATOMIC_RELEASE);
    }
    pthread_join(thread, NULL);
    CHECK(wrong == 0);
    engine_close(&engine);
}

int main(void)
{
    wrong_files();
    units_and_replies_wrap();
    impossible_indices();
    doorbell();
    CASE("a worker that sleeps between units is woken for each");
    waiting_worker(0);
    CASE("one that may look for a while before it sleeps misses none");
    waiting_worker(SPIN_MAX_US);
    CASE("a limit that no engine sets is none");
    waiting_worker(UINT32_MAX);
    return check_done();
}
