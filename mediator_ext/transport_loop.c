/*
 * transport_loop.c - A transport without bytes, for tests and fuzzing
 *
 * Theory of operation
 *
 * The test calls submit() itself and finds the answers, in the order they were given, in a table of its
 * own. There is always somebody attached. What does not fit into the table is counted all the same.
 */
#include <errno.h>
#include <stdlib.h>

#include "transport.h"

struct loop {
    struct transport base; /* must be first */
    struct loop_answer *answers;
    uint32_t capacity;
    uint32_t *count;
};

static void append(struct transport *t, const struct loop_answer *answer)
{
    struct loop *loop = (struct loop *)t;

    if (*loop->count < loop->capacity)
        loop->answers[*loop->count] = *answer;
    ++*loop->count;
}

static void loop_answer(struct transport *t, struct journal_slot *slot)
{
    append(t, &(struct loop_answer){.cookie = slot->cookie,
                                    .status = slot->status,
                                    .result = slot->result[0],
                                    .start_ns = slot->start_ns,
                                    .retry_after_us = slot->retry_after_us});
    __atomic_store_n(&slot->state, REQUEST_FREE, __ATOMIC_RELEASE);
}

static void loop_refuse(struct transport *t, const struct request_received *what,
                        enum vgpu_status status, uint32_t retry_after_us)
{
    append(t, &(struct loop_answer){.cookie = what->cookie,
                                    .status = (uint16_t)status,
                                    .retry_after_us = retry_after_us,
                                    .refused = true});
}

static void loop_flush(struct transport *t)
{
    (void)t;
}

static void loop_identity_changed(struct transport *t, const struct mediator_vm *vm)
{
    (void)t;
    (void)vm;
}

static void loop_free(struct transport *t)
{
    free(t);
}

static const struct transport_ops loop_ops = {
    .name = "loop",
    .id = MEDIATOR_LOOP,
    .answer = loop_answer,
    .refuse = loop_refuse,
    .flush = loop_flush,
    .identity_changed = loop_identity_changed,
    .free = loop_free,
};

/**
 * transport_loop_new() - A way in for tests
 * @answers: of @capacity entries; with @count the caller's, outlives the transport
 *
 * Return: 0, or -ENOMEM
 */
int transport_loop_new(struct transport **out, struct vm *vm, struct loop_answer *answers,
                       uint32_t capacity, uint32_t *count)
{
    struct loop *loop = calloc(1, sizeof(*loop));

    if (!loop)
        return -ENOMEM;
    loop->base = (struct transport){.ops = &loop_ops, .vm = vm, .attachment = 1};
    loop->answers = answers;
    loop->capacity = capacity;
    loop->count = count;
    *out = &loop->base;
    return 0;
}
