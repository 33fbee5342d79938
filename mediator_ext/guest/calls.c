/*
 * calls.c - One synchronous call for each op
 *
 * Each builds a command of one op (LAUNCH of two) in memory of the slice, has it run, and gives the
 * memory back. Bulk data goes through the slice in pieces: at most half of it at a time, so that
 * commands always find room, and less where it is fragmented.
 */
#include "vgpu.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>

#define SMALL_COMMAND_BYTES 512u
#define LAUNCH_COMMAND_BYTES                                                                       \
    (uint32_t)(sizeof(struct vgpu_op_launch) + VGPU_LAUNCH_ARGS_BYTES +                            \
               sizeof(struct vgpu_op_header))
#define BULK_BYTES_MIN 4096u
#define BULK_BYTES_MAX (64u * 1024 * 1024)
#define LOG_BYTES_MAX  (64u * 1024)

struct call {
    struct vgpu_session *session;
    struct vgpu_command command;
    uint64_t memory;
};

static int call_begin(struct call *call, struct vgpu_session *session, uint32_t bytes)
{
    void *memory = vgpu_session_memory(session, bytes, &call->memory);

    if (!memory)
        return -ENOSPC;
    call->session = session;
    vgpu_command_begin(&call->command, memory, bytes);
    return 0;
}

static int call_end(struct call *call, struct vgpu_completion *answer, uint64_t *submit_ns)
{
    int rc = vgpu_session_call(call->session, VGPU_KIND_COMMAND, &call->command, answer, submit_ns);

    vgpu_session_release(call->session, call->memory);
    return rc;
}

/* Memory for bulk data: as much of @want as there is room for, *@bytes of it. */
static uint8_t *bulk_memory(struct vgpu_session *session, uint64_t want, uint64_t *bytes,
                            uint64_t *offset)
{
    uint64_t half = vgpu_session_data_bytes(session) / 2;

    *bytes = want < half ? want : half;
    if (*bytes > BULK_BYTES_MAX)
        *bytes = BULK_BYTES_MAX;
    for (;;) {
        uint8_t *memory = vgpu_session_memory(session, *bytes, offset);

        if (memory || *bytes <= BULK_BYTES_MIN)
            return memory;
        *bytes /= 2;
    }
}

int vgpu_nop(struct vgpu_session *session, struct vgpu_completion *answer)
{
    struct call call;
    int rc = call_begin(&call, session, SMALL_COMMAND_BYTES);

    if (rc)
        return rc;
    vgpu_command_nop(&call.command);
    return call_end(&call, answer, NULL);
}

int vgpu_sync(struct vgpu_session *session)
{
    struct vgpu_completion answer;
    struct call call;
    int rc = call_begin(&call, session, SMALL_COMMAND_BYTES);

    if (rc)
        return rc;
    vgpu_command_sync(&call.command);
    return call_end(&call, &answer, NULL);
}

int vgpu_device_info(struct vgpu_session *session, struct vgpu_device_info *info)
{
    struct vgpu_completion answer;
    struct call call;
    uint64_t offset;
    void *out;
    int rc;

    out = vgpu_session_memory(session, sizeof(*info), &offset);
    if (!out)
        return -ENOSPC;
    rc = call_begin(&call, session, SMALL_COMMAND_BYTES);
    if (rc)
        goto out;
    vgpu_command_device_info(&call.command, vgpu_ref(offset, sizeof(*info)));
    rc = call_end(&call, &answer, NULL);
    if (rc)
        goto out;
    rc =
        answer.out_len > sizeof(*info) ? -EPROTO : vgpu_device_info_read(out, answer.out_len, info);
out:
    vgpu_session_release(session, offset);
    return rc;
}

int vgpu_device_info_read(const void *bytes, size_t len, struct vgpu_device_info *info)
{
    memset(info, 0, sizeof(*info));
    memcpy(info, bytes, len < sizeof(*info) ? len : sizeof(*info));
    if (len < offsetof(struct vgpu_device_info, global_mem_bytes) || info->size < len)
        return -EPROTO;
    if (!memchr(info->name, 0, sizeof(info->name)) ||
        !memchr(info->vendor, 0, sizeof(info->vendor)) ||
        !memchr(info->driver, 0, sizeof(info->driver)) ||
        !memchr(info->backend, 0, sizeof(info->backend)))
        return -EPROTO;
    return 0;
}

