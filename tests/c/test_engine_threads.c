/*
 * test_engine_threads.c - The whole engine at once, from all sides
 *
 * VMs with a version 1 client and a ring client each, whose workers answer DONE, CONTINUE, NEED_BUILD
 * or nonsense at random; and the control plane, which at the same time adds and removes VMs, changes
 * weights, pools and the configuration, reads statistics and events, and kills workers. All of it is
 * chosen by a seed; how the threads interleave is not, and ThreadSanitizer watches.
 *
 * Somebody may have to wait meanwhile, for a pool that is disabled, a worker that is gone or VMs of a
 * higher class, but each of these is mended within a few steps.
 */
/* sanitizers: thread address */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "busy_client.h"
#include "chance.h"
#include "check.h"
#include "decided_again.h"
#include "moody_worker.h"

#define VMS       3
#define NEWCOMERS 3
#define STEPS     200
#define SHUT_FOR  4 /* steps that a VM may have to wait for its pool, or behind higher ones */
#define LIES_IN   300u

/* A VM that stays, or one that comes and goes. */
struct tenant {
    struct rig_vm vm;
    struct moody_worker worker[2];
    struct busy_client stub, ring;
    int client; /* of a newcomer: a version 1 connection that nobody reads */
    bool here;
};

struct stage {
    struct mediator *m;
    uint64_t random;
    struct tenant vm[VMS], newcomer[NEWCOMERS];
    uint32_t next_vm, next_worker;
    uint64_t dropped; /* of VMs that were removed */
    uint32_t events, kills, refusals, removals, doomed;
    uint32_t wrong; /* calls that said what they must not */
};

static int open_fds(void)
{
    int count = 0;

    for (int fd = 0; fd < 1024; fd++)
        count += fcntl(fd, F_GETFD) >= 0;
    return count;
}

static void expect(struct stage *s, bool held, const char *what)
{
    if (held)
        return;
    fprintf(stderr, "%s\n", what);
    s->wrong++;
}

/* ---- workers ---- */

static void start_worker(struct stage *s, struct tenant *t, int lane, uint32_t lies_in)
{
    expect(s,
           moody_worker_start(&t->worker[lane], s->m, t->vm.handle, lane, s->next_worker++,
                              lies_in) == 0,
           "a worker could not be attached");
}

/* What the control plane does when it is told to look at a VM's workers. */
static void review_workers(struct stage *s, struct tenant *t, bool kindly)
{
    struct mediator_vm_stats stats = rig_stats(s->m, &t->vm);

    for (int lane = 0; lane < 2; lane++) {
        if (t->worker[lane].attached && stats.worker_doomed[lane]) {
            moody_worker_end(&t->worker[lane], s->m, t->vm.handle, 0);
            s->doomed++;
        }
        if (t->worker[lane].attached)
            continue;
        if (kindly || chance(&s->random, 4)) {
            start_worker(s, t, lane, kindly ? 0 : LIES_IN);
        } else if (stats.worker_wanted[lane]) {
            expect(s, mediator_worker_refused(s->m, t->vm.handle, lane, 1000) == 0, "refusing");
            s->refusals++;
        }
    }
}

static void kill_worker(struct stage *s, struct tenant *t)
{
    int lane = (int)chance(&s->random, 2);

    if (!t->worker[lane].attached)
        return;
    moody_worker_end(&t->worker[lane], s->m, t->vm.handle, (int)chance(&s->random, 2));
    s->kills++;
}

/* ---- VMs that come and go ---- */

static void come(struct stage *s, struct tenant *t)
{
    uint8_t frame[256];
    const uint32_t params[2] = {1, 2};

    rig_vm_new(&t->vm, 100 + s->next_vm++, chance(&s->random, 2) ? 'A' : 'B',
               (uint8_t)chance(&s->random, 3), 32, 1 + chance(&s->random, 3));
    expect(s, rig_vm_add(&t->vm, s->m, -1, -1) >= 0, "a VM could not be added");
    t->here = true;
    t->client = rig_connect(t->vm.stub_path);
    for (uint32_t i = 0; i < 6; i++)
        rig_send(
            t->client, frame,
            rig_request(frame, i, i % 2 ? WIRE_OP_VECTOR_ADD : WIRE_OP_NOP, params, i % 2 ? 2 : 0));
    if (chance(&s->random, 2))
        start_worker(s, t, MEDIATOR_LAUNCH, LIES_IN);
}

