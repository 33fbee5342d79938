/*
 * trace.c - The last requests that were finished or refused, one entry each
 *
 * Theory of operation
 *
 * A ring of entries that are overwritten, the oldest first, whether or not anybody has read them: the
 * reactor waits for nobody and tells nobody, unless somebody waits. Entries are numbered from 1 on,
 * and a reader's place is a number, kept by the reader. So there may be any number of readers, each
 * learns how many entries it came too late for, and none of them costs anything while it does not read.
 *
 * A reader that has seen everything asks to be told: `awaited` is set, the next entry clears it and
 * sends one MEDIATOR_TRACED. How often to look, however many entries come, is for the reader to choose.
 *
 * Reading is a control call, so it happens between two events and sees no entry half written. One
 * call looks at a bounded number of entries; the callers below go on, in turns of their own.
 */
#include "trace.h"

#include <errno.h>
#include <stdlib.h>

#include "engine.h"

_Static_assert(sizeof(struct mediator_trace) == 128, "two cache lines");
_Static_assert((int)REQUEST_NOP == (int)MEDIATOR_KIND_NOP &&
                   (int)REQUEST_DEVICE_INFO == (int)MEDIATOR_KIND_DEVICE_INFO &&
                   (int)REQUEST_VECTOR_ADD == (int)MEDIATOR_KIND_VECTOR_ADD &&
                   (int)REQUEST_COMMAND == (int)MEDIATOR_KIND_COMMAND &&
                   (int)REQUEST_SIGNAL == (int)MEDIATOR_KIND_SIGNAL &&
                   (int)REQUEST_CANCEL == (int)MEDIATOR_KIND_CANCEL &&
                   (int)REQUEST_QUERY == (int)MEDIATOR_KIND_QUERY,
               "kinds have one number");

/** trace_entries_valid() - May a trace have so many entries? 0 = no trace */
bool trace_entries_valid(uint32_t entries)
{
    return entries <= TRACE_ENTRIES_MAX && (entries & (entries - 1)) == 0;
}

/**
 * trace_init() - An empty trace
 *
 * Return: 0, or -ENOMEM
 */
int trace_init(struct trace *trace, uint32_t entries)
{
    *trace = (struct trace){.next = 1};
    if (entries == 0)
        return 0;
    trace->entry = aligned_alloc(sizeof(*trace->entry), entries * sizeof(*trace->entry));
    trace->mask = entries - 1;
    return trace->entry ? 0 : -ENOMEM;
}

/** trace_free() - Release it */
void trace_free(struct trace *trace)
{
    free(trace->entry);
    trace->entry = NULL;
}

static uint64_t oldest(const struct trace *trace)
{
    uint64_t entries = trace->entry ? trace->mask + 1 : 0;

    return trace->next > entries + 1 ? trace->next - entries : 1;
}

static bool asked_for(const struct mediator_trace_cursor *cursor,
                      const struct mediator_trace *entry)
{
    return cursor->vm < 0 || entry->vm == (uint32_t)cursor->vm;
}

/**
 * trace_read() - Copy what the cursor has not seen, and move it; see mediator_trace_read()
 *
 * Return: how many were copied; cursor->left says whether it has to be called again
 */
uint32_t trace_read(struct trace *trace, struct mediator_trace_cursor *cursor,
                    struct mediator_trace *out, uint32_t max)
{
    uint64_t first = oldest(trace), end;
    uint32_t count = 0;

    if (cursor->position == 0)
        cursor->position = 1;
    if (cursor->position < first) {
        cursor->missed += first - cursor->position;
        cursor->position = first;
    }
    if (cursor->position > trace->next)
        cursor->position = trace->next;
    end = trace->next - cursor->position < TRACE_LOOK_AT ? trace->next
                                                         : cursor->position + TRACE_LOOK_AT;
    if (max > TRACE_COPY)
        max = TRACE_COPY;
    for (; cursor->position < end && count < max; cursor->position++) {
        const struct mediator_trace *entry = &trace->entry[cursor->position & trace->mask];

        if (asked_for(cursor, entry))
            out[count++] = *entry;
    }
    cursor->left = trace->next - cursor->position;
    if (cursor->left == 0 && cursor->follow)
        trace->awaited = true;
    return count;
}

/**
 * trace_seek() - Move a cursor back over entries that are asked for; see mediator_trace_seek()
 * @count: how many; what is left of it when the function returns
 *
 * Return: is it to be called again?
 */
bool trace_seek(const struct trace *trace, struct mediator_trace_cursor *cursor, uint32_t *count)
{
    uint64_t first = oldest(trace);

    if (cursor->position > trace->next)
        cursor->position = trace->next;
    for (uint32_t i = 0; i < TRACE_LOOK_AT && *count && cursor->position > first; i++) {
        cursor->position--;
        if (asked_for(cursor, &trace->entry[cursor->position & trace->mask]))
            --*count;
    }
    return *count && cursor->position > first;
}

/* ---- what other threads may ask ---- */

struct reading {
    struct mediator_trace_cursor *cursor;
    struct mediator_trace *out;
    uint32_t max;
};

static int call_read(struct mediator *m, void *argument)
{
    const struct reading *reading = argument;

    return (int)trace_read(&m->trace, reading->cursor, reading->out, reading->max);
}

int mediator_trace_read(struct mediator *m, struct mediator_trace_cursor *cursor,
                        struct mediator_trace *out, uint32_t max)
{
    uint32_t count = 0;

    cursor->missed = 0;
    do {
        struct reading reading = {cursor, out + count, max - count};

        count += (uint32_t)control_call(&m->control, call_read, &reading);
    } while (cursor->left && count < max);
    return (int)count;
}

struct seeking {
    struct mediator_trace_cursor *cursor;
    uint32_t count;
};

static int call_seek(struct mediator *m, void *argument)
{
    struct seeking *seeking = argument;

    return trace_seek(&m->trace, seeking->cursor, &seeking->count);
}

int mediator_trace_seek(struct mediator *m, struct mediator_trace_cursor *cursor, uint32_t count)
{
    struct seeking seeking = {cursor, count};

    cursor->position = UINT64_MAX;
    while (control_call(&m->control, call_seek, &seeking))
        ;
    return 0;
}
