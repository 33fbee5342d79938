/*
 * load_ring_main.c - Work over several rings at once, through scheduler and workers
 *
 *     load_ring_main nop ROUNDS MS BATCH[,BATCH...] PATH...
 *     load_ring_main stream ROUNDS MS DEPTH PATH...
 *     load_ring_main kernel ROUNDS MS NAME DEPTH PATH...
 *
 * A thread for each PATH attaches to it and uses queue pair 0. With `nop` each puts BATCH commands of one
 * no-op into the ring, publishes them together, and waits for all of them; the rival does the same bytes
 * with a child of this process, which copies as many entries from one half of a shared memory to the
 * other: an eventfd each way. With `stream` each keeps DEPTH such commands outstanding, publishing every
 * one by itself; with `kernel` the same, launches of the kernel NAME: first the first ring alone, then
 * all of them, in turns.
 *
 * Prints a JSON object: for each BATCH "vgpud_<batch>" and "copy_<batch>"; or "alone" and "together", and
 * for each ring its part of "together" as "ring_<i>". Samples are batches, or single launches; rates are
 * of commands.
 */
#include <pthread.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "guest/vgpu.h"
#include "placement.h"

#define RINGS_MAX   16
#define BATCH_MAX   128u
#define BATCHES_MAX 8
#define TIMEOUT_MS  10000
#define ENTRY_BYTES sizeof(struct vgpu_submission)
#define MODULE      1u
#define KERNEL      2u

struct ring {
    struct vgpu_link *link;
    struct vgpu_queue *queue;
    uint32_t command_bytes;
    int ping, pong;
    uint8_t *shared; /* BATCH_MAX entries out, as many back */

    pthread_t thread;
    struct samples samples;
    bool rival;
    uint32_t batch; /* or depth */
    uint32_t outstanding;
    uint64_t until_ns;
};

static void must_result(int rc, const char *what)
{
    if (rc)
        fail(what, vgpu_result_text(rc));
}

/* ---- the rival ---- */

static void copy_for_ever(struct ring *rings, uint32_t count)
{
    struct epoll_event event = {.events = EPOLLIN | EPOLLET}, events[RINGS_MAX];
    const uint64_t one = 1;
    int epoll = epoll_create1(0);

    for (uint32_t i = 0; i < count; i++) {
        event.data.ptr = &rings[i];
        must(epoll_ctl(epoll, EPOLL_CTL_ADD, rings[i].ping, &event) == 0, "epoll");
    }
    for (;;) {
        int ready = epoll_wait(epoll, events, RINGS_MAX, -1);

        for (int i = 0; i < ready; i++) {
            struct ring *ring = events[i].data.ptr;
            uint8_t *back = ring->shared + BATCH_MAX * ENTRY_BYTES;
            uint32_t batch;

            /* How many there are stands in the first entry. */
            memcpy(&batch, ring->shared, sizeof(batch));
            for (uint32_t e = 0; e < batch && e < BATCH_MAX; e++)
                memcpy(back + e * ENTRY_BYTES, ring->shared + e * ENTRY_BYTES, ENTRY_BYTES);
            must(write(ring->pong, &one, sizeof(one)) == sizeof(one), "eventfd");
        }
    }
}

