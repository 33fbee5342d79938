/*
 * query.c - What a guest asks about its modules and kernels
 *
 * An answer comes whole or not at all, and its size is not known before. So the size is asked for first,
 * then memory of the slice is taken for all of it. Between the two nothing changes: objects are the
 * session's own.
 */
#include "vgpu.h"

#include <errno.h>
#include <string.h>

#define COMMAND_BYTES 64u

/* One QUERY. Return: as vgpu_session_call(). */
static int ask(struct vgpu_session *session, uint32_t what, uint32_t id, struct vgpu_data_ref out,
               struct vgpu_completion *answer)
{
    struct vgpu_command command;
    uint64_t offset;
    void *memory = vgpu_session_memory(session, COMMAND_BYTES, &offset);
    int rc;

    if (!memory)
        return -ENOSPC;
    vgpu_command_begin(&command, memory, COMMAND_BYTES);
    vgpu_command_query(&command, what, id, out);
    rc = vgpu_session_call(session, VGPU_KIND_COMMAND, &command, answer, NULL);
    vgpu_session_release(session, offset);
    return rc;
}

/* The whole answer to a question, or only its size when @room is 0. */
static int query(struct vgpu_session *session, uint32_t what, uint32_t id, void *bytes, size_t room,
                 size_t *size)
{
    struct vgpu_completion answer;
    uint64_t offset;
    uint8_t *memory;
    int rc = ask(session, what, id, vgpu_ref(0, 0), &answer);

    if (rc)
        return rc;
    if (answer.result[0] > SIZE_MAX)
        return -EPROTO;
    *size = answer.result[0];
    if (!room || !*size)
        return 0;
    if (room < *size)
        return -ENOSPC;
    memory = vgpu_session_memory(session, *size, &offset);
    if (!memory)
        return -ENOSPC;
    rc = ask(session, what, id, vgpu_ref(offset, *size), &answer);
    if (!rc && (answer.out_len != *size || answer.result[0] != *size))
        rc = -EPROTO;
    if (!rc)
        memcpy(bytes, memory, *size);
    vgpu_session_release(session, offset);
    return rc;
}

int vgpu_kernel_args(struct vgpu_session *session, uint32_t kernel, struct vgpu_arg_info *args,
                     uint32_t room, uint32_t *count)
{
    size_t size = 0;
    int rc =
        query(session, VGPU_FACT_KERNEL_ARGS, kernel, args, (size_t)room * sizeof(*args), &size);

    if (size % sizeof(*args) || size / sizeof(*args) > VGPU_LAUNCH_ARGS_MAX)
        return -EPROTO;
    *count = (uint32_t)(size / sizeof(*args));
    for (uint32_t i = 0; !rc && room && i < *count; i++)
        if (!memchr(args[i].name, 0, sizeof(args[i].name)) ||
            !memchr(args[i].type, 0, sizeof(args[i].type)))
            rc = -EPROTO;
    return rc;
}

int vgpu_module_fact(struct vgpu_session *session, uint32_t module, uint32_t what, void *bytes,
                     size_t room, size_t *size)
{
    if (what != VGPU_FACT_BUILD_LOG && what != VGPU_FACT_BINARY)
        return -EINVAL;
    *size = 0;
    return query(session, what, module, bytes, room, size);
}
