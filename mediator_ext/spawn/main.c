/*
 * main.c - vgpu-spawn: the process that outlives vgpud
 *
 * One thread, one epoll loop, one switch (watch.h lists what can wake it). Nothing here blocks but
 * the start of a worker, for the millisecond it takes.
 *
 * Trust: clients are one uid, checked by the kernel. Still nothing that decides what runs, as whom
 * and how much comes from them, but from the command line. Guest bytes never get here.
 *
 * Ends:
 *   SIGTERM          exit and leave the workers running, for a service manager that restarts the
 *                    spawner with KillMode=process. What was held is gone: a client that wants to
 *                    survive that holds it again with the next spawner.
 *   SIGINT           kill the workers, then exit: somebody at a terminal is done with it.
 *   SPAWN_SHUTDOWN   the same, and say so to the client that asked.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "spawn/cgroup.h"
#include "spawn/children.h"
#include "spawn/held.h"
#include "spawn/isolate.h"
#include "spawn/leftovers.h"
#include "spawn/listener.h"
#include "spawn/log.h"
#include "spawn/options.h"
#include "spawn/readiness.h"
#include "spawn/scratch.h"
#include "spawn/server.h"
#include "spawn/uids.h"
#include "spawn/watch.h"

#define EVENTS_AT_ONCE 64

/*
 * Descriptors besides those held, and two per worker (its pidfd, its output): a connection and an
 * unsent pidfd for each client, those of one datagram in hand, and standard streams, epoll, signals,
 * listener, the uid lock, the scratch directory and whatever is open for a moment.
 *
 * Held are, for each VM, 6 (journal, ring memory, two listeners, two connections) and 2 for each
 * queue pair (its doorbells); for a launch worker 4 (control socket, channel, doorbell, its end of
 * the exchange), for a build worker 3. So 1,024 VMs of one pair make 8,192, and with both workers
 * each 15,360: the default of 14,336 is for 877 of them at work at once. An entry takes some 220
 * bytes: 4 or 5 of them, 1 KiB, for a VM.
 */
#define OTHER_FDS (2 * SERVER_MAX_CLIENTS + SPAWN_MAX_FDS + 32)

enum stop {
    STOP_NOT = 0,
    STOP_LEAVE, /* the workers alone */
    STOP_END,   /* with the workers */
    STOP_FAILED,
};

struct spawner {
    struct options options;
    struct readiness readiness;
    struct listener listener;
    struct uid_range uids;
    struct scratch scratch;
    struct cgroups groups;
    struct held *held;
    struct children *children;
    struct server *server;
    uint32_t capabilities;
    int epoll_fd;
    int signal_fd;
};

/* Descriptors 0 to 2 are open, and nothing that was left open by whoever started us stays so. */
static int clean_descriptors(const struct options *options)
{
    int keep[2] = {options->ready_fd, options->manager_fd};
    int low = keep[0] < keep[1] ? keep[0] : keep[1];
    int high = keep[0] < keep[1] ? keep[1] : keep[0];
    unsigned int next = STDERR_FILENO + 1;

    for (int fd = 0; fd <= STDERR_FILENO; fd++) {
        if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", O_RDWR) != fd) {
            return -errno;
        }
    }
    for (int i = 0; i < 2; i++) {
        int fd = i == 0 ? low : high;

        if (fd < (int)next) {
            continue;
        }
        if ((unsigned int)fd > next && close_range(next, (unsigned int)fd - 1, 0) < 0) {
            return -errno;
        }
        if (fcntl(fd, F_SETFD, FD_CLOEXEC) < 0) {
            return -errno;
        }
        next = (unsigned int)fd + 1;
    }
    return close_range(next, ~0u, 0) < 0 ? -errno : 0;
}

/* Each worker has a pidfd and the pipe that it writes to. */
static uint64_t for_workers(uint32_t max_workers)
{
    return 2ull * children_max(max_workers);
}

