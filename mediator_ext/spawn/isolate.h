/*
 * isolate.h - What a new process gives up before it becomes a worker
 */
#ifndef VGPUD_SPAWN_ISOLATE_H
#define VGPUD_SPAWN_ISOLATE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "spawn/view.h"

#define ISOLATE_CONTROL_FD 3 /* of the worker */

/* In the order in which they are gone through. */
enum isolate_stage {
    ISOLATE_SESSION,     /* own session, default signals, nobody traces it */
    ISOLATE_DESCRIPTORS, /* control socket and standard streams, and nothing else of ours */
    ISOLATE_LIMITS,      /* what it may use up */
    ISOLATE_NAMESPACES,  /* no network, no System V IPC, mounts of its own */
    ISOLATE_FILESYSTEM,  /* which files it sees */
    ISOLATE_IDENTITY,    /* its own uid and gid, no groups, no capability, no way back */
    ISOLATE_EXECUTE,     /* the worker program */
    ISOLATE_STAGES,      /* their number; as a failure: it never came to the first */
};

struct isolate_plan {
    const char *program;
    char *const *arguments;   /* ends with NULL */
    char *const *environment; /* ends with NULL */
    const char *scratch;      /* its own directory */
    const struct view *view;  /* what it sees besides */
    int control_fd;
    int output_fd;       /* becomes its standard error */
    bool own_uid;        /* become @uid, and gid of the same number */
    bool own_namespaces; /* and a root with @view and @scratch in it */
    uid_t uid;
};

struct isolate_failure {
    int32_t stage;                 /* enum isolate_stage */
    int32_t error;                 /* errno */
    char culprit[VIEW_PATH_BYTES]; /* the path that it is about, or "" */
};

/**
 * isolate_and_execute() - Become the worker; called in the new process, does not return
 * @plan: what to become
 * @status_fd: close-on-exec pipe; gets a struct isolate_failure if a stage fails, and is closed
 *             with nothing in it once the worker program runs
 */
_Noreturn void isolate_and_execute(const struct isolate_plan *plan, int status_fd);

/**
 * isolate_probe() - Try in a child what workers can be given here
 * @plan: the program, a scratch directory, and the uid to try; the rest is ignored
 * @capabilities: set to a combination of SPAWN_CAN_*
 *
 * Return: 0; -EACCES if a worker of that identity could not execute the program; another -errno if
 * there is no child
 */
int isolate_probe(const struct isolate_plan *plan, uint32_t *capabilities);

/** isolate_stage_name() - What a stage does, for "worker N: cannot <name>: <error>" */
const char *isolate_stage_name(int32_t stage);

#endif
