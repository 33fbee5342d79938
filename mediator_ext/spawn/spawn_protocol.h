/*
 * spawn_protocol.h - What vgpud and vgpu-spawn say to each other
 *
 * A SOCK_SEQPACKET Unix socket; one datagram is one message: struct spawn_message, with file
 * descriptors as SCM_RIGHTS. The spawner serves exactly one uid besides its own (SO_PEERCRED).
 *
 * A client may open several connections. The control plane of vgpud opens one and asks for exit
 * reports (SPAWN_HELLO with SPAWN_WANT_EXITS); the engine opens a second one and only ever sends
 * SPAWN_HOLD and SPAWN_DROP with tag 0, which are not answered: a datagram that was sent is in the
 * spawner's queue and survives the death of the sender, descriptors included. That is what makes
 * "hold, then use" safe without a round trip.
 *
 * Every other request is answered by exactly one message with the same verb and tag, and status
 * 0 or a negative errno. SPAWN_FETCH is answered by one message per held entry (SPAWN_MORE set)
 * and a last one without descriptors and without SPAWN_MORE.
 *
 * Keys are printable ASCII without white space, for example "vm/<uuid>/journal". Holding under a
 * key that is taken replaces the old entry. The spawner never reads from or writes to a held
 * descriptor.
 */
#ifndef VGPUD_SPAWN_PROTOCOL_H
#define VGPUD_SPAWN_PROTOCOL_H

#include <stdint.h>

#define SPAWN_MAGIC        0x4e505356u /* "VSPN" */
#define SPAWN_VERSION      2
#define SPAWN_KEY_BYTES    104
#define SPAWN_DETAIL_BYTES 512
#define SPAWN_MAX_FDS      24

enum spawn_verb {
    SPAWN_HELLO = 1,   /* flags: SPAWN_WANT_EXITS; answer: pid = spawner's, arg = SPAWN_CAN_* */
    SPAWN_WORKER = 2,  /* start a worker: arg = enum spawn_role, slot = uid slot, 1 fd = its control
                          socket, detail = NAME=VALUE settings, NUL between; key = label for logs;
                          answer: worker_id, pid, uid, 1 fd = pidfd */
    SPAWN_KILL = 3,    /* worker_id: SIGKILL it; its exit is reported as any other */
    SPAWN_REAPED = 4,  /* worker_id: its exit report has been dealt with; forget it */
    SPAWN_HOLD = 5,    /* key, 1..SPAWN_MAX_FDS fds, arg = caller's word, returned by FETCH */
    SPAWN_DROP = 6,    /* key: let go of exactly this entry */
    SPAWN_FETCH = 7,   /* key = prefix ("" = all): duplicates of what is held */
    SPAWN_PEER = 8,    /* pid: what /proc says; answer: uid, detail = command line, NUL -> space */
    SPAWN_WORKERS = 9, /* one message per living or unreported worker, like FETCH, without fds:
                          worker_id, pid (0 once it has ended), uid, slot, arg = enum spawn_role,
                          key = label */
    SPAWN_SHUTDOWN = 10, /* kill every worker, drop every descriptor, answer, exit 0 */
    SPAWN_EXITED = 11,   /* spawner -> client, tag 0: worker_id, pid, slot, key = label,
                            arg = si_code, status = si_status; repeated to every new
                            SPAWN_WANT_EXITS client until SPAWN_REAPED */
};

enum spawn_role {
    SPAWN_ROLE_LAUNCH = 0, /* runs kernels; never sees source */
    SPAWN_ROLE_BUILD = 1,  /* compiles; never runs a kernel */
    SPAWN_ROLE_PROBE = 2,  /* describes the device on its control socket and exits */
};

enum spawn_flag {
    SPAWN_WANT_EXITS = 1u,
    SPAWN_MORE = 2u,
    SPAWN_OUT_OF_MEMORY = 4u, /* with SPAWN_EXITED: the kernel ended it at its memory limit */
};

enum spawn_capability {
    SPAWN_CAN_SETUID = 1u,    /* a uid per worker */
    SPAWN_CAN_NAMESPACE = 2u, /* mount, net and ipc namespaces */
    SPAWN_CAN_GROUP = 4u,     /* a control group per worker, ended as a whole */
    SPAWN_CAN_LIMIT = 8u, /* in which memory and tasks are limited, by VGPU_MEMORY_LIMIT, bytes, and
                                 VGPU_TASKS_LIMIT of the settings */
};

struct spawn_message {
    uint32_t magic;
    uint16_t version;
    uint16_t verb;
    uint32_t tag; /* chosen by the client, echoed; 0 with HOLD/DROP = no answer wanted */
    int32_t status;
    uint32_t flags;
    uint32_t arg;
    uint32_t worker_id; /* never reused within one spawner */
    uint32_t slot;
    int32_t pid;
    uint32_t uid;
    char key[SPAWN_KEY_BYTES];
    char detail[SPAWN_DETAIL_BYTES];
};

_Static_assert(sizeof(struct spawn_message) == 40 + SPAWN_KEY_BYTES + SPAWN_DETAIL_BYTES,
               "spawn_message has no padding");

#endif
