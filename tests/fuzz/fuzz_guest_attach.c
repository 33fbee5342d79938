/*
 * fuzz_guest_attach.c - A host that greets libvgpu with anything, and then writes anything
 *
 * The input chooses what stands in the host page, then message by message what the server says and
 * which descriptors come along, then what it does to the shared memory while a queue is used.
 * Attaching ends in time, leaves no descriptor behind, and no place that the library hands out or
 * uses lies outside the mapping.
 */
#include <errno.h>

#include "fake_ring_host.h"
#include "guest/link.h"
#include "guest/vgpu.h"
#include "input.h"
#include "replay.h"
#include "strange_fds.h"

#define PATIENT_MS  1000
#define HASTY_MS    2
#define PAGE_WRITES 8

/* One field of the host page, or any word of it, gets a value that is nearly right or any. */
static void spoil_page(struct fake_host *host, struct input *in)
{
    static const uint8_t shifts[] = {0, 12, 16, 17, 20, 31, 40, 63};
    uint32_t offset = take_small(in, sizeof(struct vgpu_host_page) / 4) * 4;
    uint32_t how = (uint32_t)take(in, 1);
    uint64_t value = 0;

    if (how & 1)
        value = (uint64_t)take(in, 1) << shifts[how >> 1 & 7];
    else
        value = take(in, 1 + (how >> 1 & 7));
    memcpy((uint8_t *)host->page + offset, &value, how & 16 || offset % 8 ? 4 : 8);
}

/* What the server should say as its message number @number. */
static int64_t right_message(const struct fake_host *host, uint32_t number, int *fd)
{
    uint32_t pairs = host->shape.pairs;

    *fd = -1;
    if (number < 2)
        return number == 0 ? 0 : FAKE_CLIENT_ID;
    if (number == 2) {
        *fd = host->memory_fd;
        return -1;
    }
    number -= 3;
    *fd = number < pairs ? host->doorbells[number] : host->vectors[number - pairs];
    return number < pairs ? 0 : FAKE_CLIENT_ID;
}

/* Say one message, right or not. Return: false = the server says nothing more. */
static bool say(struct fake_host *host, struct input *in, uint32_t number)
{
    int fds[3], strange[3], fd, count;
    int64_t value = right_message(host, number, &fd);
    uint32_t act = in->left ? take_small(in, 16) : 0, made = 0;
    size_t length = sizeof(value);

    count = fd >= 0;
    fds[0] = fd;
    if (act == 15)
        return false;
    if (act & 1)
        value = (int64_t)take(in, 8);
    if (act & 2)
        length = take_small(in, 9);
    if (act & 4) {
        made = take_small(in, 4);
        count = (int)made;
        for (uint32_t i = 0; i < made; i++)
            fds[i] = strange[i] = strange_fd(take_small(in, STRANGE_KINDS));
    }
    if (act == 8)
        count = 0;
    send_with_fds(host->connection, &value, length, fds, length ? (uint32_t)count : 0);
    for (uint32_t i = 0; i < made; i++)
        close(strange[i]);
    return true;
}

/* A word of the pages that the host writes, or of the rings. */
static void scribble(struct fake_host *host, struct input *in)
{
    static const uint32_t places[] = {0, 0x10000, 0x11000, 0x20000, 0x30000};
    uint32_t offset = places[take_small(in, 5)] + take_small(in, 64) * 4;
    uint32_t value = (uint32_t)take(in, 1 + in->left % 4);

    if (offset + 4 <= host->mapped_bytes)
        memcpy(host->mapping + offset, &value, sizeof(value));
}

static void look_at_data(struct vgpu_link *link, struct vgpu_queue *queue, struct input *in)
{
    uint64_t offset = take(in, 8), bytes = take(in, 3);
    uint8_t *data = vgpu_queue_data(queue, offset, bytes);

    if (!data)
        return;
    FUZZ_CHECK(data >= link->region && data + bytes <= link->region + link->mapped_bytes);
    if (bytes)
        data[0] = data[bytes - 1] = 1;
}

static void use_queue(struct fake_host *host, struct vgpu_link *link, struct vgpu_queue *queue,
                      struct input *in)
{
    struct vgpu_submission entry = {.kind = VGPU_KIND_NOP, .cookie = 1};
    struct vgpu_completion completion;
    struct vgpu_link_facts facts;

    while (in->left) {
        int rc = 0;

        switch (take_small(in, 8)) {
        case 0:
            rc = vgpu_queue_put(queue, &entry);
            break;
        case 1:
            rc = vgpu_queue_push(queue);
            break;
        case 2:
            rc = vgpu_queue_take(queue, &completion);
            break;
        case 3:
            rc = vgpu_queue_wait(queue, (int)take_small(in, 2));
            break;
        case 4:
            look_at_data(link, queue, in);
            break;
        case 5:
            vgpu_link_facts(link, &facts);
            break;
        case 6:
            fake_host_hang_up(host);
            break;
        default:
            scribble(host, in);
            break;
        }
        FUZZ_CHECK(rc <= 1);
    }
}

static void use_link(struct fake_host *host, struct vgpu_link *link, struct input *in)
{
    uint32_t pair = take_small(in, host->shape.pairs + 1);
    struct vgpu_queue *queue;

    if (vgpu_queue_open(link, pair, &queue))
        return;
    use_queue(host, link, queue, in);
    vgpu_queue_close(queue);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input in = {data, size};
    uint32_t flags = (uint32_t)take(&in, 1), fds = count_fds(),
             writes = take_small(&in, PAGE_WRITES);
    struct fake_shape shape = {.pairs = (uint16_t)(1 + (flags & 1)),
                               .sq_entries = 16,
                               .cq_entries = 32,
                               .data_bytes = 65536};
    struct vgpu_link *link = NULL;
    struct vgpu_reason why;
    struct fake_host host;
    int rc;

    fake_host_new(&host, shape, NULL, NULL);
    host.page->device_status = flags & 2 ? VGPU_DEVICE_WAITING : VGPU_DEVICE_OK;
    while (writes--)
        spoil_page(&host, &in);
    for (uint32_t i = 0; i < 3 + 2u * shape.pairs; i++)
        if (!say(&host, &in, i))
            break;
    if (!(flags & 4))
        fake_host_hang_up(&host);
    rc = vgpu_attach_connected(host.client_end, VGPU_FEATURES_ALL,
                               flags & 4 ? HASTY_MS : PATIENT_MS, &link, &why);
    FUZZ_CHECK(memchr(why.text, 0, sizeof(why.text)) && (rc == 0) == (why.text[0] == 0));
    FUZZ_CHECK((rc == 0) == (link != NULL));
    if (link) {
        use_link(&host, link, &in);
        vgpu_detach(link);
    }
    fake_host_free(&host);
    FUZZ_CHECK(count_fds() == fds);
    return 0;
}
