/* sanitizers: address thread */
/*
 * test_guest_ring.c - Submission and completion rings, doorbells and interrupts (guest/ring.c)
 */
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#include "check.h"
#include "fake_ring_host.h"
#include "guest/link.h"
#include "guest/vgpu.h"

#define TIMEOUT_MS 10000
#define ENTRIES    16u
#define SLOW_NS    200000000u /* less than the pause after which the library looks by itself */

struct fixture {
    struct fake_host host;
    struct vgpu_link *link;
    struct vgpu_queue *queue;
};

static bool answer_all(void *context, const struct vgpu_submission *entry, uint8_t *data,
                       struct vgpu_completion *completion)
{
    (void)context;
    (void)data;
    completion->status = entry->kind == VGPU_KIND_NOP ? VGPU_OK : VGPU_INVALID;
    return true;
}

/* Attached, with indices that start at @first_index, and the host driven by hand. */
static void set_up(struct fixture *f, uint32_t first_index, fake_handler *handler)
{
    const struct fake_shape shape = {.pairs = 1,
                                     .sq_entries = ENTRIES,
                                     .cq_entries = 2 * ENTRIES,
                                     .data_bytes = 65536,
                                     .first_index = first_index};
    struct vgpu_reason why;

    *f = (struct fixture){0};
    fake_host_new(&f->host, shape, handler, NULL);
    fake_host_greet(&f->host);
    f->host.page->device_status = VGPU_DEVICE_OK;
    CHECK(vgpu_attach_connected(f->host.client_end, 0, TIMEOUT_MS, &f->link, &why) == 0);
    CHECK(vgpu_queue_open(f->link, 0, &f->queue) == 0);
    fake_host_share(&f->host, f->link->region);
}

static void tear_down(struct fixture *f)
{
    fake_host_stop(&f->host);
    vgpu_queue_close(f->queue);
    vgpu_detach(f->link);
    fake_host_free(&f->host);
}

static uint64_t drain(int fd)
{
    uint64_t count = 0;

    return read(fd, &count, sizeof(count)) == sizeof(count) ? count : 0;
}

static int put_nop(struct vgpu_queue *queue, uint64_t cookie)
{
    const struct vgpu_submission entry = {.cookie = cookie, .kind = VGPU_KIND_NOP};

    return vgpu_queue_put(queue, &entry);
}

static int put_urgent(struct vgpu_queue *queue, uint64_t cookie)
{
    const struct vgpu_submission entry = {
        .cookie = cookie, .kind = VGPU_KIND_QUERY, .cmd_seg = VGPU_QUERY_CLOCKS};

    return vgpu_queue_put(queue, &entry);
}

static void nothing_is_shown_before_push(void)
{
    struct vgpu_completion completion;
    struct fixture f;

    CASE("a staged entry is shown to the host by push, not before");
    set_up(&f, 0, answer_all);
    CHECK(put_nop(f.queue, 42) == 0);
    CHECK(fake_host_step(&f.host, 0) == 0);
    CHECK(vgpu_queue_push(f.queue) == 0);
    CHECK(fake_host_step(&f.host, 0) == 1);
    CHECK(vgpu_queue_take(f.queue, &completion) == 1);
    CHECK(completion.cookie == 42 && completion.status == VGPU_OK);
    CHECK(vgpu_queue_take(f.queue, &completion) == 0);
    tear_down(&f);
}

static void rings_wrap_around(void)
{
    struct vgpu_completion completion;
    struct fixture f;
    uint64_t put = 0, taken = 0, wrong = 0;

    CASE("1,000 entries go through rings of 16 across the end of the index range, in order");
    set_up(&f, UINT32_MAX - 100, answer_all);
    while (taken < 1000) {
        while (put < 1000 && put - taken < 1 + put % ENTRIES && put_nop(f.queue, put) == 0)
            put++;
        CHECK(vgpu_queue_push(f.queue) == 0);
        fake_host_step(&f.host, 0);
        while (vgpu_queue_take(f.queue, &completion) == 1)
            wrong += completion.cookie != taken++;
    }
    CHECK(wrong == 0);
    CHECK(fake_pair_guest(&f.host, 0)->sq_tail == UINT32_MAX - 100 + 1000);
    CHECK(fake_pair_guest(&f.host, 0)->cq_head == UINT32_MAX - 100 + 1000);
    tear_down(&f);
}

static void a_full_ring_says_again(void)
{
    struct fixture f;
    uint32_t put = 0;

    CASE("the entry after the last free one is refused with EAGAIN until the host takes some");
    set_up(&f, 5, answer_all);
    while (put_nop(f.queue, put) == 0)
        put++;
    CHECK(put == ENTRIES);
    CHECK(put_urgent(f.queue, 0) == -EAGAIN);
    CHECK(vgpu_queue_push(f.queue) == 0);
    CHECK(put_urgent(f.queue, 0) == -EAGAIN);
    CHECK(fake_host_step(&f.host, 0) == ENTRIES);
    CHECK(put_urgent(f.queue, 0) == 0);
    tear_down(&f);
}

