/*
 * slices.c - The data area, as far as a worker may see it
 *
 * The geometry comes from vgpud and is checked all the same: a wrong mapping would be a hole
 * between two VMs. The seal is checked because a file that somebody can truncate turns every later
 * access into a SIGBUS.
 */
#include "slices.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

static bool fits(const struct worker_bind *bind, uint64_t file_bytes)
{
    uint64_t span, end;

    if (bind->qp_count > VGPU_QP_MAX || bind->data_bytes == 0 || bind->qp_stride == 0)
        return false;
    if ((bind->qp_base | bind->qp_stride | bind->data_offset | bind->data_bytes) % VGPU_PAGE_BYTES)
        return false;
    if (__builtin_add_overflow(bind->data_offset, bind->data_bytes, &span) ||
        span > bind->qp_stride)
        return false;
    if (__builtin_mul_overflow(bind->qp_stride, (uint64_t)bind->qp_count, &end) ||
        __builtin_add_overflow(end, bind->qp_base, &end))
        return false;
    return end <= file_bytes;
}

int slices_map(struct slices *slices, int fd, const struct worker_bind *bind)
{
    struct stat file;
    int seals;

    memset(slices, 0, sizeof(*slices));
    if (bind->qp_count == 0)
        return bind->data_bytes == 0 ? 0 : -EINVAL;
    if (fstat(fd, &file) < 0)
        return -errno;
    if (file.st_size < 0 || !fits(bind, (uint64_t)file.st_size))
        return -EINVAL;
    seals = fcntl(fd, F_GET_SEALS);
    if (seals < 0 || !(seals & F_SEAL_SHRINK))
        return -EPERM;

    slices->bytes = bind->data_bytes;
    for (uint32_t i = 0; i < bind->qp_count; i++) {
        off_t at = (off_t)(bind->qp_base + i * bind->qp_stride + bind->data_offset);
        void *map = mmap(NULL, bind->data_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, at);

        if (map == MAP_FAILED) {
            int error = errno;

            slices_unmap(slices);
            return -error;
        }
        slices->base[slices->count++] = map;
    }
    return 0;
}

void slices_unmap(struct slices *slices)
{
    for (uint32_t i = 0; i < slices->count; i++)
        munmap(slices->base[i], slices->bytes);
    slices->count = 0;
}

uint8_t *slices_at(const struct slices *slices, uint32_t qp, uint32_t seg, uint64_t off,
                   uint64_t len)
{
    if (qp >= slices->count || seg != 0 || off > slices->bytes || len > slices->bytes - off)
        return NULL;
    return slices->base[qp] + off;
}
