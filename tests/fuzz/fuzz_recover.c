/*
 * fuzz_recover.c - A journal that an engine has left torn, or that something has spoilt
 *
 * The input starts from an empty journal or one as a busy engine leaves it, and writes into it: whole
 * slots, fields, or any bytes. An engine that serves another VM meanwhile is then given that VM, with
 * its connections and workers, or refuses it. Whatever it makes of it, it comes to rest, the VM can
 * be taken out once its workers are gone, and the other VM is served.
 */
#include <sys/eventfd.h>

#include "bench_engine.h"
#include "fake_worker.h"
#include "input.h"
#include "journal_map.h"
#include "replay.h"
#include "strange_fds.h"

#define SLOTS 16u
#define PAIRS 2u

static struct mediator *m;
static struct rig_vm vm, other;
static struct rig_ring neighbour;
static struct fake_worker neighbours;
static struct journal *journal;
static uint64_t journal_length, waits_offset;

static void stop(void)
{
    mediator_free(m);
    journal_unmap(journal, journal_length);
    rig_ring_leave(&neighbour);
    fake_worker_free(&neighbours);
    rig_vm_free(&vm);
    rig_vm_free(&other);
}

static void start(void)
{
    const struct mediator_config config = rig_config();

    m = rig_engine(&config);
    rig_vm_new(&vm, 1, 'A', 1, SLOTS, PAIRS);
    rig_vm_new(&other, 2, 'A', 1, 32, 1);
    fake_worker_new(&neighbours, 99);
    FUZZ_CHECK(rig_vm_add(&other, m, -1, -1) >= 0);
    FUZZ_CHECK(fake_worker_attach(&neighbours, m, other.handle, MEDIATOR_LAUNCH) == 0);
    bench_attach_ring(m, &neighbour, &other);
    FUZZ_CHECK(journal_map(vm.journal_fd, &journal, &journal_length) == 0);
    FUZZ_CHECK(atexit(stop) == 0);
}

/* What it waits for and moves: timelines of small numbers, to small values. */
static void write_waits(struct journal_slot *slot, struct input *in)
{
    uint64_t first = (uint64_t)(slot - journal->slot) * VGPU_WAITS_MAX;
    struct journal_wait *waits = (struct journal_wait *)((uint8_t *)journal + waits_offset) + first;

    slot->signal = take_small(in, 8);
    slot->cmd_seg = take_small(in, 5);
    slot->wait_count = (uint16_t)take_small(in, 4);
    for (uint32_t i = 0; i < slot->wait_count; i++)
        waits[i] = (struct journal_wait){
            .value = take_small(in, 8), .timeline = take_small(in, 3), .kind = take_small(in, 2)};
}

/* A slot as it may well be. */
static void write_slot(struct input *in)
{
    uint32_t i = take_small(in, SLOTS);
    struct journal_slot *slot = &journal->slot[i];

    *slot = (struct journal_slot){.state = take_small(in, REQUEST_POSTING + 1),
                                  .generation = 1,
                                  .seq = i,
                                  .arrival_ns = engine_now_ns(),
                                  .attachment = 1,
                                  .transport = (uint8_t)take_small(in, 2),
                                  .kind = (uint8_t)(REQUEST_NOP + take_small(in, REQUEST_QUERY)),
                                  .stream = take_small(in, 3),
                                  .cmd_len = 8};
    slot->lane = slot->kind < REQUEST_VECTOR_ADD ? 2
                 : slot->kind >= REQUEST_SIGNAL  ? 0
                                                 : (uint8_t)take_small(in, 2);
    slot->qp = slot->transport == MEDIATOR_RING ? take_small(in, PAIRS) : 0;
    slot->unit_index = take_small(in, 8);
    slot->sq_index = take_small(in, 8);
    if (slot->transport == MEDIATOR_RING && take_small(in, 4) == 3)
        write_waits(slot, in);
    if (journal->slots_used <= i)
        journal->slots_used = i + 1;
}

/* As a busy engine leaves it: connections, workers with units out, indices on their way. */
static void write_busy(struct input *in)
{
    journal->stub.attachment = journal->ring.attachment = 1;
    journal->stub.connected = journal->ring.connected = 1;
    journal->ring.device_status = VGPU_DEVICE_OK;
    journal->ring.accepted = UINT64_MAX;
    for (uint32_t lane = 0; lane < 2; lane++)
        journal->link[lane] =
            (struct journal_link){.worker_id = lane + 1, .unit_tail = take_small(in, 8)};
    for (uint32_t i = 0; i < PAIRS; i++)
        journal->ring.pair[i].sq_head = journal->ring.pair[i].cq_tail = take_small(in, 8);
    journal->next_seq = take_small(in, SLOTS + 1);
}

