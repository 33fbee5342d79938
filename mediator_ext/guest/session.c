/*
 * session.c - Calls on one queue: tickets, memory, retries
 *
 * A table of `depth` places, allocated once. A ticket is the cookie of a submission: its place in
 * the low 16 bits, a running number above, so that an answer finds its place without a search and
 * an answer to nothing is noticed.
 *
 *     FREE      -> WAITING    vgpu_session_start()
 *     WAITING   -> ANSWERED   its completion was taken from the ring
 *     WAITING   -> GIVEN_UP   vgpu_session_call() ran out of time, or the link broke
 *     ANSWERED  -> FREE       vgpu_session_finish()
 *     GIVEN_UP  -> FREE       its completion was taken and dropped
 *
 * While a place is GIVEN_UP the host may still read or write memory that it was given. Memory that
 * is released in that time is put aside, and reused when no place is GIVEN_UP any more.
 */
#include "vgpu.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <time.h>

#define DEPTH_MAX          4096u
#define PLACE_BITS         16
#define BLOCKS_MAX         8192u
#define RETRY_PAUSE_MIN_US 100u
#define RETRY_PAUSE_MAX_US 1000000u

enum place_state { FREE, WAITING, ANSWERED, GIVEN_UP };

struct place {
    uint64_t cookie;
    enum place_state state;
    struct vgpu_completion answer; /* once ANSWERED */
};

struct vgpu_session {
    struct vgpu_queue *queue;
    struct vgpu_session_options options;
    struct vgpu_slice *slice;
    uint64_t started;
    uint64_t retries;
    uint32_t given_up;
    uint32_t aside_count;
    uint32_t free_count;
    struct place *places;
    uint16_t *free;  /* stack of free places */
    uint64_t *aside; /* blocks released while a place was GIVEN_UP */
};

int vgpu_session_open(struct vgpu_queue *queue, const struct vgpu_session_options *options,
                      struct vgpu_session **out)
{
    struct vgpu_session *session;
    int rc;

    if (options->depth < 1 || options->depth > DEPTH_MAX)
        return -EINVAL;
    session = calloc(1, sizeof(*session));
    if (!session)
        return -ENOMEM;
    session->queue = queue;
    session->options = *options;
    session->places = calloc(options->depth, sizeof(*session->places));
    session->free = calloc(options->depth, sizeof(*session->free));
    session->aside = calloc(BLOCKS_MAX, sizeof(*session->aside));
    rc = vgpu_slice_new(vgpu_queue_data_bytes(queue), BLOCKS_MAX, &session->slice);
    if (rc || !session->places || !session->free || !session->aside) {
        vgpu_session_close(session);
        return rc ? rc : -ENOMEM;
    }
    while (session->free_count < options->depth) {
        session->free[session->free_count] = (uint16_t)session->free_count;
        session->free_count++;
    }
    *out = session;
    return 0;
}

void vgpu_session_close(struct vgpu_session *session)
{
    if (!session)
        return;
    vgpu_slice_free(session->slice);
    free(session->places);
    free(session->free);
    free(session->aside);
    free(session);
}

/* ---- memory ---- */

void *vgpu_session_memory(struct vgpu_session *session, uint64_t bytes, uint64_t *offset)
{
    if (vgpu_slice_get(session->slice, bytes, offset)) {
        *offset = VGPU_SLICE_NONE;
        return NULL;
    }
    return vgpu_queue_data(session->queue, *offset, bytes);
}

void vgpu_session_release(struct vgpu_session *session, uint64_t offset)
{
    if (offset == VGPU_SLICE_NONE)
        return;
    /* There are never more blocks aside than blocks. */
    if (session->given_up && session->aside_count < BLOCKS_MAX)
        session->aside[session->aside_count++] = offset;
    else
        vgpu_slice_put(session->slice, offset);
}

uint64_t vgpu_session_data_bytes(const struct vgpu_session *session)
{
    return vgpu_queue_data_bytes(session->queue);
}

uint64_t vgpu_session_retries(const struct vgpu_session *session)
{
    return session->retries;
}

/* ---- tickets ---- */

static struct place *place_of(struct vgpu_session *session, uint64_t cookie)
{
    uint32_t index = cookie & ((1u << PLACE_BITS) - 1);

    if (index >= session->options.depth || session->places[index].cookie != cookie)
        return NULL;
    return &session->places[index];
}

static void place_free(struct vgpu_session *session, struct place *place)
{
    place->state = FREE;
    session->free[session->free_count++] = (uint16_t)(place - session->places);
}

static void place_give_up(struct vgpu_session *session, struct place *place)
{
    place->state = GIVEN_UP;
    session->given_up++;
}

/* Take every completion there is. Return: 0 or -errno. */
static int collect(struct vgpu_session *session)
{
    struct vgpu_completion answer;
    int rc;

    while ((rc = vgpu_queue_take(session->queue, &answer)) == 1) {
        struct place *place = place_of(session, answer.cookie);

        if (!place || (place->state != WAITING && place->state != GIVEN_UP))
            return -EPROTO; /* an answer to nothing, or a second one */
        if (place->state == WAITING) {
            place->answer = answer;
            place->state = ANSWERED;
            continue;
        }
        place_free(session, place);
        if (--session->given_up == 0) {
            while (session->aside_count)
                vgpu_slice_put(session->slice, session->aside[--session->aside_count]);
        }
    }
    return rc;
}

