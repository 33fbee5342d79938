/* sanitizers: address thread */
/*
 * test_guest_attach.c - Attaching: the handshake, the host page, the features (guest/attach.c)
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "check.h"
#include "fake_ring_host.h"
#include "guest/vgpu.h"

#define LENGTH(array) (sizeof(array) / sizeof((array)[0]))
#define TIMEOUT_MS    5000
#define SOON_MS       30

static const struct fake_shape shape = {
    .pairs = 2, .sq_entries = 16, .cq_entries = 32, .data_bytes = 65536};

static int attach(struct fake_host *host, int timeout_ms, struct vgpu_link **link,
                  struct vgpu_reason *why)
{
    return vgpu_attach_connected(host->client_end, VGPU_FEATURES_ALL, timeout_ms, link, why);
}

static int open_descriptors(void)
{
    int count = 0;

    for (int fd = 0; fd < 256; fd++)
        count += fcntl(fd, F_GETFD) != -1;
    return count;
}

static void a_right_host_is_attached_to(void)
{
    struct vgpu_link_facts facts;
    struct vgpu_link *link = NULL;
    struct vgpu_reason why;
    struct fake_host host;
    int descriptors = open_descriptors();

    CASE("a client attaches, learns what there is, and leaves no descriptor behind");
    fake_host_new(&host, shape, NULL, NULL);
    fake_host_greet(&host);
    fake_host_start(&host);
    CHECK(attach(&host, TIMEOUT_MS, &link, &why) == 0);
    if (link) {
        vgpu_link_facts(link, &facts);
        CHECK(facts.major == 2 && facts.generation == FAKE_GENERATION);
        CHECK(facts.pair_count == 2 && facts.sq_entries == 16 && facts.cq_entries == 32);
        CHECK(facts.data_bytes == 65536);
        CHECK(facts.vm_id == 5 && facts.pool_id == 'A' && facts.priority == 2);
        CHECK(facts.accepted == 1u << VGPU_FEATURE_OPENCL_C);
    }
    vgpu_detach(link);
    fake_host_free(&host);
    CHECK(open_descriptors() == descriptors);
}

static void identity_is_live(void)
{
    struct vgpu_link_facts facts;
    struct vgpu_link *link = NULL;
    struct vgpu_reason why;
    struct fake_host host;

    CASE("a changed pool and priority are seen without attaching again");
    fake_host_new(&host, shape, NULL, NULL);
    fake_host_greet(&host);
    host.page->device_status = VGPU_DEVICE_OK;
    CHECK(attach(&host, TIMEOUT_MS, &link, &why) == 0);
    host.page->pool_id = 'B';
    host.page->priority = 0;
    vgpu_link_facts(link, &facts);
    CHECK(facts.pool_id == 'B' && facts.priority == 0);
    vgpu_detach(link);
    fake_host_free(&host);
}

static void features_that_are_not_offered_are_not_accepted(void)
{
    struct vgpu_guest_page *guest;
    struct vgpu_link *link = NULL;
    struct vgpu_reason why;
    struct fake_host host;

    CASE("only known features that are offered are accepted, whatever else is offered");
    fake_host_new(&host, shape, NULL, NULL);
    host.page->features[0] = UINT64_MAX;
    fake_host_greet(&host);
    fake_host_start(&host);
    CHECK(vgpu_attach_connected(host.client_end, UINT64_MAX, TIMEOUT_MS, &link, &why) == 0);
    fake_host_stop(&host);
    guest = (struct vgpu_guest_page *)(host.region + VGPU_PAGE_BYTES);
    CHECK(guest->accepted[0] == VGPU_FEATURES_ALL && guest->accepted[1] == 0);
    CHECK(guest->status == (VGPU_GUEST_ACK | VGPU_GUEST_FEATURES_OK));
    vgpu_detach(link);
    fake_host_free(&host);

    CASE("a host that refuses the features is reported");
    fake_host_new(&host, shape, NULL, NULL);
    host.page->device_status = VGPU_DEVICE_FAILED;
    fake_host_greet(&host);
    CHECK(attach(&host, TIMEOUT_MS, &link, &why) == -EPROTO);
    CHECK(strstr(why.text, "refused the features"));
    fake_host_free(&host);
}

static void a_refusal_is_told_from_a_breakdown(void)
{
    struct vgpu_link *link;
    struct vgpu_reason why;
    struct fake_host host;

    CASE("a connection that is closed at once is a refusal, with the two possible reasons");
    fake_host_new(&host, shape, NULL, NULL);
    fake_host_hang_up(&host);
    CHECK(attach(&host, TIMEOUT_MS, &link, &why) == -ECONNREFUSED);
    CHECK(strstr(why.text, "another client") && strstr(why.text, "not the peer"));
    fake_host_free(&host);

    CASE("a connection that is closed in the middle of the handshake is not called one");
    fake_host_new(&host, shape, NULL, NULL);
    fake_host_message(&host, 0, -1);
    fake_host_message(&host, FAKE_CLIENT_ID, -1);
    fake_host_hang_up(&host);
    CHECK(attach(&host, TIMEOUT_MS, &link, &why) == -ECONNREFUSED);
    CHECK(!strstr(why.text, "another client") && strstr(why.text, "shared memory"));
    fake_host_free(&host);

    CASE("a host that says nothing, or never agrees on features, is a timeout");
    fake_host_new(&host, shape, NULL, NULL);
    CHECK(attach(&host, SOON_MS, &link, &why) == -ETIMEDOUT);
    fake_host_free(&host);
    fake_host_new(&host, shape, NULL, NULL);
    fake_host_greet(&host);
    CHECK(attach(&host, SOON_MS, &link, &why) == -ETIMEDOUT);
    CHECK(strstr(why.text, "features"));
    fake_host_free(&host);

    CASE("a path where nothing is, or that is too long, says what to do");
    CHECK(vgpu_attach("/nonexistent/ring.sock", 0, 10, &link, &why) == -ENOENT);
    CHECK(strstr(why.text, "registered"));
    {
        char path[200];

        memset(path, 'p', sizeof(path));
        path[sizeof(path) - 1] = 0;
        CHECK(vgpu_attach(path, 0, 10, &link, &why) == -ENAMETOOLONG);
    }
}

/* Break one thing in the handshake. Return: what attaching says. */
static int attach_to_broken_handshake(int what, struct vgpu_reason *why)
{
    struct vgpu_link *link = NULL;
    struct fake_host host;
    int rc;

    fake_host_new(&host, shape, NULL, NULL);
    host.page->device_status = VGPU_DEVICE_OK;
    fake_host_message(&host, what == 0 ? 1 : 0, what == 1 ? host.stop_fd : -1);
    fake_host_message(&host, what == 2 ? 70000 : what == 3 ? 0 : FAKE_CLIENT_ID, -1);
    fake_host_message(&host, what == 4 ? -2 : -1, what == 5 ? -1 : host.memory_fd);
    fake_host_message(&host, what == 6 ? 9 : 0,
                      what == 7   ? -1
                      : what == 9 ? host.client_end
                                  : host.doorbells[0]);
    fake_host_message(&host, 0, host.doorbells[1]);
    fake_host_message(&host, FAKE_CLIENT_ID, host.vectors[0]);
    fake_host_message(&host, what == 8 ? 0 : FAKE_CLIENT_ID, host.vectors[1]);
    rc = attach(&host, TIMEOUT_MS, &link, why);
    vgpu_detach(link);
    fake_host_free(&host);
    return rc;
}

