/*
 * recording.c - Recording what the engine's scheduler is asked and decides, from any moment on
 *
 * Theory of operation
 *
 * A recording begins between two events of the reactor: the state is counted, room is made for it and
 * for what the reader asks, the state is written, and from then on the scheduler's tap writes every
 * call. Numbers are the engine's own: a VM's handle, a stream's place in its VM's table, a request's
 * slot. They are of a live object each; who comes later may have them again.
 */
#include <errno.h>

#include "engine.h"

#define ROOM_MAX 1048576u

static uint8_t pool_name(const struct sched_pool *pool)
{
    return ((const struct pool *)pool)->id;
}

static const struct vm *vm_of(const struct sched_vm *vm)
{
    return (const struct vm *)((const char *)vm - offsetof(struct vm, sched));
}

static uint32_t vm_name(const struct sched_vm *vm)
{
    return vm_of(vm)->handle;
}

static uint32_t stream_name(const struct sched_stream *stream)
{
    return (uint32_t)((const struct stream *)stream - vm_of(stream->vm)->stream);
}

static uint32_t unit_name(const struct sched_unit *unit)
{
    return (uint32_t)((const struct request *)unit - vm_of(unit->stream->vm)->request);
}

static const struct record_names names = {pool_name, vm_name, stream_name, unit_name};

static bool is_flying(const struct request *r)
{
    return r->live && (r->slot->state == REQUEST_RUNNING || r->slot->state == REQUEST_CANCELLED);
}

static void write_vm(const struct record_sink *sink, const struct vm *vm)
{
    record_vm(sink, &vm->sched);
    for (uint32_t i = 0; i < STREAMS_PER_VM; i++)
        if (vm->streams_used & 1ull << i)
            record_stream(sink, &vm->stream[i].sched);
    for (uint32_t i = 0; vm->stats.running && i < vm->journal->slots_used; i++)
        if (is_flying(&vm->request[i]))
            record_flying(sink, &vm->request[i].unit);
    record_ready(sink, &vm->sched);
}

static void write_state(const struct record_sink *sink, const struct mediator *m)
{
    record_scheduler(sink, &m->scheduler);
    for (uint32_t i = 0; i < m->vm_capacity; i++)
        if (m->vm[i])
            write_vm(sink, m->vm[i]);
    record_end(sink);
}

static void count(void *argument, const struct mediator_record *record)
{
    (void)record;
    ++*(uint64_t *)argument;
}

static int call_start(struct mediator *m, void *argument)
{
    uint64_t records = 0;
    int rc;

    if (m->scheduler.tap)
        return -EALREADY;
    write_state(&(struct record_sink){&names, count, &records}, m);
    rc = recorder_begin(&m->recorder, &names, records + *(const uint32_t *)argument);
    if (rc)
        return rc;
    write_state(&(struct record_sink){&names, recorder_put, &m->recorder}, m);
    scheduler_tap(&m->scheduler, recorder_tap, &m->recorder);
    return 0;
}

int mediator_record_start(struct mediator *m, uint32_t room)
{
    return room > ROOM_MAX ? -EINVAL : control_call(&m->control, call_start, &room);
}

static int call_stop(struct mediator *m, void *argument)
{
    (void)argument;
    scheduler_tap(&m->scheduler, NULL, NULL);
    return 0;
}

int mediator_record_stop(struct mediator *m)
{
    return control_call(&m->control, call_stop, NULL);
}

/** recording_free() - The engine ends, and with it what it was recorded in */
void recording_free(struct mediator *m)
{
    scheduler_tap(&m->scheduler, NULL, NULL);
    recorder_free(&m->recorder);
}

int mediator_record_read(struct mediator *m, struct mediator_record *out, uint32_t max)
{
    return (int)recorder_take(&m->recorder, out, max > INT32_MAX ? INT32_MAX : max);
}

uint64_t mediator_record_lost(struct mediator *m)
{
    return recorder_lost(&m->recorder);
}