/* Cut the numbers that were not given to what @room descriptors allow. Return: do they fit now? */
static bool cut_defaults(struct options *options, uint64_t room)
{
    if (!options->workers_given && !options->held_given) {
        options->max_workers = (uint32_t)(room / 32);
    } else if (!options->workers_given) {
        while (options->max_workers &&
               options->max_held + for_workers(options->max_workers) > room) {
            options->max_workers--;
        }
    }
    if (!options->held_given && for_workers(options->max_workers) < room) {
        options->max_held = (uint32_t)(room - for_workers(options->max_workers));
    }
    return options->max_workers && options->max_held + for_workers(options->max_workers) <= room;
}

/* Room for everything that may be open at once. */
static int raise_file_limit(struct options *options)
{
    uint32_t held = options->max_held, workers = options->max_workers;
    uint64_t wanted = held + for_workers(workers) + OTHER_FDS;
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) < 0) {
        return -errno;
    }
    limit.rlim_cur = limit.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &limit) < 0) {
        return -errno;
    }
    if (limit.rlim_max == RLIM_INFINITY || wanted <= limit.rlim_max) {
        return 0;
    }
    if (limit.rlim_max < 4 * OTHER_FDS || !cut_defaults(options, limit.rlim_max - OTHER_FDS)) {
        log_error(
            "--max-held %u and --max-workers %u need %llu descriptors, and the limit is %llu: "
            "raise it (LimitNOFILE=, ulimit -Hn) or ask for less",
            held, workers, (unsigned long long)wanted, (unsigned long long)limit.rlim_max);
        return -EMFILE;
    }
    log_warn("the limit of %llu descriptors allows workers for %u VMs and %u held ones: raise it "
             "(LimitNOFILE=, ulimit -Hn) for more",
             (unsigned long long)limit.rlim_max, options->max_workers, options->max_held);
    return 0;
}

static int open_signals(struct spawner *spawner)
{
    sigset_t set;

    /* Both would end the spawner, and with it what it holds, over nothing. */
    signal(SIGPIPE, SIG_IGN);
    signal(SIGHUP, SIG_IGN);
    signal(SIGCHLD, SIG_DFL);
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    if (sigprocmask(SIG_BLOCK, &set, NULL) < 0) {
        return -errno;
    }
    spawner->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    if (spawner->signal_fd < 0 || watch_set(spawner->epoll_fd, EPOLL_CTL_ADD, spawner->signal_fd,
                                            EPOLLIN, WATCH_SIGNALS, 0) < 0) {
        return -errno;
    }
    return 0;
}

/* Find out what workers can be given here, and refuse to run guest code as root. */
static int settle_identity(struct spawner *spawner)
{
    struct isolate_plan plan = {
        .program = spawner->options.worker,
        .scratch = spawner->scratch.path,
    };
    bool root = geteuid() == 0;
    int rc;

    spawner->uids = (struct uid_range){.lock_fd = -1};
    if (root) {
        rc = uids_reserve(&spawner->uids, spawner->options.uid_base, spawner->options.max_workers,
                          spawner->options.uid_lock);
        if (rc < 0) {
            return rc;
        }
    }
    leftovers_end(&spawner->uids);
    leftovers_remove(spawner->options.scratch, &spawner->uids);
    plan.uid = uids_of(&spawner->uids, 0, SPAWN_ROLE_LAUNCH);
    rc = isolate_probe(&plan, &spawner->capabilities);
    if (root && !(spawner->capabilities & SPAWN_CAN_SETUID)) {
        log_error("root here cannot become uid %u, and workers must not be root: choose a "
                  "--worker-uid-base that this container maps, or start vgpu-spawn as another user",
                  plan.uid);
        return -EPERM;
    }
    if (rc == -EACCES) {
        log_error("uid %u cannot execute the worker program %s: is it there, and are it and all "
                  "directories above it open to others (chmod o+x)?",
                  plan.uid, spawner->options.worker);
    }
    if (rc == 0 && spawner->options.uid_base && !root) {
        log_warn("--worker-uid-base has no effect without root: workers run as uid %u", plan.uid);
    }
    return rc;
}

