/*
 * cuda_memory.c - Buffers of a CUDA device
 *
 * Everything goes through the backend's stream and is waited for, so it comes after the launches before
 * it. A buffer is zeroed when a VM gets it, and again when the VM gives it back: the driver hands out
 * small pieces of large pages, and nobody else says what the rest of a page holds.
 */
#include <stdlib.h>
#include <string.h>

#include "cuda_device.h"

struct backend_verdict cuda_alloc(struct backend *backend, uint64_t bytes,
                                  struct backend_buffer **buffer, uint64_t *raw)
{
    struct backend_buffer *made = calloc(1, sizeof(*made));
    struct backend_verdict verdict;

    if (!made)
        return cuda_verdict(backend, CUDA_ERROR_OUT_OF_MEMORY);
    verdict = cuda_verdict(backend, backend->cu.MemAlloc(&made->at, bytes));
    if (verdict.status != VGPU_OK) {
        free(made);
        return verdict;
    }
    made->bytes = bytes;
    verdict = cuda_wait(backend, backend->cu.MemsetD8Async(made->at, 0, bytes, backend->stream));
    if (verdict.status != VGPU_OK) {
        cuda_free(backend, made);
        return verdict;
    }
    *buffer = made;
    *raw = made->at;
    return BACKEND_FINE;
}

void cuda_free(struct backend *backend, struct backend_buffer *buffer)
{
    /* An error here is the device's last, and told by the next call; or there is nothing to wipe. */
    if (!backend->lost)
        (void)cuda_wait(backend,
                        backend->cu.MemsetD8Async(buffer->at, 0, buffer->bytes, backend->stream));
    (void)cuda_verdict(backend, backend->cu.MemFree(buffer->at));
    free(buffer);
}

struct backend_verdict cuda_write(struct backend *backend, struct backend_buffer *buffer,
                                  uint64_t off, const void *from, uint64_t bytes)
{
    return cuda_wait(backend,
                     backend->cu.MemcpyHtoDAsync(buffer->at + off, from, bytes, backend->stream));
}

struct backend_verdict cuda_read(struct backend *backend, struct backend_buffer *buffer,
                                 uint64_t off, void *to, uint64_t bytes)
{
    return cuda_wait(backend,
                     backend->cu.MemcpyDtoHAsync(to, buffer->at + off, bytes, backend->stream));
}

struct backend_verdict cuda_copy(struct backend *backend, struct backend_buffer *to,
                                 uint64_t to_off, struct backend_buffer *from, uint64_t from_off,
                                 uint64_t bytes)
{
    return cuda_wait(backend, backend->cu.MemcpyDtoDAsync(to->at + to_off, from->at + from_off,
                                                          bytes, backend->stream));
}

/* What CUDA has no memset for: once from here, then twice as much each time from what is there. */
static CUresult fill_by_doubling(struct backend *backend, CUdeviceptr at, uint64_t bytes,
                                 const uint8_t *pattern, uint32_t pattern_bytes)
{
    uint64_t have = pattern_bytes;
    CUresult code;

    code = backend->cu.MemcpyHtoDAsync(at, pattern, pattern_bytes, backend->stream);
    while (code == CUDA_SUCCESS && have < bytes) {
        uint64_t more = bytes - have < have ? bytes - have : have;

        code = backend->cu.MemcpyDtoDAsync(at + have, at, more, backend->stream);
        have += more;
    }
    return code;
}

/* The shortest pattern that gives the same bytes. */
static uint32_t period(const uint8_t *pattern, uint32_t bytes)
{
    while (bytes > 1 && memcmp(pattern, pattern + bytes / 2, bytes / 2) == 0)
        bytes /= 2;
    return bytes;
}

struct backend_verdict cuda_fill(struct backend *backend, struct backend_buffer *buffer,
                                 uint64_t off, uint64_t bytes, const void *pattern,
                                 uint32_t pattern_bytes)
{
    const struct cuda_driver *cu = &backend->cu;
    CUdeviceptr at = buffer->at + off;
    uint8_t taken[VGPU_PATTERN_BYTES_MAX];
    uint16_t two;
    uint32_t four;
    CUresult code;

    memcpy(taken, pattern, pattern_bytes);
    switch (period(taken, pattern_bytes)) {
    case 1:
        code = cu->MemsetD8Async(at, taken[0], bytes, backend->stream);
        break;
    case 2:
        memcpy(&two, taken, sizeof(two));
        code = cu->MemsetD16Async(at, two, bytes / sizeof(two), backend->stream);
        break;
    case 4:
        memcpy(&four, taken, sizeof(four));
        code = cu->MemsetD32Async(at, four, bytes / sizeof(four), backend->stream);
        break;
    default:
        code = fill_by_doubling(backend, at, bytes, taken, pattern_bytes);
    }
    return cuda_wait(backend, code);
}