static pid_t start_rival(struct ring *rings, uint32_t count)
{
    pid_t child;

    for (uint32_t i = 0; i < count; i++) {
        rings[i].ping = eventfd(0, EFD_CLOEXEC);
        rings[i].pong = eventfd(0, EFD_CLOEXEC);
        rings[i].shared = mmap(NULL, 2 * BATCH_MAX * ENTRY_BYTES, PROT_READ | PROT_WRITE,
                               MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        must(rings[i].ping >= 0 && rings[i].pong >= 0 && rings[i].shared != MAP_FAILED,
             "shared memory");
    }
    child = fork();
    must(child >= 0, "fork");
    if (child == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        copy_for_ever(rings, count);
    }
    return child;
}

static void turn_rival(struct ring *ring)
{
    uint8_t entry[ENTRY_BYTES] = {0};
    uint64_t count = 1;

    memcpy(entry, &ring->batch, sizeof(ring->batch));
    for (uint32_t e = 0; e < ring->batch; e++)
        memcpy(ring->shared + e * ENTRY_BYTES, entry, ENTRY_BYTES);
    must(write(ring->ping, &count, sizeof(count)) == sizeof(count) &&
             read(ring->pong, &count, sizeof(count)) == sizeof(count),
         "eventfd");
    for (uint32_t e = 0; e < ring->batch; e++)
        memcpy(entry, ring->shared + (BATCH_MAX + e) * ENTRY_BYTES, ENTRY_BYTES);
}

/* ---- what is measured ---- */

static void put(struct ring *ring, uint64_t cookie)
{
    const struct vgpu_submission entry = {
        .cookie = cookie, .kind = VGPU_KIND_COMMAND, .cmd_len = ring->command_bytes};

    must_result(vgpu_queue_put(ring->queue, &entry), "a submission");
}

/* Wait for completions. Return: how many there were; the cookie of each is given to @done. */
static uint32_t take(struct ring *ring, void (*done)(struct ring *ring, uint64_t cookie))
{
    struct vgpu_completion completion;
    uint32_t count = 0;
    int rc;

    must_result(vgpu_queue_wait(ring->queue, TIMEOUT_MS), "a completion");
    while ((rc = vgpu_queue_take(ring->queue, &completion)) == 1) {
        must_result(completion.status, "a command");
        if (done)
            done(ring, completion.cookie);
        count++;
    }
    must_result(rc, "a completion");
    return count;
}

static void turn_batch(struct ring *ring)
{
    for (uint32_t i = 0; i < ring->batch; i++)
        put(ring, i);
    must_result(vgpu_queue_push(ring->queue), "a doorbell");
    for (uint32_t taken = 0; taken < ring->batch;)
        taken += take(ring, NULL);
}

static void *run_batches(void *argument)
{
    struct ring *ring = argument;
    uint64_t start = now_ns(), now = start, before;

    do {
        before = now;
        if (ring->rival)
            turn_rival(ring);
        else
            turn_batch(ring);
        now = now_ns();
        samples_add(&ring->samples, now - before);
    } while (now < ring->until_ns);
    ring->samples.rounds = 0; /* the last one is summed up at once */
    samples_round(&ring->samples, now - start, ring->batch);
    return NULL;
}

/* A cookie is the time of its submission. */
static void launch_again(struct ring *ring, uint64_t cookie)
{
    uint64_t now = now_ns();

    samples_add(&ring->samples, now - cookie);
    ring->outstanding--;
    if (now >= ring->until_ns)
        return;
    put(ring, now);
    must_result(vgpu_queue_push(ring->queue), "a doorbell");
    ring->outstanding++;
}

static void *run_kernels(void *argument)
{
    struct ring *ring = argument;
    uint64_t start = now_ns();

    for (ring->outstanding = 0; ring->outstanding < ring->batch; ring->outstanding++)
        put(ring, now_ns());
    must_result(vgpu_queue_push(ring->queue), "a doorbell");
    while (ring->outstanding)
        take(ring, launch_again);
    ring->samples.rounds = 0;
    samples_round(&ring->samples, now_ns() - start, 1);
    return NULL;
}

/* ---- the run ---- */

static void make_no_op(struct ring *ring)
{
    struct vgpu_command command;

    vgpu_command_begin(&command, vgpu_queue_data(ring->queue, 0, VGPU_PAGE_BYTES), VGPU_PAGE_BYTES);
    vgpu_command_nop(&command);
    must_result(vgpu_command_end(&command), "a command of one no-op");
    ring->command_bytes = command.len;
}

static void make_launch(struct ring *ring, const char *name)
{
    static const char source[] = "kernel void any() {}";
    const struct vgpu_session_options options = VGPU_SESSION_DEFAULTS;
    const struct vgpu_launch launch = {.kernel = KERNEL, .dims = 1, .global = {1, 1, 1}};
    struct vgpu_session *session;
    struct vgpu_command command;

    must_result(vgpu_session_open(ring->queue, &options, &session), "a session");
    must_result(vgpu_module_load(session, MODULE, VGPU_MODULE_OPENCL_C, source, sizeof(source) - 1,
                                 NULL, NULL),
                "a module");
    must_result(vgpu_kernel_create(session, KERNEL, MODULE, name, NULL), name);
    vgpu_session_close(session);
    vgpu_command_begin(&command, vgpu_queue_data(ring->queue, 0, VGPU_PAGE_BYTES), VGPU_PAGE_BYTES);
    vgpu_command_launch(&command, &launch);
    must_result(vgpu_command_end(&command), "a launch");
    ring->command_bytes = command.len;
}

static void attach(struct ring *ring, const char *path)
{
    struct vgpu_reason why;

    if (vgpu_attach(path, VGPU_FEATURES_ALL, TIMEOUT_MS, &ring->link, &why))
        fail(path, why.text);
    must_result(vgpu_queue_open(ring->link, 0, &ring->queue), "queue pair 0");
    samples_new(&ring->samples);
}

static void run_round(struct ring *rings, uint32_t count, uint64_t ms, void *(*run)(void *argument))
{
    uint64_t until_ns = now_ns() + ms * 1000000u;

    for (uint32_t i = 0; i < count; i++) {
        rings[i].until_ns = until_ns;
        must(pthread_create(&rings[i].thread, NULL, run, &rings[i]) == 0, "a thread");
    }
    for (uint32_t i = 0; i < count; i++)
        pthread_join(rings[i].thread, NULL);
}

/* A round of all rings together: their rates added, the worst of their percentiles. */
static void sum_up(struct samples *sum, struct ring *rings, uint32_t count)
{
    uint32_t at = sum->rounds++;

    sum->per_second[at] = sum->p50_us[at] = sum->p99_us[at] = 0;
    for (uint32_t i = 0; i < count; i++) {
        const struct samples *samples = &rings[i].samples;
        uint32_t last = samples->rounds - 1;

        sum->per_second[at] += samples->per_second[last];
        if (samples->p50_us[last] > sum->p50_us[at])
            sum->p50_us[at] = samples->p50_us[last];
        if (samples->p99_us[last] > sum->p99_us[at])
            sum->p99_us[at] = samples->p99_us[last];
    }
}

static void run_nops(struct ring *rings, uint32_t count, uint64_t rounds, uint64_t ms, char *text)
{
    struct samples all[BATCHES_MAX][2];
    uint32_t batches[BATCHES_MAX], kinds = 0;
    pid_t child = start_rival(rings, count);

    go_to_guest_cpu();
    for (char *batch = strtok(text, ","); batch; batch = strtok(NULL, ",")) {
        if (kinds == BATCHES_MAX)
            fail(batch, "too many batches");
        batches[kinds++] = (uint32_t)number(batch, BATCH_MAX);
    }
    memset(all, 0, sizeof(all));
    for (uint32_t i = 0; i < count; i++)
        make_no_op(&rings[i]);
    for (uint64_t round = 0; round < rounds; round++) {
        for (uint32_t k = 0; k < 2 * kinds; k++) {
            for (uint32_t i = 0; i < count; i++) {
                rings[i].batch = batches[k / 2];
                rings[i].rival = k % 2;
            }
            run_round(rings, count, ms, run_batches);
            sum_up(&all[k / 2][k % 2], rings, count);
        }
    }
    putchar('{');
    for (uint32_t k = 0; k < 2 * kinds; k++) {
        char name[32];

        snprintf(name, sizeof(name), "%s_%u", k % 2 ? "copy" : "vgpud", batches[k / 2]);
        samples_print(&all[k / 2][k % 2], name, k + 1 == 2 * kinds);
    }
    puts("}");
    kill(child, SIGKILL);
    wait(NULL);
}

static void run_shared(struct ring *rings, uint32_t count, uint64_t rounds, uint64_t ms,
                       const char *kernel, uint32_t depth)
{
    static struct samples alone, together, part[RINGS_MAX];

    for (uint32_t i = 0; i < count; i++) {
        if (kernel)
            make_launch(&rings[i], kernel);
        else
            make_no_op(&rings[i]);
        rings[i].batch = depth;
    }
    for (uint64_t round = 0; round < rounds; round++) {
        run_round(rings, 1, ms, run_kernels);
        sum_up(&alone, rings, 1);
        run_round(rings, count, ms, run_kernels);
        for (uint32_t i = 0; i < count; i++)
            sum_up(&part[i], &rings[i], 1);
        sum_up(&together, rings, count);
    }
    printf("{");
    samples_print(&alone, "alone", false);
    samples_print(&together, "together", false);
    for (uint32_t i = 0; i < count; i++) {
        char ring[32];

        snprintf(ring, sizeof(ring), "ring_%u", i);
        samples_print(&part[i], ring, i + 1 == count);
    }
    puts("}");
}

int main(int argc, char **argv)
{
    static struct ring rings[RINGS_MAX];
    const char *what = argc > 1 ? argv[1] : "";
    bool kernel = !strcmp(what, "kernel"), stream = !strcmp(what, "stream");
    int first = kernel ? 6 : 5;
    uint32_t count = 0;
    uint64_t rounds, ms;

    if (argc <= first || argc - first > RINGS_MAX || !(kernel || stream || !strcmp(what, "nop")))
        fail("usage", "load_ring_main nop|stream|kernel ROUNDS MS ..., see load_ring_main.c");
    rounds = number(argv[2], ROUNDS_MAX);
    ms = number(argv[3], 60000);
    for (int i = first; i < argc; i++)
        attach(&rings[count++], argv[i]);
    if (kernel || stream)
        run_shared(rings, count, rounds, ms, kernel ? argv[4] : NULL,
                   (uint32_t)number(argv[first - 1], BATCH_MAX));
    else
        run_nops(rings, count, rounds, ms, argv[4]);
    for (uint32_t i = 0; i < count; i++) {
        vgpu_queue_close(rings[i].queue);
        vgpu_detach(rings[i].link);
    }
    return EXIT_SUCCESS;
}