/* A machine without such groups is one on which workers are limited less: that is said, no more. */
static void open_groups(struct spawner *spawner)
{
    uint32_t range = spawner->uids.enabled ? spawner->uids.base : (uint32_t)getpid();
    int rc = cgroups_open(&spawner->groups, range, spawner->options.delegated);

    if (rc < 0) {
        log_info("workers have no control groups: %s", strerror(-rc));
    }
    spawner->capabilities |= spawner->groups.capabilities;
}

static int open_tables(struct spawner *spawner)
{
    const struct options *options = &spawner->options;
    struct children_config children = {
        .epoll_fd = spawner->epoll_fd,
        .slots = options->max_workers,
        .program = options->worker,
        .capabilities = spawner->capabilities,
        .uids = &spawner->uids,
        .scratch = &spawner->scratch,
        .groups = &spawner->groups,
    };
    struct server_config server = {
        .epoll_fd = spawner->epoll_fd,
        .listener = spawner->listener.fd,
        .allowed_uid = options->allowed_uid,
        .client_timeout_ms = options->client_timeout_ms,
    };

    spawner->held = held_new(options->max_held);
    spawner->children = children_new(&children);
    if (!spawner->held || !spawner->children) {
        return -errno;
    }
    server.requests = (struct requests){
        .held = spawner->held,
        .children = spawner->children,
        .capabilities = spawner->capabilities,
    };
    spawner->server = server_new(&server);
    return spawner->server ? 0 : -errno;
}

/* What failed without a word of its own gets one here. */
static int set_up(struct spawner *spawner)
{
    const struct options *options = &spawner->options;
    int rc;

    umask(077);
    rc = scratch_open(&spawner->scratch, options->scratch);
    if (rc < 0) {
        log_error("cannot make a directory for workers in %s: %s; see --scratch", options->scratch,
                  strerror(-rc));
        return rc;
    }
    rc = settle_identity(spawner);
    if (rc < 0) {
        return rc;
    }
    open_groups(spawner);
    rc = options->manager_fd >= 0
             ? listener_from_manager(&spawner->listener, options->manager_fd)
             : listener_open(&spawner->listener, options->socket, options->allowed_uid);
    if (rc < 0) {
        return rc;
    }
    spawner->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    rc = spawner->epoll_fd < 0 ? -errno : open_signals(spawner);
    if (rc == 0) {
        rc = open_tables(spawner);
    }
    if (rc < 0) {
        log_error("cannot set up: %s", strerror(-rc));
    }
    return rc;
}

static enum stop take_signal(const struct spawner *spawner)
{
    struct signalfd_siginfo info;

    if (read(spawner->signal_fd, &info, sizeof(info)) != (ssize_t)sizeof(info)) {
        return STOP_NOT;
    }
    log_info("signal %u from pid %u", info.ssi_signo, info.ssi_pid);
    return info.ssi_signo == SIGTERM ? STOP_LEAVE : STOP_END;
}

static enum stop handle_event(struct spawner *spawner, uint64_t word)
{
    uint32_t index = (uint32_t)word;

    switch ((enum watch_kind)(word >> 32)) {
    case WATCH_LISTENER:
        server_accept(spawner->server);
        break;
    case WATCH_SIGNALS:
        return take_signal(spawner);
    case WATCH_CLIENT:
        server_on_client(spawner->server, index);
        break;
    case WATCH_CHILD:
        children_reap(spawner->children, index);
        break;
    case WATCH_OUTPUT:
        children_hear(spawner->children, index);
        break;
    }
    return STOP_NOT;
}

static enum stop serve(struct spawner *spawner)
{
    struct epoll_event events[EVENTS_AT_ONCE];
    enum stop stop = STOP_NOT;

