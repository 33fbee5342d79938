/*
 * fuzz_spawn_requests.c - Clients of the spawner that say anything, in any order
 *
 * The input is a list of acts of up to three clients: connect, send a message (of a right or wrong
 * size, version, key, with settings and descriptors), read, go. Every request is answered once and
 * in the protocol's form, whoever comes next is served, and at the end no descriptor, process or
 * directory is left over.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/un.h>

#include "input.h"
#include "replay.h"
#include "spawn/children.h"
#include "spawn/held.h"
#include "spawn/log.h"
#include "spawn/scratch.h"
#include "spawn/server.h"
#include "spawn/uids.h"
#include "spawn/watch.h"
#include "strange_fds.h"

#define CLIENTS    3
#define MAX_HELD   40
#define SLOTS      4
#define STARTS_MAX 2 /* of workers in one input: each is a process */
#define TURNS_MAX  2000
#define BACKLOG    16

struct client {
    int socket;      /* -1 = none */
    uint32_t asked;  /* requests that are to be answered */
    uint32_t heard;  /* answers, series counted once */
    bool ended;      /* an empty datagram: the spawner takes it for the end */
    bool wants_news; /* exit reports may come */
};

static struct scratch scratch = {.directory = -1};
static struct uid_range uids = {.lock_fd = -1};
static struct sockaddr_un address = {.sun_family = AF_UNIX};
static socklen_t address_bytes = sizeof(address);
static int listener = -1;

static int epoll;
static struct held *held;
static struct children *children;
static struct server *server;
static uint32_t starts, waiting; /* waiting: connections since serve(), at most */

/* The spawner's log: written, and thrown away. */
static void log_nothing(const char *format, va_list arguments)
{
    char line[1024];

    vsnprintf(line, sizeof(line), format, arguments);
}

#define LOG(name)                                                                                  \
    void name(const char *format, ...)                                                             \
    {                                                                                              \
        va_list arguments;                                                                         \
                                                                                                   \
        va_start(arguments, format);                                                               \
        log_nothing(format, arguments);                                                            \
        va_end(arguments);                                                                         \
    }

LOG(log_info)
LOG(log_warn)
LOG(log_error)

static void stop(void)
{
    scratch_close(&scratch);
    close(listener);
}

static void start(void)
{
    FUZZ_CHECK(scratch_open(&scratch, "/tmp") == 0);
    listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    /* An address without a name: the kernel chooses one. */
    FUZZ_CHECK(bind(listener, (struct sockaddr *)&address, sizeof(sa_family_t)) == 0 &&
               listen(listener, BACKLOG) == 0 &&
               getsockname(listener, (struct sockaddr *)&address, &address_bytes) == 0);
    FUZZ_CHECK(atexit(stop) == 0);
}

static const struct cgroups groups = {.parent = -1, .base = -1};

static void spawner_new(void)
{
    struct children_config workers = {.slots = SLOTS,
                                      .program = "/bin/true",
                                      .uids = &uids,
                                      .scratch = &scratch,
                                      .groups = &groups};
    struct server_config config = {
        .listener = listener, .allowed_uid = getuid(), .client_timeout_ms = 60000};

    epoll = epoll_create1(EPOLL_CLOEXEC);
    FUZZ_CHECK(epoll >= 0);
    workers.epoll_fd = config.epoll_fd = epoll;
    held = held_new(MAX_HELD);
    children = children_new(&workers);
    FUZZ_CHECK(held && children);
    config.requests = (struct requests){.held = held, .children = children};
    server = server_new(&config);
    FUZZ_CHECK(server);
}

static void spawner_free(void)
{
    children_end_all(children);
    server_free(server);
    children_free(children);
    held_free(held);
    close(epoll);
}

/* As main.c does it, until there is nothing to do. */
static void serve(void)
{
    struct epoll_event events[16];
    int count, turns = 0;

    waiting = 0;
    do {
        count = epoll_wait(epoll, events, 16, 0);
        for (int i = 0; i < count; i++) {
            uint32_t index = (uint32_t)events[i].data.u64;

            switch ((enum watch_kind)(events[i].data.u64 >> 32)) {
            case WATCH_LISTENER:
                server_accept(server);
                break;
            case WATCH_CLIENT:
                server_on_client(server, index);
                break;
            case WATCH_CHILD:
                children_reap(children, index);
                break;
            case WATCH_OUTPUT:
                children_hear(children, index);
                break;
            case WATCH_SIGNALS:
                break;
            }
        }
        server_settle(server);
        FUZZ_CHECK(++turns < TURNS_MAX && held_fd_count(held) <= MAX_HELD);
    } while ((count > 0 || server_timeout_ms(server) == 0) && !server_shutdown_asked(server));
}