/* Wait until @place is ANSWERED. Return: 0, -ETIMEDOUT or another -errno. */
static int await(struct vgpu_session *session, const struct place *place, uint64_t deadline_ns)
{
    for (;;) {
        uint64_t now_ns;
        int rc = collect(session);

        if (rc)
            return rc;
        if (place->state == ANSWERED)
            return 0;
        now_ns = vgpu_now_ns();
        if (now_ns >= deadline_ns)
            return -ETIMEDOUT;
        rc = vgpu_queue_wait(session->queue, (int)((deadline_ns - now_ns) / 1000000u + 1));
        if (rc && rc != -ETIMEDOUT)
            return rc;
    }
}

static uint64_t deadline_of(const struct vgpu_session *session)
{
    return vgpu_now_ns() + (uint64_t)session->options.timeout_ms * 1000000u;
}

int vgpu_session_start(struct vgpu_session *session, uint8_t kind,
                       const struct vgpu_command *command, uint64_t *ticket)
{
    struct vgpu_submission entry = {
        .kind = kind, .ctx = session->options.ctx, .stream = session->options.stream};
    struct place *place;
    int rc;

    if (command) {
        const uint8_t *base = vgpu_queue_data(session->queue, 0, 0);
        uint64_t all = vgpu_queue_data_bytes(session->queue);

        rc = vgpu_command_end(command);
        if (rc)
            return rc;
        if (command->bytes < base || (uint64_t)(command->bytes - base) > all - command->len)
            return -EINVAL;
        entry.lane = command->lane;
        entry.cmd_len = command->len;
        entry.cmd_off = (uint64_t)(command->bytes - base);
    } else if (kind == VGPU_KIND_COMMAND) {
        return -EINVAL;
    }
    if (!session->free_count)
        return -EAGAIN;
    place = &session->places[session->free[session->free_count - 1]];
    entry.cookie = ++session->started << PLACE_BITS | (uint64_t)(place - session->places);
    rc = vgpu_queue_put(session->queue, &entry);
    if (rc)
        return rc;
    session->free_count--;
    place->cookie = entry.cookie;
    place->state = WAITING;
    *ticket = entry.cookie;
    return 0;
}

int vgpu_session_flush(struct vgpu_session *session)
{
    return vgpu_queue_push(session->queue);
}

int vgpu_session_finish(struct vgpu_session *session, uint64_t ticket,
                        struct vgpu_completion *answer)
{
    struct place *place = place_of(session, ticket);
    int rc;

    if (!place || (place->state != WAITING && place->state != ANSWERED))
        return -EINVAL;
    rc = vgpu_session_flush(session);
    if (!rc && place->state == WAITING)
        rc = await(session, place, deadline_of(session));
    if (rc)
        return rc;
    *answer = place->answer;
    place_free(session, place);
    return answer->status;
}

/* ---- calls ---- */

static bool worth_repeating(int status)
{
    return status == VGPU_BUSY || status == VGPU_RATE || status == VGPU_NO_CONTEXT;
}

static void pause_us(uint64_t us)
{
    struct timespec left = {.tv_sec = (time_t)(us / 1000000u),
                            .tv_nsec = (long)(us % 1000000u) * 1000};

    while (clock_nanosleep(CLOCK_MONOTONIC, 0, &left, &left) == EINTR)
        ;
}

/* Start, making room by taking answers to other tickets where that is needed. */
static int start_with_room(struct vgpu_session *session, uint8_t kind,
                           const struct vgpu_command *command, uint64_t deadline_ns,
                           uint64_t *ticket)
{
    for (;;) {
        uint64_t now_ns;
        int rc = vgpu_session_start(session, kind, command, ticket);

        if (rc != -EAGAIN)
            return rc;
        rc = vgpu_session_flush(session);
        if (!rc)
            rc = collect(session);
        if (rc)
            return rc;
        now_ns = vgpu_now_ns();
        if (now_ns >= deadline_ns)
            return -ETIMEDOUT;
        rc = vgpu_session_start(session, kind, command, ticket);
        if (rc != -EAGAIN)
            return rc;
        rc = vgpu_queue_wait(session->queue, (int)((deadline_ns - now_ns) / 1000000u + 1));
        if (rc && rc != -ETIMEDOUT)
            return rc;
    }
}

int vgpu_session_call(struct vgpu_session *session, uint8_t kind,
                      const struct vgpu_command *command, struct vgpu_completion *answer,
                      uint64_t *submit_ns)
{
    uint64_t deadline_ns = deadline_of(session);

    for (uint32_t tries_left = session->options.retries;; tries_left--) {
        uint64_t ticket, wait_us;
        struct place *place;
        int rc;

        rc = start_with_room(session, kind, command, deadline_ns, &ticket);
        if (rc)
            return rc;
        if (submit_ns)
            *submit_ns = vgpu_now_ns();
        place = place_of(session, ticket);
        rc = vgpu_session_flush(session);
        if (!rc)
            rc = await(session, place, deadline_ns);
        if (rc) {
            place_give_up(session, place);
            return rc;
        }
        *answer = place->answer;
        place_free(session, place);
        if (!worth_repeating(answer->status) || tries_left == 0)
            return answer->status;

        wait_us = answer->retry_after_us;
        if (wait_us < RETRY_PAUSE_MIN_US)
            wait_us = RETRY_PAUSE_MIN_US;
        if (wait_us > RETRY_PAUSE_MAX_US)
            wait_us = RETRY_PAUSE_MAX_US;
        if (vgpu_now_ns() + wait_us * 1000u >= deadline_ns)
            return answer->status;
        pause_us(wait_us);
        session->retries++;
    }
}
