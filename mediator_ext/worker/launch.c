/*
 * launch.c - The launch role: a VM's units, one after the other, on its device
 *
 * launch_serve() is the map: take, answer, put, kick. Replies of a device that takes time are
 * announced at once; those of an instant one a few at a time, because ringing costs more than the
 * work, but for a unit that took LONG_NS all the same. channel_take() announces whatever is left before it sleeps.
 *
 * When the device is lost nothing is answered: this process ends, and the engine then tells the VM so. An
 * answer would bring the VM's next unit here, to be lost as well.
 *
 * The table of interrupted streams holds as many as units can be unanswered. Were it full, a command
 * that would be interrupted would run on beyond its budget, and one that needs a build be refused.
 */
#include "launch.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "ops.h"

#define QUIET_REPLIES_MAX 16u
#define LONG_NS           5000u

static void vector_add(struct tenant *tenant, const struct worker_unit *unit, bool may_interrupt,
                       struct worker_reply *reply)
{
    struct backend_verdict verdict = BACKEND_FINE;
    uint32_t sum = 0;

    reply->outcome = WORKER_DONE;
    if (!builtin_is_loaded(&tenant->builtin, tenant->ops)) {
        const struct binary *build;
        struct hash_key key;
        bool need;

        (void)builtin_source(tenant->ops, &key);
        build = ops_find_build(tenant, key, unit->flags & WORKER_UNIT_BUILT, &need);
        if (need && may_interrupt) {
            reply->outcome = WORKER_NEED_BUILD;
            return;
        }
        if (need)
            verdict.status = VGPU_NO_MEMORY;
        else if (!build)
            verdict.status = VGPU_FAILED; /* nobody else can have changed this source */
        else if (build->status != VGPU_OK)
            verdict = (struct backend_verdict){build->status, build->native};
        else
            verdict = builtin_load(&tenant->builtin, tenant->ops, tenant->backend,
                                   build->map + build->log_bytes, build->binary_bytes);
    }
    if (verdict.status == VGPU_OK)
        verdict = builtin_vector_add(&tenant->builtin, tenant->ops, tenant->backend, unit->args[0],
                                     unit->args[1], &sum);
    reply->status = verdict.status;
    reply->native = verdict.native;
    reply->op_index = verdict.status == VGPU_OK;
    reply->result[0] = sum;
}

void launch_unit(struct tenant *tenant, struct interrupted *interrupted,
                 const struct worker_unit *unit, uint32_t number, struct worker_reply *reply)
{
    bool may_interrupt;

    memset(reply, 0, sizeof(*reply));
    reply->token = unit->token;
    reply->start_ns = clock_ns();
    if (interrupted_blocks(interrupted, unit)) {
        reply->outcome = WORKER_BOUNCED;
        reply->end_ns = reply->start_ns;
        return;
    }
    may_interrupt = interrupted_has_room(interrupted);
    switch (unit->kind) {
    case WORKER_UNIT_COMMAND:
        if (unit->generation != tenant->generation)
            tenant_reset(tenant, unit->generation);
        ops_run(tenant, unit, may_interrupt, reply->start_ns, reply);
        break;
    case WORKER_UNIT_VECTOR_ADD:
        vector_add(tenant, unit, may_interrupt, reply);
        break;
    default:
        reply->outcome = WORKER_DONE;
        reply->status = VGPU_INVALID;
    }
    if (reply->outcome != WORKER_DONE)
        interrupted_add(interrupted, unit, number);
    reply->end_ns = clock_ns();
}

int launch_serve(struct tenant *tenant, struct channel *channel)
{
    struct interrupted interrupted = {.count = 0};
    uint32_t quiet = tenant->ops->flags & BACKEND_INSTANT ? QUIET_REPLIES_MAX : 1;

    channel_say_objects(channel, objects_count(tenant->objects));
    for (;;) {
        struct worker_unit unit;
        struct worker_reply reply;
        int error;

        error = channel_take(channel, &unit);
        if (error)
            return error;
        launch_unit(tenant, &interrupted, &unit, channel->reply_tail, &reply);
        if (reply.status == VGPU_DEVICE_LOST)
            return -ENODEV;
        channel_say_objects(channel, objects_count(tenant->objects));
        error = channel_put(channel, &reply);
        if (error)
            return error;
        if (channel->quiet >= quiet || reply.end_ns - reply.start_ns >= LONG_NS)
            channel_kick(channel);
    }
}
