/* sanitizers: address thread */
/*
 * test_guest_session.c - Calls, tickets, retries and memory of a session (guest/session.c, calls.c)
 *
 * The host is a thread with a small device in it: one buffer of memory, modules that compile unless
 * their code says "error".
 */
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "check.h"
#include "fake_ring_host.h"
#include "guest/link.h"
#include "guest/vgpu.h"

#define DATA_BYTES   65536u
#define DEVICE_BYTES 300000u
#define BUILD_LOG    "saxpy.cl:1: this is an error"

struct device {
    uint8_t memory[DEVICE_BYTES];
    uint32_t buffer; /* its id; 0 = none */
    uint32_t ops[256];
    uint32_t refusals; /* answer this often BUSY first */
    uint32_t refused;
    bool silent;    /* answer nothing */
    bool short_out; /* claim to have read less */
    struct vgpu_submission last;
    struct vgpu_launch_arg launch_args[4];
};

struct fixture {
    struct fake_host host;
    struct vgpu_link *link;
    struct vgpu_queue *queue;
    struct vgpu_session *session;
    struct device device;
};

static uint16_t run_op(struct device *device, const uint8_t *op, uint8_t *data,
                       struct vgpu_completion *completion)
{
    struct vgpu_op_header head;

    memcpy(&head, op, sizeof(head));
    device->ops[head.op & 0xff]++;
    switch (head.op) {
    case VGPU_OP_DEVICE_INFO: {
        struct vgpu_device_info info = {.size = sizeof(info),
                                        .type = VGPU_DEVICE_TYPE_CPU,
                                        .name = "Fake device",
                                        .backend = "null",
                                        .vm_memory_bytes = DEVICE_BYTES};
        const struct vgpu_op_device_info *body = (const void *)op;

        memcpy(data + body->out.off, &info, sizeof(info));
        completion->out_len = sizeof(info);
        return VGPU_OK;
    }
    case VGPU_OP_ALLOC: {
        const struct vgpu_op_alloc *body = (const void *)op;

        if (device->buffer)
            return VGPU_EXISTS;
        if (body->bytes > DEVICE_BYTES)
            return VGPU_QUOTA;
        device->buffer = body->id;
        completion->result[0] = 0x1000;
        return VGPU_OK;
    }
    case VGPU_OP_FREE: {
        const struct vgpu_op_free *body = (const void *)op;

        if (body->id != device->buffer)
            return VGPU_NO_OBJECT;
        device->buffer = 0;
        return VGPU_OK;
    }
    case VGPU_OP_WRITE: {
        const struct vgpu_op_write *body = (const void *)op;

        if (body->src.len > DEVICE_BYTES || body->dst.off > DEVICE_BYTES - body->src.len)
            return VGPU_INVALID;
        memcpy(device->memory + body->dst.off, data + body->src.off, body->src.len);
        return VGPU_OK;
    }
    case VGPU_OP_READ: {
        const struct vgpu_op_read *body = (const void *)op;

        if (body->dst.len > DEVICE_BYTES || body->src.off > DEVICE_BYTES - body->dst.len)
            return VGPU_INVALID;
        memcpy(data + body->dst.off, device->memory + body->src.off, body->dst.len);
        completion->out_len = (uint32_t)body->dst.len - device->short_out;
        return VGPU_OK;
    }
    case VGPU_OP_MODULE_LOAD: {
        const struct vgpu_op_module_load *body = (const void *)op;

        if (memcmp(data + body->code.off, "error", 5))
            return VGPU_OK;
        completion->out_len =
            (uint32_t)(body->log.len < strlen(BUILD_LOG) ? body->log.len : strlen(BUILD_LOG));
        memcpy(data + body->log.off, BUILD_LOG, completion->out_len);
        return VGPU_BUILD_FAILED;
    }
    case VGPU_OP_KERNEL_CREATE:
        completion->result[0] = 3;
        return VGPU_OK;
    default:
        return VGPU_OK;
    }
}

static bool serve(void *context, const struct vgpu_submission *entry, uint8_t *data,
                  struct vgpu_completion *completion)
{
    struct device *device = context;

    device->last = *entry;
    if (device->silent)
        return false;
    if (device->refused < device->refusals) {
        device->refused++;
        completion->status = VGPU_BUSY;
        completion->retry_after_us = 200;
        return true;
    }
    if (entry->kind == VGPU_KIND_NOP)
        return true;
    for (uint32_t at = 0; at < entry->cmd_len;) {
        const uint8_t *op = data + entry->cmd_off + at;
        struct vgpu_op_header head;

        memcpy(&head, op, sizeof(head));
        completion->status = run_op(device, op, data, completion);
        if (completion->status)
            break;
        completion->op_index++;
        at += head.size;
    }
    return true;
}

