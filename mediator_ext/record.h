/*
 * record.h - The scheduler's calls and its state, written down without pointers
 *
 * For whoever owns the scheduler's structures: the engine, the simulator. The owner says what the
 * numbers of its objects are, and hands over what exists; struct mediator_record is in mediator.h.
 */
#ifndef VGPUD_RECORD_H
#define VGPUD_RECORD_H

#include "mediator_record.h"
#include "scheduler.h"

struct record_names {
    uint8_t (*pool)(const struct sched_pool *pool);
    uint32_t (*vm)(const struct sched_vm *vm);
    uint32_t (*stream)(const struct sched_stream *stream);
    uint32_t (*unit)(const struct sched_unit *unit);
};

struct record_sink {
    const struct record_names *names;
    void (*put)(void *argument, const struct mediator_record *record);
    void *argument;
};

/** record_call() - One call of the scheduler */
void record_call(const struct record_names *names, const struct scheduler *s,
                 const struct sched_call *call, struct mediator_record *out);

/** record_decision() - Write down what was picked, NULL = nothing, into the record of its call */
void record_decision(const struct record_names *names, const struct sched_unit *unit,
                     struct mediator_record *out);

/*
 * The state: the scheduler; then for each VM, by number, the VM, its streams by number, its units in
 * flight by number, its round robin; then the end.
 */
void record_scheduler(const struct record_sink *sink, const struct scheduler *s);
void record_vm(const struct record_sink *sink, const struct sched_vm *vm);
void record_stream(const struct record_sink *sink, const struct sched_stream *stream);
void record_flying(const struct record_sink *sink, const struct sched_unit *unit);
void record_ready(const struct record_sink *sink, const struct sched_vm *vm);
void record_end(const struct record_sink *sink);

#endif
