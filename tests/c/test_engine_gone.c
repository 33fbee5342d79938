/*
 * test_engine_gone.c - Clients that go in the middle of their work, and those who come after them
 *
 * Every request is answered once, to the connection it came by, or dropped and counted when that is
 * gone: never told to another client, also when that has the same descriptor number, the same stream
 * and the same cookies.
 */
/* sanitizers: address thread */
#include <dirent.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "engine_scene.h"
#include "stub_guest.h"

#define QUEUED  5u
#define CLIENTS 300

struct descriptors {
    bool open[1024];
    int count;
};

static struct descriptors open_descriptors(void)
{
    struct descriptors found = {0};
    DIR *dir = opendir("/proc/self/fd");
    const struct dirent *entry;

    rig_must(dir, "/proc");
    while ((entry = readdir(dir))) {
        int fd = atoi(entry->d_name);

        if (entry->d_name[0] == '.' || fd == dirfd(dir) || fd >= 1024)
            continue;
        found.open[fd] = true;
        found.count++;
    }
    closedir(dir);
    return found;
}

/* The number under which the engine has a client that it has let in since @before. */
static int number_of(const struct descriptors *before, int client)
{
    const struct descriptors now = open_descriptors();

    for (int fd = 0; fd < 1024; fd++)
        if (now.open[fd] && !before->open[fd] && fd != client)
            return fd;
    return -1;
}

static struct mediator_config one_at_a_time(void)
{
    struct mediator_config config = rig_config();

    config.units_in_flight = 1;
    return config;
}

static size_t vector_add(uint8_t *frame, uint32_t request_id, uint32_t a)
{
    return rig_request(frame, request_id, WIRE_OP_VECTOR_ADD, (uint32_t[]){a, 0}, 2);
}

static uint32_t sum_of(const struct rig_answer *answer)
{
    uint32_t sum;

    memcpy(&sum, answer->payload + sizeof(struct wire_response), sizeof(sum));
    return sum;
}

static void reply_sum(struct fake_worker *worker, const struct worker_unit *unit)
{
    const struct worker_reply reply = {
        .token = unit->token, .outcome = WORKER_DONE, .result = {unit->args[0] + unit->args[1]}};

    fake_worker_reply(worker, &reply);
}

