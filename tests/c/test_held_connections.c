/*
 * test_held_connections.c - Clients come and go faster than the spawner can be told
 */
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "check.h"
#include "spawn/spawn_protocol.h"
#include "stub_guest.h"

#define VMS 8

struct scene {
    struct mediator *m;
    struct rig_vm vm[VMS];
    int client[VMS];
    int spawner;    /* our end */
    int held[VMS];  /* what the spawner has of each VM's connection; -1 = nothing */
    uint32_t drops; /* told */
};

static void hold(struct scene *s, uint32_t i, int fd)
{
    if (s->held[i] >= 0)
        close(s->held[i]);
    s->held[i] = fd;
}

/* The spawner takes one datagram. Return: was there one? */
static bool spawner_takes(struct scene *s)
{
    struct spawn_message message;
    struct iovec iov = {&message, sizeof(message)};
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control;
    struct msghdr datagram = {.msg_iov = &iov,
                              .msg_iovlen = 1,
                              .msg_control = control.bytes,
                              .msg_controllen = sizeof(control.bytes)};
    uint32_t i = 0;
    int fd = -1;

    if (recvmsg(s->spawner, &datagram, MSG_DONTWAIT | MSG_CMSG_CLOEXEC) != sizeof(message))
        return false;
    if (CMSG_FIRSTHDR(&datagram))
        memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&datagram)), sizeof(fd));
    while (i < VMS && !strstr(message.key, s->vm[i].identity.uuid))
        i++;
    rig_must(i < VMS, "a key of a VM");
    s->drops += message.verb == SPAWN_DROP;
    hold(s, i, message.verb == SPAWN_HOLD ? fd : -1);
    return true;
}

/* The spawner takes what comes until it has been told to let go of so many. Return: was it? */
static bool told_drops(struct scene *s, uint32_t count)
{
    struct pollfd news = {.fd = s->spawner, .events = POLLIN};

    while (s->drops < count && poll(&news, 1, RIG_LONG_MS) == 1)
        spawner_takes(s);
    return s->drops == count;
}

/* An engine whose spawner has room for a datagram or two. */
static void scene_new(struct scene *s)
{
    const struct mediator_config config = rig_config();
    const int small = 1;
    int ends[2];

    s->m = rig_engine(&config);
    rig_must(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) == 0, "a spawner");
    rig_must(setsockopt(ends[1], SOL_SOCKET, SO_SNDBUF, &small, sizeof(small)) == 0, "its queue");
    s->spawner = ends[0];
    s->drops = 0;
    CHECK(mediator_set_hold_fd(s->m, ends[1]) == 0);
    for (uint32_t i = 0; i < VMS; i++) {
        s->client[i] = s->held[i] = -1;
        rig_vm_new(&s->vm[i], 100 + i, 'A', 1, 16, 1);
        CHECK(rig_vm_add(&s->vm[i], s->m, -1, -1) >= 0);
    }
    CHECK(mediator_start(s->m) == 0);
    /* Of a new VM nothing is held, whatever an engine before this one may have left. */
    rig_must(told_drops(s, 2 * VMS), "an empty queue");
    s->drops = 0;
}

static void scene_free(struct scene *s)
{
    mediator_free(s->m);
    for (uint32_t i = 0; i < VMS; i++) {
        close(s->client[i]);
        hold(s, i, -1);
        rig_vm_free(&s->vm[i]);
    }
    close(s->spawner);
}

/* Connect everybody; what the engine then has done about it, it has done. */
static void connect_all(struct scene *s)
{
    struct mediator_stats stats;

    for (uint32_t i = 0; i < VMS; i++)
        s->client[i] = rig_connect(s->vm[i].stub_path);
    rig_must(mediator_stats(s->m, &stats) == 0 && mediator_stats(s->m, &stats) == 0, "a turn");
}

static uint32_t connected(struct scene *s)
{
    uint32_t count = 0;

    for (uint32_t i = 0; i < VMS; i++)
        count += rig_stats(s->m, &s->vm[i]).stub_connected;
    return count;
}

static bool is_open(int client)
{
    char byte;

    return recv(client, &byte, 1, MSG_DONTWAIT) < 0 && errno == EAGAIN;
}

