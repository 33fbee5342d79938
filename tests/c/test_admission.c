/*
 * test_admission.c - Who is let in, who is not, and what they are told
 */
/* sanitizers: address thread */
#include <stddef.h>
#include <string.h>
#include <unistd.h>

#include "engine_scene.h"
#include "stub_guest.h"

#define SECOND_NS        1000000000ull
#define SLOTS_OF_ITS_OWN 16u

static uint64_t refused_for(struct mediator *m, const struct rig_vm *vm, enum mediator_refusal why)
{
    return rig_stats(m, vm).refused_by[why];
}

static void change(struct scene *s, uint32_t rate, uint32_t burst, uint32_t depth)
{
    s->vm[0].identity.max_rate = rate;
    s->vm[0].identity.max_burst = burst;
    s->vm[0].identity.max_queued = depth;
    CHECK(mediator_vm_set(s->m, s->vm[0].handle, &s->vm[0].identity) == 0);
}

static struct vgpu_completion ask(struct scene *s, int i, struct vgpu_submission entry)
{
    struct vgpu_completion completion = {.status = 0xffff};

    rig_ring_put(&s->ring[i], 0, &entry);
    CHECK(rig_ring_take(&s->ring[i], 0, &completion, RIG_LONG_MS));
    return completion;
}

/* Ask until the rate is used up. Return: how many were let through; @retry_us: what was told then */
static uint32_t use_up(struct scene *s, uint32_t *retry_us)
{
    for (uint32_t passed = 0;; passed++) {
        struct vgpu_completion completion = ask(s, 0, rig_nop(passed, 0));

        *retry_us = completion.retry_after_us;
        if (completion.status == VGPU_RATE && completion.cookie == passed)
            return passed;
        CHECK(completion.status == VGPU_OK && completion.retry_after_us == 0);
        if (completion.status != VGPU_OK)
            return UINT32_MAX;
    }
}

static void test_rate(void)
{
    const struct mediator_config config = rig_config();
    uint32_t retry_us;
    struct scene s;
    uint64_t since_ns, refused;

    scene_new(&s, &config);
    CASE("within the burst NOPs pass; then the ring is told RATE and when the next one will pass");
    since_ns = rig_now_ns();
    change(&s, 1, 5, 0);
    CHECK(use_up(&s, &retry_us) >= 5);
    CHECK(retry_us > 0 && retry_us <= 1000000);
    refused = refused_for(s.m, &s.vm[0], MEDIATOR_REFUSED_RATE);
    CHECK(refused == 1 && rig_stats(s.m, &s.vm[0]).refused == 1);

    CASE("no change of its own limits gives a VM tokens that it did not have");
    change(&s, 1, 1000, 0);
    change(&s, 0, 0, 0);
    change(&s, 1, 500, 7);
    s.vm[0].identity.weight = 80;
    change(&s, 1, 500, 7);
    CHECK(mediator_set_config(s.m, &config) == 0);
    CHECK(use_up(&s, &retry_us) <= (rig_now_ns() - since_ns) / SECOND_NS + 1);

    CASE("who has no limit passes beside it, and after its limit is taken away the VM does, too");
    for (uint64_t i = 0; i < 100; i++)
        CHECK(ask(&s, 1, rig_nop(i, 0)).status == VGPU_OK);
    change(&s, 0, 0, 0);
    for (uint64_t i = 0; i < 100; i++)
        CHECK(ask(&s, 0, rig_nop(i, 0)).status == VGPU_OK);

    CASE("a rate or burst out of range is refused, and nothing changes");
    s.vm[0].identity.max_rate = 1000000001;
    CHECK(mediator_vm_set(s.m, s.vm[0].handle, &s.vm[0].identity) < 0);
    s.vm[0].identity.max_rate = 0;
    s.vm[0].identity.max_burst = UINT32_MAX;
    CHECK(mediator_vm_set(s.m, s.vm[0].handle, &s.vm[0].identity) < 0);
    CHECK(ask(&s, 0, rig_nop(1, 0)).status == VGPU_OK);
    scene_free(&s);
}

/* The answers to @count frames that are sent at once: how many of which type. */
static uint32_t count_type(int client, uint32_t count, enum wire_type type)
{
    uint32_t found = 0;

    for (uint32_t i = 0; i < count; i++) {
        struct rig_answer answer;

        if (!rig_receive(client, &answer))
            break;
        CHECK(answer.header.request_id == i + 1);
        found += answer.header.type == type &&
                 (type == WIRE_RESPONSE ||
                  (answer.header.payload_len == 0 && answer.header.pool_id == 'A' &&
                   answer.header.priority == 1));
    }
    return found;
}

