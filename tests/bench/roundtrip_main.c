/*
 * roundtrip_main.c - How long a no-op takes, beside what the kernel alone takes for the same bytes
 *
 *     roundtrip_main --stub PATH --ring PATH [--rounds R] [--count N]
 *
 * Every round runs N turns of each series, one series after the other, so that whatever else the
 * machine does in that time hits all of them. Prints one JSON object: for each series the median
 * and the 99th percentile of its turns in us, and turns per second (of a batch: requests).
 *
 * The baselines are two processes each, this one and a child that only answers:
 *     socket     56 bytes out and 56 back over a Unix stream socket, blocking read and write
 *     eventfd    a 64-byte entry through shared memory and an eventfd, each way
 */
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "guest/vgpu.h"
#include "guest/vgpu_stub.h"
#include "placement.h"

#define LENGTH(array)  (sizeof(array) / sizeof((array)[0]))
#define MESSAGE_BYTES  (sizeof(struct wire_header) + sizeof(struct wire_request))
#define ENTRY_BYTES    sizeof(struct vgpu_submission)
#define BATCH          64u
#define TIMEOUT_MS     10000
#define GUEST_SPIN_US  100u
#define WARM_UP_ROUNDS 1u

_Static_assert(sizeof(struct wire_request) == sizeof(struct wire_response), "same bytes back");

struct bench {
    struct vgpu_stub *stub;
    struct vgpu_link *link;
    struct vgpu_queue *queue;
    uint32_t worker_command_bytes;
    int socket;
    int ping;
    int pong;
    uint8_t *shared; /* two entries: out and back */
    pid_t socket_child;
    pid_t eventfd_child;
};

static void must_result(int rc, const char *what)
{
    if (rc)
        fail(what, vgpu_result_text(rc));
}

/* ---- the baselines ---- */

static bool read_all(int fd, uint8_t *bytes, size_t len)
{
    for (size_t have = 0; have < len;) {
        ssize_t got = read(fd, bytes + have, len - have);

        if (got <= 0)
            return false;
        have += (size_t)got;
    }
    return true;
}

static pid_t start_child(void)
{
    pid_t parent = getpid(), child = fork();

    must(child >= 0, "fork");
    if (child == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != parent)
            _exit(0);
    }
    return child;
}

static void start_socket(struct bench *bench)
{
    uint8_t message[MESSAGE_BYTES];
    int ends[2];

    must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0, "socketpair");
    bench->socket = ends[0];
    bench->socket_child = start_child();
    if (bench->socket_child) {
        close(ends[1]);
        return;
    }
    close(ends[0]);
    while (read_all(ends[1], message, sizeof(message)) &&
           write(ends[1], message, sizeof(message)) == sizeof(message))
        ;
    _exit(0);
}