static void set_up(struct fixture *f, uint32_t timeout_ms, uint32_t depth)
{
    const struct fake_shape shape = {
        .pairs = 1, .sq_entries = 16, .cq_entries = 16, .data_bytes = DATA_BYTES};
    struct vgpu_session_options options = VGPU_SESSION_DEFAULTS;
    struct vgpu_reason why;

    memset(f, 0, sizeof(*f));
    fake_host_new(&f->host, shape, serve, &f->device);
    fake_host_greet(&f->host);
    f->host.page->device_status = VGPU_DEVICE_OK;
    CHECK(vgpu_attach_connected(f->host.client_end, VGPU_FEATURES_ALL, 5000, &f->link, &why) == 0);
    CHECK(vgpu_queue_open(f->link, 0, &f->queue) == 0);
    options.timeout_ms = timeout_ms;
    options.depth = depth;
    CHECK(vgpu_session_open(f->queue, &options, &f->session) == 0);
    fake_host_share(&f->host, f->link->region);
}

static void tear_down(struct fixture *f)
{
    fake_host_stop(&f->host);
    vgpu_session_close(f->session);
    vgpu_queue_close(f->queue);
    vgpu_detach(f->link);
    fake_host_free(&f->host);
}

static struct fixture f;

static void bulk_data_goes_in_pieces(void)
{
    static uint8_t sent[DEVICE_BYTES], back[DEVICE_BYTES];
    uint64_t raw = 0;

    CASE("data several times the slice is written and read back unchanged, in pieces");
    set_up(&f, 20000, 8);
    fake_host_start(&f.host);
    for (size_t i = 0; i < sizeof(sent); i++)
        sent[i] = (uint8_t)(i * 7 + i / 251);
    CHECK(vgpu_alloc(f.session, 9, DEVICE_BYTES, &raw) == 0 && raw == 0x1000);
    CHECK(vgpu_write(f.session, 9, 0, sent, sizeof(sent)) == 0);
    CHECK(vgpu_read(f.session, 9, 0, back, sizeof(back)) == 0);
    CHECK(memcmp(sent, back, sizeof(sent)) == 0);
    CHECK(vgpu_read(f.session, 9, 100001, back, 3) == 0);
    CHECK(memcmp(sent + 100001, back, 3) == 0);
    CHECK(vgpu_write(f.session, 9, 0, sent, 0) == 0);
    CHECK(vgpu_free(f.session, 9) == 0);
    fake_host_stop(&f.host);
    CHECK(f.device.ops[VGPU_OP_WRITE] == 10); /* 300,000 in halves of 65,536 */
    CHECK(f.device.ops[VGPU_OP_READ] == 11);

    CASE("the host's refusal is the call's result");
    fake_host_start(&f.host);
    CHECK(vgpu_free(f.session, 9) == VGPU_NO_OBJECT);
    CHECK(vgpu_alloc(f.session, 9, DEVICE_BYTES + 1, NULL) == VGPU_QUOTA);
    CHECK(vgpu_write(f.session, 9, DEVICE_BYTES, sent, 1) == VGPU_INVALID);
    fake_host_stop(&f.host);

    CASE("a host that claims to have read something else is not believed");
    f.device.short_out = true;
    fake_host_start(&f.host);
    CHECK(vgpu_read(f.session, 9, 0, back, 100) == -EPROTO);
    tear_down(&f);
}

