/*
 * children.c - The workers: started, watched, killed, reaped, reported
 *
 * Ending goes through one function, end_record(), whatever the cause. The order there: learn how
 * the process ended but leave it a zombie, so that its pid, and the process group of that number,
 * still are its own; kill the group; kill whatever else runs under its uid; only then let the
 * zombie and the uid go.
 *
 * A uid is also swept before its first use in this spawner's life: a uid belongs to one worker
 * instance, and what was left behind under it may have escaped the look at the start (leftovers.c).
 */
#include "spawn/children.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "spawn/isolate.h"
#include "spawn/launch.h"
#include "spawn/log.h"
#include "spawn/peer.h"
#include "spawn/settings.h"
#include "spawn/watch.h"

#define END_TIMEOUT_MS 5000
/* How far a process is followed back: its parents may change meanwhile. */
#define GENERATIONS_MAX 64

#define ROLES (SPAWN_ROLE_PROBE + 1)

struct children {
    struct children_config config;
    struct child *records;
    uint32_t count;    /* of records */
    bool *used_before; /* per slot and role: this spawner has swept the uid already */
    uint32_t last_id;
    uint64_t last_end;
};

static const char *const role_names[] = {
    [SPAWN_ROLE_LAUNCH] = "launch",
    [SPAWN_ROLE_BUILD] = "build",
    [SPAWN_ROLE_PROBE] = "probe",
};

_Static_assert(sizeof(role_names) / sizeof(role_names[0]) == ROLES, "every role has a name");

static const char *label_of(const struct child *child)
{
    return child->label[0] ? child->label : "-";
}

static bool own_uid(const struct children *children)
{
    return children->config.capabilities & SPAWN_CAN_SETUID;
}

struct children *children_new(const struct children_config *config)
{
    struct children *children = calloc(1, sizeof(*children));

    if (!children) {
        return NULL;
    }
    children->config = *config;
    children->count = children_max(config->slots);
    children->records = calloc(children->count, sizeof(*children->records));
    children->used_before = calloc((size_t)config->slots * ROLES, sizeof(bool));
    if (!children->records || !children->used_before) {
        children_free(children);
        errno = ENOMEM;
        return NULL;
    }
    return children;
}

void children_free(struct children *children)
{
    if (!children) {
        return;
    }
    for (uint32_t i = 0; children->records && i < children->count; i++) {
        if (children->records[i].state == CHILD_ALIVE) {
            close(children->records[i].pidfd);
            close(children->records[i].output.fd);
        }
    }
    free(children->records);
    free(children->used_before);
    free(children);
}

static struct child *find_record(const struct children *children, uint32_t worker_id)
{
    for (uint32_t i = 0; i < children->count; i++) {
        struct child *child = &children->records[i];

        if (child->state != CHILD_FREE && child->worker_id == worker_id) {
            return child;
        }
    }
    return NULL;
}

/* Return: 0 with *record set, or why there can be no worker of that slot and role now */
static int find_room(const struct children *children, uint32_t role, uint32_t slot,
                     struct child **record)
{
    uint32_t room = 0;

    *record = NULL;
    for (uint32_t i = 0; i < children->count; i++) {
        struct child *child = &children->records[i];

        if (child->state == CHILD_ALIVE && child->slot == slot && child->role == role) {
            return -EBUSY;
        }
        if (child->state == CHILD_FREE) {
            *record = *record ? *record : child;
            room++;
        }
    }
    return room > (role == SPAWN_ROLE_PROBE ? 0 : CHILDREN_PROBES) ? 0 : -ENOSPC;
}

static int sweep_before_first_use(struct children *children, uint32_t role, uint32_t slot,
                                  uint32_t uid)
{
    bool *used = &children->used_before[(size_t)slot * ROLES + role];
    int rc = 0;

    if (own_uid(children) && !*used) {
        rc = uids_sweep(children->config.uids, uid);
        if (rc < 0) {
            log_error("cannot make uid %u free of processes: %s", uid, strerror(-rc));
        }
    }
    *used = rc == 0;
    return rc;
}

/* Return: 0 with pid and pidfd set and watched, or -errno, logged, and there is no process */
static int start_process(const struct children *children, struct child *child,
                         const struct isolate_plan *plan, int group)
{
    struct isolate_failure failure;
    int rc = launch_process(plan, group, &child->pid, &child->pidfd, &failure);

    if (rc < 0) {
        log_error("worker %u (%s): cannot %s: %s%s%s", child->worker_id, label_of(child),
                  isolate_stage_name(failure.stage), failure.culprit,
                  failure.culprit[0] ? ": " : "", strerror(-rc));
        return rc;
    }
    if (watch_set(children->config.epoll_fd, EPOLL_CTL_ADD, child->pidfd, EPOLLIN, WATCH_CHILD,
                  (uint32_t)(child - children->records)) < 0 ||
        watch_set(children->config.epoll_fd, EPOLL_CTL_ADD, child->output.fd, EPOLLIN, WATCH_OUTPUT,
                  (uint32_t)(child - children->records)) < 0) {
        rc = -errno;
        log_error("worker %u (%s): cannot watch it: %s", child->worker_id, label_of(child),
                  strerror(-rc));
        launch_undo(child->pid, child->pidfd);
    }
    return rc;
}

