/*
 * moody_worker.c - Workers that answer as they may, at random, and sometimes as they may not
 */
#include "moody_worker.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "chance.h"
#include "engine_rig.h"

#define OPS_MAX 6u /* of a command: CONTINUE no further */

void *engine_mapping(int fd, const void *ours)
{
    char line[512];
    FILE *maps = fopen("/proc/self/maps", "re");
    struct stat file;
    void *found = NULL;

    rig_must(maps && fstat(fd, &file) == 0, "the mappings");
    while (!found && fgets(line, sizeof(line), maps)) {
        uint64_t start, inode;

        if (sscanf(line, "%" SCNx64 "-%*x %*s %*x %*x:%*x %" SCNu64, &start, &inode) == 2 &&
            inode == file.st_ino && (const void *)(uintptr_t)start != ours)
            found = (void *)(uintptr_t)start;
    }
    fclose(maps);
    return found;
}

/* Was this unit sent before the engine knew that one before it in its stream is to come again? */
static bool bounces(struct moody_worker *w, const struct worker_unit *unit)
{
    bool blocked = false;

    for (uint32_t i = 0; i < w->interrupted;) {
        if ((int32_t)(unit->reply_head - w->stream[i].reply) > 0) {
            w->stream[i] = w->stream[--w->interrupted];
            continue;
        }
        blocked |= w->stream[i].qp == unit->qp && w->stream[i].stream == unit->stream;
        i++;
    }
    return blocked;
}

static void interrupt(struct moody_worker *w, const struct worker_unit *unit)
{
    w->stream[w->interrupted].qp = unit->qp;
    w->stream[w->interrupted].stream = unit->stream;
    w->stream[w->interrupted++].reply = w->fake.replied;
}

static void launch(struct moody_worker *w, const struct worker_unit *unit,
                   struct worker_reply *reply)
{
    uint32_t mood = chance(&w->random, 100);

    if (bounces(w, unit)) {
        reply->outcome = WORKER_BOUNCED;
    } else if (unit->kind == WORKER_UNIT_VECTOR_ADD) {
        reply->result[0] = (uint32_t)(unit->args[0] + unit->args[1]);
    } else if (mood < 10 && !(unit->flags & WORKER_UNIT_BUILT)) {
        reply->outcome = WORKER_NEED_BUILD;
        reply->op_index = unit->first_op;
        interrupt(w, unit);
    } else if (mood < 30 && unit->first_op < OPS_MAX) {
        reply->outcome = WORKER_CONTINUE;
        reply->op_index = unit->first_op + 1;
        interrupt(w, unit);
    } else if (mood < 35) {
        reply->status = VGPU_INVALID;
    }
}

static void answer(struct fake_worker *fake, const struct worker_unit *unit,
                   struct worker_reply *reply)
{
    struct moody_worker *w = (struct moody_worker *)fake;

    if (w->lane == MEDIATOR_LAUNCH)
        launch(w, unit, reply);
    else if (chance(&w->random, 10) == 0)
        reply->status = VGPU_BUILD_FAILED;
    if (w->lies_in && chance(&w->random, w->lies_in) == 0)
        reply->token ^= 1;
}

int moody_worker_start(struct moody_worker *w, struct mediator *m, uint32_t handle, int lane,
                       uint32_t worker_id, uint32_t lies_in)
{
    int rc;

    memset(w, 0, sizeof(*w));
    fake_worker_new(&w->fake, worker_id);
    w->own = w->fake.channel;
    w->lane = lane;
    w->random = worker_id;
    w->lies_in = lies_in;
    rc = fake_worker_attach(&w->fake, m, handle, lane);
    if (rc) {
        fake_worker_free(&w->fake);
        return rc;
    }
    w->attached = true;
    w->fake.channel = engine_mapping(w->fake.channel_fd, w->own);
    rig_must(w->fake.channel, "the engine's mapping of a channel");
    fake_worker_start(&w->fake, answer, NULL);
    return 0;
}

void moody_worker_end(struct moody_worker *w, struct mediator *m, uint32_t handle, int crashed)
{
    fake_worker_stop(&w->fake);
    w->fake.channel = w->own;
    rig_must(mediator_worker_gone(m, handle, w->lane, crashed, 0) == 0, "to be told of its end");
    fake_worker_free(&w->fake);
    w->attached = false;
}
