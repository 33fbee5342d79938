/*
 * fake_cuda_stream.c - The fake CUDA driver: streams, events, and when work is done
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fake_cuda.h"

struct CUstream_st {
    struct fake_object object;
    struct fake_work *first, **last;
    uint64_t number; /* of the latest work */
};

struct CUevent_st {
    struct fake_object object;
    CUstream stream; /* NULL = never recorded */
    uint64_t number;
};

/* Everything up to a number. What comes after an error is not done. */
static void drain_up_to(CUstream stream, uint64_t number)
{
    while (stream->first && stream->first->number <= number) {
        struct fake_work *work = stream->first;
        CUresult code = fake_current()->sticky ? CUDA_SUCCESS : work->run(work);

        if (code != CUDA_SUCCESS)
            fake_current()->sticky = code;
        stream->first = work->next;
        if (!stream->first)
            stream->last = &stream->first;
        free(work);
    }
}

void fake_drop_stream(void *stream)
{
    struct fake_work *work = ((CUstream)stream)->first, *next;

    for (; work; work = next) {
        next = work->next;
        free(work);
    }
}

unsigned fake_launches(CUstream stream)
{
    unsigned count = 0;

    for (const struct fake_work *work = stream->first; work; work = work->next)
        count += work->is_launch;
    return count;
}

bool fake_is_busy(void)
{
    for (struct fake_object *each = fake_first(); each; each = each->next)
        if (each->kind == FAKE_STREAM && ((CUstream)each)->first)
            return true;
    return false;
}

struct fake_work *fake_queue(const char *symbol, CUstream stream, CUresult *code)
{
    struct fake_work *work;

    *code = fake_enter(symbol, true);
    if (!fake_alive(symbol, stream, FAKE_STREAM)) {
        *code = CUDA_ERROR_INVALID_HANDLE;
        return NULL;
    }
    if (*code != CUDA_SUCCESS)
        return NULL;
    work = calloc(1, sizeof(*work));
    if (!work)
        abort();
    work->number = ++stream->number;
    *stream->last = work;
    stream->last = &work->next;
    return work;
}

DRIVER(cuStreamCreate, (CUstream * stream, unsigned int flags))
{
    CUresult code = fake_enter("cuStreamCreate", true);

    if (code != CUDA_SUCCESS)
        return code;
    if (flags != CU_STREAM_NON_BLOCKING)
        return CUDA_ERROR_INVALID_VALUE;
    *stream = fake_make(FAKE_STREAM, sizeof(**stream));
    (*stream)->last = &(*stream)->first;
    return CUDA_SUCCESS;
}

DRIVER(cuStreamDestroy_v2, (CUstream stream))
{
    CUresult code = fake_enter("cuStreamDestroy_v2", true);

    if (!fake_alive("cuStreamDestroy_v2", stream, FAKE_STREAM))
        return CUDA_ERROR_INVALID_HANDLE;
    fake_drop_stream(stream);
    fake_unmake(stream);
    return code;
}

DRIVER(cuStreamSynchronize, (CUstream stream))
{
    CUresult code = fake_enter("cuStreamSynchronize", true);

    if (!fake_alive("cuStreamSynchronize", stream, FAKE_STREAM))
        return CUDA_ERROR_INVALID_HANDLE;
    if (code != CUDA_SUCCESS)
        return code;
    drain_up_to(stream, UINT64_MAX);
    return fake_current()->sticky;
}

DRIVER(cuEventCreate, (CUevent * event, unsigned int flags))
{
    CUresult code = fake_enter("cuEventCreate", true);

    if (code != CUDA_SUCCESS)
        return code;
    if (flags & ~(unsigned)(CU_EVENT_BLOCKING_SYNC | CU_EVENT_DISABLE_TIMING))
        return CUDA_ERROR_INVALID_VALUE;
    *event = fake_make(FAKE_EVENT, sizeof(**event));
    return CUDA_SUCCESS;
}

DRIVER(cuEventDestroy_v2, (CUevent event))
{
    CUresult code = fake_enter("cuEventDestroy_v2", true);

    if (!fake_alive("cuEventDestroy_v2", event, FAKE_EVENT))
        return CUDA_ERROR_INVALID_HANDLE;
    fake_unmake(event);
    return code;
}

DRIVER(cuEventRecord, (CUevent event, CUstream stream))
{
    CUresult code = fake_enter("cuEventRecord", true);

    if (!fake_alive("cuEventRecord", event, FAKE_EVENT) ||
        !fake_alive("cuEventRecord", stream, FAKE_STREAM))
        return CUDA_ERROR_INVALID_HANDLE;
    if (code != CUDA_SUCCESS)
        return code;
    event->stream = stream;
    event->number = stream->number;
    return CUDA_SUCCESS;
}

DRIVER(cuEventSynchronize, (CUevent event))
{
    CUresult code = fake_enter("cuEventSynchronize", true);

    if (!fake_alive("cuEventSynchronize", event, FAKE_EVENT))
        return CUDA_ERROR_INVALID_HANDLE;
    if (!event->stream)
        fake_misuse("cuEventSynchronize", "of an event that was never recorded");
    if (code != CUDA_SUCCESS || !event->stream)
        return code;
    drain_up_to(event->stream, event->number);
    return fake_current()->sticky;
}
