/*
 * ring.c - One queue pair, seen from the guest
 *
 * We write sq_tail, cq_head and cq_event in our page; the host writes sq_head, cq_tail,
 * sq_need_doorbell and state in its own. Indices run freely; our copies (sq_tail, sq_published,
 * cq_head) are private, what the host writes is checked against them: sq_head must lie between the
 * last one seen and what was published, cq_tail at most a ring's length ahead of cq_head.
 *
 * No more is outstanding than the submission ring holds; urgent entries may come on top of that, up to
 * what the completion ring holds. So the host never has to wait for room in it, and we never have to
 * tell the host that there is room again.
 *
 * The two places where a wake-up could be lost are each a store, then a load of what the other side
 * stores before it looks at ours; both are sequentially consistent:
 *
 *     push   sq_tail := n,           then sq_need_doorbell?    host: sets it, then looks at sq_tail
 *     wait   cq_event := cq_head,    then cq_tail moved?       host: moves it, then looks at
 * cq_event
 *
 * Sleeping is one epoll_wait() on the pair's eventfd and the connection. The eventfd is registered
 * edge-triggered and never read: each write to it wakes, and an interrupt that came while nobody
 * slept costs one turn of the loop. A pair that goes into error need not be followed by an
 * interrupt, so a sleep lasts STATE_CHECK_MS at most.
 */
#include "vgpu.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "link.h"

#define STATE_CHECK_MS     250
#define SPINS_BEFORE_CLOCK 64

struct vgpu_queue {
    struct vgpu_link *link;
    uint32_t pair;
    int epoll;
    struct vgpu_pair_host *host;
    struct vgpu_pair_guest *guest;
    struct vgpu_submission *submissions;
    const struct vgpu_completion *completions;
    uint8_t *data;
    uint32_t sq_entries;
    uint32_t cq_entries;
    uint32_t plain_max;    /* outstanding, for entries that are not urgent */
    uint32_t sq_tail;      /* staged up to here */
    uint32_t sq_published; /* shown to the host up to here */
    uint32_t sq_head;      /* taken by the host up to here, as last seen */
    uint32_t cq_head;
    uint32_t cq_tail;     /* as last seen */
    uint32_t outstanding; /* staged or submitted, completion not taken */
    uint32_t spin_us;
};

static inline void cpu_relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

static int watch(const struct vgpu_queue *queue, int fd, uint32_t events)
{
    struct epoll_event event = {.events = events, .data = {.fd = fd}};

    return epoll_ctl(queue->epoll, EPOLL_CTL_ADD, fd, &event) < 0 ? -errno : 0;
}

int vgpu_queue_open(struct vgpu_link *link, uint32_t pair, struct vgpu_queue **out)
{
    const struct vgpu_host_page *page = &link->page;
    struct vgpu_queue *queue;
    uint8_t *base;
    int rc;

    if (pair >= page->qp_count)
        return -EINVAL;
    if (__atomic_fetch_or(&link->opened, UINT64_C(1) << pair, __ATOMIC_RELAXED) >> pair & 1)
        return -EBUSY;
    queue = calloc(1, sizeof(*queue));
    if (!queue)
        return -ENOMEM;
    base = link_pair(link, pair);
    queue->link = link;
    queue->pair = pair;
    queue->host = (struct vgpu_pair_host *)base;
    queue->guest = (struct vgpu_pair_guest *)(base + VGPU_PAGE_BYTES);
    queue->submissions = (struct vgpu_submission *)(base + page->sq_offset);
    queue->completions = (const struct vgpu_completion *)(base + page->cq_offset);
    queue->data = base + page->data_offset;
    queue->sq_entries = page->sq_entries;
    queue->cq_entries = page->cq_entries;
    queue->plain_max = page->sq_entries < page->cq_entries ? page->sq_entries : page->cq_entries;
    /* What attach.c put there; no one else has written it since. */
    queue->sq_tail = __atomic_load_n(&queue->guest->sq_tail, __ATOMIC_RELAXED);
    queue->sq_published = queue->sq_head = queue->sq_tail;
    queue->cq_head = __atomic_load_n(&queue->guest->cq_head, __ATOMIC_RELAXED);
    queue->cq_tail = queue->cq_head;

    queue->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (queue->epoll < 0) {
        rc = -errno;
        free(queue);
        return rc;
    }
    rc = watch(queue, link->vectors[pair], EPOLLIN | EPOLLET);
    if (!rc)
        rc = watch(queue, link->connection, EPOLLIN | EPOLLRDHUP);
    if (rc) {
        vgpu_queue_close(queue);
        return rc;
    }
    *out = queue;
    return 0;
}

void vgpu_queue_close(struct vgpu_queue *queue)
{
    if (!queue)
        return;
    close(queue->epoll);
    free(queue);
}

static int pair_state(const struct vgpu_queue *queue)
{
    return __atomic_load_n(&queue->host->state, __ATOMIC_RELAXED) == VGPU_PAIR_OK ? 0 : -EIO;
}

static int is_urgent(const struct vgpu_submission *entry)
{
    return entry->kind == VGPU_KIND_SIGNAL || entry->kind == VGPU_KIND_CANCEL ||
           entry->kind == VGPU_KIND_QUERY;
}

