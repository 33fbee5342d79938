/* sanitizers: address */
/*
 * test_guest_query.c - What a guest asks about modules and kernels, and copies on the device
 * (guest/query.c, calls.c)
 *
 * The host is a thread that answers as it is told, also with what no host should say.
 */
#include <errno.h>
#include <string.h>

#include "check.h"
#include "fake_ring_host.h"
#include "guest/link.h"
#include "guest/vgpu.h"

#define DATA_BYTES  65536u
#define ANSWER_MAX  1024u
#define DEVICE_SIZE 256u

struct device {
    uint8_t answer[ANSWER_MAX];
    uint64_t answer_bytes;
    uint64_t claimed_bytes; /* 0 = what is so */
    uint32_t claimed_len;   /* likewise */
    uint16_t status;
    struct vgpu_op_query last;
    uint32_t questions;
    uint8_t memory[DEVICE_SIZE]; /* of buffer 1 */
};

static struct device device;

static uint16_t query(const void *op, uint8_t *data, struct vgpu_completion *completion)
{
    struct vgpu_op_query body;

    memcpy(&body, op, sizeof(body));
    device.last = body;
    device.questions++;
    completion->result[0] = device.claimed_bytes ? device.claimed_bytes : device.answer_bytes;
    if (device.status)
        return device.status;
    if (body.out.len == 0)
        return VGPU_OK;
    if (body.out.len < device.answer_bytes)
        return VGPU_INVALID;
    memcpy(data + body.out.off, device.answer, device.answer_bytes);
    completion->out_len = device.claimed_len ? device.claimed_len : (uint32_t)device.answer_bytes;
    return VGPU_OK;
}

static bool serve(void *context, const struct vgpu_submission *entry, uint8_t *data,
                  struct vgpu_completion *completion)
{
    const uint8_t *op = data + entry->cmd_off;
    struct vgpu_op_header head;
    struct vgpu_op_copy copy;
    struct vgpu_op_fill fill;

    (void)context;
    memcpy(&head, op, sizeof(head));
    switch (head.op) {
    case VGPU_OP_QUERY:
        completion->status = query(op, data, completion);
        break;
    case VGPU_OP_COPY:
        memcpy(&copy, op, sizeof(copy));
        memcpy(device.memory + copy.dst.off, device.memory + copy.src.off, copy.len);
        break;
    case VGPU_OP_FILL:
        memcpy(&fill, op, sizeof(fill));
        for (uint64_t i = 0; i < fill.len; i++)
            device.memory[fill.dst.off + i] = fill.pattern[i % fill.pattern_bytes];
        break;
    default:
        completion->status = VGPU_UNSUPPORTED;
    }
    return true;
}

struct fixture {
    struct fake_host host;
    struct vgpu_link *link;
    struct vgpu_queue *queue;
    struct vgpu_session *session;
};

static void set_up(struct fixture *f)
{
    const struct fake_shape shape = {
        .pairs = 1, .sq_entries = 16, .cq_entries = 16, .data_bytes = DATA_BYTES};
    const struct vgpu_session_options options = VGPU_SESSION_DEFAULTS;
    struct vgpu_reason why;

    memset(f, 0, sizeof(*f));
    fake_host_new(&f->host, shape, serve, NULL);
    fake_host_greet(&f->host);
    f->host.page->device_status = VGPU_DEVICE_OK;
    CHECK(vgpu_attach_connected(f->host.client_end, VGPU_FEATURES_ALL, 5000, &f->link, &why) == 0);
    CHECK(vgpu_queue_open(f->link, 0, &f->queue) == 0);
    CHECK(vgpu_session_open(f->queue, &options, &f->session) == 0);
    fake_host_share(&f->host, f->link->region);
    fake_host_start(&f->host);
}

static void tear_down(struct fixture *f)
{
    fake_host_stop(&f->host);
    vgpu_session_close(f->session);
    vgpu_queue_close(f->queue);
    vgpu_detach(f->link);
    fake_host_free(&f->host);
}

/* What the host will say next. */
static void say(const void *answer, uint64_t bytes)
{
    memset(&device, 0, sizeof(device));
    memcpy(device.answer, answer, bytes);
    device.answer_bytes = bytes;
}