int vgpu_alloc(struct vgpu_session *session, uint32_t id, uint64_t bytes, uint64_t *raw)
{
    struct vgpu_completion answer;
    struct call call;
    int rc = call_begin(&call, session, SMALL_COMMAND_BYTES);

    if (rc)
        return rc;
    vgpu_command_alloc(&call.command, id, bytes);
    rc = call_end(&call, &answer, NULL);
    if (!rc && raw)
        *raw = answer.result[0];
    return rc;
}

int vgpu_free(struct vgpu_session *session, uint32_t id)
{
    struct vgpu_completion answer;
    struct call call;
    int rc = call_begin(&call, session, SMALL_COMMAND_BYTES);

    if (rc)
        return rc;
    vgpu_command_free(&call.command, id);
    return call_end(&call, &answer, NULL);
}

int vgpu_write(struct vgpu_session *session, uint32_t id, uint64_t offset, const void *src,
               uint64_t bytes)
{
    uint64_t piece_max, memory_offset, done = 0;
    uint8_t *memory;
    int rc = 0;

    if (!bytes)
        return 0;
    memory = bulk_memory(session, bytes, &piece_max, &memory_offset);
    if (!memory)
        return -ENOSPC;
    while (!rc && done < bytes) {
        uint64_t piece = bytes - done < piece_max ? bytes - done : piece_max;
        struct vgpu_completion answer;
        struct call call;

        rc = call_begin(&call, session, SMALL_COMMAND_BYTES);
        if (rc)
            break;
        memcpy(memory, (const uint8_t *)src + done, piece);
        vgpu_command_write(&call.command, vgpu_object(id, offset + done),
                           vgpu_ref(memory_offset, piece));
        rc = call_end(&call, &answer, NULL);
        done += piece;
    }
    vgpu_session_release(session, memory_offset);
    return rc;
}

int vgpu_read(struct vgpu_session *session, uint32_t id, uint64_t offset, void *dst, uint64_t bytes)
{
    uint64_t piece_max, memory_offset, done = 0;
    uint8_t *memory;
    int rc = 0;

    if (!bytes)
        return 0;
    memory = bulk_memory(session, bytes, &piece_max, &memory_offset);
    if (!memory)
        return -ENOSPC;
    while (!rc && done < bytes) {
        uint64_t piece = bytes - done < piece_max ? bytes - done : piece_max;
        struct vgpu_completion answer;
        struct call call;

        rc = call_begin(&call, session, SMALL_COMMAND_BYTES);
        if (rc)
            break;
        vgpu_command_read(&call.command, vgpu_object(id, offset + done),
                          vgpu_ref(memory_offset, piece));
        rc = call_end(&call, &answer, NULL);
        if (rc)
            break;
        if (answer.out_len != piece) {
            rc = -EPROTO;
            break;
        }
        memcpy((uint8_t *)dst + done, memory, piece);
        done += piece;
    }
    vgpu_session_release(session, memory_offset);
    return rc;
}

int vgpu_copy(struct vgpu_session *session, struct vgpu_address dst, struct vgpu_address src,
              uint64_t bytes)
{
    struct vgpu_completion answer;
    struct call call;
    int rc = call_begin(&call, session, SMALL_COMMAND_BYTES);

    if (rc)
        return rc;
    vgpu_command_copy(&call.command, dst, src, bytes);
    return call_end(&call, &answer, NULL);
}

int vgpu_fill(struct vgpu_session *session, struct vgpu_address dst, uint64_t bytes,
              const void *pattern, uint32_t pattern_bytes)
{
    struct vgpu_completion answer;
    struct call call;
    int rc = call_begin(&call, session, SMALL_COMMAND_BYTES);

    if (rc)
        return rc;
    vgpu_command_fill(&call.command, dst, bytes, pattern, pattern_bytes);
    return call_end(&call, &answer, NULL);
}

