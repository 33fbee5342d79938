/*
 * build.c - The build role
 *
 * The same copies and checks as on the launch side lead to the same key. How a build went is told
 * on the exchange, not here: the launch worker answers the guest. What is answered here is only
 * whether there is something on the exchange.
 */
#include "build.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "build_options.h"
#include "clock.h"
#include "exchange.h"

/* Compiles and hands over. Returns enum vgpu_status; *native = errno of a failed hand-over. */
static uint16_t make(struct tenant *tenant, struct hash_key key, const struct backend_code *code,
                     int32_t *native)
{
    struct backend_built built = {0};
    struct backend_verdict verdict;
    uint16_t status = VGPU_OK;
    int error;

    if (build_options_check(code->options, &built.log) < 0) {
        built.log_bytes = built.log ? strlen(built.log) : 0;
        verdict = (struct backend_verdict){VGPU_BUILD_FAILED, 0};
    } else {
        verdict = tenant->ops->build(tenant->backend, code, &built);
    }
    if (verdict.status == VGPU_DEVICE_LOST) {
        *native = verdict.native;
        status = VGPU_DEVICE_LOST;
        goto out;
    }
    error = exchange_send(tenant->exchange, key, verdict, &built);
    if (error) {
        *native = -error;
        status = error == -EFBIG || error == -ENOMEM ? VGPU_NO_MEMORY : VGPU_FAILED;
    }
out:
    free(built.log);
    free(built.binary);
    return status;
}

static uint16_t build_command(struct tenant *tenant, const struct worker_unit *unit,
                              struct worker_reply *reply)
{
    uint16_t status;

    status = command_take(tenant->command, &tenant->slices, unit, &reply->op_index);
    if (status != VGPU_OK)
        return status;
    reply->op_index = unit->first_op;
    status =
        module_source_take(tenant->source, &tenant->slices, unit->qp, tenant->info.module_kinds,
                           command_op(tenant->command, unit->first_op));
    if (status != VGPU_OK)
        return status;
    return make(tenant, tenant->source->key, &tenant->source->code, &reply->native);
}

void build_unit(struct tenant *tenant, const struct worker_unit *unit, struct worker_reply *reply)
{
    memset(reply, 0, sizeof(*reply));
    reply->token = unit->token;
    reply->outcome = WORKER_DONE;
    reply->start_ns = clock_ns();
    if (unit->kind == WORKER_UNIT_COMMAND) {
        reply->status = build_command(tenant, unit, reply);
    } else if (unit->kind == WORKER_UNIT_VECTOR_ADD) {
        struct hash_key key;
        struct backend_code code = builtin_source(tenant->ops, &key);

        reply->status = make(tenant, key, &code, &reply->native);
    } else {
        reply->status = VGPU_INVALID;
    }
    reply->end_ns = clock_ns();
}

int build_serve(struct tenant *tenant, struct channel *channel)
{
    for (;;) {
        struct worker_unit unit;
        struct worker_reply reply;
        int error;

        error = channel_take(channel, &unit);
        if (error)
            return error;
        build_unit(tenant, &unit, &reply);
        if (reply.status == VGPU_DEVICE_LOST)
            return -ENODEV; /* as on the launch side: the engine sees this process end */
        error = channel_put(channel, &reply);
        if (error)
            return error;
        channel_kick(channel);
    }
}
