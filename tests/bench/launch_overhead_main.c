/*
 * launch_overhead_main.c - Kernels through vgpud, against the same backend called directly
 *
 *     launch_overhead_main BACKEND ROUNDS MS DEPTH PATH US...
 *
 * US is how long a kernel runs, in microseconds; "empty" is one that does nothing. On the null backend
 * that is exact; on OpenCL the number of turns of a loop is found that takes so long here. In rounds of
 * MS milliseconds that take turns, each kernel is run on a VM's ring and on BACKEND inside this process,
 * opened as a worker opens it and on the CPU that a worker has: one launch at a time, each waited for,
 * and DEPTH of them outstanding, which for the backend itself is as many as it takes.
 *
 * Prints a JSON object: for each US "vgpud_<us>_1", "direct_<us>_1", "vgpud_<us>_<depth>",
 * "spinning_<us>_<depth>", where the guest looks for completions instead of being woken for each, and
 * "direct_<us>_<depth>". Samples are launches; of a direct one among DEPTH, how long its call took.
 *
 * Environment: VGPU_OPENCL_LIBRARY, VGPU_CPU_THREADS, TMPDIR as for a worker.
 */
#include "placement.h"
#include "ring_load.h"
#include "worker/backend.h"

#define KERNELS_MAX     8
#define DEPTH_MAX       64u
#define MODULE          1u
#define BUFFER          1u
#define SPIN_US         2000u
#define CALIBRATE_TURNS 100000u
#define CALIBRATE_TRIES 20

enum series { VGPUD_1, DIRECT_1, VGPUD_MANY, VGPUD_SPIN, DIRECT_MANY, SERIES };

static const char *const what[] = {[VGPUD_1] = "vgpud",
                                   [DIRECT_1] = "direct",
                                   [VGPUD_MANY] = "vgpud",
                                   [VGPUD_SPIN] = "spinning",
                                   [DIRECT_MANY] = "direct"};

/* Each turn needs the one before, and the last is written: nothing can be left out. */
static const char source[] =
    "kernel void empty(uint turns, global uint *out) {}\n"
    "kernel void spin(uint turns, global uint *out)\n"
    "{ uint x = turns; for (uint i = 0; i < turns; i++) x = x * 1664525u + 1013904223u;"
    " out[0] = x; }\n";

/* The backend in this process. */
struct direct {
    const struct backend_ops *ops;
    struct backend *backend;
    struct backend_module *module;
    struct backend_buffer *buffer;
    cpu_set_t host;
};

struct kernel {
    const char *label;
    char name[32];
    uint32_t turns;
    struct backend_kernel *direct;
    struct backend_arg args[2];
    struct backend_launch launch;
    struct vgpu_command command;
    struct samples samples[SERIES];
};

static void must_verdict(struct backend_verdict verdict, const char *which)
{
    must_result(verdict.status, which);
}

static void open_direct(struct direct *direct, const char *backend)
{
    const char *threads = getenv("VGPU_CPU_THREADS");
    const struct backend_settings settings = {
        .library = getenv("VGPU_OPENCL_LIBRARY"),
        .device = -1,
        .threads = threads ? (uint32_t)number(threads, 4096) : 0,
    };
    const struct backend_code code = {.kind = VGPU_MODULE_OPENCL_C,
                                      .bytes = (const uint8_t *)source,
                                      .size = sizeof(source) - 1,
                                      .options = ""};
    struct backend_built built = {0};
    char reason[256];
    uint64_t raw;

    direct->ops = backend_find(backend);
    if (!direct->ops)
        fail(backend, "there is no such backend");
    if (direct->ops->open(&settings, &direct->backend, reason, sizeof(reason)))
        fail(backend, reason);
    must_verdict(direct->ops->build(direct->backend, &code, &built), "a build");
    must_verdict(direct->ops->module_load(direct->backend, built.binary, built.binary_bytes,
                                          &direct->module),
                 "a module");
    must_verdict(direct->ops->alloc(direct->backend, 64, &direct->buffer, &raw), "a buffer");
    free(built.binary);
    free(built.log);
}

static void launch_direct(struct direct *direct, struct kernel *kernel)
{
    must_verdict(direct->ops->launch(direct->backend, &kernel->launch), "a launch");
}

static void wait_direct(struct direct *direct)
{
    must_verdict(direct->ops->finish(direct->backend), "the end of a launch");
}

/* How many turns take so long, by the fastest of some tries. */
static uint32_t turns_for(struct direct *direct, struct kernel *kernel, uint64_t us)
{
    uint64_t best = UINT64_MAX;

    kernel->turns = CALIBRATE_TURNS;
    for (int i = 0; i < CALIBRATE_TRIES; i++) {
        uint64_t start = now_ns(), took;

        launch_direct(direct, kernel);
        wait_direct(direct);
        took = now_ns() - start;
        if (took < best)
            best = took;
    }
    return (uint32_t)(us * 1000 * CALIBRATE_TURNS / best);
}