static void start_eventfd(struct bench *bench)
{
    uint8_t entry[ENTRY_BYTES];
    uint64_t count;

    bench->ping = eventfd(0, EFD_CLOEXEC);
    bench->pong = eventfd(0, EFD_CLOEXEC);
    must(bench->ping >= 0 && bench->pong >= 0, "eventfd");
    bench->shared =
        mmap(NULL, 2 * ENTRY_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    must(bench->shared != MAP_FAILED, "mmap");
    bench->eventfd_child = start_child();
    if (bench->eventfd_child)
        return;
    while (read(bench->ping, &count, sizeof(count)) == sizeof(count)) {
        memcpy(entry, bench->shared, ENTRY_BYTES);
        memcpy(bench->shared + ENTRY_BYTES, entry, ENTRY_BYTES);
        count = 1;
        if (write(bench->pong, &count, sizeof(count)) != sizeof(count))
            break;
    }
    _exit(0);
}

static void turn_socket(struct bench *bench)
{
    uint8_t message[MESSAGE_BYTES] = {1};

    must(write(bench->socket, message, sizeof(message)) == sizeof(message), "socket baseline");
    must(read_all(bench->socket, message, sizeof(message)), "socket baseline");
}

static void turn_eventfd(struct bench *bench)
{
    uint8_t entry[ENTRY_BYTES] = {1};
    uint64_t count = 1;

    memcpy(bench->shared, entry, ENTRY_BYTES);
    must(write(bench->ping, &count, sizeof(count)) == sizeof(count), "eventfd baseline");
    must(read(bench->pong, &count, sizeof(count)) == sizeof(count), "eventfd baseline");
    memcpy(entry, bench->shared + ENTRY_BYTES, ENTRY_BYTES);
}

/* ---- what is measured ---- */

static void turn_stub(struct bench *bench)
{
    struct vgpu_stub_answer answer;

    must_result(vgpu_stub_request(bench->stub, WIRE_OP_NOP, NULL, 0, &answer), "stub no-op");
    if (answer.type != WIRE_RESPONSE || answer.status != WIRE_OK)
        fail("stub no-op", vgpu_wire_status_text(answer.status));
}

/* @count entries out together, and all their completions. */
static void ring_batch(struct bench *bench, bool worker, uint32_t count)
{
    struct vgpu_submission entry = {.kind = worker ? VGPU_KIND_COMMAND : VGPU_KIND_NOP,
                                    .cmd_len = worker ? bench->worker_command_bytes : 0};
    struct vgpu_completion completion;
    uint32_t taken = 0;

    for (uint32_t i = 0; i < count; i++) {
        entry.cookie = i;
        must_result(vgpu_queue_put(bench->queue, &entry), "ring no-op");
    }
    must_result(vgpu_queue_push(bench->queue), "ring no-op");
    while (taken < count) {
        int rc;

        must_result(vgpu_queue_wait(bench->queue, TIMEOUT_MS), "ring no-op");
        while ((rc = vgpu_queue_take(bench->queue, &completion)) == 1) {
            must_result(completion.status, "ring no-op");
            taken++;
        }
        must_result(rc, "ring no-op");
    }
}

static void turn_ring(struct bench *bench)
{
    ring_batch(bench, false, 1);
}

static void turn_worker(struct bench *bench)
{
    ring_batch(bench, true, 1);
}

static void turn_worker_spin(struct bench *bench)
{
    vgpu_queue_spin(bench->queue, GUEST_SPIN_US);
    ring_batch(bench, true, 1);
    vgpu_queue_spin(bench->queue, 0);
}

static void turn_ring_batch(struct bench *bench)
{
    ring_batch(bench, false, BATCH);
}

static void turn_worker_batch(struct bench *bench)
{
    ring_batch(bench, true, BATCH);
}

static const struct series {
    const char *name;
    uint32_t requests; /* in one turn */
    void (*turn)(struct bench *bench);
} all_series[] = {
    {"socket", 1, turn_socket},
    {"stub_nop", 1, turn_stub},
    {"eventfd", 1, turn_eventfd},
    {"ring_nop", 1, turn_ring},
    {"ring_worker_nop", 1, turn_worker},
    {"ring_worker_nop_spinning", 1, turn_worker_spin},
    {"ring_nop_batch_64", BATCH, turn_ring_batch},
    {"ring_worker_nop_batch_64", BATCH, turn_worker_batch},
};

/* ---- the run ---- */

static void connect_all(struct bench *bench, const char *stub, const char *ring)
{
    struct vgpu_command command;
    struct vgpu_reason why;

    if (vgpu_stub_connect(stub, TIMEOUT_MS, &bench->stub, &why))
        fail(stub, why.text);
    if (vgpu_attach(ring, VGPU_FEATURES_ALL, TIMEOUT_MS, &bench->link, &why))
        fail(ring, why.text);
    must_result(vgpu_queue_open(bench->link, 0, &bench->queue), "queue pair 0");
    vgpu_command_begin(&command, vgpu_queue_data(bench->queue, 0, VGPU_PAGE_BYTES),
                       VGPU_PAGE_BYTES);
    vgpu_command_nop(&command);
    must_result(vgpu_command_end(&command), "a command of one no-op");
    bench->worker_command_bytes = command.len;
}

static void print_series(const struct series *series, uint64_t *took_ns, size_t turns, bool last)
{
    uint64_t total_ns = 0;

    for (size_t i = 0; i < turns; i++)
        total_ns += took_ns[i];
    qsort(took_ns, turns, sizeof(*took_ns), samples_order);
    printf("\"%s\": {\"p50_us\": %.3f, \"p99_us\": %.3f, \"per_second\": %.1f}%s", series->name,
           (double)took_ns[turns / 2] / 1e3, (double)took_ns[turns - 1 - turns / 100] / 1e3,
           (double)turns * series->requests * 1e9 / (double)total_ns, last ? "}\n" : ", ");
}

int main(int argc, char **argv)
{
    const char *stub = NULL, *ring = NULL;
    uint64_t rounds = 40, count = 250, *took_ns[LENGTH(all_series)];
    struct bench bench = {0};

    for (int i = 1; i + 1 < argc; i += 2) {
        if (!strcmp(argv[i], "--stub"))
            stub = argv[i + 1];
        else if (!strcmp(argv[i], "--ring"))
            ring = argv[i + 1];
        else if (!strcmp(argv[i], "--rounds"))
            rounds = number(argv[i + 1], 10000);
        else if (!strcmp(argv[i], "--count"))
            count = number(argv[i + 1], 100000);
        else
            fail(argv[i], "there is no such option");
    }
    if (!stub || !ring || argc % 2 == 0)
        fail("usage", "--stub PATH --ring PATH [--rounds R] [--count N]");
    start_socket(&bench);
    start_eventfd(&bench);
    go_to_guest_cpu();
    connect_all(&bench, stub, ring);
    for (size_t s = 0; s < LENGTH(all_series); s++) {
        took_ns[s] = calloc(rounds * count, sizeof(*took_ns[s]));
        must(took_ns[s] != NULL, "memory");
    }

    for (uint64_t round = 0; round < WARM_UP_ROUNDS + rounds; round++) {
        for (size_t s = 0; s < LENGTH(all_series); s++) {
            for (uint64_t i = 0; i < count; i++) {
                uint64_t start_ns = vgpu_now_ns();

                all_series[s].turn(&bench);
                if (round >= WARM_UP_ROUNDS)
                    took_ns[s][(round - WARM_UP_ROUNDS) * count + i] = vgpu_now_ns() - start_ns;
            }
        }
    }
    putchar('{');
    for (size_t s = 0; s < LENGTH(all_series); s++) {
        print_series(&all_series[s], took_ns[s], rounds * count, s + 1 == LENGTH(all_series));
        free(took_ns[s]);
    }
    kill(bench.socket_child, SIGKILL);
    kill(bench.eventfd_child, SIGKILL);
    while (wait(NULL) > 0)
        ;
    vgpu_queue_close(bench.queue);
    vgpu_detach(bench.link);
    vgpu_stub_close(bench.stub);
    return EXIT_SUCCESS;
}
