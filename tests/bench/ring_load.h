/*
 * ring_load.h - One guest that keeps a command outstanding on its ring, so many times at once
 */
#ifndef VGPUD_TESTS_BENCH_RING_LOAD_H
#define VGPUD_TESTS_BENCH_RING_LOAD_H

#include "guest/vgpu.h"
#include "samples.h"

#define RING_TIMEOUT_MS 20000

struct ring_load {
    struct vgpu_link *link;
    struct vgpu_queue *queue;
    struct vgpu_session *session; /* for what is prepared; nobody waits on it while there is load */
    uint64_t command_at;          /* in the slice */
    uint32_t command_bytes;
    uint32_t outstanding;
};

static inline void must_result(int rc, const char *what)
{
    if (rc)
        fail(what, vgpu_result_text(rc));
}

static inline void ring_load_attach(struct ring_load *load, const char *path)
{
    const struct vgpu_session_options options = VGPU_SESSION_DEFAULTS;
    struct vgpu_reason why;

    memset(load, 0, sizeof(*load));
    if (vgpu_attach(path, VGPU_FEATURES_ALL, RING_TIMEOUT_MS, &load->link, &why))
        fail(path, why.text);
    must_result(vgpu_queue_open(load->link, 0, &load->queue), "queue pair 0");
    must_result(vgpu_session_open(load->queue, &options, &load->session), "a session");
}

static inline void ring_load_detach(struct ring_load *load)
{
    vgpu_session_close(load->session);
    vgpu_queue_close(load->queue);
    vgpu_detach(load->link);
}

/* What is submitted from now on; its bytes lie in the slice. */
static inline void ring_load_use(struct ring_load *load, const struct vgpu_command *command)
{
    const uint8_t *slice = vgpu_queue_data(load->queue, 0, 1);

    must_result(vgpu_command_end(command), "a command");
    load->command_at = (uint64_t)(command->bytes - slice);
    load->command_bytes = command->len;
}

static inline void ring_load_put(struct ring_load *load)
{
    const struct vgpu_submission entry = {.cookie = now_ns(),
                                          .kind = VGPU_KIND_COMMAND,
                                          .cmd_len = load->command_bytes,
                                          .cmd_off = load->command_at};

    must_result(vgpu_queue_put(load->queue, &entry), "a submission");
    load->outstanding++;
}

/* Waits, takes what there is, and puts as much again until @until_ns. A cookie is a time. */
static inline void ring_load_turn(struct ring_load *load, struct samples *samples,
                                  uint64_t until_ns)
{
    struct vgpu_completion completion;
    int rc;

    must_result(vgpu_queue_wait(load->queue, RING_TIMEOUT_MS), "a completion");
    while ((rc = vgpu_queue_take(load->queue, &completion)) == 1) {
        uint64_t now = now_ns();

        must_result(completion.status, "a command");
        samples_add(samples, now - completion.cookie);
        load->outstanding--;
        if (now < until_ns)
            ring_load_put(load);
    }
    must_result(rc, "a completion");
    must_result(vgpu_queue_push(load->queue), "a doorbell");
}

/* A round of the used command, @depth of it outstanding for @ms; each does @weight of what counts. */
static inline void ring_load_round(struct ring_load *load, struct samples *samples, uint32_t depth,
                                   uint64_t ms, uint32_t weight)
{
    uint64_t start = now_ns(), until_ns = start + ms * 1000000u;

    while (load->outstanding < depth)
        ring_load_put(load);
    must_result(vgpu_queue_push(load->queue), "a doorbell");
    while (load->outstanding)
        ring_load_turn(load, samples, until_ns);
    samples_round(samples, now_ns() - start, weight);
}

#endif
