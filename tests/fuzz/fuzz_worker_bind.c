/*
 * fuzz_worker_bind.c - A bind message that is nearly right, and an engine that writes anything
 *
 * The input chooses what is wrong with the one message on the control socket, which descriptors come
 * with it, and then what stands in the channel. A worker that accepts it has slices that it can touch
 * from end to end, and never believes an index that cannot be; afterwards nothing is left open.
 */
#include <errno.h>

#include "input.h"
#include "replay.h"
#include "strange_fds.h"
#include "test_worker_tenant.h"
#include "worker/become.h"

#define DATA_BYTES  65536u
#define RING_BYTES  (4u * 65536u + 2u * DATA_BYTES)
#define UNITS_TAKEN 80

/* What a right engine sends: two slices of one page's worth of pages each. */
static struct worker_bind right_message(uint32_t role)
{
    return (struct worker_bind){.magic = WORKER_MAGIC,
                                .version = WORKER_VERSION,
                                .role = role,
                                .qp_count = 2,
                                .qp_base = 65536,
                                .qp_stride = 65536 + DATA_BYTES,
                                .data_offset = 65536,
                                .data_bytes = DATA_BYTES,
                                .memory_bytes = 1 << 20};
}

/* The descriptor that belongs at place @i, or a strange one. */
static int choose_fd(struct input *in, uint32_t i)
{
    uint32_t kind = in->left ? take_small(in, STRANGE_KINDS + 6) : STRANGE_KINDS;

    /* That its doorbell does not block is something that a worker may believe of its engine. */
    if (kind < STRANGE_KINDS && (i != WORKER_BIND_DOORBELL || kind != 1))
        return strange_fd(kind);
    switch (i) {
    case WORKER_BIND_CHANNEL:
        return strange_memfd((off_t)WORKER_CHANNEL_BYTES, F_SEAL_SHRINK);
    case WORKER_BIND_RING:
        return strange_memfd(RING_BYTES, F_SEAL_SHRINK);
    case WORKER_BIND_DOORBELL:
        return strange_fd(0);
    default:
        return strange_end(true, 0);
    }
}

static void send_message(int control, struct input *in, uint32_t role)
{
    struct worker_bind message = right_message(role);
    uint8_t bytes[sizeof(message) + 8] = {0};
    uint32_t length = sizeof(message), count = WORKER_BIND_FDS, writes = take_small(in, 6);
    int fds[WORKER_BIND_FDS + 3], channel = -1;

    if (take_small(in, 8) == 7)
        length = take_small(in, sizeof(bytes) + 1);
    if (take_small(in, 8) == 7)
        count = take_small(in, WORKER_BIND_FDS + 4);
    memcpy(bytes, &message, sizeof(message));
    while (writes--) {
        uint32_t offset = take_small(in, sizeof(message) / 4) * 4;
        uint64_t value = take(in, 1) << take_small(in, 64);

        memcpy(bytes + offset, &value, offset % 8 ? 4 : 8);
    }
    for (uint32_t i = 0; i < count; i++)
        fds[i] = choose_fd(in, i);
    if (count)
        channel = fds[0];
    send_with_fds(control, bytes, length, fds, count);
    /* What the engine has written there already: any indices. */
    for (uint32_t i = take_small(in, 4); i && channel >= 0; i--) {
        uint32_t value = (uint32_t)take(in, 4);
        off_t at = (off_t)(take_small(in, 2) * 4096u + take_small(in, 4) * 4u);

        (void)!pwrite(channel, &value, sizeof(value), at);
    }
    for (uint32_t i = 0; i < count; i++)
        close(fds[i]);
}

/* Take and answer units while there are any: with none, taking would wait for ever. */
static void use_channel(struct channel *channel, struct input *in)
{
    struct worker_channel *shared = channel->shared;
    struct worker_reply reply = {.outcome = WORKER_DONE};
    struct worker_unit unit;

    for (int i = 0; i < UNITS_TAKEN && in->left; i++) {
        uint32_t act = take_small(in, 8);

        if (act == 0)
            shared->engine.unit_tail += take_small(in, 72);
        else if (act == 1)
            shared->engine.reply_head += take_small(in, 72);
        else if (act == 2)
            shared->engine.engine_sleeps = take_small(in, 2);
        else if (act == 3)
            channel_kick(channel);
        else if (act < 6 && shared->engine.unit_tail != channel->unit_head)
            FUZZ_CHECK(channel_take(channel, &unit) <= 0);
        else
            FUZZ_CHECK(channel_put(channel, &reply) <= 0);
        FUZZ_CHECK(channel->unit_tail - channel->unit_head <= WORKER_RING_ENTRIES);
    }
}

static void use_slices(const struct slices *slices)
{
    for (uint32_t i = 0; i < slices->count; i++) {
        volatile uint8_t *slice = slices_at(slices, i, 0, 0, slices->bytes);

        FUZZ_CHECK(slice && slices->bytes);
        slice[0] = slice[slices->bytes - 1] = 1;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input in = {data, size};
    uint32_t fds = count_fds(), role = take_small(&in, 2);
    char reason[sizeof(((struct worker_ready *)0)->reason)] = "";
    struct tenant tenant = {.exchange = -1};
    struct channel channel;
    struct bind bind;
    int control[2], rc;

    FUZZ_CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, control) == 0);
    send_message(control[0], &in, role);
    close(control[0]);
    rc = bind_receive(control[1], role, &bind);
    if (rc == 0)
        rc = become(&bind, &tenant, &channel, reason);
    if (rc == 0) {
        use_slices(&tenant.slices);
        use_channel(&channel, &in);
        channel_close(&channel);
        slices_unmap(&tenant.slices);
        close(tenant.exchange);
    } else {
        FUZZ_CHECK(memchr(reason, 0, sizeof(reason)));
        bind_close(&bind);
    }
    close(control[1]);
    FUZZ_CHECK(count_fds() == fds);
    return 0;
}