static void a_broken_handshake_is_refused(void)
{
    struct vgpu_reason why;
    int descriptors = open_descriptors();

    CASE("each message of the handshake is checked, and its descriptor closed when it is wrong");
    for (int what = 0; what < 10; what++) {
        why.text[0] = 0;
        CHECK(attach_to_broken_handshake(what, &why) == -EPROTO);
        CHECK(why.text[0] != 0);
    }
    CHECK(attach_to_broken_handshake(-1, &why) == 0);
    CHECK(open_descriptors() == descriptors);
}

struct wrong {
    const char *name;
    size_t offset;
    size_t bytes;
    uint64_t value;
};

#define WRONG(field, value)                                                                        \
    {#field " = " #value, offsetof(struct vgpu_host_page, field),                                  \
     sizeof(((struct vgpu_host_page *)0)->field), value}

static void a_wrong_host_page_is_refused(void)
{
    static const struct wrong wrongs[] = {
        WRONG(magic, 0),
        WRONG(major, 1),
        WRONG(major, 3),
        WRONG(page_bytes, 64),
        WRONG(page_bytes, 5000),
        WRONG(region_bytes, UINT64_MAX),
        WRONG(region_bytes, 65536),
        WRONG(qp_count, 0),
        WRONG(qp_count, 65),
        WRONG(qp_count, 3),
        WRONG(sq_entries, 0),
        WRONG(sq_entries, 24),
        WRONG(sq_entries, 65536),
        WRONG(cq_entries, 8),
        WRONG(cq_entries, 0x80000000),
        WRONG(qp_base, 0),
        WRONG(qp_base, 8192),
        WRONG(qp_base, 0xffffffffffff0000),
        WRONG(qp_stride, 0),
        WRONG(qp_stride, 0xffffffffffff0000),
        WRONG(qp_stride, 131072),
        WRONG(sq_offset, 0),
        WRONG(sq_offset, 65540),
        WRONG(sq_offset, 0xffffffffffff0000),
        WRONG(cq_offset, 65536),
        WRONG(data_offset, 65536),
        WRONG(data_offset, 0xffffffffffff0000),
        WRONG(data_bytes, 0),
        WRONG(data_bytes, 4100),
        WRONG(data_bytes, 0xfffffffffffff000),
        WRONG(device_status, 9),
    };

    CASE("a host page with one wrong field is refused, with a reason");
    for (size_t i = 0; i < LENGTH(wrongs); i++) {
        struct vgpu_link *link = NULL;
        struct vgpu_reason why = {""};
        struct fake_host host;
        int rc;

        fake_host_new(&host, shape, NULL, NULL);
        fake_host_greet(&host);
        host.page->device_status = VGPU_DEVICE_OK;
        memcpy((uint8_t *)host.page + wrongs[i].offset, &wrongs[i].value, wrongs[i].bytes);
        rc = attach(&host, TIMEOUT_MS, &link, &why);
        if (rc != -EPROTO || !why.text[0])
            fprintf(stderr, "%s: rc %d, \"%s\"\n", wrongs[i].name, rc, why.text);
        CHECK(rc == -EPROTO && why.text[0]);
        vgpu_detach(link);
        fake_host_free(&host);
    }
}