static void prepare(struct kernel *kernel, const char *label, struct direct *direct)
{
    bool null = direct->ops == &backend_null, empty = !strcmp(label, "empty");
    uint64_t us = empty ? 0 : number(label, 1000000);
    uint32_t args;

    kernel->label = label;
    if (null && !empty)
        snprintf(kernel->name, sizeof(kernel->name), "busy_%lluus", (unsigned long long)us);
    else
        snprintf(kernel->name, sizeof(kernel->name), "%s", empty ? "empty" : "spin");
    must_verdict(direct->ops->kernel_create(direct->backend, direct->module, kernel->name,
                                            &kernel->direct, &args),
                 kernel->name);
    kernel->args[0] = (struct backend_arg){
        .kind = VGPU_ARG_VALUE, .size = sizeof(kernel->turns), .value = &kernel->turns};
    kernel->args[1] = (struct backend_arg){.kind = VGPU_ARG_BUFFER, .buffer = direct->buffer};
    kernel->launch = (struct backend_launch){.kernel = kernel->direct,
                                             .dims = 1,
                                             .global = {1, 1, 1},
                                             .local = {1, 1, 1},
                                             .arg_count = 2,
                                             .args = kernel->args};
    if (!null && !empty)
        kernel->turns = turns_for(direct, kernel, us);
    for (int i = 0; i < SERIES; i++)
        samples_new(&kernel->samples[i]);
}

static void prepare_ring(struct kernel *kernel, struct ring_load *load, uint32_t id)
{
    const struct vgpu_launch_arg args[] = {vgpu_arg_value(&kernel->turns, sizeof(kernel->turns)),
                                           vgpu_arg_buffer(BUFFER)};
    const struct vgpu_launch launch = {.kernel = id,
                                       .dims = 1,
                                       .global = {1, 1, 1},
                                       .local = {1, 1, 1},
                                       .arg_count = 2,
                                       .args = args};
    uint64_t at;
    void *memory = vgpu_session_memory(load->session, 512, &at);

    if (!memory)
        fail("the data slice", "too small");
    must_result(vgpu_kernel_create(load->session, id, MODULE, kernel->name, NULL), kernel->name);
    vgpu_command_begin(&kernel->command, memory, 512);
    vgpu_command_launch(&kernel->command, &launch);
}

static void round_direct(struct direct *direct, struct kernel *kernel, bool each, uint64_t ms)
{
    struct samples *samples = &kernel->samples[each ? DIRECT_1 : DIRECT_MANY];
    uint64_t start, now, before;

    go_to_host_cpu(&direct->host);
    start = now = now_ns();
    do {
        before = now;
        launch_direct(direct, kernel);
        if (each)
            wait_direct(direct);
        now = now_ns();
        samples_add(samples, now - before);
    } while (now - start < ms * 1000000u);
    wait_direct(direct);
    samples_round(samples, now_ns() - start, 1);
    go_to_guest_cpu();
}

static void run_round(struct kernel *kernel, struct direct *direct, struct ring_load *load,
                      uint32_t depth, uint64_t ms)
{
    ring_load_use(load, &kernel->command);
    ring_load_round(load, &kernel->samples[VGPUD_1], 1, ms, 1);
    round_direct(direct, kernel, true, ms);
    ring_load_round(load, &kernel->samples[VGPUD_MANY], depth, ms, 1);
    vgpu_queue_spin(load->queue, SPIN_US);
    ring_load_round(load, &kernel->samples[VGPUD_SPIN], depth, ms, 1);
    vgpu_queue_spin(load->queue, 0);
    round_direct(direct, kernel, false, ms);
}

static void print(struct kernel *kernel, uint32_t depth, bool last)
{
    for (int i = 0; i < SERIES; i++) {
        char name[64];

        snprintf(name, sizeof(name), "%s_%.32s_%u", what[i], kernel->label,
                 i == VGPUD_1 || i == DIRECT_1 ? 1 : depth);
        samples_print(&kernel->samples[i], name, last && i + 1 == SERIES);
    }
}

int main(int argc, char **argv)
{
    static struct kernel kernels[KERNELS_MAX];
    uint32_t depth, count = (uint32_t)(argc - 6);
    struct ring_load load;
    struct direct direct;
    uint64_t rounds, ms;

    if (argc < 7 || argc - 6 > KERNELS_MAX)
        fail("usage", "launch_overhead_main BACKEND ROUNDS MS DEPTH PATH US...");
    rounds = number(argv[2], ROUNDS_MAX);
    ms = number(argv[3], 60000);
    depth = (uint32_t)number(argv[4], DEPTH_MAX);
    must(sched_getaffinity(0, sizeof(direct.host), &direct.host) == 0, "sched_getaffinity");
    open_direct(&direct, argv[1]); /* its threads are on the host's CPU from now on */
    for (uint32_t i = 0; i < count; i++)
        prepare(&kernels[i], argv[6 + i], &direct);
    go_to_guest_cpu();
    ring_load_attach(&load, argv[5]);
    must_result(vgpu_module_load(load.session, MODULE, VGPU_MODULE_OPENCL_C, source,
                                 sizeof(source) - 1, NULL, NULL),
                "a module");
    must_result(vgpu_alloc(load.session, BUFFER, 64, NULL), "a buffer");
    for (uint32_t i = 0; i < count; i++)
        prepare_ring(&kernels[i], &load, i + 1);
    for (uint64_t round = 0; round < rounds; round++)
        for (uint32_t i = 0; i < count; i++)
            run_round(&kernels[i], &direct, &load, depth, ms);
    putchar('{');
    for (uint32_t i = 0; i < count; i++)
        print(&kernels[i], depth, i + 1 == count);
    puts("}");
    ring_load_detach(&load);
    return EXIT_SUCCESS;
}
