/*
 * interrupted.c - Streams that wait for a unit to come back
 *
 * A dense array, searched from its start: it is almost always empty, and is asked once a unit.
 */
#include "interrupted.h"

static bool reached(uint32_t number, uint32_t mark)
{
    return (int32_t)(number - mark) >= 0;
}

void interrupted_observe(struct interrupted *table, uint32_t taken, uint32_t number, uint32_t end)
{
    uint32_t i = 0;

    while (i < table->count) {
        struct interrupted_stream *waits = &table->streams[i];

        if (!waits->known && reached(taken, waits->reply + 1)) {
            waits->known = true;
            waits->end = end;
        }
        if (waits->known && reached(number, waits->end))
            *waits = table->streams[--table->count];
        else
            i++;
    }
}

bool interrupted_blocks(struct interrupted *table, uint32_t qp, uint32_t stream, uint64_t token)
{
    for (uint32_t i = 0; i < table->count; i++) {
        struct interrupted_stream *waits = &table->streams[i];

        if (waits->qp != qp || waits->stream != stream)
            continue;
        if (waits->token != token)
            return true;
        *waits = table->streams[--table->count];
        return false;
    }
    return false;
}

bool interrupted_has_room(const struct interrupted *table)
{
    return table->count < INTERRUPTED_MAX;
}

void interrupted_add(struct interrupted *table, uint32_t qp, uint32_t stream, uint64_t token,
                     uint32_t number)
{
    table->streams[table->count++] =
        (struct interrupted_stream){.token = token, .qp = qp, .stream = stream, .reply = number};
}