int children_spawn(struct children *children, uint32_t role, uint32_t slot, int control_fd,
                   const char *detail, const char *label, const struct child **started)
{
    char scratch_path[SETTINGS_SCRATCH_BYTES], role_option[32], fd_option[32];
    char *arguments[] = {"vgpu-worker", role_option, fd_option, NULL};
    struct settings settings;
    struct isolate_plan plan;
    struct child *child;
    struct view view;
    struct stat control;
    int rc, group;

    if (role >= ROLES || slot >= children->config.slots) {
        return -EINVAL;
    }
    if (fstat(control_fd, &control) < 0 || !S_ISSOCK(control.st_mode)) {
        return -ENOTSOCK;
    }
    rc = find_room(children, role, slot, &child);
    if (rc < 0) {
        return rc;
    }
    *child = (struct child){
        .worker_id = ++children->last_id, .slot = slot, .role = (enum spawn_role)role};
    child->uid = uids_of(children->config.uids, slot, child->role);
    memcpy(child->label, label, sizeof(child->label));

    rc = sweep_before_first_use(children, role, slot, child->uid);
    if (rc < 0) {
        return rc;
    }
    rc = scratch_make(children->config.scratch, child->worker_id, child->uid, scratch_path,
                      sizeof(scratch_path));
    if (rc < 0) {
        log_error("worker %u (%s): no directory in %s: %s", child->worker_id, label_of(child),
                  children->config.scratch->path, strerror(-rc));
        return rc;
    }
    rc = settings_parse(&settings, detail, scratch_path);
    if (rc < 0) {
        goto out;
    }
    rc = children->config.capabilities & SPAWN_CAN_NAMESPACE
             ? view_make(&view, child->role, children->config.program, settings.environment)
             : 0;
    if (rc < 0) {
        goto out;
    }
    snprintf(role_option, sizeof(role_option), "--role=%s", role_names[role]);
    snprintf(fd_option, sizeof(fd_option), "--control-fd=%d", ISOLATE_CONTROL_FD);
    plan = (struct isolate_plan){
        .program = children->config.program,
        .arguments = arguments,
        .environment = settings.environment,
        .scratch = scratch_path,
        .view = &view,
        .control_fd = control_fd,
        .own_uid = own_uid(children),
        .own_namespaces = children->config.capabilities & SPAWN_CAN_NAMESPACE,
        .uid = child->uid,
    };
    rc = output_open(&child->output, &plan.output_fd);
    if (rc < 0) {
        goto out;
    }
    rc = cgroups_make(children->config.groups, child->worker_id, child->role, &settings, &group);
    if (rc < 0) {
        log_error("worker %u (%s): cannot make its control group: %s", child->worker_id,
                  label_of(child), strerror(-rc));
    } else {
        rc = start_process(children, child, &plan, group);
    }
    if (group >= 0) {
        close(group);
    }
    close(plan.output_fd);
    if (rc < 0) {
        output_close(&child->output, child->worker_id, label_of(child));
        goto out;
    }
    child->state = CHILD_ALIVE;
    *started = child;
    log_info("worker %u (%s): %s worker started, pid %d, uid %u", child->worker_id, label_of(child),
             role_names[role], (int)child->pid, child->uid);
out:
    if (rc < 0) {
        cgroups_remove(children->config.groups, child->worker_id);
        scratch_remove(children->config.scratch, child->worker_id);
    }
    return rc;
}

static int end_process(const struct children *children, const struct child *child)
{
    if (cgroups_kill(children->config.groups, child->worker_id) == 0) {
        return 0;
    }
    return kill(child->pid, SIGKILL) < 0 ? -errno : 0;
}

int children_kill(struct children *children, uint32_t worker_id)
{
    struct child *child = find_record(children, worker_id);

    if (!child) {
        return -ENOENT;
    }
    if (child->state == CHILD_ENDED) {
        return 0;
    }
    return end_process(children, child);
}

int children_forget(struct children *children, uint32_t worker_id)
{
    struct child *child = find_record(children, worker_id);

    if (!child) {
        return -ENOENT;
    }
    if (child->state == CHILD_ALIVE) {
        return -EBUSY;
    }
    child->state = CHILD_FREE;
    return 0;
}

