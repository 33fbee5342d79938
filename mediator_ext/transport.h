/*
 * transport.h - How requests arrive and answers leave
 *
 * A transport knows its own bytes and nothing of admission, scheduling or workers. One object for
 * each VM and way in. It turns what it receives into struct request_received and calls submit(),
 * the only door; for each accepted request its answer() is called exactly once, unless it said
 * transport_detached() before; for each refused one refuse() is called from within submit().
 *
 * All calls are made on the reactor thread. Nothing here blocks.
 */
#ifndef VGPUD_TRANSPORT_H
#define VGPUD_TRANSPORT_H

#include <stdbool.h>
#include <stdint.h>

#include "journal.h"
#include "mediator.h"
#include "reactor.h"

enum request_kind {
    REQUEST_NOP = 1,         /* answered when it is the head of its stream */
    REQUEST_DEVICE_INFO = 2, /* the same; the transport adds the data */
    REQUEST_VECTOR_ADD = 3,  /* args[0] + args[1] on the device */
    REQUEST_COMMAND = 4,     /* a command in the VM's data area */
    /* Answered at once (urgent.c). */
    REQUEST_SIGNAL = 5, /* user timeline `stream` to `signal` */
    REQUEST_CANCEL = 6, /* of what has the cookie `signal` */
    REQUEST_QUERY = 7,  /* enum vgpu_query in cmd_seg */
};

/* What a transport received. Copied once from the guest, and checked as far as its format goes. */
struct request_received {
    uint64_t cookie;
    uint64_t cmd_off;
    uint64_t signal; /* to which its stream's timeline is moved when it is done; 0 = none */
    uint32_t attachment;
    uint32_t qp;
    uint32_t ctx;
    uint32_t stream;
    uint32_t sq_index;
    uint32_t cmd_seg;
    uint32_t cmd_len;
    uint32_t args[WORKER_BUILTIN_ARGS];
    uint32_t wire[2];
    const struct journal_wait *waits; /* of wait_count */
    uint32_t timeout_ms; /* the client's own limit on waiting and on running, 0 = none */
    uint16_t wait_count;
    uint16_t status; /* VGPU_OK, or why it is to be refused whatever else holds */
    uint8_t kind;    /* enum request_kind */
    uint8_t vgpu_lane;
};

struct closer;
struct transport;
struct vm; /* the engine's */

struct transport_ops {
    const char *name;
    enum mediator_transport id;
    /* Give the answer that is in the slot (state DONE) and leave the slot FREE. */
    void (*answer)(struct transport *t, struct journal_slot *slot);
    /* Tell the client that its request was not accepted. NULL: by answer(), with a slot. */
    void (*refuse)(struct transport *t, const struct request_received *what,
                   enum vgpu_status status, uint32_t retry_after_us);
    /* The slot is filled: note that the request has left the place it came from. May be NULL. */
    void (*taken)(struct transport *t, const struct request_received *what);
    /* Called at the end of each turn in which transport_wake() was called. */
    void (*flush)(struct transport *t);
    /* Accept again: the spawner may have room now. NULL: there is no listener. */
    void (*listen)(struct transport *t);
    void (*identity_changed)(struct transport *t, const struct mediator_vm *vm);
    /* Finish an answer that the last engine had begun (slot state POSTING). May be NULL. */
    void (*repost)(struct transport *t, struct journal_slot *slot);
    /* End the client's connection, if there is one; free() follows. May be NULL. */
    void (*hang_up)(struct transport *t);
    /* Close the connection and the listener, release everything. The client may be served on by a
     * successor. */
    void (*free)(struct transport *t);
};

struct transport {
    const struct transport_ops *ops;
    struct vm *vm;
    struct reactor *reactor;
    struct transport *woken_next;
    uint32_t attachment; /* of the client that is there; answers to others are dropped. 0 = none */
    bool woken;
    bool in_line;   /* for the spawner: held_connections.c */
    bool drop_owed; /* the spawner is yet to be told that the connection is gone */
    struct transport *line_next;
};

/* ---- what the engine offers to transports (mediator.c, request.c) ---- */

/* Return: accepted? When not, the refusal has been given. The answer may have been, too. */
bool submit(struct transport *t, const struct request_received *what);
/* May submit() have a slot now? A ring leaves its entry where it is otherwise. */
bool transport_has_room(const struct transport *t);
/* Is there no slot, and will there be none by itself, as all that is queued waits for a signal? */
bool transport_stuck(const struct transport *t);
/* May anything be taken now? False while the engine drains. */
bool transport_may_take(const struct transport *t);
/* The client is gone: queued requests are dropped, answers to running ones will be. */
void transport_detached(struct transport *t);
void transport_wake(struct transport *t);
/* Signal an eventfd that a guest has too; never waits. 0, or a negative errno. */
int transport_interrupt(struct transport *t, int eventfd);
void transport_event(struct transport *t, enum mediator_event_type type, uint64_t a, uint64_t b);
void transport_fault(struct transport *t, enum mediator_fault fault, uint64_t detail);
void transport_mismatch(struct transport *t);
/* Can a connection be held now? If not, ops->listen() is called when one can. */
bool transport_may_hold(struct transport *t);
/* Let the spawner hold a connection, or let go of it. 0, or a negative errno: it is not held. */
int transport_hold(struct transport *t, int fd);
void transport_drop(struct transport *t);
/* End a client's connection for everybody who holds it, and close it; never waits. */
void transport_hang_up(struct transport *t, int fd);
struct closer *transport_closer(struct transport *t);
const struct mediator_vm *transport_identity(const struct transport *t);
/* NULL = no device. */
const struct vgpu_device_info *transport_device(const struct transport *t);

/* ---- the transports; each takes over its descriptors on success ---- */

int transport_unix_new(struct transport **out, struct vm *vm, struct reactor *reactor,
                       struct journal *journal, int listener, int connection);
int transport_ivshmem_new(struct transport **out, struct vm *vm, struct reactor *reactor,
                          struct journal *journal, const struct mediator_vm_fds *fds);

/* In-process, for tests and fuzzing: answers are appended to a table of the caller. */
struct loop_answer {
    uint64_t cookie;
    uint64_t result;
    uint64_t start_ns;
    uint32_t retry_after_us;
    uint16_t status;
    bool refused;
};
int transport_loop_new(struct transport **out, struct vm *vm, struct loop_answer *answers,
                       uint32_t capacity, uint32_t *count);

/* Shared by those that listen on a socket (peer.c). */
void transport_listens(int listener);
bool transport_peer_left(int connection);
/* Take one connection if the peer may have it.
 * Return: the descriptor, -EAGAIN none is waiting, -EACCES refused (event sent). */
int transport_accept(struct transport *t, int listener, bool taken, int *pid);

#endif
