/*
 * fake_cuda_memory.c - The fake CUDA driver: memory, and what moves into and out of it
 */
#include <stdlib.h>
#include <string.h>

#include "fake_cuda.h"

struct fake_memory {
    struct fake_object object;
    CUdeviceptr at;
    size_t bytes;
    uint8_t *host;
};

static CUdeviceptr next_address = 0x700000000000u;
static unsigned dirty;

FAKE_CUDA_EXPORT unsigned fake_cuda_dirty(void);
unsigned fake_cuda_dirty(void)
{
    return dirty;
}

uint8_t *fake_memory(CUdeviceptr at, size_t bytes)
{
    for (struct fake_object *each = fake_first(); each; each = each->next) {
        struct fake_memory *memory = (struct fake_memory *)each;

        if (each->kind == FAKE_MEMORY && at >= memory->at && at - memory->at <= memory->bytes &&
            bytes <= memory->bytes - (at - memory->at))
            return memory->host + (at - memory->at);
    }
    return NULL;
}

DRIVER(cuMemAlloc_v2, (CUdeviceptr * at, size_t bytes))
{
    CUresult code = fake_enter("cuMemAlloc_v2", true);
    struct fake_memory *made;

    if (code != CUDA_SUCCESS)
        return code;
    if (bytes == 0)
        return CUDA_ERROR_INVALID_VALUE;
    if (bytes > FAKE_CUDA_MEMORY)
        return CUDA_ERROR_OUT_OF_MEMORY;
    made = fake_make(FAKE_MEMORY, sizeof(*made));
    made->host = malloc(bytes);
    if (!made->host)
        abort();
    memset(made->host, FAKE_CUDA_FRESH, bytes);
    made->bytes = bytes;
    made->at = next_address;
    next_address += (bytes + 1023) / 512 * 512; /* never two without a gap between them */
    *at = made->at;
    return CUDA_SUCCESS;
}

void fake_drop_memory(void *memory)
{
    free(((struct fake_memory *)memory)->host);
}

DRIVER(cuMemFree_v2, (CUdeviceptr at))
{
    CUresult code = fake_enter("cuMemFree_v2", true);
    struct fake_memory *memory = NULL;

    for (struct fake_object *each = fake_first(); each; each = each->next)
        if (each->kind == FAKE_MEMORY && ((struct fake_memory *)each)->at == at)
            memory = (struct fake_memory *)each;
    if (!memory) {
        fake_misuse("cuMemFree_v2", "no memory, or none any more");
        return CUDA_ERROR_INVALID_VALUE;
    }
    if (code == CUDA_SUCCESS && fake_is_busy())
        fake_misuse("cuMemFree_v2", "while work is unfinished");
    for (size_t i = 0; code == CUDA_SUCCESS && i < memory->bytes; i++) {
        if (memory->host[i] != 0) {
            dirty++;
            break;
        }
    }
    fake_drop_memory(memory);
    fake_unmake(memory);
    return code;
}

static CUresult there_or_not(const void *one, const void *other)
{
    return one && other ? CUDA_SUCCESS : CUDA_ERROR_ILLEGAL_ADDRESS;
}

static CUresult run_write(const struct fake_work *work)
{
    uint8_t *to = fake_memory(work->to, work->bytes);

    if (to)
        memcpy(to, work->host_from, work->bytes);
    return there_or_not(to, to);
}

static CUresult run_read(const struct fake_work *work)
{
    const uint8_t *from = fake_memory(work->from, work->bytes);

    if (from)
        memcpy(work->host_to, from, work->bytes);
    return there_or_not(from, from);
}

static CUresult run_copy(const struct fake_work *work)
{
    const uint8_t *from = fake_memory(work->from, work->bytes);
    uint8_t *to = fake_memory(work->to, work->bytes);

    if (to && from)
        memcpy(to, from, work->bytes);
    return there_or_not(to, from);
}

static CUresult run_set(const struct fake_work *work)
{
    uint8_t *to = fake_memory(work->to, work->bytes);

    for (size_t i = 0; to && i < work->bytes; i += work->pattern_bytes)
        memcpy(to + i, work->pattern, work->pattern_bytes);
    return there_or_not(to, to);
}

static void check_memory(const char *symbol, CUdeviceptr at, size_t bytes)
{
    if (bytes == 0 || !fake_memory(at, bytes))
        fake_misuse(symbol, "of memory that is not there");
}

DRIVER(cuMemcpyHtoDAsync_v2, (CUdeviceptr to, const void *from, size_t bytes, CUstream stream))
{
    CUresult code;
    struct fake_work *work = fake_queue("cuMemcpyHtoDAsync_v2", stream, &code);

    if (!work)
        return code;
    work->run = run_write;
    check_memory("cuMemcpyHtoDAsync_v2", to, bytes);
    work->to = to;
    work->host_from = from;
    work->bytes = bytes;
    return CUDA_SUCCESS;
}

DRIVER(cuMemcpyDtoHAsync_v2, (void *to, CUdeviceptr from, size_t bytes, CUstream stream))
{
    CUresult code;
    struct fake_work *work = fake_queue("cuMemcpyDtoHAsync_v2", stream, &code);

    if (!work)
        return code;
    work->run = run_read;
    check_memory("cuMemcpyDtoHAsync_v2", from, bytes);
    work->from = from;
    work->host_to = to;
    work->bytes = bytes;
    return CUDA_SUCCESS;
}

DRIVER(cuMemcpyDtoDAsync_v2, (CUdeviceptr to, CUdeviceptr from, size_t bytes, CUstream stream))
{
    CUresult code;
    struct fake_work *work = fake_queue("cuMemcpyDtoDAsync_v2", stream, &code);

    if (!work)
        return code;
    work->run = run_copy;
    check_memory("cuMemcpyDtoDAsync_v2", to, bytes);
    check_memory("cuMemcpyDtoDAsync_v2", from, bytes);
    if (to < from + bytes && from < to + bytes)
        fake_misuse("cuMemcpyDtoDAsync_v2", "from one place to another that overlaps it");
    work->to = to;
    work->from = from;
    work->bytes = bytes;
    return CUDA_SUCCESS;
}

static CUresult set(const char *symbol, CUdeviceptr to, const void *pattern, uint32_t pattern_bytes,
                    size_t count, CUstream stream)
{
    CUresult code;
    struct fake_work *work = fake_queue(symbol, stream, &code);

    if (!work)
        return code;
    work->run = run_set;
    check_memory(symbol, to, count * pattern_bytes);
    if (to % pattern_bytes != 0)
        fake_misuse(symbol, "at an address that is not aligned");
    work->to = to;
    work->bytes = count * pattern_bytes;
    memcpy(work->pattern, pattern, pattern_bytes);
    work->pattern_bytes = pattern_bytes;
    return CUDA_SUCCESS;
}

DRIVER(cuMemsetD8Async, (CUdeviceptr to, unsigned char value, size_t count, CUstream stream))
{
    return set("cuMemsetD8Async", to, &value, sizeof(value), count, stream);
}

DRIVER(cuMemsetD16Async, (CUdeviceptr to, unsigned short value, size_t count, CUstream stream))
{
    return set("cuMemsetD16Async", to, &value, sizeof(value), count, stream);
}

DRIVER(cuMemsetD32Async, (CUdeviceptr to, unsigned int value, size_t count, CUstream stream))
{
    return set("cuMemsetD32Async", to, &value, sizeof(value), count, stream);
}