static void choose_key(char key[SPAWN_KEY_BYTES], struct input *in)
{
    static const char *const keys[] = {"vm/1/journal", "vm/1/ring", "vm/2/stub", "vm/", "",
                                       "a b",          "vm/1"};
    uint32_t which = take_small(in, 9);

    if (which < 7)
        strcpy(key, keys[which]);
    else if (which == 7)
        memset(key, 'k', SPAWN_KEY_BYTES);
    else
        take_bytes(in, key, take_small(in, SPAWN_KEY_BYTES));
}

static void choose_detail(char detail[SPAWN_DETAIL_BYTES], struct input *in)
{
    static const char *const settings[] = {"VGPU_BACKEND=null", "LD_PRELOAD=/x", "POCL_X=1",
                                           "POCL_CACHE_DIR=/", "NOVALUE"};
    uint32_t which = take_small(in, 8);

    if (which < 5)
        strcpy(detail, settings[which]);
    else if (which == 5)
        memset(detail, 'A', SPAWN_DETAIL_BYTES);
    else
        take_bytes(in, detail, take_small(in, SPAWN_DETAIL_BYTES));
}

static void choose_message(struct spawn_message *message, struct input *in)
{
    *message = (struct spawn_message){.magic = SPAWN_MAGIC,
                                      .version = SPAWN_VERSION,
                                      .verb = (uint16_t)take_small(in, 13),
                                      .tag = take_small(in, 4)};
    choose_key(message->key, in);
    message->arg = take_small(in, 4);
    message->slot = take_small(in, SLOTS + 2);
    message->worker_id = take_small(in, 4);
    message->pid = (int32_t)take(in, 1) - 1;
    message->flags = take_small(in, 4) == 3 ? (uint32_t)take(in, 4) : 0;
    if (message->verb == SPAWN_HELLO)
        message->flags = take_small(in, 3);
    if (message->verb == SPAWN_WORKER)
        choose_detail(message->detail, in);
}

static void ask(struct client *client, struct input *in)
{
    struct spawn_message message;
    uint8_t bytes[sizeof(message) + 8] = {0};
    int fds[SPAWN_MAX_FDS + 2];
    uint32_t count, length = sizeof(message), spoilt, first;
    bool wrong, silent;
    ssize_t sent;

    choose_message(&message, in);
    spoilt = take_small(in, 16);
    if (spoilt == 1)
        message.magic = (uint32_t)take(in, 4);
    if (spoilt == 2)
        message.version = (uint16_t)take(in, 2);
    if (spoilt == 3)
        length = take_small(in, 2) ? sizeof(message) + 8 : (uint32_t)take(in, 2) % length;
    count =
        message.verb == SPAWN_HOLD ? 1 + take_small(in, SPAWN_MAX_FDS + 2) : take_small(in, 4) % 3;
    if (message.verb == SPAWN_WORKER && ++starts > STARTS_MAX)
        return;
    first = take_small(in, STRANGE_KINDS);
    for (uint32_t i = 0; i < count; i++)
        fds[i] = strange_fd((first + i) % STRANGE_KINDS);
    memcpy(bytes, &message, sizeof(message));
    sent = send_with_fds(client->socket, bytes, length, fds, count);
    for (uint32_t i = 0; i < count; i++)
        close(fds[i]);
    if (sent < 0)
        return;
    wrong = length != sizeof(message) || message.magic != SPAWN_MAGIC ||
            message.version != SPAWN_VERSION || count > SPAWN_MAX_FDS;
    silent =
        !wrong && message.tag == 0 && (message.verb == SPAWN_HOLD || message.verb == SPAWN_DROP);
    client->ended |= length == 0;
    client->asked += !silent && !client->ended;
    client->wants_news |= !wrong && message.verb == SPAWN_HELLO && message.flags & SPAWN_WANT_EXITS;
}