struct field {
    size_t offset;
    uint32_t bytes;
};

#define FIELD(name) {offsetof(struct journal, name), sizeof(((struct journal *)0)->name)}
#define SLOT(name)  {offsetof(struct journal_slot, name), sizeof(((struct journal_slot *)0)->name)}

static void write_field(struct input *in)
{
    static const struct field fields[] = {
        FIELD(slots_used),
        FIELD(next_seq),
        FIELD(link[0].worker_id),
        FIELD(link[0].unit_tail),
        FIELD(link[0].reply_head),
        FIELD(link[1].worker_id),
        FIELD(link[1].unit_tail),
        FIELD(link[1].reply_head),
        FIELD(ring.attachment),
        FIELD(ring.connected),
        FIELD(ring.device_status),
        FIELD(ring.layout.features),
        FIELD(ring.layout.qp_count),
        FIELD(ring.layout.data_bytes),
        FIELD(ring.pair[0].sq_head),
        FIELD(ring.pair[0].cq_tail),
        FIELD(ring.pair[1].error),
        FIELD(stub.attachment),
        FIELD(stub.connected),
        FIELD(stub.io),
        FIELD(stub.closing),
        FIELD(stub.rx_skip),
        FIELD(stub.rx_span),
        FIELD(stub.tx_span),
        FIELD(stub.ids_count),
        FIELD(tx_offset),
        FIELD(tx_bytes),
        FIELD(ring.accepted),
        FIELD(ring.timeline[0]),
    };
    static const struct field slots[] = {
        SLOT(state),       SLOT(generation), SLOT(seq),       SLOT(arrival_ns), SLOT(start_ns),
        SLOT(dispatch_ns), SLOT(attachment), SLOT(transport), SLOT(kind),       SLOT(lane),
        SLOT(qp),          SLOT(stream),     SLOT(sq_index),  SLOT(first_op),   SLOT(built_op),
        SLOT(unit_index),  SLOT(cq_index),   SLOT(status),    SLOT(end_ns),     SLOT(cookie),
        SLOT(signal),      SLOT(wait_count), SLOT(cmd_seg),
    };
    uint32_t which = take_small(in, 64), wide = take_small(in, 4);
    uint64_t value = take(in, wide == 3 ? 8 : 1);
    struct field field;
    uint8_t *base = (uint8_t *)journal;

    if (which < sizeof(fields) / sizeof(fields[0])) {
        field = fields[which];
    } else {
        field = slots[which % (sizeof(slots) / sizeof(slots[0]))];
        base = (uint8_t *)&journal->slot[take_small(in, SLOTS)];
    }
    if (wide == 2)
        value = -value;
    memcpy(base + field.offset, &value, field.bytes < 8 ? field.bytes : 8);
}

static void write_journal(struct input *in)
{
    uint32_t writes = take_small(in, 32);

    memset(journal, 0, journal_length);
    FUZZ_CHECK(mediator_journal_format(vm.journal_fd, SLOTS, PAIRS, RIG_ENTRIES, RIG_DATA_BYTES) ==
               0);
    waits_offset = journal->waits_offset; /* the journal's own may be spoilt soon */
    if (take_small(in, 8) < 7)
        write_busy(in);
    while (writes--) {
        switch (take_small(in, 4)) {
        case 0:
        case 1:
            write_slot(in);
            break;
        case 2:
            write_field(in);
            break;
        default: /* anywhere but in what says that it is a journal */
            ((uint8_t *)journal)[16 + take(in, 2) % (journal_length - 16)] = (uint8_t)take(in, 1);
            break;
        }
    }
}

/* A worker with some replies, of the tokens that slots have. */
static void write_worker(struct fake_worker *worker, struct input *in)
{
    uint32_t count = take_small(in, 5);

    while (count--) {
        uint32_t slot = take_small(in, SLOTS);
        const struct worker_reply reply = {.token = (uint64_t)journal->slot[slot].generation << 32 |
                                                    slot,
                                           .outcome = (uint8_t)(WORKER_DONE + take_small(in, 4)),
                                           .op_index = take_small(in, 3)};

        fake_worker_reply(worker, &reply);
    }
}

