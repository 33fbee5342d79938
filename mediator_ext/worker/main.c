/*
 * main.c - vgpu-worker: the process in which one VM's work runs
 *
 *     vgpu-worker --role=launch|build|probe --control-fd=3
 *
 * Started by vgpu-spawn, never by hand. It opens its device, then waits on the control socket to be
 * bound to a VM (a standby is a worker that waits there, and was asked to say when it does), then serves that VM's channel for ever. A
 * probe opens the device, proves it by building and running the built-in kernel, says what it found
 * on the control socket, and exits.
 *
 * Environment: VGPU_BACKEND (null | opencl | cuda), VGPU_OPENCL_LIBRARY, VGPU_CUDA_LIBRARY,
 * VGPU_DEVICE_INDEX, VGPU_CPU_THREADS; for PoCL also POCL_CACHE_DIR or TMPDIR, a directory of this
 * process alone.
 *
 * Exit status: 0 the other end of the control socket was closed, or the probe succeeded; 2 started
 * wrongly; 3 the device cannot be used, or the bind was refused; 4 the channel made no sense; 5 the
 * device was lost to this process.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "backend.h"
#include "become.h"
#include "bind.h"
#include "build.h"
#include "channel.h"
#include "launch.h"
#include "lifeline.h"
#include "probe.h"
#include "sandbox.h"
#include "tenant.h"

#define REASON_BYTES sizeof(((struct worker_ready *)0)->reason)

enum exit_status {
    EXIT_ENDED = 0,
    EXIT_STARTED_WRONGLY = 2,
    EXIT_NOT_READY = 3,
    EXIT_BROKEN_CHANNEL = 4,
    EXIT_DEVICE_LOST = 5,
};

struct arguments {
    uint32_t role; /* enum bind_role */
    int control;
    const struct backend_ops *ops;
    struct backend_settings settings;
};

static bool parse_number(const char *text, long min, long max, long *number)
{
    char *end;

    errno = 0;
    *number = strtol(text, &end, 10);
    return errno == 0 && end != text && *end == 0 && *number >= min && *number <= max;
}

static bool parse_role(const char *text, uint32_t *role)
{
    static const char *const names[] = {
        [BIND_LAUNCH] = "launch", [BIND_BUILD] = "build", [BIND_PROBE] = "probe"};

    for (uint32_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (strcmp(names[i], text) == 0) {
            *role = i;
            return true;
        }
    }
    return false;
}

/* Returns NULL, or what is wrong. */
static const char *parse(int argc, char **argv, struct arguments *arguments)
{
    const char *backend = getenv("VGPU_BACKEND");
    const char *index = getenv("VGPU_DEVICE_INDEX");
    const char *threads = getenv("VGPU_CPU_THREADS");
    bool has_role = false;
    long number;

    arguments->control = -1;
    for (int i = 1; i < argc; i++) {
        if (strncmp(argv[i], "--role=", 7) == 0 && parse_role(argv[i] + 7, &arguments->role))
            has_role = true;
        else if (strncmp(argv[i], "--control-fd=", 13) == 0 &&
                 parse_number(argv[i] + 13, 3, 1 << 20, &number))
            arguments->control = (int)number;
        else
            return "usage: vgpu-worker --role=launch|build|probe --control-fd=N";
    }
    if (!has_role || arguments->control < 0)
        return "usage: vgpu-worker --role=launch|build|probe --control-fd=N";
    arguments->ops = backend ? backend_find(backend) : NULL;
    if (!arguments->ops)
        return "VGPU_BACKEND must be \"null\", \"opencl\" or \"cuda\"";
    arguments->settings =
        (struct backend_settings){.device = -1, .builds = arguments->role != BIND_LAUNCH};
    if (arguments->ops->library_variable)
        arguments->settings.library = getenv(arguments->ops->library_variable);
    if (index && !parse_number(index, 0, 4095, &number))
        return "VGPU_DEVICE_INDEX must be a number from 0 to 4095";
    if (index)
        arguments->settings.device = (int32_t)number;
    if (threads && !parse_number(threads, 0, 4096, &number))
        return "VGPU_CPU_THREADS must be a number from 0 (the device chooses) to 4096";
    if (threads)
        arguments->settings.threads = (uint32_t)number;
    return NULL;
}

/* Anything but the CPU itself, and nothing at all. */
static bool has_driver(const struct arguments *arguments, struct backend *backend)
{
    struct vgpu_device_info info = {0};

    arguments->ops->describe(backend, &info);
    return info.type != VGPU_DEVICE_TYPE_CPU && info.type != VGPU_DEVICE_TYPE_NONE;
}

