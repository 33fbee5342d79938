/*
 * test_recover_kills.c - Engines that are killed at any moment, and their successors
 *
 * The engine runs in a child that is killed with SIGKILL; what it lives on is kept by this process,
 * which is its spawner, its workers and its clients at the same time. The clients' threads and the
 * workers' do not allocate, so that a child may be forked beside them.
 */
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "check.h"
#include "keeper.h"

#define KILLS        400
#define TIME_LIMIT_S 7
#define STREAMS      4u
#define WINDOW       12u
#define IDS          (1u << 20)

struct interruption {
    uint32_t reply; /* index of the reply that interrupted */
    bool active;
};

struct launch {
    struct interruption stream[STREAMS];
    uint8_t done[IDS]; /* how often a command was run to its end */
    uint64_t random;
    uint64_t twice;
};

static uint32_t random_next(uint64_t *state)
{
    *state = *state * 6364136223846793005ull + 1442695040888963407ull;
    return (uint32_t)(*state >> 33);
}

/* May the unit not run yet? By the rules of worker_channel.h. */
static bool bounces(struct interruption *at, const struct worker_unit *unit)
{
    at->active = at->active && (int32_t)(unit->reply_head - at->reply) <= 0;
    return at->active;
}

/* Runs commands, but interrupts some of them, once for a build and up to three times otherwise. */
static void launch_unit(struct fake_worker *worker, const struct worker_unit *unit,
                        struct worker_reply *reply)
{
    struct launch *launch = worker->context;
    struct interruption *at = &launch->stream[unit->stream % STREAMS];
    uint32_t dice = random_next(&launch->random) % 16;

    if (unit->kind == WORKER_UNIT_VECTOR_ADD) {
        reply->result[0] = (uint32_t)(unit->args[0] + unit->args[1]);
        return;
    }
    if (bounces(at, unit)) {
        reply->outcome = WORKER_BOUNCED;
    } else if (unit->first_op < 3 && dice < 4) {
        reply->outcome = WORKER_CONTINUE;
        reply->op_index = unit->first_op + 1;
    } else if (dice == 4 && !(unit->flags & WORKER_UNIT_BUILT)) {
        reply->outcome = WORKER_NEED_BUILD;
        reply->op_index = unit->first_op;
    } else {
        launch->twice += launch->done[unit->ctx % IDS]++ != 0;
    }
    if (reply->outcome == WORKER_CONTINUE || reply->outcome == WORKER_NEED_BUILD)
        *at = (struct interruption){.reply = worker->replied, .active = true};
}

struct client {
    const struct rig_vm *vm;
    struct rig_ring ring;
    pthread_t thread;
    bool stop; /* submit nothing more, and end when all is answered */
    uint64_t answered, wrong, lost, reconnects;
    uint8_t seen[IDS];
};

/* Submits commands and NOPs to several streams; each must be answered once, in its stream's order. */
static void *ring_client(void *argument)
{
    struct client *c = argument;
    uint32_t next = 0, outstanding = 0, expected[STREAMS];
    struct vgpu_completion completion;

    for (uint32_t i = 0; i < STREAMS; i++)
        expected[i] = i;
    for (;;) {
        bool stop = __atomic_load_n(&c->stop, __ATOMIC_ACQUIRE) || next == IDS;

        while (!stop && outstanding < WINDOW && next < IDS) {
            struct vgpu_submission entry = rig_command(next, next % STREAMS);

            entry.ctx = next;
            if (next % 7 == 3)
                entry = rig_nop(next, next % STREAMS);
            rig_ring_put(&c->ring, 0, &entry);
            next++;
            outstanding++;
        }
        if (outstanding == 0)
            return NULL;
        if (!rig_ring_take(&c->ring, 0, &completion, RIG_LONG_MS)) {
            c->lost += outstanding;
            return NULL;
        }
        outstanding--;
        c->answered++;
        c->wrong += completion.cookie >= next || completion.status != VGPU_OK ||
                    completion.cookie != expected[completion.cookie % STREAMS];
        expected[completion.cookie % STREAMS] += STREAMS;
    }
}

/* Sends vector adds; each is answered at most once, and rightly; a connection may be given up. */
static void *stub_client(void *argument)
{
    const struct timeval limit = {.tv_usec = 500000};
    struct client *c = argument;
    int fd = -1;
    uint32_t next = 1;

    while (!__atomic_load_n(&c->stop, __ATOMIC_ACQUIRE) && next < IDS - 8) {
        uint8_t bytes[8 * 64];
        size_t length = 0;
        uint32_t sum, batch = 1 + next % 8;
        struct rig_answer answer;
        bool whole = true;

        if (fd < 0) {
            fd = rig_connect(c->vm->stub_path);
            rig_must(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)) == 0,
                     "a limit");
            c->reconnects++;
        }
        for (uint32_t i = 0; i < batch; i++)
            length += rig_request(bytes + length, next + i, WIRE_OP_VECTOR_ADD,
                                  (uint32_t[]){next + i, 1000}, 2);
        whole = rig_send(fd, bytes, length);
        for (uint32_t i = 0; i < batch && whole; i++) {
            whole = rig_receive(fd, &answer);
            if (!whole)
                break;
            memcpy(&sum, answer.payload + sizeof(struct wire_response), sizeof(sum));
            c->wrong += answer.header.magic != WIRE_MAGIC || answer.header.type != WIRE_RESPONSE ||
                        answer.header.request_id < next ||
                        answer.header.request_id >= next + batch ||
                        sum != answer.header.request_id + 1000 ||
                        c->seen[answer.header.request_id % IDS]++ != 0;
            c->answered++;
        }
        next += batch;
        if (!whole) {
            close(fd);
            fd = -1;
        }
    }
    if (fd >= 0)
        close(fd);
    return NULL;
}

