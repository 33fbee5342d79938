/*
 * test_peers.c - Clients that leave in every way, and what others see of it: nothing
 */
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "check.h"
#include "engine_rig.h"
#include "keeper.h"
#include "lingering.h"
#include "stub_guest.h"

static void test_descriptors(struct mediator *m, struct rig_vm *evil, int polite)
{
    struct mediator_stats stats;
    int client, second, peer;
    bool took;

    CASE("a client's descriptors are refused, or thrown away, and the engine waits for none");
    client = rig_connect(evil->stub_path);
    CHECK(nop_works(client, 1));
    took = send_away(client, lingering_socket(&peer));
    CHECK(nop_works(polite, 2));
    CHECK(!took || tcp_closed(peer));
    close(peer);
    second = rig_connect(evil->stub_path);
    took = send_away(second, lingering_socket(&peer));
    CHECK(rig_closed(second) && nop_works(polite, 3));
    CHECK(mediator_stats(m, &stats) == 0);
    CHECK(!took || tcp_closed(peer));
    close(peer);
    close(second);
    close(client);
}

static void test_half_closed(struct rig_vm *vm)
{
    uint8_t frame[FRAME_MAX];
    struct rig_answer answer;
    int client = rig_connect(vm->stub_path);

    CASE("a client that has said all it has to say is answered, then let go");
    for (uint32_t i = 0; i < 20; i++)
        CHECK(rig_send(client, frame, rig_request(frame, i, WIRE_OP_NOP, NULL, 0)));
    CHECK(shutdown(client, SHUT_WR) == 0);
    for (uint32_t i = 0; i < 20; i++)
        CHECK(answered(client, i, WIRE_OK, &answer));
    CHECK(rig_closed(client));
    close(client);
}

/* Wait for an event of the ring's transport. */
static bool ring_event(struct mediator *m, enum mediator_event_type type)
{
    struct mediator_event event;

    do
        if (!rig_event(m, type, &event))
            return false;
    while (event.a != MEDIATOR_RING);
    return true;
}

static void test_unread_greeting(struct mediator *m, struct rig_vm *vm)
{
    struct rig_ring ring;
    int client, next;

    CASE("who does not read its greeting keeps its place: nobody else is greeted before it has");
    client = rig_connect(vm->ring_path);
    CHECK(ring_event(m, MEDIATOR_CONNECTED));
    CHECK(shutdown(client, SHUT_WR) == 0);
    CHECK(ring_event(m, MEDIATOR_DISCONNECTED));
    next = rig_connect(vm->ring_path);
    CHECK(ring_event(m, MEDIATOR_SECOND_CLIENT) && rig_closed(next));
    close(next);

    CASE("and once it has left, the next one is served");
    close(client);
    CHECK(rig_ring_attach(&ring, vm));
    CHECK(rig_ring_accept(&ring, 1u << VGPU_FEATURE_STREAMS) == VGPU_DEVICE_OK);
    rig_ring_leave(&ring);
    CHECK(ring_event(m, MEDIATOR_DISCONNECTED));
}

static void test_successor(void)
{
    struct keeper k;
    struct rig_ring before, after;
    struct spawn_message filler = {0};
    struct rig_answer answer;
    struct mediator *m;
    struct rig_vm vm;
    int client, next;

    CASE("a client that comes while no engine is there is served, though its predecessor is held");
    keeper_new(&k);
    rig_vm_new(&vm, 1, 'A', 1, 64, 1);
    m = new_engine(&vm, &k, NULL, NULL);
    client = rig_connect(vm.stub_path);
    CHECK(nop_works(client, 1) && rig_ring_attach(&before, &vm));
    keeper_listen(&k);
    mediator_free(m);
    close(client);
    rig_ring_leave(&before);
    next = rig_connect(vm.stub_path);
    m = new_engine(&vm, &k, NULL, NULL);
    CHECK(nop_works(next, 2));
    CHECK(rig_ring_attach(&after, &vm));
    CHECK(rig_ring_accept(&after, 1u << VGPU_FEATURE_STREAMS) == VGPU_DEVICE_OK);
    keeper_listen(&k);

    CASE("a client sees its end also when the spawner cannot be told to let go of it");
    while (send(k.theirs, &filler, sizeof(filler), MSG_DONTWAIT) > 0)
        ;
    CHECK(rig_send(next, "garbage!garbage!garbage!", 24) && rig_receive(next, &answer));
    CHECK(rig_closed(next));
    mediator_free(m);
    rig_ring_leave(&after);
    close(next);
    keeper_free(&k);
    rig_vm_free(&vm);
}

int main(void)
{
    const struct mediator_config config = rig_config();
    struct mediator *m = rig_engine(&config);
    struct rig_vm vm, other;
    int polite;

    rig_vm_new(&vm, 1, 'A', 1, 64, 1);
    rig_vm_new(&other, 2, 'A', 1, 64, 1);
    CHECK(rig_vm_add(&vm, m, -1, -1) >= 0 && rig_vm_add(&other, m, -1, -1) >= 0);
    CHECK(mediator_start(m) == 0);
    polite = rig_connect(other.stub_path);
    CHECK(nop_works(polite, 1));
    test_descriptors(m, &vm, polite);
    test_half_closed(&vm);
    test_unread_greeting(m, &vm);
    mediator_free(m);
    close(polite);
    rig_vm_free(&vm);
    rig_vm_free(&other);
    test_successor();
    return check_done();
}