static void unsealed_memory_is_refused(void)
{
    struct vgpu_link *link;
    struct vgpu_reason why;
    struct fake_host host;
    int unsealed = memfd_create("unsealed", MFD_CLOEXEC | MFD_ALLOW_SEALING);

    CASE("memory that somebody could truncate under us is not mapped");
    fake_host_new(&host, shape, NULL, NULL);
    CHECK(ftruncate(unsealed, (off_t)host.page->region_bytes) == 0);
    CHECK(pwrite(unsealed, host.page, sizeof(*host.page), 0) == sizeof(*host.page));
    fake_host_message(&host, 0, -1);
    fake_host_message(&host, FAKE_CLIENT_ID, -1);
    fake_host_message(&host, -1, unsealed);
    CHECK(attach(&host, TIMEOUT_MS, &link, &why) == -EPROTO);
    CHECK(strstr(why.text, "sealed"));
    close(unsealed);
    fake_host_free(&host);

    CASE("memory that is shorter than two pages is not mapped");
    fake_host_new(&host, shape, NULL, NULL);
    unsealed = memfd_create("short", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    CHECK(fcntl(unsealed, F_ADD_SEALS, F_SEAL_SHRINK) == 0);
    fake_host_message(&host, 0, -1);
    fake_host_message(&host, FAKE_CLIENT_ID, -1);
    fake_host_message(&host, -1, unsealed);
    CHECK(attach(&host, TIMEOUT_MS, &link, &why) == -EPROTO);
    close(unsealed);
    fake_host_free(&host);
}

static void a_pair_is_opened_once(void)
{
    struct vgpu_queue *queue, *other;
    struct vgpu_link *link = NULL;
    struct vgpu_reason why;
    struct fake_host host;

    CASE("a pair is opened once, and only if it is there");
    fake_host_new(&host, shape, NULL, NULL);
    fake_host_greet(&host);
    host.page->device_status = VGPU_DEVICE_OK;
    CHECK(attach(&host, TIMEOUT_MS, &link, &why) == 0);
    CHECK(vgpu_queue_open(link, 0, &queue) == 0);
    CHECK(vgpu_queue_open(link, 0, &other) == -EBUSY);
    CHECK(vgpu_queue_open(link, 2, &other) == -EINVAL);
    CHECK(vgpu_queue_open(link, 1, &other) == 0);
    CHECK(vgpu_queue_data(queue, 65536, 0) != NULL);
    CHECK(vgpu_queue_data(queue, 65536, 1) == NULL);
    CHECK(vgpu_queue_data(queue, 1, UINT64_MAX) == NULL);
    vgpu_queue_close(other);
    vgpu_queue_close(queue);
    vgpu_detach(link);
    fake_host_free(&host);
}

int main(void)
{
    a_right_host_is_attached_to();
    identity_is_live();
    features_that_are_not_offered_are_not_accepted();
    a_refusal_is_told_from_a_breakdown();
    a_broken_handshake_is_refused();
    a_wrong_host_page_is_refused();
    unsealed_memory_is_refused();
    a_pair_is_opened_once();
    return check_done();
}