/* Read one message, if there is one. Return: was there? */
static bool hear(struct client *client)
{
    union {
        struct cmsghdr align;
        char space[CMSG_SPACE(SPAWN_MAX_FDS * sizeof(int))];
    } control;
    struct spawn_message said;
    struct iovec iov = {&said, sizeof(said)};
    struct msghdr message = {.msg_iov = &iov,
                             .msg_iovlen = 1,
                             .msg_control = control.space,
                             .msg_controllen = sizeof(control)};
    ssize_t got = recvmsg(client->socket, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    struct cmsghdr *rights;
    int fd;

    if (got <= 0)
        return false;
    rights = CMSG_FIRSTHDR(&message);
    for (size_t i = 0; rights && i < (rights->cmsg_len - CMSG_LEN(0)) / sizeof(int); i++) {
        memcpy(&fd, CMSG_DATA(rights) + i * sizeof(int), sizeof(fd));
        close(fd);
    }
    FUZZ_CHECK(got == sizeof(said) && !(message.msg_flags & (MSG_TRUNC | MSG_CTRUNC)));
    FUZZ_CHECK(said.magic == SPAWN_MAGIC && said.version == SPAWN_VERSION);
    FUZZ_CHECK(memchr(said.key, 0, sizeof(said.key)) &&
               memchr(said.detail, 0, sizeof(said.detail)));
    /* The refusal of a client's own SPAWN_EXITED names no worker. */
    if (said.verb == SPAWN_EXITED && said.worker_id && client->wants_news)
        return true;
    FUZZ_CHECK(said.status <= 0 && (said.status == 0 || !rights));
    client->heard += !(said.flags & SPAWN_MORE);
    FUZZ_CHECK(client->heard <= client->asked);
    return true;
}

static void client_connect(struct client *client)
{
    if (++waiting == BACKLOG)
        serve(); /* one more would wait for ever */
    *client = (struct client){.socket = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0)};
    FUZZ_CHECK(connect(client->socket, (struct sockaddr *)&address, address_bytes) == 0);
}

static void act(struct client *client, struct input *in)
{
    uint32_t what = take_small(in, 8);

    if (client->socket < 0) {
        client_connect(client);
    } else if (what < 4) {
        ask(client, in);
    } else if (what < 6) {
        hear(client);
    } else if (what == 6) {
        close(client->socket);
        client->socket = -1;
    } else {
        serve();
    }
}

/* All that was asked is answered, as far as somebody is there to read it. */
static void finish(struct client *client)
{
    bool more;

    do {
        serve();
        more = false;
        for (int i = 0; i < CLIENTS; i++)
            while (client[i].socket >= 0 && hear(&client[i]))
                more = true;
    } while (more);
    for (int i = 0; i < CLIENTS; i++)
        if (client[i].socket >= 0 && !client[i].ended && !server_shutdown_asked(server))
            FUZZ_CHECK(client[i].heard == client[i].asked);
}

static void a_newcomer_is_served(void)
{
    const struct spawn_message hello = {
        .magic = SPAWN_MAGIC, .version = SPAWN_VERSION, .verb = SPAWN_HELLO, .tag = 7};
    struct client client;

    client_connect(&client);
    client.asked = 1;
    FUZZ_CHECK(send(client.socket, &hello, sizeof(hello), MSG_NOSIGNAL) == sizeof(hello));
    serve();
    FUZZ_CHECK(hear(&client) && client.heard == 1);
    close(client.socket);
    serve();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct client client[CLIENTS];
    struct input in = {data, size};
    uint32_t fds;

    if (listener < 0)
        start();
    fds = count_fds();
    starts = 0;
    spawner_new();
    for (int i = 0; i < CLIENTS; i++)
        client[i].socket = -1;
    while (in.left && !server_shutdown_asked(server))
        act(&client[take_small(&in, CLIENTS)], &in);
    finish(client);
    if (server_shutdown_asked(server))
        server_answer_shutdown(server);
    else
        a_newcomer_is_served();
    for (int i = 0; i < CLIENTS; i++)
        if (client[i].socket >= 0)
            close(client[i].socket);
    spawner_free();
    FUZZ_CHECK(count_fds() == fds);
    return 0;
}