/* What the two workers and the two clients do then: they know nothing of all this. */
static void go_on(struct fake_worker worker[2], int stub, struct input *in)
{
    const uint64_t *span = &journal->stub.tx_span;
    uint8_t frame[128];

    for (;;) {
        uint32_t act = take_small(in, 6);
        struct worker_unit unit;

        if (act < 2) {
            if (fake_worker_take(&worker[act], &unit, 0))
                fake_worker_back(&worker[act], &unit,
                                 (enum worker_outcome)(WORKER_DONE + take_small(in, 4)),
                                 take_small(in, 3));
        } else if (act == 2) {
            (void)rig_send(stub, frame, rig_request(frame, 1, take_small(in, 2) ? 1 : 0, NULL, 0));
        } else if (act == 3) {
            const uint64_t one = 1;

            (void)!write(vm.host_doorbells[take_small(in, PAIRS)], &one, sizeof(one));
        } else {
            (void)!recv(stub, frame, sizeof(frame), MSG_DONTWAIT);
        }
        FUZZ_CHECK(bench_settle(m) < 1000);
        FUZZ_CHECK((uint32_t)(*span >> 32) - (uint32_t)*span <= journal->tx_bytes);
        if (in->left == 0)
            return;
    }
}

/* The other VM's command is on the device. */
static void the_other_is_busy(void)
{
    const struct vgpu_submission command = rig_command(7, 0);

    rig_ring_put(&neighbour, 0, &command);
    FUZZ_CHECK(bench_settle(m) < 1000 && m->device.in_flight == 1);
}

/* It gets its answer, whatever has come and gone meanwhile, and a NOP through, too. */
static void the_other_is_served(void)
{
    struct vgpu_completion completion;
    struct worker_unit unit;

    FUZZ_CHECK(fake_worker_take(&neighbours, &unit, 0));
    fake_worker_done(&neighbours, &unit, VGPU_OK);
    FUZZ_CHECK(bench_settle(m) < 1000);
    FUZZ_CHECK(rig_ring_take(&neighbour, 0, &completion, 0) && completion.status == VGPU_OK);
    FUZZ_CHECK(bench_nop_works(m, &neighbour));
}

static void take_over(struct input *in, int stub)
{
    struct fake_worker worker[2];

    for (int lane = 0; lane < 2; lane++) {
        fake_worker_new(&worker[lane], (uint32_t)lane + 1);
        write_worker(&worker[lane], in);
    }
    FUZZ_CHECK(bench_settle(m) < 1000);
    for (int lane = 0; lane < 2; lane++)
        if (take_small(in, 8) < 7)
            (void)fake_worker_attach(&worker[lane], m, vm.handle, lane);
    go_on(worker, stub, in);
    FUZZ_CHECK(bench_settle(m) < 1000);
    for (int lane = 0; lane < 2; lane++)
        FUZZ_CHECK(mediator_worker_gone(m, vm.handle, lane, 0, 0) == 0);
    FUZZ_CHECK(bench_settle(m) < 1000);
    FUZZ_CHECK(mediator_vm_retire(m, vm.handle) == 0);
    FUZZ_CHECK(mediator_vm_remove(m, vm.handle) == 0);
    fake_worker_free(&worker[0]);
    fake_worker_free(&worker[1]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input in = {data, size};
    const int little = 1; /* so that answers have to wait */
    int stub[2], ring[2];
    uint32_t fds;
    bool busy;

    if (!m)
        start();
    fds = count_fds();
    FUZZ_CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, stub) == 0 &&
               socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ring) == 0);
    FUZZ_CHECK(setsockopt(stub[0], SOL_SOCKET, SO_SNDBUF, &little, sizeof(little)) == 0);
    write_journal(&in);
    busy = take_small(&in, 2);
    if (busy)
        the_other_is_busy();
    if (rig_vm_add(&vm, m, stub[0], ring[0]) >= 0)
        take_over(&in, stub[1]);
    close(stub[1]);
    close(ring[1]);
    FUZZ_CHECK(bench_settle(m) < 1000);
    FUZZ_CHECK(m->in_use == busy && m->device.in_flight == busy && m->builds == 0);
    if (!busy)
        the_other_is_busy();
    the_other_is_served();
    FUZZ_CHECK(m->in_use == 0 && m->device.in_flight == 0 && !m->device.vm);
    rig_forget_events(m);
    FUZZ_CHECK(fds_come_to(fds));
    return 0;
}
