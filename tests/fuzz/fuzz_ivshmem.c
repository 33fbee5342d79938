/*
 * fuzz_ivshmem.c - Clients that connect to a VM's ring socket and behave badly
 *
 * The input is a list of acts of up to three clients at a time, of the guest's memory, and of the
 * control plane meanwhile: connect, say something, with descriptors or without, half close, go, not
 * read, ring, change who may connect. What the server says is always the beginning of a right
 * greeting; afterwards the next client is greeted and served, nothing is left open, and the
 * neighbour has noticed nothing.
 */
#include <sys/eventfd.h>

#include "bench_engine.h"
#include "input.h"
#include "replay.h"
#include "strange_fds.h"

#define CLIENTS 3
#define PAIRS   2u
#define BACKLOG 8u /* half of the rig's */

struct client {
    int socket;     /* -1 = none */
    uint32_t heard; /* messages */
};

static struct mediator *m;
static struct rig_vm vm, other;
static struct rig_ring neighbour;
static uint8_t *memory;
static uint32_t connects;
static int deaf[2] = {-1, -1}; /* a spawner that does not read */

static void stop(void)
{
    mediator_free(m);
    munmap(memory, mediator_ring_bytes(PAIRS, RIG_ENTRIES, RIG_DATA_BYTES));
    rig_ring_leave(&neighbour);
    rig_vm_free(&vm);
    rig_vm_free(&other);
    close(deaf[0]);
    close(deaf[1]);
}

static void start(void)
{
    const struct mediator_config config = rig_config();
    const int little = 1;

    m = rig_engine(&config);
    rig_vm_new(&vm, 1, 'A', 1, 32, PAIRS);
    rig_vm_new(&other, 2, 'A', 1, 32, 1);
    FUZZ_CHECK(rig_vm_add(&vm, m, -1, -1) >= 0 && rig_vm_add(&other, m, -1, -1) >= 0);
    bench_attach_ring(m, &neighbour, &other);
    memory = mmap(NULL, mediator_ring_bytes(PAIRS, RIG_ENTRIES, RIG_DATA_BYTES),
                  PROT_READ | PROT_WRITE, MAP_SHARED, vm.ring_fd, 0);
    FUZZ_CHECK(memory != MAP_FAILED);
    FUZZ_CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, deaf) == 0);
    FUZZ_CHECK(setsockopt(deaf[1], SOL_SOCKET, SO_SNDBUF, &little, sizeof(little)) == 0);
    FUZZ_CHECK(atexit(stop) == 0);
}