static void no_more_is_outstanding_than_can_be_answered(void)
{
    struct vgpu_completion completion;
    struct fixture f;

    CASE("as much is outstanding as the submission ring holds, though the host took all of it");
    set_up(&f, 5, answer_all);
    for (uint64_t i = 0; i < ENTRIES; i++)
        CHECK(put_nop(f.queue, i) == 0);
    CHECK(vgpu_queue_push(f.queue) == 0);
    CHECK(fake_host_step(&f.host, 0) == ENTRIES);
    CHECK(put_nop(f.queue, 0) == -EAGAIN);

    CASE("and of urgent entries as much as the completion ring holds");
    for (uint64_t i = 0; i < ENTRIES; i++)
        CHECK(put_urgent(f.queue, i) == 0);
    CHECK(vgpu_queue_push(f.queue) == 0);
    CHECK(fake_host_step(&f.host, 0) == ENTRIES);
    CHECK(put_urgent(f.queue, 0) == -EAGAIN);
    CHECK(vgpu_queue_take(f.queue, &completion) == 1);
    CHECK(put_nop(f.queue, 0) == -EAGAIN);
    CHECK(put_urgent(f.queue, 0) == 0);
    CHECK(put_urgent(f.queue, 0) == -EAGAIN);
    tear_down(&f);

    CASE("an answer to nothing is refused");
    set_up(&f, 5, answer_all);
    completion = (struct vgpu_completion){.generation = FAKE_GENERATION};
    fake_host_answer(&f.host, 0, &completion);
    CHECK(vgpu_queue_take(f.queue, &completion) == -EPROTO);
    tear_down(&f);
}

static void doorbells_follow_the_hosts_wish(void)
{
    struct fixture f;

    CASE("the doorbell is rung when the host asks for it, and not otherwise");
    set_up(&f, 0, answer_all);
    drain(f.host.doorbells[0]); /* features */
    CHECK(put_nop(f.queue, 1) == 0 && vgpu_queue_push(f.queue) == 0);
    CHECK(drain(f.host.doorbells[0]) == 1);
    fake_pair_host(&f.host, 0)->sq_need_doorbell = 0;
    CHECK(put_nop(f.queue, 2) == 0 && vgpu_queue_push(f.queue) == 0);
    CHECK(drain(f.host.doorbells[0]) == 0);
    fake_pair_host(&f.host, 0)->sq_need_doorbell = 1;
    CHECK(vgpu_queue_push(f.queue) == 0);
    CHECK(drain(f.host.doorbells[0]) == 0); /* nothing new to show */
    for (uint64_t i = 0; i < 8; i++)
        CHECK(put_nop(f.queue, 3 + i) == 0);
    CHECK(vgpu_queue_push(f.queue) == 0);
    CHECK(drain(f.host.doorbells[0]) == 1);
    CHECK(fake_host_step(&f.host, 0) == 10);
    tear_down(&f);
}

static void interrupts_come_when_asked_for(void)
{
    struct vgpu_completion completion;
    struct fixture f;

    CASE("nobody is interrupted who does not wait");
    set_up(&f, 0xfffffff8, answer_all);
    for (uint64_t i = 0; i < 12; i++)
        CHECK(put_nop(f.queue, i) == 0);
    CHECK(vgpu_queue_push(f.queue) == 0);
    CHECK(fake_host_step(&f.host, 0) == 12);
    CHECK(f.host.interrupts == 0);

    CASE("waiting asks for an interrupt at the next completion");
    while (vgpu_queue_take(f.queue, &completion) == 1)
        ;
    CHECK(vgpu_queue_wait(f.queue, 1) == -ETIMEDOUT);
    CHECK(fake_pair_guest(&f.host, 0)->cq_event == 0xfffffff8 + 12);
    CHECK(put_nop(f.queue, 1) == 0 && put_nop(f.queue, 2) == 0);
    CHECK(vgpu_queue_push(f.queue) == 0);
    CHECK(fake_host_step(&f.host, 0) == 2);
    CHECK(f.host.interrupts == 1);
    CHECK(vgpu_queue_wait(f.queue, TIMEOUT_MS) == 0);
    tear_down(&f);
}

static void older_generations_are_dropped(void)
{
    struct vgpu_completion completion = {.cookie = 1, .generation = FAKE_GENERATION - 1};
    struct fixture f;

    CASE("a completion of an earlier attachment is dropped");
    set_up(&f, 0, answer_all);
    CHECK(put_nop(f.queue, 2) == 0 && vgpu_queue_push(f.queue) == 0);
    fake_host_answer(&f.host, 0, &completion);
    CHECK(fake_host_step(&f.host, 0) == 1);
    CHECK(vgpu_queue_take(f.queue, &completion) == 1 && completion.cookie == 2);
    CHECK(vgpu_queue_take(f.queue, &completion) == 0);
    tear_down(&f);
}