int vgpu_queue_put(struct vgpu_queue *queue, const struct vgpu_submission *entry)
{
    struct vgpu_submission *at;

    if (queue->outstanding >= (is_urgent(entry) ? queue->cq_entries : queue->plain_max)) {
        int rc = pair_state(queue);

        return rc ? rc : -EAGAIN;
    }
    if (queue->sq_tail - queue->sq_head == queue->sq_entries) {
        uint32_t head = __atomic_load_n(&queue->host->sq_head, __ATOMIC_ACQUIRE);

        if (head - queue->sq_head > queue->sq_published - queue->sq_head)
            return -EPROTO;
        queue->sq_head = head;
        if (queue->sq_tail - head == queue->sq_entries) {
            int rc = pair_state(queue);

            return rc ? rc : -EAGAIN;
        }
    }
    at = &queue->submissions[queue->sq_tail & (queue->sq_entries - 1)];
    *at = *entry;
    at->generation = queue->link->page.generation;
    queue->sq_tail++;
    queue->outstanding++;
    return 0;
}

int vgpu_queue_push(struct vgpu_queue *queue)
{
    if (queue->sq_published == queue->sq_tail)
        return 0;
    queue->sq_published = queue->sq_tail;
    __atomic_store_n(&queue->guest->sq_tail, queue->sq_tail, __ATOMIC_SEQ_CST);
    if (!__atomic_load_n(&queue->host->sq_need_doorbell, __ATOMIC_SEQ_CST))
        return 0;
    return link_ring(queue->link, queue->pair);
}

int vgpu_queue_take(struct vgpu_queue *queue, struct vgpu_completion *completion)
{
    for (;;) {
        if (queue->cq_head == queue->cq_tail) {
            uint32_t tail = __atomic_load_n(&queue->host->cq_tail, __ATOMIC_ACQUIRE);

            if (tail == queue->cq_head)
                return 0;
            if (tail - queue->cq_head > queue->cq_entries)
                return -EPROTO;
            queue->cq_tail = tail;
        }
        memcpy(completion, &queue->completions[queue->cq_head & (queue->cq_entries - 1)],
               sizeof(*completion));
        queue->cq_head++;
        __atomic_store_n(&queue->guest->cq_head, queue->cq_head, __ATOMIC_RELEASE);
        /* What belongs to an earlier attachment is nobody's any more. */
        if (completion->generation != queue->link->page.generation)
            continue;
        if (queue->outstanding == 0)
            return -EPROTO; /* an answer to nothing */
        queue->outstanding--;
        return 1;
    }
}

static int something_to_take(const struct vgpu_queue *queue, int order)
{
    uint32_t tail = order == __ATOMIC_SEQ_CST
                        ? __atomic_load_n(&queue->host->cq_tail, __ATOMIC_SEQ_CST)
                        : __atomic_load_n(&queue->host->cq_tail, __ATOMIC_RELAXED);

    return queue->cq_head != queue->cq_tail || tail != queue->cq_head;
}

static int spin(const struct vgpu_queue *queue, uint64_t until_ns)
{
    do {
        for (int i = 0; i < SPINS_BEFORE_CLOCK; i++) {
            if (something_to_take(queue, __ATOMIC_RELAXED))
                return 1;
            cpu_relax();
        }
    } while (vgpu_now_ns() < until_ns);
    return 0;
}

int vgpu_queue_wait(struct vgpu_queue *queue, int timeout_ms)
{
    uint64_t start_ns, deadline_ns;

    if (something_to_take(queue, __ATOMIC_RELAXED))
        return 0;
    if (timeout_ms <= 0)
        return -ETIMEDOUT;
    start_ns = vgpu_now_ns();
    deadline_ns = start_ns + (uint64_t)timeout_ms * 1000000u;
    if (queue->spin_us && spin(queue, start_ns + (uint64_t)queue->spin_us * 1000u))
        return 0;

    for (;;) {
        struct epoll_event events[2];
        uint64_t now_ns;
        int count, left_ms, rc;

        __atomic_store_n(&queue->guest->cq_event, queue->cq_head, __ATOMIC_SEQ_CST);
        if (something_to_take(queue, __ATOMIC_SEQ_CST))
            return 0;
        rc = pair_state(queue);
        if (rc)
            return rc;
        now_ns = vgpu_now_ns();
        if (now_ns >= deadline_ns)
            return -ETIMEDOUT;
        left_ms = (int)((deadline_ns - now_ns + 999999u) / 1000000u);
        count = epoll_wait(queue->epoll, events, 2,
                           left_ms < STATE_CHECK_MS ? left_ms : STATE_CHECK_MS);
        if (count < 0 && errno != EINTR)
            return -errno;
        for (int i = 0; i < count; i++) {
            if (events[i].data.fd != queue->link->connection)
                continue;
            rc = link_alive(queue->link);
            /* What was answered before the end is still taken. */
            if (rc)
                return something_to_take(queue, __ATOMIC_SEQ_CST) ? 0 : rc;
        }
    }
}

void vgpu_queue_spin(struct vgpu_queue *queue, uint32_t spin_us)
{
    queue->spin_us = spin_us;
}

void *vgpu_queue_data(struct vgpu_queue *queue, uint64_t offset, uint64_t bytes)
{
    uint64_t all = queue->link->page.data_bytes;

    if (offset > all || bytes > all - offset)
        return NULL;
    return queue->data + offset;
}

uint64_t vgpu_queue_data_bytes(const struct vgpu_queue *queue)
{
    return queue->link->page.data_bytes;
}