void children_hear(struct children *children, uint32_t index)
{
    struct child *child = &children->records[index];

    if (child->state != CHILD_ALIVE || child->output.fd < 0 ||
        output_read(&child->output, child->worker_id, label_of(child))) {
        return;
    }
    /* It is kept open, so that what a worker says in vain does not kill it, but not watched. */
    if (epoll_ctl(children->config.epoll_fd, EPOLL_CTL_DEL, child->output.fd, NULL) < 0) {
        log_error("worker %u (%s): cannot stop to watch it: %s", child->worker_id, label_of(child),
                  strerror(errno));
    }
}

static void log_end(const struct child *child)
{
    if (child->code == CLD_EXITED) {
        log_info("worker %u (%s): exited with %d", child->worker_id, label_of(child),
                 child->status);
    } else {
        log_info("worker %u (%s): killed by signal %d%s", child->worker_id, label_of(child),
                 child->status, child->ran_out ? " at its memory limit" : "");
    }
}

/* The process of @child is a zombie, described by @info. */
static void end_record(struct children *children, struct child *child, const siginfo_t *info)
{
    int swept = 0;
    int rc;

    child->ran_out = cgroups_ran_out(children->config.groups, child->worker_id);
    kill(-child->pid, SIGKILL); /* ESRCH: it left nobody behind in its group */
    if (own_uid(children)) {
        swept = uids_sweep(children->config.uids, child->uid);
        if (swept < 0) {
            log_error("worker %u (%s): cannot end what it left behind as uid %u: %s",
                      child->worker_id, label_of(child), child->uid, strerror(-swept));
            children->used_before[(size_t)child->slot * ROLES + child->role] = false;
        }
    }
    while (waitpid(child->pid, NULL, 0) < 0 && errno == EINTR) {
    }
    /* Closing alone would not end its watch: the client has a duplicate. */
    epoll_ctl(children->config.epoll_fd, EPOLL_CTL_DEL, child->pidfd, NULL);
    close(child->pidfd);
    output_close(&child->output, child->worker_id, label_of(child));
    rc = cgroups_remove(children->config.groups, child->worker_id);
    if (rc < 0) {
        log_warn("worker %u (%s): its control group stays: %s", child->worker_id, label_of(child),
                 strerror(-rc));
    }
    rc = swept < 0 ? swept : scratch_remove(children->config.scratch, child->worker_id);
    if (rc < 0) {
        log_warn("worker %u (%s): something is left of %s/worker-%u: %s", child->worker_id,
                 label_of(child), children->config.scratch->path, child->worker_id, strerror(-rc));
    }
    child->pidfd = -1;
    child->code = info->si_code;
    child->status = info->si_status;
    child->end_number = ++children->last_end;
    child->state = CHILD_ENDED;
    log_end(child);
}

void children_reap(struct children *children, uint32_t index)
{
    struct child *child = &children->records[index];
    siginfo_t info = {0};

    if (child->state != CHILD_ALIVE) {
        return;
    }
    if (waitid(P_PID, (id_t)child->pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid) {
        end_record(children, child, &info);
    }
}

void children_end_all(struct children *children)
{
    for (uint32_t i = 0; i < children->count; i++) {
        if (children->records[i].state == CHILD_ALIVE) {
            end_process(children, &children->records[i]);
        }
    }
    for (uint32_t i = 0; i < children->count; i++) {
        struct child *child = &children->records[i];
        struct pollfd wait = {.fd = child->pidfd, .events = POLLIN};

        if (child->state != CHILD_ALIVE) {
            continue;
        }
        while (poll(&wait, 1, END_TIMEOUT_MS) < 0 && errno == EINTR) {
        }
        children_reap(children, i);
        if (child->state == CHILD_ALIVE) {
            log_error("worker %u (%s): pid %d is not gone %d ms after SIGKILL; leaving it",
                      child->worker_id, label_of(child), (int)child->pid, END_TIMEOUT_MS);
        }
    }
}

static bool is_worker(const struct children *children, pid_t pid)
{
    for (uint32_t i = 0; i < children->count; i++) {
        if (children->records[i].state == CHILD_ALIVE && children->records[i].pid == pid) {
            return true;
        }
    }
    return false;
}

bool children_has_process(const struct children *children, pid_t pid)
{
    for (int generation = 0; pid > 1 && generation < GENERATIONS_MAX; generation++) {
        if (is_worker(children, pid)) {
            return true;
        }
        pid = peer_parent(pid);
    }
    return false;
}

const struct child *children_next(const struct children *children, uint32_t *cursor)
{
    while (*cursor < children->count) {
        const struct child *child = &children->records[(*cursor)++];

        if (child->state != CHILD_FREE) {
            return child;
        }
    }
    return NULL;
}

const struct child *children_next_end(const struct children *children, uint64_t after)
{
    const struct child *first = NULL;

    for (uint32_t i = 0; i < children->count; i++) {
        const struct child *child = &children->records[i];

        if (child->state == CHILD_ENDED && child->end_number > after &&
            (!first || child->end_number < first->end_number)) {
            first = child;
        }
    }
    return first;
}