/* From an open device (or the reason why there is none) to the end of the process. */
static int serve(const struct arguments *arguments, struct backend *backend, int status,
                 char *reason)
{
    struct tenant tenant;
    struct channel channel;
    struct bind bind;
    int error;

    while ((error = bind_receive(arguments->control, arguments->role, &bind)) == BIND_STAND_BY) {
        if (bind_answer(arguments->control, status, reason, NULL) < 0)
            return EXIT_ENDED;
        if (status) {
            fprintf(stderr, "vgpu-worker: cannot stand by: %s\n", reason);
            return EXIT_NOT_READY;
        }
    }
    if (error == -EPIPE)
        return EXIT_ENDED;
    if (error) {
        fprintf(stderr, "vgpu-worker: cannot use the bind message: %s\n", strerror(-error));
        status = error;
        snprintf(reason, REASON_BYTES, "the bind message is not one for this worker");
    }
    if (!status) {
        status = sandbox_limit_memory(arguments->role, has_driver(arguments, backend),
                                      bind.message.memory_bytes);
        if (status)
            snprintf(reason, REASON_BYTES, "cannot limit its memory: %s", strerror(-status));
    }
    if (!status) {
        status = tenant_open(&tenant, arguments->ops, backend, bind.message.memory_bytes);
        if (status)
            snprintf(reason, REASON_BYTES, "no memory for the worker's tables");
    }
    if (!status)
        status = become(&bind, &tenant, &channel, reason);
    if (!status) {
        status = lifeline_start(arguments->control);
        if (status)
            snprintf(reason, REASON_BYTES, "cannot start a thread: %s", strerror(-status));
    }
    error = bind_answer(arguments->control, status, reason, status ? NULL : &tenant.info);
    if (status) {
        fprintf(stderr, "vgpu-worker: not ready: %s\n", reason);
        return EXIT_NOT_READY;
    }
    if (error) /* The other end went away meanwhile: the lifeline sees that, too. */
        return EXIT_ENDED;

    error = arguments->role == BIND_BUILD ? build_serve(&tenant, &channel)
                                          : launch_serve(&tenant, &channel);
    if (error == -ENODEV)
        return EXIT_DEVICE_LOST;
    fprintf(stderr, "vgpu-worker: the channel makes no sense, so this worker ends: %s\n",
            strerror(-error));
    return EXIT_BROKEN_CHANNEL;
}

static int probe(const struct arguments *arguments, struct backend *backend, int status,
                 char *reason)
{
    struct vgpu_device_info info;

    if (!status)
        status = probe_device(arguments->ops, backend, reason, REASON_BYTES);
    if (!status)
        tenant_describe(arguments->ops, backend, 0, &info);
    if (bind_answer(arguments->control, status, reason, status ? NULL : &info) < 0)
        fputs("vgpu-worker: nobody listens to the probe\n", stderr);
    if (status)
        fprintf(stderr, "vgpu-worker: probe: %s\n", reason);
    return status ? EXIT_NOT_READY : EXIT_ENDED;
}

int main(int argc, char **argv)
{
    char reason[REASON_BYTES] = "";
    struct backend *backend = NULL;
    struct arguments arguments;
    const char *wrong;
    int status;

    wrong = parse(argc, argv, &arguments);
    if (wrong) {
        fprintf(stderr, "vgpu-worker: %s\n", wrong);
        return EXIT_STARTED_WRONGLY;
    }
    /* What is said on standard error may be heard by nobody, which is no reason to end. */
    signal(SIGPIPE, SIG_IGN);
    /* A compiler's children must not hold the tie to vgpud. */
    if (fcntl(arguments.control, F_SETFD, FD_CLOEXEC) < 0) {
        fprintf(stderr, "vgpu-worker: --control-fd=%d: %s\n", arguments.control, strerror(errno));
        return EXIT_STARTED_WRONGLY;
    }
    status = sandbox_before_device();
    if (!status)
        status = arguments.ops->open(&arguments.settings, &backend, reason, sizeof(reason));
    if (!status) {
        status = sandbox_before_guest(arguments.role, has_driver(&arguments, backend));
        if (status)
            snprintf(reason, sizeof(reason), "cannot give up rights: %s", strerror(-status));
    } else if (!reason[0]) {
        snprintf(reason, sizeof(reason), "cannot give up rights: %s", strerror(-status));
    }
    /* _exit: a runtime's own clean-up may wait for kernels that never end. */
    if (arguments.role == BIND_PROBE)
        _exit(probe(&arguments, backend, status, reason));
    _exit(serve(&arguments, backend, status, reason));
}
