/*
 * load_stub_main.c - Version 1 no-ops from many VMs at once, against a bare epoll echo server
 *
 *     load_stub_main ROUNDS MS COUNT[,COUNT...] PATH...
 *
 * One thread keeps a connection to each PATH and, from the first COUNT of them, one no-op outstanding on
 * each: the next is sent when the answer has come. The rival is a child of this process that sends back
 * what it gets, over as many connections, from an epoll loop of its own; the very same code asks it.
 * Rounds of both take turns. Prints a JSON object: for each COUNT "vgpud_<count>" and "echo_<count>".
 */
#include <signal.h>
#include <stddef.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "placement.h"
#include "wire_format.h"

#define CONNECTIONS_MAX 1024
#define MESSAGE_BYTES   (sizeof(struct wire_header) + sizeof(struct wire_request))
#define LATE_MS         5000
#define COUNTS_MAX      8

_Static_assert(sizeof(struct wire_request) == sizeof(struct wire_response), "same bytes back");

struct client {
    int socket;
    uint32_t id; /* of the request that is outstanding */
    uint32_t have;
    uint64_t sent_ns;
    uint8_t in[MESSAGE_BYTES];
};

struct side {
    int epoll;
    bool echo; /* what comes back is what was sent */
    uint32_t count;
    struct client client[CONNECTIONS_MAX];
};

/* ---- the rival ---- */

static void echo_one(int epoll, int socket)
{
    uint8_t bytes[16384];
    ssize_t length = recv(socket, bytes, sizeof(bytes), MSG_DONTWAIT);

    if (length > 0 && send(socket, bytes, (size_t)length, MSG_DONTWAIT | MSG_NOSIGNAL) == length)
        return;
    if (length < 0 && errno == EAGAIN)
        return;
    epoll_ctl(epoll, EPOLL_CTL_DEL, socket, NULL);
    close(socket);
}

static void echo_for_ever(int listener)
{
    int epoll = epoll_create1(0);
    struct epoll_event event = {.events = EPOLLIN, .data.fd = listener}, events[256];

    must(epoll >= 0 && epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &event) == 0, "epoll");
    for (;;) {
        int count = epoll_wait(epoll, events, 256, -1);

        for (int i = 0; i < count; i++) {
            if (events[i].data.fd != listener) {
                echo_one(epoll, events[i].data.fd);
                continue;
            }
            event.data.fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
            must(event.data.fd >= 0 && epoll_ctl(epoll, EPOLL_CTL_ADD, event.data.fd, &event) == 0,
                 "accept");
        }
    }
}

/* Return: the address of a running echo server. */
static struct sockaddr_un start_echo(pid_t *child)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    socklen_t length = sizeof(address);
    int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    /* An abstract address of the kernel's choice. */
    must(listener >= 0 && bind(listener, (struct sockaddr *)&address, sizeof(sa_family_t)) == 0 &&
             getsockname(listener, (struct sockaddr *)&address, &length) == 0 &&
             listen(listener, CONNECTIONS_MAX) == 0,
         "the echo server");
    *child = fork();
    must(*child >= 0, "fork");
    if (*child == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        echo_for_ever(listener);
    }
    close(listener);
    return address;
}

/* ---- the clients ---- */

static void connect_one(struct side *side, const struct sockaddr_un *address, socklen_t length)
{
    struct client *client = &side->client[side->count++];
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = client};

    client->socket = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    must(client->socket >= 0 &&
             connect(client->socket, (const struct sockaddr *)address, length) == 0 &&
             epoll_ctl(side->epoll, EPOLL_CTL_ADD, client->socket, &event) == 0,
         "connect");
}

static void ask(struct client *client)
{
    const struct {
        struct wire_header header;
        struct wire_request request;
    } frame = {{.magic = WIRE_MAGIC,
                .type = WIRE_REQUEST,
                .request_id = ++client->id,
                .payload_len = sizeof(struct wire_request)},
               {.version = WIRE_VERSION,
                .opcode = WIRE_OP_NOP,
                .data_offset = sizeof(struct wire_request)}};

    _Static_assert(sizeof(frame) == MESSAGE_BYTES, "no padding");
    client->have = 0;
    client->sent_ns = now_ns();
    must(send(client->socket, &frame, sizeof(frame), MSG_NOSIGNAL) == sizeof(frame), "send");
}