/* Let the spawner take what comes until everybody is connected. */
static bool all_connected(struct scene *s)
{
    uint64_t end_ns = rig_now_ns() + RIG_LONG_MS * 1000000ull;

    while (connected(s) < VMS && rig_now_ns() < end_ns)
        spawner_takes(s);
    return connected(s) == VMS;
}

static void test_line(void)
{
    struct scene s;
    uint32_t early, open = 0, nops = 0, held = 0;

    scene_new(&s);
    connect_all(&s);

    CASE("connections for which the spawner has no room wait, and none is closed");
    early = connected(&s);
    for (uint32_t i = 0; i < VMS; i++)
        open += is_open(s.client[i]);
    CHECK(early >= 1 && early < VMS);
    CHECK(open == VMS);

    CASE("they are held and served as the spawner takes what it was sent");
    CHECK(all_connected(&s));
    for (uint32_t i = 0; i < VMS; i++)
        nops += nop_works(s.client[i], i);
    CHECK(nops == VMS);
    while (spawner_takes(&s))
        ;
    for (uint32_t i = 0; i < VMS; i++)
        held += s.held[i] >= 0;
    CHECK(held == VMS);
    scene_free(&s);
}

static void test_drops(void)
{
    const char garbage[sizeof(struct wire_header)] = "this is no frame at all";
    struct rig_answer answer;
    struct scene s;
    uint32_t ended = 0;

    scene_new(&s);
    connect_all(&s);
    CHECK(all_connected(&s));
    while (spawner_takes(&s))
        ;

    CASE("what the spawner had no room to be told to let go of, it is told later");
    for (uint32_t i = 0; i < VMS; i++) {
        CHECK(rig_send(s.client[i], garbage, sizeof(garbage)));
        CHECK(rig_receive(s.client[i], &answer));
        CHECK(RIG_UNTIL(s.m, &s.vm[i], stub_connected, 0));
    }
    CHECK(told_drops(&s, VMS));
    for (uint32_t i = 0; i < VMS; i++)
        ended += rig_closed(s.client[i]);
    CHECK(ended == VMS);
    scene_free(&s);
}

static void test_gone_in_line(void)
{
    struct scene s;

    CASE("a VM that is removed while it stands in line is not called any more");
    scene_new(&s);
    connect_all(&s);
    for (uint32_t i = 0; i < VMS; i++)
        CHECK(mediator_vm_retire(s.m, s.vm[i].handle) == 0 &&
              mediator_vm_remove(s.m, s.vm[i].handle) == 0);
    for (uint32_t i = 0; i < VMS; i++) {
        close(s.client[i]);
        s.client[i] = -1;
        CHECK(rig_vm_add(&s.vm[i], s.m, -1, -1) >= 0);
    }
    while (spawner_takes(&s))
        ;
    connect_all(&s);
    CHECK(all_connected(&s));
    scene_free(&s);
}

static void test_no_spawner(void)
{
    struct scene s;

    CASE("who stands in line goes on when there is no spawner any more that would hold anything");
    scene_new(&s);
    connect_all(&s);
    CHECK(connected(&s) < VMS);
    CHECK(mediator_set_hold_fd(s.m, -1) == 0);
    for (uint32_t i = 0; i < VMS; i++)
        CHECK(nop_works(s.client[i], i));
    scene_free(&s);
}

static void test_spawner_gone(void)
{
    struct mediator_stats before, after;
    struct scene s;
    uint32_t ended = 0, served;

    scene_new(&s);
    connect_all(&s);
    served = connected(&s);

    CASE("nobody waits for a spawner that is gone, and the engine does not spin");
    close(s.spawner);
    for (uint32_t i = 0; i < VMS; i++)
        if (!rig_stats(s.m, &s.vm[i]).stub_connected)
            ended += rig_closed(s.client[i]);
    CHECK(served + ended == VMS);
    CHECK(mediator_stats(s.m, &before) == 0);
    for (uint32_t i = 0; i < 100; i++)
        CHECK(mediator_stats(s.m, &after) == 0);
    CHECK(after.turns - before.turns <= 110);
    s.spawner = -1;
    scene_free(&s);
}

int main(void)
{
    test_line();
    test_drops();
    test_gone_in_line();
    test_no_spawner();
    test_spawner_gone();
    return check_done();
}