static int log_copy(struct vgpu_build_log *log, const uint8_t *text, uint64_t bytes, uint64_t room)
{
    if (bytes > room)
        return -EPROTO;
    memcpy(log->text, text, bytes);
    log->text[bytes] = '\0';
    log->bytes = bytes;
    return 0;
}

int vgpu_module_load(struct vgpu_session *session, uint32_t id, uint32_t kind, const void *code,
                     size_t code_bytes, const char *options, struct vgpu_build_log *log)
{
    size_t options_bytes = options ? strlen(options) : 0;
    uint64_t text_offset = VGPU_SLICE_NONE, log_offset = VGPU_SLICE_NONE, log_room = 0;
    uint8_t *text, *log_text = NULL;
    struct vgpu_module_source module;
    struct vgpu_completion answer;
    struct call call;
    int rc;

    if (!code_bytes)
        return -EINVAL;
    if (code_bytes > vgpu_session_data_bytes(session) ||
        options_bytes > vgpu_session_data_bytes(session))
        return -EFBIG;
    text = vgpu_session_memory(session, code_bytes + options_bytes, &text_offset);
    if (!text)
        return -EFBIG;
    if (log && log->room) {
        log->text[0] = '\0';
        log->bytes = 0;
        log_room = log->room - 1 < LOG_BYTES_MAX ? log->room - 1 : LOG_BYTES_MAX;
    }
    if (log_room) {
        log_text = vgpu_session_memory(session, log_room, &log_offset);
        rc = log_text ? 0 : -EFBIG;
        if (rc)
            goto out;
    }
    memcpy(text, code, code_bytes);
    if (options_bytes)
        memcpy(text + code_bytes, options, options_bytes);

    rc = call_begin(&call, session, SMALL_COMMAND_BYTES);
    if (rc)
        goto out;
    module = (struct vgpu_module_source){
        .id = id, .kind = kind, .code = vgpu_ref(text_offset, code_bytes)};
    if (options_bytes)
        module.options = vgpu_ref(text_offset + code_bytes, options_bytes);
    if (log_room)
        module.log = vgpu_ref(log_offset, log_room);
    vgpu_command_module_load(&call.command, &module);
    rc = call_end(&call, &answer, NULL);
    if (log_room && (rc == VGPU_OK || rc == VGPU_BUILD_FAILED)) {
        int copied = log_copy(log, log_text, answer.out_len, log_room);

        rc = copied ? copied : rc;
    }
out:
    vgpu_session_release(session, log_offset);
    vgpu_session_release(session, text_offset);
    return rc;
}

int vgpu_module_unload(struct vgpu_session *session, uint32_t id)
{
    struct vgpu_completion answer;
    struct call call;
    int rc = call_begin(&call, session, SMALL_COMMAND_BYTES);

    if (rc)
        return rc;
    vgpu_command_module_unload(&call.command, id);
    return call_end(&call, &answer, NULL);
}

int vgpu_kernel_create(struct vgpu_session *session, uint32_t id, uint32_t module, const char *name,
                       uint32_t *arg_count)
{
    struct vgpu_completion answer;
    struct call call;
    int rc = call_begin(&call, session, SMALL_COMMAND_BYTES);

    if (rc)
        return rc;
    vgpu_command_kernel_create(&call.command, id, module, name);
    rc = call_end(&call, &answer, NULL);
    if (!rc && arg_count)
        *arg_count = (uint32_t)answer.result[0];
    return rc;
}

int vgpu_launch(struct vgpu_session *session, const struct vgpu_launch *launch,
                struct vgpu_completion *answer, uint64_t *submit_ns)
{
    struct call call;
    int rc = call_begin(&call, session, LAUNCH_COMMAND_BYTES);

    if (rc)
        return rc;
    vgpu_command_launch(&call.command, launch);
    vgpu_command_sync(&call.command);
    return call_end(&call, answer, submit_ns);
}