static int run_and_kill(struct rig_vm *vm, struct keeper *k, struct fake_worker *launch,
                        struct fake_worker *build, uint64_t *random)
{
    const struct timespec life = {.tv_nsec = random_next(random) % 6000000};
    int ready[2], status;
    pid_t child;
    char byte = 0;

    rig_must(pipe(ready) == 0, "a pipe");
    child = fork();
    rig_must(child >= 0, "a child");
    if (child == 0) {
        new_engine(vm, k, launch, build);
        rig_must(write(ready[1], &byte, 1) == 1, "a pipe");
        for (;;)
            pause();
    }
    close(ready[1]);
    /* Some die before they are ready, while they recover. */
    if (life.tv_nsec > 1000000)
        rig_must(read(ready[0], &byte, 1) == 1, "an engine that starts");
    nanosleep(&life, NULL); /* the random moment that this test is about */
    kill(child, SIGKILL);
    rig_must(waitpid(child, &status, 0) == child, "the child's end");
    close(ready[0]);
    keeper_listen(k);
    return WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
}

static void test_kills(void)
{
    static struct launch launch_state = {.random = 5};
    static struct client ring, stub;
    struct keeper k;
    struct fake_worker launch, build;
    struct mediator *m;
    struct rig_vm vm;
    uint64_t random = 11, end_ns = rig_now_ns() + TIME_LIMIT_S * 1000000000ull;
    struct mediator_vm_stats stats;
    int kills = 0;

    CASE("an engine that stops in peace is continued by the next one, unseen by its client");
    keeper_new(&k);
    rig_vm_new(&vm, 3, 'A', 1, 64, 1);
    m = new_engine(&vm, &k, NULL, NULL);
    CHECK(rig_ring_attach(&ring.ring, &vm));
    CHECK(rig_ring_accept(&ring.ring, 1u << VGPU_FEATURE_STREAMS) == VGPU_DEVICE_OK);
    mediator_free(m);
    keeper_listen(&k);
    CHECK(k.ring >= 0);
    fake_worker_new(&launch, 1);
    fake_worker_new(&build, 2);
    fake_worker_start(&launch, launch_unit, &launch_state);
    fake_worker_start(&build, NULL, NULL);
    ring.vm = stub.vm = &vm;
    rig_must(pthread_create(&ring.thread, NULL, ring_client, &ring) == 0 &&
                 pthread_create(&stub.thread, NULL, stub_client, &stub) == 0,
             "threads");

    CASE("engines are killed at any moment, hundreds of times, and none dies in another way");
    while (kills < KILLS && rig_now_ns() < end_ns) {
        int killed = run_and_kill(&vm, &k, &launch, &build, &random);

        CHECK(killed);
        if (!killed)
            break;
        kills++;
    }
    CHECK(kills >= 50);
    m = new_engine(&vm, &k, &launch, &build);
    __atomic_store_n(&ring.stop, true, __ATOMIC_RELEASE);
    __atomic_store_n(&stub.stop, true, __ATOMIC_RELEASE);
    pthread_join(ring.thread, NULL);
    pthread_join(stub.thread, NULL);

    CASE("every submission to the ring was answered exactly once, in its stream's order");
    CHECK(ring.lost == 0 && ring.wrong == 0 && ring.answered > 100);
    CASE("every command was run to its end exactly once");
    CHECK(launch_state.twice == 0);
    CASE("no version 1 request was answered twice, and none wrongly");
    CHECK(stub.wrong == 0 && stub.answered > 100);
    CASE("when all is answered, the last engine has nothing queued, running or taken");
    CHECK(RIG_UNTIL(m, &vm, running, 0) && RIG_UNTIL(m, &vm, queued, 0));
    stats = rig_stats(m, &vm);
    CHECK(stats.faults == 0 && !stats.worker_doomed[0] && !stats.worker_doomed[1]);
    printf("# %d kills, ring %llu answers, stub %llu answers on %llu connections\n", kills,
           (unsigned long long)ring.answered, (unsigned long long)stub.answered,
           (unsigned long long)stub.reconnects);
    mediator_free(m);
    fake_worker_stop(&launch);
    fake_worker_stop(&build);
    fake_worker_free(&launch);
    fake_worker_free(&build);
    rig_ring_leave(&ring.ring);
    keeper_listen(&k);
    keeper_free(&k);
    rig_vm_free(&vm);
}

int main(void)
{
    test_kills();
    return check_done();
}