static void test_stub(void)
{
    const struct mediator_config config = one_at_a_time();
    struct mediator_vm_stats before, after;
    struct worker_unit first, second;
    struct fake_worker worker;
    struct rig_answer answer;
    uint8_t frame[FRAME_MAX];
    struct mediator_stats all;
    struct scene s;
    struct descriptors none;
    int client, number;

    scene_new(&s, &config);
    attach(&s, 0, &worker, 1, MEDIATOR_LAUNCH);
    none = open_descriptors();
    client = rig_connect(s.vm[0].stub_path);
    CHECK(nop_works(client, 99));
    number = number_of(&none, client);
    CASE("what a version 1 client that goes had queued is dropped and counted; what runs goes on");
    for (uint32_t i = 0; i <= QUEUED; i++)
        CHECK(rig_send(client, frame, vector_add(frame, 1 + i, 1000)));
    CHECK(fake_worker_take(&worker, &first, RIG_LONG_MS));
    CHECK(RIG_UNTIL(s.m, &s.vm[0], queued, QUEUED));
    before = rig_stats(s.m, &s.vm[0]);
    close(client);
    CHECK(RIG_UNTIL(s.m, &s.vm[0], stub_connected, 0));
    after = rig_stats(s.m, &s.vm[0]);
    CHECK(after.dropped == before.dropped + QUEUED && after.queued == 0 && after.running == 1);

    CASE("its answer is not told to a newcomer with the same request ids; the newcomer gets its "
         "own");
    client = rig_connect(s.vm[0].stub_path);
    CHECK(rig_send(client, frame, vector_add(frame, 1, 2000)));
    CHECK(RIG_UNTIL(s.m, &s.vm[0], queued, 1));
    CHECK(number >= 0 && number_of(&none, client) == number);
    reply_sum(&worker, &first);
    CHECK(fake_worker_take(&worker, &second, RIG_LONG_MS));
    reply_sum(&worker, &second);
    CHECK(answered(client, 1, WIRE_OK, &answer) && sum_of(&answer) == 2000);
    CHECK(nop_works(client, 2)); /* and nothing was in between */
    after = rig_stats(s.m, &s.vm[0]);
    CHECK(after.dropped == before.dropped + QUEUED + 1);
    CHECK(after.completed == before.completed + 2 && after.running == 0);

    CASE("the same when its worker is lost instead");
    CHECK(rig_send(client, frame, vector_add(frame, 1, 3000)));
    CHECK(fake_worker_take(&worker, &first, RIG_LONG_MS));
    close(client);
    CHECK(RIG_UNTIL(s.m, &s.vm[0], stub_connected, 0));
    client = rig_connect(s.vm[0].stub_path);
    CHECK(rig_send(client, frame, rig_request(frame, 1, WIRE_OP_NOP, NULL, 0)));
    CHECK(RIG_UNTIL(s.m, &s.vm[0], queued, 1)); /* behind what still runs in its stream */
    CHECK(mediator_worker_gone(s.m, s.vm[0].handle, MEDIATOR_LAUNCH, 0, 0) == 0);
    CHECK(answered(client, 1, WIRE_OK, &answer) && nop_works(client, 2));
    CHECK(rig_stats(s.m, &s.vm[0]).dropped == before.dropped + QUEUED + 2);

    CASE("everything accepted was answered or dropped, and no slot is left in use");
    rig_must(mediator_stats(s.m, &all) == 0, "the statistics");
    CHECK(all.outstanding == 0 && all.accepted == all.answered + rig_stats(s.m, &s.vm[0]).dropped);
    close(client);
    scene_free(&s);
    fake_worker_free(&worker);
}

static void test_ring(void)
{
    const struct mediator_config config = one_at_a_time();
    struct vgpu_completion completion;
    struct mediator_stats all;
    struct worker_unit first, second;
    struct fake_worker worker;
    struct scene s;
    uint32_t generation;

    scene_new(&s, &config);
    attach(&s, 0, &worker, 1, MEDIATOR_LAUNCH);
    CASE("what a ring's client that goes had queued is dropped and counted; what runs goes on");
    for (uint32_t i = 0; i <= QUEUED; i++)
        put(&s, 0, 1, 0);
    CHECK(fake_worker_take(&worker, &first, RIG_LONG_MS));
    CHECK(RIG_UNTIL(s.m, &s.vm[0], queued, QUEUED));
    generation = s.ring[0].host->generation;
    rig_ring_leave(&s.ring[0]);
    CHECK(RIG_UNTIL(s.m, &s.vm[0], ring_connected, 0));
    CHECK(rig_stats(s.m, &s.vm[0]).dropped == QUEUED && rig_stats(s.m, &s.vm[0]).running == 1);

    CASE("its answer is not told to the next client, whose own one it does not delay for ever");
    CHECK(rig_ring_attach(&s.ring[0], &s.vm[0]));
    CHECK(rig_ring_accept(&s.ring[0], 1u << VGPU_FEATURE_STREAMS) == VGPU_DEVICE_OK);
    put(&s, 0, 1, 0); /* the same cookie and stream */
    CHECK(RIG_UNTIL(s.m, &s.vm[0], queued, 1));
    fake_worker_done(&worker, &first, VGPU_FAILED);
    CHECK(fake_worker_take(&worker, &second, RIG_LONG_MS) && second.token != first.token);
    CHECK(second.generation == first.generation + 1);
    fake_worker_done(&worker, &second, VGPU_OK);
    CHECK(rig_ring_take(&s.ring[0], 0, &completion, RIG_LONG_MS));
    CHECK(completion.status == VGPU_OK && completion.generation == generation + 1);
    put_nop(&s, 0, 2, 0);
    CHECK(got(&s, 0, 2, VGPU_OK));
    CHECK(rig_stats(s.m, &s.vm[0]).dropped == QUEUED + 1);

    CASE("a chain of a client that is gone ends at its next op");
    put(&s, 0, 3, 0);
    CHECK(fake_worker_take(&worker, &first, RIG_LONG_MS));
    rig_ring_leave(&s.ring[0]);
    CHECK(RIG_UNTIL(s.m, &s.vm[0], ring_connected, 0));
    fake_worker_back(&worker, &first, WORKER_CONTINUE, 1);
    CHECK(RIG_UNTIL(s.m, &s.vm[0], running, 0) && rig_stats(s.m, &s.vm[0]).queued == 0);
    CHECK(nothing_for(&worker, &s, 0));
    CHECK(rig_ring_attach(&s.ring[0], &s.vm[0]));

    CASE("everything accepted was answered or dropped, and no slot is left in use");
    rig_must(mediator_stats(s.m, &all) == 0, "the statistics");
    CHECK(all.outstanding == 0 && all.accepted == all.answered + rig_stats(s.m, &s.vm[0]).dropped);
    scene_free(&s);
    fake_worker_free(&worker);
}

