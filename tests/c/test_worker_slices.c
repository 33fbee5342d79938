/*
 * test_worker_slices.c - What of a ring a worker maps
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "check.h"
#include "worker/slices.h"

#define FILE_BYTES 0x60000

static const struct worker_bind good = {.qp_count = 2,
                                        .qp_base = 0x20000,
                                        .qp_stride = 0x20000,
                                        .data_offset = 0x10000,
                                        .data_bytes = 0x10000};

static int ring(int seals)
{
    int fd = memfd_create("ring", MFD_CLOEXEC | MFD_ALLOW_SEALING);

    if (fd < 0 || ftruncate(fd, FILE_BYTES) < 0 || fcntl(fd, F_ADD_SEALS, seals) < 0)
        abort();
    return fd;
}

static void mapping(void)
{
    int fd = ring(F_SEAL_SHRINK);
    struct slices slices;
    uint8_t byte = 0;

    CASE("each pair's slice is mapped where the ring has it");
    CHECK(slices_map(&slices, fd, &good) == 0);
    slices.base[1][5] = 77;
    CHECK(pread(fd, &byte, 1, 0x20000 + 0x20000 + 0x10000 + 5) == 1 && byte == 77);

    CASE("a reference must lie in its pair's slice to the last byte");
    CHECK(slices_at(&slices, 0, 0, 0, 0x10000) == slices.base[0]);
    CHECK(slices_at(&slices, 1, 0, 0x10000, 0) == slices.base[1] + 0x10000);
    CHECK(!slices_at(&slices, 0, 0, 1, 0x10000));
    CHECK(!slices_at(&slices, 0, 0, 0x10001, 0));
    CHECK(!slices_at(&slices, 0, 0, UINT64_MAX, 2));
    CHECK(!slices_at(&slices, 0, 0, 2, UINT64_MAX));
    CHECK(!slices_at(&slices, 0, 1, 0, 1));
    CHECK(!slices_at(&slices, 2, 0, 0, 1));
    slices_unmap(&slices);
    close(fd);
}

static void refusals(void)
{
    int fd = ring(F_SEAL_SHRINK);
    struct slices slices;
    struct worker_bind bad;

    CASE("a geometry that is not aligned, overlaps or leaves the file is refused");
#define REFUSED(field, value)                                                                      \
    do {                                                                                           \
        bad = good;                                                                                \
        bad.field = (value);                                                                       \
        CHECK(slices_map(&slices, fd, &bad) == -EINVAL);                                           \
        CHECK(slices.count == 0);                                                                  \
    } while (0)
    REFUSED(qp_count, 3);
    REFUSED(qp_count, VGPU_QP_MAX + 1);
    REFUSED(qp_count, UINT32_MAX);
    REFUSED(qp_base, 0x20001);
    REFUSED(qp_base, 0x21000);
    REFUSED(qp_base, UINT64_MAX - 0xfff);
    REFUSED(qp_stride, 0);
    REFUSED(qp_stride, 0x10000);
    REFUSED(qp_stride, 1ull << 63);
    REFUSED(data_offset, 0x11000);
    REFUSED(data_offset, UINT64_MAX - 0xfff);
    REFUSED(data_bytes, 0);
    REFUSED(data_bytes, 0x11000);
    close(fd);

    CASE("a ring that may shrink is refused");
    fd = ring(F_SEAL_GROW);
    CHECK(slices_map(&slices, fd, &good) == -EPERM);
    close(fd);

    CASE("a VM without a ring has no slices");
    bad = (struct worker_bind){.qp_count = 0};
    CHECK(slices_map(&slices, -1, &bad) == 0 && slices.count == 0);
    CHECK(!slices_at(&slices, 0, 0, 0, 0));
}

int main(void)
{
    mapping();
    refusals();
    return check_done();
}