static void test_stub(void)
{
    const struct mediator_config config = rig_config();
    uint8_t bytes[8 * FRAME_MAX];
    struct rig_answer answer;
    struct scene s;
    size_t length = 0;
    int client;

    scene_new(&s, &config);
    change(&s, 1, 3, 0);
    client = rig_connect(s.vm[0].stub_path);
    CASE("over version 1 each request counts, also GET_DEVICE_INFO; over the rate it is BUSY");
    for (uint32_t i = 1; i <= 8; i++)
        length +=
            rig_request(bytes + length, i, i % 2 ? WIRE_OP_NOP : WIRE_OP_GET_DEVICE_INFO, NULL, 0);
    CHECK(rig_send(client, bytes, length));
    CHECK(count_type(client, 8, WIRE_BUSY) == 5);
    CHECK(refused_for(s.m, &s.vm[0], MEDIATOR_REFUSED_RATE) == 5);

    CASE("a PING is no request, and the connection is kept");
    CHECK(rig_send(client, bytes, rig_frame(bytes, WIRE_PING, 0, 0, NULL, 0)));
    CHECK(rig_receive(client, &answer) && answer.header.type == WIRE_PONG);
    change(&s, 0, 0, 0);
    CHECK(nop_works(client, 9));
    close(client);
    scene_free(&s);
}

static void test_depth(void)
{
    const struct mediator_config config = rig_config();
    uint8_t bytes[8 * FRAME_MAX];
    struct rig_answer answer;
    struct scene s;
    size_t length = 0;
    int client;

    scene_new(&s, &config);
    client = rig_connect(s.vm[0].stub_path);
    CASE("over the depth it is BUSY, too, and that costs no token");
    change(&s, 1, 3, 2);
    for (uint32_t i = 1; i <= 6; i++)
        length += rig_request(bytes + length, i, WIRE_OP_VECTOR_ADD, (uint32_t[]){1, 2}, 2);
    CHECK(rig_send(client, bytes, length)); /* there is no worker: two wait */
    for (uint32_t i = 3; i <= 6; i++)
        CHECK(rig_receive(client, &answer) && answer.header.type == WIRE_BUSY &&
              answer.header.request_id == i);
    CHECK(refused_for(s.m, &s.vm[0], MEDIATOR_REFUSED_VM_DEPTH) == 4);
    CHECK(refused_for(s.m, &s.vm[0], MEDIATOR_REFUSED_RATE) == 0);

    CASE("a smaller depth, or rate, drops nothing that is queued");
    change(&s, 1, 1, 1);
    CHECK(rig_stats(s.m, &s.vm[0]).queued == 2);
    close(client);
    scene_free(&s);
}

static void test_order(void)
{
    struct mediator_config config = rig_config();
    struct mediator_vm_stats stats;
    struct scene s;

    config.max_queued_total = 3;
    scene_new(&s, &config);
    CASE("a pool that is disabled comes before a quarantine, that before the rate, that before "
         "depth");
    change(&s, 1, 1, 1);
    CHECK(ask(&s, 0, rig_nop(1, 0)).status == VGPU_OK);
    s.vm[0].identity.quarantine_number = 1;
    s.vm[0].identity.quarantined = 1;
    change(&s, 1, 1, 1);
    CHECK(mediator_pool_set(s.m, 'A', 50, 0) == 0);
    CHECK(ask(&s, 0, rig_nop(2, 0)).status == VGPU_POOL_DISABLED);
    CHECK(mediator_pool_set(s.m, 'A', 50, 1) == 0);
    CHECK(ask(&s, 0, rig_nop(3, 0)).status == VGPU_QUARANTINED);
    CHECK(ask(&s, 0, rig_nop(4, 0)).retry_after_us == 0);
    s.vm[0].identity.quarantined = 0;
    change(&s, 1, 1, 1);

    CASE("what is malformed or not offered is told first, and is no matter of rate");
    CHECK(ask(&s, 1, (struct vgpu_submission){.kind = 0}).status == VGPU_INVALID);
    CHECK(ask(&s, 1, (struct vgpu_submission){.kind = VGPU_KIND_QUERY}).status == VGPU_UNSUPPORTED);

    CASE("every refusal is counted by its reason, and all of them together");
    stats = rig_stats(s.m, &s.vm[0]);
    CHECK(stats.refused_by[MEDIATOR_REFUSED_POOL] == 1 &&
          stats.refused_by[MEDIATOR_REFUSED_QUARANTINE] == 2 && stats.refused == 3);
    stats = rig_stats(s.m, &s.vm[1]);
    CHECK(stats.refused_by[MEDIATOR_REFUSED_MALFORMED] == 1 &&
          stats.refused_by[MEDIATOR_REFUSED_UNSUPPORTED] == 1 && stats.refused == 2);

    CASE("a VM without a pool is told as one whose pool is disabled");
    s.vm[0].identity.pool_id = 0;
    change(&s, 0, 0, 0);
    CHECK(ask(&s, 0, rig_nop(5, 0)).status == VGPU_POOL_DISABLED);
    scene_free(&s);
}