/* Take one message, if there is one, and check that it is the next of a greeting. */
static void hear(struct client *client)
{
    union {
        struct cmsghdr align;
        char space[CMSG_SPACE(4 * sizeof(int))];
    } control;
    int64_t value;
    struct iovec iov = {&value, sizeof(value)};
    struct msghdr message = {.msg_iov = &iov,
                             .msg_iovlen = 1,
                             .msg_control = control.space,
                             .msg_controllen = sizeof(control)};
    ssize_t got = recvmsg(client->socket, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    struct cmsghdr *rights;
    int fd = -1;

    if (got <= 0)
        return;
    FUZZ_CHECK(got == sizeof(value) && client->heard < 3 + 2 * PAIRS);
    rights = CMSG_FIRSTHDR(&message);
    if (rights) {
        FUZZ_CHECK(rights->cmsg_len == CMSG_LEN(sizeof(int)));
        memcpy(&fd, CMSG_DATA(rights), sizeof(fd));
        close(fd);
    }
    FUZZ_CHECK((fd >= 0) == (client->heard >= 2));
    FUZZ_CHECK(value == (client->heard == 2                        ? -1
                         : client->heard == 1                      ? 1
                         : client->heard >= 3 && client->heard < 5 ? 0
                         : client->heard >= 5                      ? 1
                                                                   : 0));
    client->heard++;
}

static void talk(struct client *client, struct input *in)
{
    int fds[3];
    uint8_t bytes[64];
    uint32_t count = take_small(in, 4), length = 1 + take_small(in, sizeof(bytes));

    take_bytes(in, bytes, length);
    for (uint32_t i = 0; i < count; i++)
        fds[i] = strange_fd(take_small(in, STRANGE_KINDS));
    send_with_fds(client->socket, bytes, length, fds, count);
    for (uint32_t i = 0; i < count; i++)
        close(fds[i]);
}

/* The spawner that hears nothing takes what has been said to it all the same, once. */
static void spawner_hears(void)
{
    char scrap[64];

    while (recv(deaf[0], scrap, sizeof(scrap), MSG_DONTWAIT) > 0)
        ;
}

/* Until nobody is in the backlog: to hold one and to let it go may each be all that fits at a time. */
static void catch_up(void)
{
    for (uint32_t i = 0; i < 2 * BACKLOG; i++) {
        spawner_hears();
        bench_settle(m);
    }
}

static void act_of_client(struct client *client, struct input *in)
{
    static const int ways[] = {SHUT_RD, SHUT_WR, SHUT_RDWR};

    if (client->socket < 0) {
        if (++connects % BACKLOG == 0)
            catch_up(); /* one more would wait for ever */
        *client = (struct client){.socket = rig_connect(vm.ring_path)};
        return;
    }
    switch (take_small(in, 4)) {
    case 0:
        hear(client);
        break;
    case 1:
        talk(client, in);
        break;
    case 2:
        shutdown(client->socket, ways[take_small(in, 3)]);
        break;
    default:
        close(client->socket);
        client->socket = -1;
        break;
    }
}

/* What a client does by way of the memory and the doorbells, whoever it is and whether it may. */
static void act_of_guest(struct input *in)
{
    struct vgpu_guest_page *guest = (void *)(memory + VGPU_PAGE_BYTES);
    static const uint64_t bells[] = {1, 1, UINT64_MAX - 1, 0};

    switch (take_small(in, 3)) {
    case 0:
        guest->status = take_small(in, 8);
        break;
    case 1:
        guest->accepted[take_small(in, 2)] = take(in, 1);
        break;
    default: {
        uint64_t count = bells[take_small(in, 4)];

        (void)!write(vm.host_doorbells[take_small(in, PAIRS)], &count, sizeof(count));
        break;
    }
    }
}

static void act_of_control(struct input *in)
{
    struct mediator_vm identity = vm.identity;
    uint32_t what = take_small(in, 4);

    if (what == 0) /* nobody may connect */
        identity.peer_uid = vm.identity.peer_uid + 1;
    else if (what == 1)
        identity.vm_id = (uint32_t)take(in, 4);
    if (what < 3)
        FUZZ_CHECK(mediator_vm_set(m, vm.handle, &identity) == 0);
    else
        FUZZ_CHECK(mediator_set_hold_fd(m, take_small(in, 2) ? dup(deaf[1]) : -1) == 0);
}

/* Nobody is there, and all is as it was at first. */
static void leave_all(struct client *client)
{
    for (int i = 0; i < CLIENTS; i++)
        if (client[i].socket >= 0)
            close(client[i].socket);
    /* Those who waited for it have been and gone, too. */
    FUZZ_CHECK(mediator_set_hold_fd(m, -1) == 0);
    spawner_hears();
    FUZZ_CHECK(bench_settle(m) < 1000 && m->in_use == 0);
    FUZZ_CHECK(rig_stats(m, &vm).ring_connected == 0);
    FUZZ_CHECK(mediator_vm_set(m, vm.handle, &vm.identity) == 0);
    rig_forget_events(m);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct client client[CLIENTS];
    struct input in = {data, size};
    struct rig_ring ring;
    uint32_t fds;

    if (!m)
        start();
    fds = count_fds();
    for (int i = 0; i < CLIENTS; i++)
        client[i].socket = -1;
    while (in.left) {
        uint32_t who = take_small(&in, 8);

        if (who < CLIENTS)
            act_of_client(&client[who], &in);
        else if (who == CLIENTS)
            act_of_control(&in);
        else if (who == CLIENTS + 1)
            FUZZ_CHECK(bench_settle(m) < 1000);
        else
            act_of_guest(&in);
    }
    leave_all(client);

    bench_attach_ring(m, &ring, &vm);
    FUZZ_CHECK(bench_nop_works(m, &ring) && bench_nop_works(m, &neighbour));
    rig_ring_leave(&ring);
    FUZZ_CHECK(bench_settle(m) < 1000 && fds_come_to(fds));
    return 0;
}
