/*
 * fuzz_ring.c - A guest and a worker that write anything anywhere, at any time
 *
 * The input is a list of acts: the guest scribbles into its memory or rings, the worker scribbles
 * into its channel or answers. Whatever they do, the engine comes to rest, and another VM is served.
 */
#include <sys/eventfd.h>
#include <sys/mman.h>

#include "bench_engine.h"
#include "input.h"
#include "replay.h"

static struct mediator *m;
static struct rig_vm vm, other;
static struct rig_ring neighbour;
static uint32_t next_worker = 1;

static void stop(void)
{
    mediator_free(m);
    rig_ring_leave(&neighbour);
    rig_vm_free(&vm);
    rig_vm_free(&other);
}

static void start(void)
{
    const struct mediator_config config = rig_config();

    m = rig_engine(&config);
    rig_vm_new(&vm, 1, 'A', 1, 32, 2);
    rig_vm_new(&other, 2, 'A', 1, 32, 1);
    FUZZ_CHECK(rig_vm_add(&vm, m, -1, -1) >= 0 && rig_vm_add(&other, m, -1, -1) >= 0);
    bench_attach_ring(m, &neighbour, &other);
    FUZZ_CHECK(atexit(stop) == 0);
}

static struct worker_channel *attach_worker(void)
{
    int channel = rig_memfd(WORKER_CHANNEL_BYTES);
    struct mediator_worker worker = {.worker_id = next_worker++,
                                     .pid = 1,
                                     .channel = channel,
                                     .doorbell = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)};
    struct worker_channel *mapped =
        mmap(NULL, WORKER_CHANNEL_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, channel, 0);

    rig_seal(channel);
    FUZZ_CHECK(mapped != MAP_FAILED);
    FUZZ_CHECK(mediator_worker_attach(m, vm.handle, MEDIATOR_LAUNCH, &worker) == 0);
    return mapped;
}

/* One word somewhere in the pages that matter: control pages, indices, entries. */
static void scribble(struct rig_ring *ring, struct input *in)
{
    static const uint32_t places[] = {0,       0x1000,  0x10000, 0x11000,
                                      0x20000, 0x40000, 0x50000, 0x51000};
    uint32_t offset = places[take_small(in, 8)] + (uint32_t)take(in, 1) * 4;

    if (offset + 4 <= ring->bytes)
        *(volatile uint32_t *)(ring->memory + offset) = (uint32_t)take(in, 1 + in->left % 4);
}

/* An entry that is right as far as its kind goes, or has a field that is not. */
static void submit_entry(struct rig_ring *ring, struct input *in)
{
    struct vgpu_pair_guest *guest = (void *)(ring->memory + 0x10000 + 0x1000);
    struct vgpu_submission entry = rig_command(take(in, 1), take_small(in, 3));
    uint32_t how = (uint32_t)take(in, 1);

    entry.generation = ring->host->generation;
    if (how & 1) {
        entry.kind = (uint8_t)take_small(in, VGPU_KIND_QUERY + 2);
        entry.cmd_len = 0;
        if (entry.kind == VGPU_KIND_QUERY)
            entry.cmd_seg = take_small(in, 5);
    }
    if (how & 2)
        entry.signal = take_small(in, 8);
    if (how & 4) {
        /* The waits stand in the data, where anything may have been written. */
        entry.wait_count = (uint16_t)take_small(in, VGPU_WAITS_MAX + 2);
        entry.wait_off = take_small(in, 16) * 8;
    }
    if (how & 8)
        ((uint8_t *)&entry)[take_small(in, sizeof(entry))] = (uint8_t)take(in, 1);
    memcpy(ring->memory + 0x20000 + guest->sq_tail % RIG_ENTRIES * sizeof(entry), &entry,
           sizeof(entry));
    __atomic_store_n(&guest->sq_tail, guest->sq_tail + 1, __ATOMIC_RELEASE);
    rig_ring_bell(ring, 0);
}

/* Take what is there, so that there is room again. */
static void take_completions(struct rig_ring *ring)
{
    const struct vgpu_pair_host *host = (void *)(ring->memory + 0x10000);
    struct vgpu_pair_guest *guest = (void *)(ring->memory + 0x10000 + 0x1000);

    guest->cq_head = host->cq_tail;
}

static void answer_unit(struct worker_channel *channel, struct input *in)
{
    uint32_t index = channel->worker.reply_tail % WORKER_RING_ENTRIES;
    struct worker_reply *reply = &channel->replies[index];

    *reply = (struct worker_reply){.token = channel->units[index].token,
                                   .outcome = (uint8_t)(1 + take_small(in, 4)),
                                   .op_index = (uint32_t)take(in, 1),
                                   .status = (uint16_t)take(in, 1)};
    if (take(in, 1) > 250)
        reply->token ^= take(in, 4);
    __atomic_store_n(&channel->worker.reply_tail, channel->worker.reply_tail + 1, __ATOMIC_RELEASE);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input in = {data, size};
    struct worker_channel *channel;
    struct rig_ring ring;

    if (!m)
        start();
    bench_attach_ring(m, &ring, &vm);
    channel = attach_worker();
    while (in.left) {
        switch (take_small(&in, 7)) {
        case 0:
            scribble(&ring, &in);
            break;
        case 1:
            rig_ring_bell(&ring, take_small(&in, 2));
            break;
        case 2:
            submit_entry(&ring, &in);
            break;
        case 3:
            answer_unit(channel, &in);
            break;
        case 4:
            take_completions(&ring);
            break;
        case 5:
            channel->worker.reply_tail += (uint32_t)take(&in, 1);
            break;
        default:
            ((volatile uint8_t *)channel)[take(&in, 2) % WORKER_CHANNEL_BYTES] =
                (uint8_t)take(&in, 1);
            break;
        }
        FUZZ_CHECK(bench_settle(m) < 1000);
    }
    FUZZ_CHECK(mediator_worker_gone(m, vm.handle, MEDIATOR_LAUNCH, 0, 0) == 0);
    rig_ring_leave(&ring);
    bench_settle(m);
    munmap(channel, WORKER_CHANNEL_BYTES);
    FUZZ_CHECK(m->in_use == 0 && m->device.in_flight == 0 && m->builds == 0);

    FUZZ_CHECK(bench_nop_works(m, &neighbour));
    return 0;
}