static void test_depth_in_all(void)
{
    struct mediator_config config = rig_config();
    static uint8_t bytes[(SLOTS_OF_ITS_OWN + 1) * FRAME_MAX];
    struct rig_answer answer;
    struct scene s;
    size_t length = 0;
    int one, other;

    config.max_queued_total = 3;
    scene_new(&s, &config);
    one = rig_connect(s.vm[0].stub_path);
    other = rig_connect(s.vm[1].stub_path);
    CASE("what all VMs together may have queued is a reason of its own; each has some slots "
         "besides");
    for (uint32_t i = 1; i <= SLOTS_OF_ITS_OWN + 1; i++)
        length += rig_request(bytes + length, i, WIRE_OP_VECTOR_ADD, (uint32_t[]){1, 2}, 2);
    CHECK(rig_send(one, bytes, length));
    CHECK(rig_receive(one, &answer) && answer.header.type == WIRE_BUSY &&
          answer.header.request_id == SLOTS_OF_ITS_OWN + 1);
    CHECK(refused_for(s.m, &s.vm[0], MEDIATOR_REFUSED_TOTAL_DEPTH) == 1);
    CHECK(nop_works(other, 1));
    close(one);
    close(other);
    scene_free(&s);
}

static void test_room_again(void)
{
    const struct mediator_config config = rig_config();
    struct scene s;

    scene_new(&s, &config);
    CASE("entries that wait in a ring for want of depth are taken as soon as there is more of it");
    change(&s, 0, 0, 1);
    put(&s, 0, 1, 0); /* waits for a worker that does not come */
    CHECK(RIG_UNTIL(s.m, &s.vm[0], queued, 1));
    put_nop(&s, 0, 2, 1);
    (void)rig_stats(s.m, &s.vm[0]);
    CHECK(rig_pair_host(&s.ring[0], 0)->sq_head == 1);
    change(&s, 0, 0, 2);
    CHECK(got(&s, 0, 2, VGPU_OK));
    scene_free(&s);
}

static void test_streams(void)
{
    const struct mediator_config config = rig_config();
    struct vgpu_completion completion;
    struct rig_ring ring;
    struct rig_vm vm;
    struct scene s;

    scene_new(&s, &config);
    rig_vm_new(&vm, 20, 'A', 1, 128, 5);
    CHECK(rig_vm_add(&vm, s.m, -1, -1) >= 0);
    CHECK(rig_ring_attach(&ring, &vm));
    CHECK(rig_ring_accept(&ring, 1u << VGPU_FEATURE_STREAMS) == VGPU_DEVICE_OK);
    CASE("one stream too many is BUSY on a ring, with a time, and counted as that");
    for (uint32_t i = 0; i < 64; i++) {
        const struct vgpu_submission entry = rig_command(i, i);

        rig_ring_put(&ring, i / RIG_ENTRIES, &entry);
    }
    CHECK(RIG_UNTIL(s.m, &vm, queued, 64));
    rig_ring_put(&ring, 4, &(struct vgpu_submission){.kind = VGPU_KIND_NOP, .stream = 64});
    CHECK(rig_ring_take(&ring, 4, &completion, RIG_LONG_MS));
    CHECK(completion.status == VGPU_BUSY && completion.retry_after_us > 0);
    CHECK(refused_for(s.m, &vm, MEDIATOR_REFUSED_STREAMS) == 1);
    mediator_free(s.m);
    s.m = NULL;
    rig_ring_leave(&ring);
    rig_vm_free(&vm);
    scene_free(&s);
}

static void test_restart(void)
{
    struct mediator_config config = rig_config();
    uint64_t since_ns = rig_now_ns();
    uint32_t retry_us;
    struct scene s;

    scene_new(&s, &config);
    CASE("a bucket that was used up is not refilled by the next engine");
    change(&s, 1, 1000, 0);
    CHECK(use_up(&s, &retry_us) >= 1000);
    mediator_free(s.m);
    s.m = rig_engine(&config);
    for (int i = 0; i < 2; i++) {
        rig_ring_leave(&s.ring[i]);
        CHECK(rig_vm_add(&s.vm[i], s.m, -1, -1) >= 0);
    }
    CHECK(mediator_start(s.m) == 0);
    for (int i = 0; i < 2; i++) {
        CHECK(rig_ring_attach(&s.ring[i], &s.vm[i]));
        CHECK(rig_ring_accept(&s.ring[i], 1u << VGPU_FEATURE_STREAMS) == VGPU_DEVICE_OK);
    }
    CHECK(use_up(&s, &retry_us) <= (rig_now_ns() - since_ns) / SECOND_NS + 1);
    scene_free(&s);
}

int main(void)
{
    test_rate();
    test_stub();
    test_depth();
    test_order();
    test_depth_in_all();
    test_room_again();
    test_streams();
    test_restart();
    return check_done();
}
