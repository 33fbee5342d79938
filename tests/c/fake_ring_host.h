/*
 * fake_ring_host.h - The host's side of a ring, for tests of the guest's side
 *
 * Speaks ring_abi.h and the ivshmem handshake from the other end, in this process. A test drives it
 * by hand (fake_host_step()) or lets it run on a thread of its own (fake_host_start()). What it
 * answers is up to the test's handler.
 */
#ifndef VGPUD_TESTS_FAKE_RING_HOST_H
#define VGPUD_TESTS_FAKE_RING_HOST_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "ring_abi.h"

#define FAKE_GENERATION 7u
#define FAKE_CLIENT_ID  3

struct fake_shape {
    uint16_t pairs;
    uint32_t sq_entries;
    uint32_t cq_entries;
    uint64_t data_bytes;
    uint32_t first_index; /* where all indices start */
};

struct fake_host;

/*
 * Answers one submission. @completion comes with cookie, generation and times filled in. @data is
 * the pair's slice. Return: false = no answer now (nor later, unless the test gives one).
 */
typedef bool fake_handler(void *context, const struct vgpu_submission *entry, uint8_t *data,
                          struct vgpu_completion *completion);

struct fake_host {
    struct fake_shape shape;
    fake_handler *handler;
    void *context;
    int memory_fd;
    int connection; /* the host's end; -1 once closed */
    int client_end; /* for vgpu_attach_connected(), which consumes it */
    int doorbells[VGPU_QP_MAX];
    int vectors[VGPU_QP_MAX];
    int stop_fd;
    uint8_t *region;
    uint8_t *mapping; /* our own one; `region` may be the guest's */
    uint64_t mapped_bytes;
    struct vgpu_host_page *page;
    uint32_t sq_head[VGPU_QP_MAX];
    uint32_t cq_tail[VGPU_QP_MAX];
    uint64_t interrupts; /* sent; read it after fake_host_stop() */
    uint64_t doorbells_seen;
    pthread_t thread;
    bool running;
};

/** fake_host_new() - Memory, eventfds and a right host page that waits for features; aborts if not.
 */
void fake_host_new(struct fake_host *host, struct fake_shape shape, fake_handler *handler,
                   void *context);
void fake_host_free(struct fake_host *host);

/** fake_host_message() - Send one ivshmem message; @fd -1 = none. */
void fake_host_message(struct fake_host *host, int64_t value, int fd);

/** fake_host_greet() - Send the whole handshake; it fits the socket's buffer. */
void fake_host_greet(struct fake_host *host);

/** fake_host_hang_up() - Close the host's end of the connection. */
void fake_host_hang_up(struct fake_host *host);

/**
 * fake_host_share() - Work through the guest's mapping from now on
 *
 * ThreadSanitizer knows addresses, not pages: it sees a race between the two sides only when both
 * use the same mapping.
 */
void fake_host_share(struct fake_host *host, uint8_t *region);

struct vgpu_pair_host *fake_pair_host(struct fake_host *host, uint32_t pair);
struct vgpu_pair_guest *fake_pair_guest(struct fake_host *host, uint32_t pair);
uint8_t *fake_pair_data(struct fake_host *host, uint32_t pair);

/** fake_host_answer() - Put a completion into the ring; interrupts when the guest asked for it. */
void fake_host_answer(struct fake_host *host, uint32_t pair,
                      const struct vgpu_completion *completion);

/** fake_host_step() - Take and answer what is in the ring. Return: entries taken. */
uint32_t fake_host_step(struct fake_host *host, uint32_t pair);

/** fake_host_start() - Serve all pairs on a thread, features first; fake_host_stop() ends it. */
void fake_host_start(struct fake_host *host);
void fake_host_stop(struct fake_host *host);

#endif
