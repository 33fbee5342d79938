/*
 * trace.h - The last requests that were finished or refused, one entry each
 *
 * All of it on the reactor's thread.
 */
#ifndef VGPUD_TRACE_H
#define VGPUD_TRACE_H

#include <stdbool.h>
#include <stdint.h>

#include "mediator.h"

#define TRACE_ENTRIES_MAX 65536u
/* Entries that one call looks at, and that it copies: some tens of microseconds at most. */
#define TRACE_LOOK_AT 4096u
#define TRACE_COPY    512u

struct trace {
    struct mediator_trace *entry; /* a ring; NULL = there is no trace */
    uint64_t mask;
    uint64_t next; /* number of the next entry; the first one was 1 */
    bool awaited;  /* somebody wants to be told of the next entry */
};

bool trace_entries_valid(uint32_t entries);
int trace_init(struct trace *trace, uint32_t entries);
void trace_free(struct trace *trace);

/** trace_next() - The entry to be filled, also its `seq`; NULL = there is no trace */
static inline struct mediator_trace *trace_next(struct trace *trace)
{
    return trace->entry ? &trace->entry[trace->next & trace->mask] : NULL;
}

uint32_t trace_read(struct trace *trace, struct mediator_trace_cursor *cursor,
                    struct mediator_trace *out, uint32_t max);
bool trace_seek(const struct trace *trace, struct mediator_trace_cursor *cursor, uint32_t *count);

#endif