static void facts(struct vgpu_session *session)
{
    char bytes[ANSWER_MAX];
    size_t size = 99;

    CASE("a log comes whole, and its size alone is told, too");
    say("a warning", 9);
    CHECK(vgpu_module_fact(session, 5, VGPU_FACT_BUILD_LOG, NULL, 0, &size) == 0 && size == 9);
    CHECK(device.questions == 1);
    CHECK(vgpu_module_fact(session, 5, VGPU_FACT_BUILD_LOG, bytes, sizeof(bytes), &size) == 0);
    CHECK(size == 9 && memcmp(bytes, "a warning", 9) == 0);
    CHECK(device.last.what == VGPU_FACT_BUILD_LOG && device.last.obj == 5);

    CASE("too little room is said with the size, and the host is not asked for the rest");
    say("a warning", 9);
    CHECK(vgpu_module_fact(session, 5, VGPU_FACT_BINARY, bytes, 8, &size) == -ENOSPC && size == 9);
    CHECK(device.questions == 1);

    CASE("an empty log is no error, and a refusal is the call's result");
    say("", 0);
    CHECK(vgpu_module_fact(session, 5, VGPU_FACT_BUILD_LOG, bytes, 9, &size) == 0 && size == 0);
    device.status = VGPU_NO_OBJECT;
    CHECK(vgpu_module_fact(session, 5, VGPU_FACT_BINARY, bytes, 9, &size) == VGPU_NO_OBJECT);
    CHECK(vgpu_module_fact(session, 5, VGPU_FACT_KERNEL_ARGS, bytes, 9, &size) == -EINVAL);

    CASE("a host that contradicts itself is not believed");
    say("a warning", 9);
    device.claimed_len = 8;
    CHECK(vgpu_module_fact(session, 5, VGPU_FACT_BINARY, bytes, 64, &size) == -EPROTO);
    device.claimed_len = 0;
    device.claimed_bytes = UINT64_MAX;
    CHECK(vgpu_module_fact(session, 5, VGPU_FACT_BINARY, bytes, 64, &size) == -ENOSPC);
}

static void kernel_args(struct vgpu_session *session)
{
    struct vgpu_arg_info told[2] = {
        {.kind = VGPU_ARG_VALUE, .size = 4, .name = "a", .type = "float"},
        {.kind = VGPU_ARG_BUFFER, .name = "x", .type = "float*"}};
    struct vgpu_arg_info args[4];
    uint32_t count = 99;

    CASE("the arguments of a kernel come with their number");
    say(told, sizeof(told));
    CHECK(vgpu_kernel_args(session, 3, NULL, 0, &count) == 0 && count == 2);
    CHECK(vgpu_kernel_args(session, 3, args, 4, &count) == 0 && count == 2);
    CHECK(memcmp(args, told, sizeof(told)) == 0);
    CHECK(vgpu_kernel_args(session, 3, args, 1, &count) == -ENOSPC && count == 2);

    CASE("a text without an end, or half an argument, is not believed");
    memset(told[1].type, 'x', sizeof(told[1].type));
    say(told, sizeof(told));
    CHECK(vgpu_kernel_args(session, 3, args, 4, &count) == -EPROTO);
    say(told, sizeof(told) - 1);
    CHECK(vgpu_kernel_args(session, 3, args, 4, &count) == -EPROTO);
    device.claimed_bytes = 1000 * sizeof(told[0]);
    CHECK(vgpu_kernel_args(session, 3, NULL, 0, &count) == -EPROTO);
}

static void on_the_device(struct vgpu_session *session)
{
    memset(&device, 0, sizeof(device));
    CASE("a fill and a copy are done on the device");
    CHECK(vgpu_fill(session, vgpu_object(1, 8), 16, "abcd", 4) == 0);
    CHECK(memcmp(device.memory + 4, "\0\0\0\0abcdabcdabcdabcd\0", 21) == 0);
    CHECK(vgpu_copy(session, vgpu_object(1, 100), vgpu_object(1, 9), 5) == 0);
    CHECK(memcmp(device.memory + 99, "\0bcdab\0", 7) == 0);

    CASE("a fill that its pattern does not fit is refused here");
    CHECK(vgpu_fill(session, vgpu_object(1, 8), 15, "abcd", 4) == -EINVAL);
    CHECK(vgpu_fill(session, vgpu_object(1, 8), 15, "abc", 3) == -EINVAL);
}

int main(void)
{
    static struct fixture f;

    set_up(&f);
    facts(f.session);
    kernel_args(f.session);
    on_the_device(f.session);
    tear_down(&f);
    return check_done();
}
