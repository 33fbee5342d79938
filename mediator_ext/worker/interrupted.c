/*
 * interrupted.c - Streams that wait for a unit to come back
 *
 * A dense array, searched from its start: it is almost always empty, and is asked once a unit.
 */
#include "interrupted.h"

bool interrupted_blocks(struct interrupted *table, const struct worker_unit *unit)
{
    bool blocks = false;
    uint32_t i = 0;

    while (i < table->count) {
        const struct interrupted_stream *at = &table->streams[i];

        if ((int32_t)(unit->reply_head - at->reply) > 0) {
            table->streams[i] = table->streams[--table->count];
            continue;
        }
        if (at->qp == unit->qp && at->stream == unit->stream)
            blocks = true;
        i++;
    }
    return blocks;
}

bool interrupted_has_room(const struct interrupted *table)
{
    return table->count < INTERRUPTED_MAX;
}

void interrupted_add(struct interrupted *table, const struct worker_unit *unit, uint32_t number)
{
    table->streams[table->count++] =
        (struct interrupted_stream){.qp = unit->qp, .stream = unit->stream, .reply = number};
}