/* Take what has come. Return: is it the whole answer? */
static bool answered(const struct side *side, struct client *client)
{
    struct wire_header header;
    struct wire_response response;
    ssize_t length =
        recv(client->socket, client->in + client->have, MESSAGE_BYTES - client->have, MSG_DONTWAIT);

    must(length > 0 || (length < 0 && errno == EAGAIN), "closed by the other side");
    client->have += length > 0 ? (uint32_t)length : 0;
    if (client->have < MESSAGE_BYTES)
        return false;
    memcpy(&header, client->in, sizeof(header));
    memcpy(&response, client->in + sizeof(header), sizeof(response));
    if (header.request_id != client->id ||
        (!side->echo && (header.type != WIRE_RESPONSE || response.status != WIRE_OK)))
        fail("an answer", "not to what was asked, or not OK");
    return true;
}

static void run_round(struct side *side, struct samples *samples, uint32_t count, uint64_t ms)
{
    uint64_t start = now_ns(), end = start + ms * 1000000u, now = start;
    uint32_t outstanding = 0;
    struct epoll_event events[256];

    for (; outstanding < count; outstanding++)
        ask(&side->client[outstanding]);
    while (outstanding) {
        int ready = epoll_wait(side->epoll, events, 256, LATE_MS);

        if (ready == 0) {
            samples->lost += outstanding;
            fail("answers", "some have not come in five seconds");
        }
        for (int i = 0; i < ready; i++) {
            struct client *client = events[i].data.ptr;

            if (!answered(side, client))
                continue;
            now = now_ns();
            samples_add(samples, now - client->sent_ns);
            if (now < end)
                ask(client);
            else
                outstanding--;
        }
    }
    samples_round(samples, now - start, 1);
}

int main(int argc, char **argv)
{
    struct sockaddr_un echo_address, address = {.sun_family = AF_UNIX};
    static struct samples samples[COUNTS_MAX][2];
    static struct side vgpud, echo = {.echo = true};
    uint32_t counts[COUNTS_MAX], kinds = 0;
    uint64_t rounds, ms;
    pid_t child;

    if (argc < 5)
        fail("usage", "load_stub_main ROUNDS MS COUNT[,COUNT...] PATH...");
    rounds = number(argv[1], ROUNDS_MAX);
    ms = number(argv[2], 60000);
    for (char *text = strtok(argv[3], ","); text; text = strtok(NULL, ",")) {
        if (kinds == COUNTS_MAX)
            fail(text, "too many counts");
        counts[kinds++] = (uint32_t)number(text, (uint64_t)argc - 4);
    }
    echo_address = start_echo(&child);
    go_to_guest_cpu();
    vgpud.epoll = epoll_create1(EPOLL_CLOEXEC);
    echo.epoll = epoll_create1(EPOLL_CLOEXEC);
    for (int i = 4; i < argc && i < 4 + CONNECTIONS_MAX; i++) {
        snprintf(address.sun_path, sizeof(address.sun_path), "%s", argv[i]);
        connect_one(&vgpud, &address, sizeof(address));
        connect_one(&echo, &echo_address,
                    offsetof(struct sockaddr_un, sun_path) + 6); /* the kernel's own: NUL, 5 */
    }
    for (uint32_t k = 0; k < kinds; k++)
        for (int i = 0; i < 2; i++)
            samples_new(&samples[k][i]);
    for (uint64_t round = 0; round < rounds; round++) {
        for (uint32_t k = 0; k < kinds; k++) {
            run_round(&vgpud, &samples[k][0], counts[k], ms);
            run_round(&echo, &samples[k][1], counts[k], ms);
        }
    }
    putchar('{');
    for (uint32_t k = 0; k < kinds; k++) {
        char name[2][32];

        snprintf(name[0], sizeof(name[0]), "vgpud_%u", counts[k]);
        snprintf(name[1], sizeof(name[1]), "echo_%u", counts[k]);
        samples_print(&samples[k][0], name[0], false);
        samples_print(&samples[k][1], name[1], k + 1 == kinds);
    }
    puts("}");
    kill(child, SIGKILL);
    wait(NULL);
    return EXIT_SUCCESS;
}