static void go(struct stage *s, struct tenant *t)
{
    struct mediator_vm_stats stats;

    if (chance(&s->random, 2)) {
        close(t->client);
        t->client = -1;
    }
    expect(s, mediator_vm_retire(s->m, t->vm.handle) == 0, "retiring");
    for (int lane = 0; lane < 2; lane++)
        if (t->worker[lane].attached) {
            expect(s, mediator_vm_remove(s->m, t->vm.handle) == -EBUSY, "removing too early");
            moody_worker_end(&t->worker[lane], s->m, t->vm.handle, 0);
        }
    stats = rig_stats(s->m, &t->vm);
    s->dropped += stats.dropped;
    expect(s, stats.queued == 0 && stats.running == 0, "a retired VM has something left");
    expect(s, mediator_vm_remove(s->m, t->vm.handle) == 0, "removing");
    expect(s, mediator_vm_remove(s->m, t->vm.handle) == -ENOENT, "removing twice");
    if (t->client >= 0)
        close(t->client);
    rig_vm_free(&t->vm);
    t->here = false;
    s->removals++;
}

/* ---- changes ---- */

static void change_vm(struct stage *s, struct tenant *t)
{
    static const uint8_t pools[] = {'A', 'A', 'B', 0};

    t->vm.identity.weight = 1 + chance(&s->random, 100);
    t->vm.identity.priority = (uint8_t)chance(&s->random, 3);
    t->vm.identity.pool_id = pools[chance(&s->random, 4)];
    t->vm.identity.max_queued = chance(&s->random, 3) ? 0 : 1 + chance(&s->random, 20);
    expect(s, mediator_vm_set(s->m, t->vm.handle, &t->vm.identity) == 0, "changing a VM");
}

static void change_config(struct stage *s)
{
    struct mediator_config config = rig_config();
    static const uint32_t quanta[] = {1, 100, 2000};

    config.max_queued_total = chance(&s->random, 2) ? 8 : 4096;
    config.units_in_flight = 1 + chance(&s->random, 32);
    config.max_builds = 1 + chance(&s->random, 3);
    config.quantum_us = quanta[chance(&s->random, 3)];
    config.spin_us = chance(&s->random, 2) * 100;
    config.aging_after_ms = chance(&s->random, 20);
    config.aging_share = chance(&s->random, 2) * 20;
    config.priority_scope = chance(&s->random, 2);
    expect(s, mediator_set_config(s->m, &config) == 0, "a configuration");
}

static void change_pool(struct stage *s)
{
    uint8_t pool = (uint8_t)('A' + chance(&s->random, 3));

    expect(s,
           mediator_pool_set(s->m, pool, 1 + chance(&s->random, 100), chance(&s->random, 3) > 0) ==
               0,
           "a pool");
    if (pool == 'C')
        expect(s, mediator_pool_remove(s->m, pool) == 0, "removing an empty pool");
}

static void change_device(struct stage *s)
{
    const struct vgpu_device_info device = rig_device();
    bool there = chance(&s->random, 3) > 0;

    expect(s, mediator_set_device(s->m, &device, there ? sizeof(device) : 0) == 0, "a device");
}

static void look(struct stage *s)
{
    struct mediator_event event[16];
    struct mediator_stats stats;
    uint64_t layout[5];
    int count;

    while ((count = mediator_events(s->m, event, 16)) > 0)
        s->events += (uint32_t)count;
    expect(s, mediator_stats(s->m, &stats) == 0 && stats.vms >= VMS, "statistics");
    expect(s, mediator_vm_layout(s->m, s->vm[0].vm.handle, layout) == 0 && layout[0] == 1,
           "a layout");
}

/* Nobody waits for long. */
static void open_doors(struct stage *s)
{
    for (uint8_t pool = 'A'; pool <= 'B'; pool++)
        expect(s, mediator_pool_set(s->m, pool, 50, 1) == 0, "the pools");
    for (int i = 0; i < VMS; i++) {
        s->vm[i].vm.identity.pool_id = 'A';
        s->vm[i].vm.identity.priority = 1; /* higher ones that never pause could keep it waiting */
        expect(s, mediator_vm_set(s->m, s->vm[i].vm.handle, &s->vm[i].vm.identity) == 0, "a VM");
    }
}

/* ---- the play ---- */

static void step(struct stage *s)
{
    struct tenant *t = &s->vm[chance(&s->random, VMS)];
    struct tenant *n = &s->newcomer[chance(&s->random, NEWCOMERS)];

    switch (chance(&s->random, 8)) {
    case 0:
        change_vm(s, t);
        break;
    case 1:
        change_config(s);
        break;
    case 2:
        change_pool(s);
        break;
    case 3:
        change_device(s);
        break;
    case 4:
        kill_worker(s, t);
        break;
    case 5:
        if (n->here)
            go(s, n);
        else
            come(s, n);
        break;
    default:
        look(s);
        break;
    }
    for (int i = 0; i < VMS; i++)
        review_workers(s, &s->vm[i], false);
}

