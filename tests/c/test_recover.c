/*
 * test_recover.c - One death at a time
 *
 * The journal is made to look as an engine leaves it that dies between two given stores, and the next
 * engine must make the best of it.
 */
#include <poll.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "check.h"
#include "journal_map.h"
#include "keeper.h"

enum death {
    PEACE,
    TAKING_BEFORE_SQ_HEAD,
    TAKING_AFTER_SQ_HEAD,
    REFUSING,
    SENDING_BEFORE_UNIT_TAIL,
    SENDING_BEFORE_PUBLISH,
    REPLY_NOTED_NOT_CONSUMED,
    CONTINUE_NOTED_BEFORE_STATE,
    CONTINUE_NOTED_NOT_CONSUMED,
    ANSWER_KNOWN,
    POSTING_BEFORE_WRITE,
    POSTING_AFTER_PUBLISH,
    DEATHS
};

static uint64_t token_of(const struct journal *j, uint32_t slot)
{
    return (uint64_t)j->slot[slot].generation << 32 | slot;
}

static void say_reply(struct fake_worker *w, uint64_t token, enum worker_outcome outcome,
                      uint32_t op_index)
{
    const struct worker_unit unit = {.token = token};

    w->taken++;
    fake_worker_back(w, &unit, outcome, op_index);
}

/* Three commands are queued, in slots 0, 1 and 2; make of it what a death at that moment leaves. */
static void die(enum death death, struct journal *j, struct rig_ring *ring, struct fake_worker *w)
{
    struct journal_slot *first = &j->slot[0], *last = &j->slot[2];
    struct journal_link *link = &j->link[MEDIATOR_LAUNCH];

    link->worker_id = w->worker_id;
    switch (death) {
    case TAKING_BEFORE_SQ_HEAD:
        last->state = REQUEST_RECEIVED;
        j->ring.pair[0].sq_head = 2;
        break;
    case TAKING_AFTER_SQ_HEAD:
        last->state = REQUEST_RECEIVED;
        break;
    case REFUSING:
        last->state = REQUEST_RECEIVED;
        last->status = VGPU_INVALID;
        break;
    case SENDING_BEFORE_UNIT_TAIL:
        first->dispatch_ns = rig_now_ns();
        first->state = REQUEST_RUNNING;
        break;
    case SENDING_BEFORE_PUBLISH:
        first->dispatch_ns = rig_now_ns();
        first->state = REQUEST_RUNNING;
        link->unit_tail = 1;
        w->channel->units[0] =
            (struct worker_unit){.token = token_of(j, 0), .kind = WORKER_UNIT_COMMAND, .ctx = 0};
        break;
    case REPLY_NOTED_NOT_CONSUMED:
        /* It was answered, also on the ring. */
        link->unit_tail = 1;
        say_reply(w, token_of(j, 0), WORKER_DONE, 0);
        first->state = REQUEST_DONE;
        break;
    case CONTINUE_NOTED_BEFORE_STATE:
        link->unit_tail = 1;
        say_reply(w, token_of(j, 0), WORKER_CONTINUE, 2);
        first->dispatch_ns = rig_now_ns();
        first->state = REQUEST_RUNNING;
        first->first_op = 2;
        break;
    case CONTINUE_NOTED_NOT_CONSUMED:
        link->unit_tail = 1;
        say_reply(w, token_of(j, 0), WORKER_CONTINUE, 2);
        first->first_op = 2;
        break;
    case ANSWER_KNOWN:
        first->state = REQUEST_DONE;
        break;
    case POSTING_AFTER_PUBLISH:
        rig_pair_host(ring, 0)->cq_tail = 1;
        first->state = REQUEST_POSTING;
        break;
    case POSTING_BEFORE_WRITE:
        first->state = REQUEST_POSTING;
        break;
    default:
        break;
    }
}