static void other_calls(void)
{
    struct vgpu_launch launch = {.kernel = 1, .dims = 1, .global = {64, 1, 1}};
    struct vgpu_completion answer;
    struct vgpu_device_info info;
    uint32_t arg_count = 0;
    char text[256];
    struct vgpu_build_log log = {.text = text, .room = sizeof(text)};

    CASE("the device is described");
    set_up(&f, 20000, 8);
    fake_host_start(&f.host);
    CHECK(vgpu_device_info(f.session, &info) == 0);
    CHECK(!strcmp(info.name, "Fake device") && info.vm_memory_bytes == DEVICE_BYTES);

    CASE("a program that compiles can be used");
    CHECK(vgpu_module_load(f.session, 1, VGPU_MODULE_OPENCL_C, "ok", 2, "-O2", &log) == 0);
    CHECK(log.bytes == 0 && text[0] == 0);
    CHECK(vgpu_kernel_create(f.session, 1, 1, "saxpy", &arg_count) == 0 && arg_count == 3);
    CHECK(vgpu_launch(f.session, &launch, &answer, NULL) == 0 && answer.op_index == 2);
    CHECK(vgpu_sync(f.session) == 0);
    CHECK(vgpu_nop(f.session, &answer) == 0);
    CHECK(vgpu_module_unload(f.session, 1) == 0);

    CASE("a program that does not compile brings its log, cut to the room there is");
    CHECK(vgpu_module_load(f.session, 1, VGPU_MODULE_OPENCL_C, "error", 5, NULL, &log) ==
          VGPU_BUILD_FAILED);
    CHECK(!strcmp(text, BUILD_LOG) && log.bytes == strlen(BUILD_LOG));
    log.room = 9;
    CHECK(vgpu_module_load(f.session, 1, VGPU_MODULE_OPENCL_C, "error", 5, NULL, &log) ==
          VGPU_BUILD_FAILED);
    CHECK(!strcmp(text, "saxpy.cl"));

    CASE("a program that does not fit into the slice is refused here");
    {
        static char large[DATA_BYTES + 1];

        CHECK(vgpu_module_load(f.session, 1, VGPU_MODULE_OPENCL_C, large, sizeof(large), NULL,
                               NULL) == -EFBIG);
    }
    tear_down(&f);
}

static void busy_is_retried(void)
{
    struct vgpu_completion answer;
    uint64_t ticket;

    CASE("a busy host is asked again after the time it names");
    set_up(&f, 20000, 8);
    f.device.refusals = 5;
    fake_host_start(&f.host);
    CHECK(vgpu_nop(f.session, &answer) == VGPU_OK);
    CHECK(vgpu_session_retries(f.session) == 5);

    CASE("a host that stays busy is given up after the configured number of tries");
    fake_host_stop(&f.host);
    f.device.refusals = 100000;
    fake_host_start(&f.host);
    CHECK(vgpu_nop(f.session, &answer) == VGPU_BUSY);
    CHECK(vgpu_session_retries(f.session) == 55);

    CASE("a ticket's refusal is returned as it is");
    CHECK(vgpu_session_start(f.session, VGPU_KIND_NOP, NULL, &ticket) == 0);
    CHECK(vgpu_session_finish(f.session, ticket, &answer) == VGPU_BUSY);
    CHECK(answer.retry_after_us == 200);
    tear_down(&f);
}

static void many_are_outstanding(void)
{
    struct vgpu_completion answer;
    uint64_t tickets[8], extra;

    CASE("tickets are finished in any order, each once");
    set_up(&f, 20000, 8);
    fake_host_start(&f.host);
    for (int i = 0; i < 8; i++)
        CHECK(vgpu_session_start(f.session, VGPU_KIND_NOP, NULL, &tickets[i]) == 0);
    CHECK(vgpu_session_start(f.session, VGPU_KIND_NOP, NULL, &extra) == -EAGAIN);
    for (int i = 7; i >= 0; i -= 2)
        CHECK(vgpu_session_finish(f.session, tickets[i], &answer) == 0 &&
              answer.cookie == tickets[i]);
    for (int i = 0; i < 8; i += 2)
        CHECK(vgpu_session_finish(f.session, tickets[i], &answer) == 0);
    CHECK(vgpu_session_finish(f.session, tickets[3], &answer) == -EINVAL);
    CHECK(vgpu_session_finish(f.session, UINT64_MAX, &answer) == -EINVAL);

    CASE("a call finds room when all places are taken by answered tickets");
    for (int i = 0; i < 7; i++)
        CHECK(vgpu_session_start(f.session, VGPU_KIND_NOP, NULL, &tickets[i]) == 0);
    CHECK(vgpu_nop(f.session, &answer) == 0);
    for (int i = 0; i < 7; i++)
        CHECK(vgpu_session_finish(f.session, tickets[i], &answer) == 0);
    tear_down(&f);

    CASE("a command outside the slice, or an unfinished one, cannot be started");
    {
        _Alignas(8) uint8_t elsewhere[64];
        struct vgpu_command command;

        set_up(&f, 20000, 8);
        vgpu_command_begin(&command, elsewhere, sizeof(elsewhere));
        CHECK(vgpu_session_start(f.session, VGPU_KIND_COMMAND, &command, &extra) == -EINVAL);
        vgpu_command_nop(&command);
        CHECK(vgpu_session_start(f.session, VGPU_KIND_COMMAND, &command, &extra) == -EINVAL);
        CHECK(vgpu_session_start(f.session, VGPU_KIND_COMMAND, NULL, &extra) == -EINVAL);
        tear_down(&f);
    }
}