static void wrong_indices_are_noticed(void)
{
    struct vgpu_completion completion;
    struct fixture f;

    CASE("a completion index that is further ahead than the ring is long is refused");
    set_up(&f, 0, answer_all);
    fake_pair_host(&f.host, 0)->cq_tail = 2 * ENTRIES + 1;
    CHECK(vgpu_queue_take(f.queue, &completion) == -EPROTO);
    fake_pair_host(&f.host, 0)->cq_tail = UINT32_MAX;
    CHECK(vgpu_queue_take(f.queue, &completion) == -EPROTO);
    tear_down(&f);

    CASE("a submission index past what was submitted, or going back, is refused");
    set_up(&f, 100, answer_all);
    while (put_nop(f.queue, 0) == 0)
        ;
    CHECK(vgpu_queue_push(f.queue) == 0);
    fake_pair_host(&f.host, 0)->sq_head = 100 + ENTRIES + 1;
    CHECK(put_urgent(f.queue, 0) == -EPROTO);
    fake_pair_host(&f.host, 0)->sq_head = 99;
    CHECK(put_urgent(f.queue, 0) == -EPROTO);
    fake_pair_host(&f.host, 0)->sq_head = 101;
    CHECK(put_urgent(f.queue, 0) == 0);
    tear_down(&f);
}

static void a_pair_in_error_is_reported(void)
{
    struct fixture f;

    CASE("a pair in error ends waiting, and a full ring of it is not tried again");
    set_up(&f, 0, answer_all);
    fake_pair_host(&f.host, 0)->state = VGPU_PAIR_ERROR;
    CHECK(vgpu_queue_wait(f.queue, TIMEOUT_MS) == -EIO);
    while (put_nop(f.queue, 0) == 0)
        ;
    CHECK(put_nop(f.queue, 0) == -EIO);
    tear_down(&f);
}

static void the_end_is_seen_after_the_answers(void)
{
    struct vgpu_completion completion;
    struct fixture f;

    CASE("a closed connection ends waiting, but what was answered before is still taken");
    set_up(&f, 0, answer_all);
    CHECK(put_nop(f.queue, 1) == 0 && vgpu_queue_push(f.queue) == 0);
    CHECK(fake_host_step(&f.host, 0) == 1);
    fake_host_hang_up(&f.host);
    CHECK(vgpu_queue_wait(f.queue, TIMEOUT_MS) == 0);
    CHECK(vgpu_queue_take(f.queue, &completion) == 1);
    CHECK(vgpu_queue_wait(f.queue, TIMEOUT_MS) == -EPIPE);
    tear_down(&f);

    CASE("what the host says on the connection after the handshake does no harm");
    set_up(&f, 0, answer_all);
    fake_host_message(&f.host, 17, f.host.stop_fd);
    CHECK(vgpu_queue_wait(f.queue, 5) == -ETIMEDOUT);
    tear_down(&f);
}

static void two_threads(uint32_t spin_us, uint64_t count)
{
    struct vgpu_completion completion;
    struct fixture f;
    uint64_t put = 0, taken = 0, wrong = 0, window = 1, slow = 0;

    set_up(&f, UINT32_MAX - 50, answer_all);
    vgpu_queue_spin(f.queue, spin_us);
    fake_host_start(&f.host);
    while (taken < count) {
        int rc;

        while (put < count && put - taken < window && put_nop(f.queue, put) == 0)
            put++;
        rc = vgpu_queue_push(f.queue);
        if (!rc) {
            uint64_t start_ns = vgpu_now_ns();

            rc = vgpu_queue_wait(f.queue, TIMEOUT_MS);
            slow += vgpu_now_ns() - start_ns > SLOW_NS;
        }
        if (rc) {
            CHECK(rc == 0);
            break;
        }
        while (vgpu_queue_take(f.queue, &completion) == 1)
            wrong += completion.cookie != taken++;
        window = window % (2 * ENTRIES) + 1;
    }
    CHECK(taken == count);
    CHECK(wrong == 0);
    CHECK(slow < 2); /* one may be the machine's */
    tear_down(&f);
}

static void a_host_on_another_thread(void)
{
    CASE("with a host on another thread no wake-up is lost, sleeping");
    two_threads(0, 5000);
    CASE("with a host on another thread no wake-up is lost, spinning a little first");
    two_threads(5, 5000);
}

int main(void)
{
    nothing_is_shown_before_push();
    rings_wrap_around();
    a_full_ring_says_again();
    no_more_is_outstanding_than_can_be_answered();
    doorbells_follow_the_hosts_wish();
    interrupts_come_when_asked_for();
    older_generations_are_dropped();
    wrong_indices_are_noticed();
    a_pair_in_error_is_reported();
    the_end_is_seen_after_the_answers();
    a_host_on_another_thread();
    return check_done();
}
