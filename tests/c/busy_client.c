/*
 * busy_client.c - Clients that keep the engine busy, and count the answers
 */
#include "busy_client.h"

#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "chance.h"
#include "moody_worker.h"

#define FEATURES  (1u << VGPU_FEATURE_STREAMS | 1u << VGPU_FEATURE_TIMELINES)
#define TIMELINE  5u
#define IS_SIGNAL (UINT64_C(1) << 63) /* in a cookie */

static void asked(struct busy_client *c, uint64_t mark)
{
    c->cookie[c->outstanding++] = c->next++ | mark;
}

static void heard(struct busy_client *c, uint64_t cookie, bool ok)
{
    uint32_t i = 0;

    while (i < c->outstanding && c->cookie[i] != cookie)
        i++;
    if (i == c->outstanding) {
        c->unasked++;
        return;
    }
    c->cookie[i] = c->cookie[--c->outstanding];
    c->answered++;
    c->served += ok;
}

static bool ask_stub(struct busy_client *c)
{
    static const uint32_t opcodes[] = {WIRE_OP_NOP, WIRE_OP_GET_DEVICE_INFO, WIRE_OP_VECTOR_ADD};
    uint32_t params[2] = {chance(&c->random, 1000), 7}, which = chance(&c->random, 6);
    uint32_t opcode = opcodes[which < 2 ? which : 2];
    uint8_t frame[256];
    size_t length = rig_request(frame, (uint32_t)c->next, opcode, params, which < 2 ? 0 : 2);

    asked(c, 0);
    return rig_send(c->stub, frame, length);
}

static bool hear_stub(struct busy_client *c)
{
    struct rig_answer answer;
    struct wire_response response;

    if (!rig_receive(c->stub, &answer))
        return false;
    memcpy(&response, answer.payload, sizeof(response));
    heard(c, answer.header.request_id,
          answer.header.type == WIRE_RESPONSE && response.status == WIRE_OK);
    return true;
}

static void move_timeline(struct busy_client *c)
{
    const struct vgpu_submission entry = {.cookie = c->next | IS_SIGNAL,
                                          .kind = VGPU_KIND_SIGNAL,
                                          .stream = TIMELINE,
                                          .signal = c->signalled};

    asked(c, IS_SIGNAL);
    rig_ring_put(&c->ring, 0, &entry);
}

/* Have a command wait for the next value of the timeline. */
static void let_wait(struct busy_client *c, struct vgpu_submission *entry)
{
    struct vgpu_wait *waits =
        (void *)(c->ring.memory + c->ring.host->qp_base + c->ring.host->data_offset);
    uint32_t at = (uint32_t)(c->next % (2 * BUSY_WINDOW));

    waits[at] = (struct vgpu_wait){
        .timeline = TIMELINE, .kind = VGPU_TIMELINE_USER, .value = ++c->signalled};
    entry->wait_count = 1;
    entry->wait_off = at * (uint32_t)sizeof(waits[0]);
}

static bool ask_ring(struct busy_client *c)
{
    uint32_t stream = chance(&c->random, 3);
    struct vgpu_submission entry =
        chance(&c->random, 4) ? rig_command(c->next, stream) : rig_nop(c->next, stream);
    bool waits = c->outstanding + 2 <= BUSY_WINDOW && chance(&c->random, 4) == 0;

    if (waits)
        let_wait(c, &entry);
    asked(c, 0);
    rig_ring_put(&c->ring, 0, &entry);
    if (waits)
        move_timeline(c);
    return true;
}

static bool hear_ring(struct busy_client *c)
{
    struct vgpu_completion completion;

    if (!rig_ring_take(&c->ring, 0, &completion, RIG_LONG_MS))
        return false;
    heard(c, completion.cookie, completion.status == VGPU_OK);
    if (completion.cookie & IS_SIGNAL && completion.status != VGPU_OK)
        move_timeline(c); /* too many at a time: once more */
    return true;
}

static void *keep_busy(void *argument)
{
    struct busy_client *c = argument;

    for (;;) {
        bool stop = __atomic_load_n(&c->stop, __ATOMIC_ACQUIRE), went;

        if (stop && c->outstanding == 0)
            return NULL;
        if (!stop && c->outstanding < BUSY_WINDOW && chance(&c->random, 4))
            went = c->stub >= 0 ? ask_stub(c) : ask_ring(c);
        else if (c->outstanding)
            went = c->stub >= 0 ? hear_stub(c) : hear_ring(c);
        else
            continue;
        if (!went) {
            c->deaf = true;
            return NULL;
        }
    }
}

static void start(struct busy_client *c)
{
    rig_must(pthread_create(&c->thread, NULL, keep_busy, c) == 0, "a thread");
}

void busy_stub_start(struct busy_client *c, const struct rig_vm *vm, uint64_t seed)
{
    *c = (struct busy_client){.random = seed, .next = 1, .stub = rig_connect(vm->stub_path)};
    start(c);
}

void busy_ring_start(struct busy_client *c, const struct rig_vm *vm, struct mediator *m,
                     uint64_t seed)
{
    uint8_t *engines = engine_mapping(vm->ring_fd, NULL);
    struct mediator_stats stats;

    *c = (struct busy_client){.random = seed, .next = 1, .stub = -1};
    rig_must(engines && rig_ring_attach(&c->ring, vm), "a ring");
    /* The greeting came over a socket, which orders nothing in a sanitizer's eyes; a call does. */
    rig_must(mediator_stats(m, &stats) == 0, "a call");
    munmap(c->ring.memory, c->ring.bytes);
    c->ring.memory = engines;
    c->ring.host = (void *)engines;
    c->ring.guest = (void *)(engines + VGPU_PAGE_BYTES);
    rig_must(rig_ring_accept(&c->ring, FEATURES) == VGPU_DEVICE_OK, "features");
    start(c);
}

bool busy_client_end(struct busy_client *c)
{
    __atomic_store_n(&c->stop, true, __ATOMIC_RELEASE);
    pthread_join(c->thread, NULL);
    if (c->stub >= 0) {
        close(c->stub);
    } else {
        c->ring.memory = NULL; /* the engine's */
        rig_ring_leave(&c->ring);
    }
    if (c->deaf || c->unasked || c->outstanding)
        fprintf(stderr, "%s client: %llu answered, %u outstanding, %llu not asked for%s\n",
                c->stub >= 0 ? "stub" : "ring", (unsigned long long)c->answered, c->outstanding,
                (unsigned long long)c->unasked, c->deaf ? ", deaf" : "");
    return !c->deaf && c->unasked == 0 && c->outstanding == 0 && c->answered == c->next - 1;
}