/* A client that asks for something and goes at once; every third one without having sent all of it. */
static void come_and_go(const struct rig_vm *vm, uint32_t i)
{
    uint8_t frame[FRAME_MAX];
    int client = rig_connect(vm->stub_path);
    size_t length = vector_add(frame, i, i);

    /* It may have been refused, as a second client, before this is sent. */
    (void)rig_send(client, frame, i % 3 ? length : length / 2);
    close(client);
}

static void test_storm(void)
{
    const struct mediator_config config = one_at_a_time();
    struct fake_worker worker;
    struct mediator_stats all;
    uint8_t frame[FRAME_MAX];
    struct rig_answer answer;
    struct scene s;
    int before, client;

    scene_new(&s, &config);
    attach(&s, 0, &worker, 1, MEDIATOR_LAUNCH);
    fake_worker_start(&worker, NULL, NULL);
    client = rig_connect(s.vm[0].stub_path);
    CHECK(rig_send(client, frame, vector_add(frame, 1, 5)) &&
          answered(client, 1, WIRE_OK, &answer));
    close(client);
    CHECK(RIG_UNTIL(s.m, &s.vm[0], stub_connected, 0));
    before = open_descriptors().count;
    CASE("hundreds that connect, ask and close leave no descriptor, no slot and no request behind");
    for (uint32_t i = 0; i < CLIENTS; i++)
        come_and_go(&s.vm[0], i);
    CHECK(RIG_UNTIL(s.m, &s.vm[0], stub_connected, 0));
    CHECK(RIG_UNTIL(s.m, &s.vm[0], queued, 0) && RIG_UNTIL(s.m, &s.vm[0], running, 0));
    for (int i = 0; i < 20; i++) {
        rig_ring_leave(&s.ring[1]);
        CHECK(RIG_UNTIL(s.m, &s.vm[1], ring_connected, 0));
        CHECK(rig_ring_attach(&s.ring[1], &s.vm[1]));
    }
    CHECK(open_descriptors().count == before);
    rig_must(mediator_stats(s.m, &all) == 0, "the statistics");
    CHECK(all.outstanding == 0);
    CHECK(all.accepted == all.answered + rig_stats(s.m, &s.vm[0]).dropped);

    CASE("the next one is served as if nothing had been");
    client = rig_connect(s.vm[0].stub_path);
    CHECK(rig_send(client, frame, vector_add(frame, 1, 7)) &&
          answered(client, 1, WIRE_OK, &answer));
    CHECK(sum_of(&answer) == 7);
    close(client);
    fake_worker_stop(&worker);
    scene_free(&s);
    fake_worker_free(&worker);
}

int main(void)
{
    test_stub();
    test_ring();
    test_storm();
    return check_done();
}