static void survive(enum death death)
{
    struct keeper k;
    struct fake_worker launch, build;
    struct mediator_vm_stats stats;
    struct vgpu_completion completion;
    struct rig_ring ring;
    struct journal *j;
    struct mediator *m;
    struct rig_vm vm;
    uint64_t bytes;

    keeper_new(&k);
    rig_vm_new(&vm, 3, 'A', 1, 64, 1);
    fake_worker_new(&launch, 1);
    fake_worker_new(&build, 2);
    m = new_engine(&vm, &k, NULL, NULL);
    CHECK(rig_ring_attach(&ring, &vm));
    CHECK(rig_ring_accept(&ring, 1u << VGPU_FEATURE_STREAMS) == VGPU_DEVICE_OK);
    for (uint32_t i = 0; i < 3; i++) {
        struct vgpu_submission entry = rig_command(i, 0);

        entry.ctx = i;
        rig_ring_put(&ring, 0, &entry);
    }
    CHECK(RIG_UNTIL(m, &vm, queued, 3));
    mediator_free(m);
    keeper_listen(&k);
    CHECK(journal_map(vm.journal_fd, &j, &bytes) == 0);
    die(death, j, &ring, &launch);
    m = new_engine(&vm, &k, &launch, &build);
    fake_worker_start(&launch, NULL, NULL);
    if (death == REFUSING) /* as ever, a refusal waits for nothing */
        CHECK(rig_ring_take(&ring, 0, &completion, RIG_LONG_MS) && completion.cookie == 2 &&
              completion.status == VGPU_INVALID);
    for (uint32_t i = 0; i < (death == REFUSING ? 2u : 3u); i++)
        CHECK(rig_ring_take(&ring, 0, &completion, RIG_LONG_MS) && completion.cookie == i &&
              completion.status == VGPU_OK);
    CHECK(!rig_ring_take(&ring, 0, &completion, 0));
    stats = rig_stats(m, &vm);
    CHECK(stats.running == 0 && stats.queued == 0 && stats.dropped == 0);
    CHECK(stats.submitted == stats.completed + stats.failed + stats.refused);
    CHECK(rig_stats(m, &vm).faults == 0 && !rig_stats(m, &vm).worker_doomed[0]);
    for (uint32_t i = 0; i < j->slots_used; i++)
        CHECK(j->slot[i].state == REQUEST_FREE);
    fake_worker_stop(&launch);
    mediator_free(m);
    journal_unmap(j, bytes);
    rig_ring_leave(&ring);
    keeper_listen(&k);
    keeper_free(&k);
    fake_worker_free(&launch);
    fake_worker_free(&build);
    rig_vm_free(&vm);
}

static void test_deaths(void)
{
    static const char *const claim[] = {
        [PEACE] = "what is queued is queued again",
        [TAKING_BEFORE_SQ_HEAD] = "an entry that had not left the ring is taken from there, once",
        [TAKING_AFTER_SQ_HEAD] = "an entry that had left the ring is not lost",
        [REFUSING] = "an entry that was being refused is refused",
        [SENDING_BEFORE_UNIT_TAIL] = "a unit that was not sent is sent",
        [SENDING_BEFORE_PUBLISH] =
            "a unit that was sent and not published is published, not sent again",
        [REPLY_NOTED_NOT_CONSUMED] =
            "a reply that was dealt with is passed over, and nobody blamed",
        [CONTINUE_NOTED_BEFORE_STATE] = "progress that was noted twice is no offence",
        [CONTINUE_NOTED_NOT_CONSUMED] = "a unit that was put back is sent again after its reply",
        [ANSWER_KNOWN] = "an answer that was known is given",
        [POSTING_BEFORE_WRITE] = "a completion that was being written is written",
        [POSTING_AFTER_PUBLISH] =
            "a completion that was seen already is written again, in its place",
    };

    for (int death = 0; death < DEATHS; death++) {
        CASE(claim[death]);
        survive((enum death)death);
    }
}

static void test_interrupt_owed(void)
{
    struct keeper k;
    struct fake_worker launch, build;
    struct pollfd poll_fd;
    struct rig_ring ring;
    struct mediator *m;
    struct rig_vm vm;
    uint64_t count;

    CASE("completions that the last engine posted and did not announce are announced");
    keeper_new(&k);
    rig_vm_new(&vm, 3, 'A', 1, 64, 1);
    fake_worker_new(&launch, 1);
    fake_worker_new(&build, 2);
    m = new_engine(&vm, &k, &launch, &build);
    CHECK(rig_ring_attach(&ring, &vm));
    CHECK(rig_ring_accept(&ring, 1u << VGPU_FEATURE_STREAMS) == VGPU_DEVICE_OK);
    rig_pair_guest(&ring, 0)->cq_event = 100; /* so that none is sent now */
    for (uint32_t i = 0; i < 3; i++) {
        const struct vgpu_submission entry = rig_nop(i, 0);

        rig_ring_put(&ring, 0, &entry);
    }
    CHECK(RIG_UNTIL(m, &vm, completed, 3));
    mediator_free(m);
    keeper_listen(&k);
    poll_fd = (struct pollfd){.fd = ring.guest_doorbells[0], .events = POLLIN};
    (void)!read(poll_fd.fd, &count, sizeof(count)); /* what was announced until here */
    rig_pair_guest(&ring, 0)->cq_event = 0;
    m = new_engine(&vm, &k, &launch, &build);
    CHECK(poll(&poll_fd, 1, RIG_LONG_MS) == 1);
    mediator_free(m);
    rig_ring_leave(&ring);
    keeper_listen(&k);
    keeper_free(&k);
    fake_worker_free(&launch);
    fake_worker_free(&build);
    rig_vm_free(&vm);
}

int main(void)
{
    test_deaths();
    test_interrupt_owed();
    return check_done();
}