    while (stop == STOP_NOT) {
        int count = epoll_wait(spawner->epoll_fd, events, EVENTS_AT_ONCE,
                               server_timeout_ms(spawner->server));

        if (count < 0 && errno != EINTR) {
            log_error("cannot wait for events: %s", strerror(errno));
            return STOP_FAILED;
        }
        for (int i = 0; i < count && stop == STOP_NOT; i++) {
            stop = handle_event(spawner, events[i].data.u64);
        }
        server_settle(spawner->server);
        if (server_shutdown_asked(spawner->server)) {
            stop = STOP_END;
        }
    }
    return stop;
}

static void finish(struct spawner *spawner, enum stop stop)
{
    /* First of all, so that a client that is told of the end can start the next spawner. */
    listener_close(&spawner->listener);
    if (stop == STOP_END) {
        children_end_all(spawner->children);
        held_clear(spawner->held);
    }
    cgroups_close(&spawner->groups);
    scratch_close(&spawner->scratch);
    uids_release(&spawner->uids);
    if (stop == STOP_END) {
        server_answer_shutdown(spawner->server);
    }
    log_info("ended; %s", stop == STOP_END ? "no worker is left" : "workers were left running");
}

static void release(struct spawner *spawner)
{
    server_free(spawner->server);
    children_free(spawner->children);
    held_free(spawner->held);
    listener_close(&spawner->listener);
    uids_release(&spawner->uids);
    if (spawner->signal_fd >= 0) {
        close(spawner->signal_fd);
    }
    if (spawner->epoll_fd >= 0) {
        close(spawner->epoll_fd);
    }
}

int main(int argc, char **argv)
{
    struct spawner spawner = {
        .epoll_fd = -1,
        .signal_fd = -1,
        .listener.fd = -1,
        .scratch.directory = -1,
        .uids.lock_fd = -1,
        .groups = {.parent = -1, .base = -1},
    };
    struct options *options = &spawner.options;
    int rc, status;

    status = options_parse(options, argc, argv);
    if (status >= 0) {
        return status;
    }
    if (options->clear_groups) {
        rc = cgroups_clear();
        if (rc < 0) {
            log_error("cannot clear the control groups: %s", strerror(-rc));
        }
        return rc < 0 ? EXIT_FAILED : EXIT_OK;
    }
    if (chdir("/") < 0 || clean_descriptors(options) < 0 || raise_file_limit(options) < 0 ||
        readiness_begin(&spawner.readiness, options->daemonize, options->ready_fd,
                        options->log_file) < 0) {
        return EXIT_FAILED;
    }
    rc = set_up(&spawner);
    if (rc == 0) {
        rc = readiness_announce(&spawner.readiness);
    }
    if (rc == 0) {
        enum stop stop;

        log_info(
            "serving uid %u on %s; workers: %s, %s, %s; for up to %u VMs, and %u held descriptors",
            options->allowed_uid, options->socket[0] ? options->socket : "a passed socket",
            spawner.capabilities & SPAWN_CAN_SETUID ? "own uids" : "same uid",
            spawner.capabilities & SPAWN_CAN_NAMESPACE ? "own namespaces" : "no namespaces",
            spawner.capabilities & SPAWN_CAN_LIMIT   ? "own limits"
            : spawner.capabilities & SPAWN_CAN_GROUP ? "own groups"
                                                     : "no groups",
            options->max_workers, options->max_held);
        stop = serve(&spawner);
        finish(&spawner, stop);
        release(&spawner);
        return stop == STOP_FAILED ? EXIT_FAILED : EXIT_OK;
    }
    cgroups_close(&spawner.groups);
    if (spawner.scratch.directory >= 0) {
        scratch_close(&spawner.scratch);
    }
    release(&spawner);
    status = rc == -EADDRINUSE ? EXIT_CONFLICT : EXIT_FAILED;
    readiness_fail(&spawner.readiness, status);
    return status;
}