static void open_stage(struct stage *s, uint64_t seed)
{
    const struct mediator_config config = rig_config();

    memset(s, 0, sizeof(*s));
    s->random = seed;
    s->next_worker = 1;
    s->m = rig_engine(&config);
    record_from_now(s->m);
    for (int i = 0; i < VMS; i++) {
        struct tenant *t = &s->vm[i];

        rig_vm_new(&t->vm, 1 + (uint32_t)i, 'A', 1, 64, 1);
        rig_must(rig_vm_add(&t->vm, s->m, -1, -1) >= 0, "a VM");
    }
    rig_must(mediator_start(s->m) == 0, "a reactor");
    for (int i = 0; i < VMS; i++) {
        start_worker(s, &s->vm[i], MEDIATOR_LAUNCH, LIES_IN);
        busy_stub_start(&s->vm[i].stub, &s->vm[i].vm, seed + (uint64_t)i);
        busy_ring_start(&s->vm[i].ring, &s->vm[i].vm, s->m, seed + 10 + (uint64_t)i);
    }
}

/* Everything works again, so that all that is out can be answered. */
static void make_peace(struct stage *s)
{
    const struct mediator_config config = rig_config();

    for (int i = 0; i < NEWCOMERS; i++)
        if (s->newcomer[i].here)
            go(s, &s->newcomer[i]);
    expect(s, mediator_set_config(s->m, &config) == 0, "the configuration");
    for (int i = 0; i < VMS; i++)
        s->vm[i].vm.identity.max_queued = 0;
    open_doors(s);
    for (int i = 0; i < VMS; i++) {
        for (int lane = 0; lane < 2; lane++)
            if (s->vm[i].worker[lane].attached)
                moody_worker_end(&s->vm[i].worker[lane], s->m, s->vm[i].vm.handle, 0);
        review_workers(s, &s->vm[i], true);
    }
}

static void close_stage(struct stage *s)
{
    mediator_stop(s->m);
    for (int i = 0; i < VMS; i++)
        for (int lane = 0; lane < 2; lane++)
            moody_worker_end(&s->vm[i].worker[lane], s->m, s->vm[i].vm.handle, 0);
    CHECK(decided_again(s->m));
    mediator_free(s->m);
    for (int i = 0; i < VMS; i++)
        rig_vm_free(&s->vm[i].vm);
}

static void play(uint64_t seed)
{
    struct stage *s = malloc(sizeof(*s));
    struct mediator_stats stats;
    struct mediator_event event;
    uint64_t answered = 0, served = 0;
    int fds = open_fds();

    rig_must(s, "memory");
    open_stage(s, seed);
    for (int i = 0; i < STEPS; i++) {
        step(s);
        if (i % SHUT_FOR == 0)
            open_doors(s);
    }
    make_peace(s);

    CASE("whatever is changed meanwhile, every request is answered exactly once");
    for (int i = 0; i < VMS; i++) {
        struct tenant *t = &s->vm[i];

        CHECK(busy_client_end(&t->stub));
        CHECK(busy_client_end(&t->ring));
        CHECK(t->stub.served && t->ring.served);
        answered += t->stub.answered + t->ring.answered;
        served += t->stub.served + t->ring.served;
    }

    CASE("no call fails that should not, and the engine's own books are right");
    CHECK(s->wrong == 0);
    for (int i = 0; i < VMS; i++) {
        CHECK(RIG_UNTIL(s->m, &s->vm[i].vm, running, 0));
        s->dropped += rig_stats(s->m, &s->vm[i].vm).dropped;
    }
    CHECK(mediator_stats(s->m, &stats) == 0);
    CHECK(stats.outstanding == 0 && stats.in_flight == 0 && stats.builds == 0);
    CHECK(stats.vms == VMS && stats.accepted == stats.answered + s->dropped);

    CASE("all of it was there: VMs came and went, workers were killed, doomed and refused");
    CHECK(s->removals && s->kills && s->doomed && s->refusals && s->events);
    CHECK(mediator_drain(s->m, 1) == 0 && rig_event(s->m, MEDIATOR_IDLE, &event));

    CASE("it ends, and leaves no descriptor behind");
    close_stage(s);
    CHECK(open_fds() == fds);
    printf("# seed %llu: %llu answered, %llu of them OK; %u VMs removed, %u workers killed, %u "
           "doomed, %u refused\n",
           (unsigned long long)seed, (unsigned long long)answered, (unsigned long long)served,
           s->removals, s->kills, s->doomed, s->refusals);
    free(s);
}

int main(void)
{
    for (uint64_t seed = 1; seed <= 3; seed++)
        play(seed);
    return check_done();
}