static void timeouts_keep_memory(void)
{
    struct vgpu_completion answer = {.generation = FAKE_GENERATION};
    uint64_t first, second, whole;

    CASE("a call that is not answered in time says so");
    set_up(&f, 20, 8);
    f.device.silent = true;
    CHECK(vgpu_session_memory(f.session, 64, &first) != NULL);
    CHECK(vgpu_nop(f.session, &answer) == -ETIMEDOUT);

    CASE("memory released after that is not reused before the late answer has come");
    vgpu_session_release(f.session, first);
    CHECK(vgpu_session_memory(f.session, 64, &second) != NULL);
    CHECK(second != first);
    vgpu_session_release(f.session, second);
    CHECK(vgpu_session_memory(f.session, DATA_BYTES, &whole) == NULL);
    CHECK(whole == VGPU_SLICE_NONE);
    fake_host_step(&f.host, 0);
    CHECK(f.device.last.kind == VGPU_KIND_COMMAND);
    answer =
        (struct vgpu_completion){.cookie = f.device.last.cookie, .generation = FAKE_GENERATION};
    fake_host_answer(&f.host, 0, &answer);
    CHECK(vgpu_nop(f.session, &answer) == -ETIMEDOUT); /* takes the late answer on its way */
    fake_host_step(&f.host, 0);
    answer =
        (struct vgpu_completion){.cookie = f.device.last.cookie, .generation = FAKE_GENERATION};
    fake_host_answer(&f.host, 0, &answer);
    CHECK(vgpu_session_start(f.session, VGPU_KIND_NOP, NULL, &first) == 0);
    CHECK(vgpu_session_finish(f.session, first, &answer) == -ETIMEDOUT);
    CHECK(vgpu_session_memory(f.session, DATA_BYTES, &whole) != NULL && whole == 0);

    CASE("a ticket that timed out may be finished later");
    fake_host_step(&f.host, 0);
    answer =
        (struct vgpu_completion){.cookie = f.device.last.cookie, .generation = FAKE_GENERATION};
    fake_host_answer(&f.host, 0, &answer);
    CHECK(vgpu_session_finish(f.session, first, &answer) == 0);

    CASE("a second answer to the same submission is refused");
    CHECK(vgpu_session_start(f.session, VGPU_KIND_NOP, NULL, &second) == 0);
    CHECK(vgpu_session_flush(f.session) == 0);
    fake_host_step(&f.host, 0);
    answer = (struct vgpu_completion){.cookie = first, .generation = FAKE_GENERATION};
    fake_host_answer(&f.host, 0, &answer);
    CHECK(vgpu_session_finish(f.session, second, &answer) == -EPROTO);
    tear_down(&f);
}

static void the_end_of_the_attachment(void)
{
    struct vgpu_completion answer;

    CASE("a call on a closed attachment ends at once");
    set_up(&f, 60000, 8);
    f.device.silent = true;
    fake_host_hang_up(&f.host);
    CHECK(vgpu_nop(f.session, &answer) == -EPIPE);
    tear_down(&f);
}

static void device_information_is_checked(void)
{
    struct vgpu_device_info info = {.size = sizeof(info), .name = "Device"}, read;

    CASE("shorter device information of an older host leaves the rest 0; nonsense is refused");
    info.compute_units = 4;
    CHECK(vgpu_device_info_read(&info, sizeof(info), &read) == 0 && read.compute_units == 4);
    info.size = offsetof(struct vgpu_device_info, compute_units);
    CHECK(vgpu_device_info_read(&info, info.size, &read) == 0 && read.compute_units == 0);
    CHECK(vgpu_device_info_read(&info, sizeof(info), &read) == -EPROTO);
    CHECK(vgpu_device_info_read(&info, 8, &read) == -EPROTO);
    info.size = sizeof(info);
    memset(info.name, 'x', sizeof(info.name));
    CHECK(vgpu_device_info_read(&info, sizeof(info), &read) == -EPROTO);
}

int main(void)
{
    bulk_data_goes_in_pieces();
    other_calls();
    busy_is_retried();
    many_are_outstanding();
    timeouts_keep_memory();
    the_end_of_the_attachment();
    device_information_is_checked();
    return check_done();
}
