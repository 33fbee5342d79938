/*
 * interrupter.c - Ringing a guest's eventfd without ever waiting for it
 *
 * Theory of operation
 *
 * An eventfd that was handed to a guest shares its file description with it, O_NONBLOCK included: a
 * hostile one clears the flag, fills the counter, and whoever writes next is stuck until somebody
 * reads. So the reactor does not write. It asks the kernel to do what it does for any finished
 * asynchronous read, signal an eventfd (IOCB_FLAG_RESFD), which adds to the counter if it can and
 * never waits. The read itself is of zero bytes from a memfd of our own and is finished when
 * io_submit() returns; its event is taken out of the context later, many at a time.
 */
#include "interrupter.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define EVENTS 256u
#define REAP   64u

/**
 * interrupter_init() - Make the context
 *
 * Return: 0, or a negative errno: -ENOSYS where the kernel has no asynchronous I/O, -EAGAIN past
 * fs.aio-max-nr
 */
int interrupter_init(struct interrupter *i)
{
    int rc = 0;

    memset(i, 0, sizeof(*i));
    i->file = memfd_create("vgpud-interrupter", MFD_CLOEXEC);
    if (i->file < 0)
        return -errno;
    if (syscall(SYS_io_setup, EVENTS, &i->context) < 0) {
        rc = -errno;
        close(i->file);
    }
    return rc;
}

/** interrupter_free() - Release it */
void interrupter_free(struct interrupter *i)
{
    syscall(SYS_io_destroy, i->context);
    close(i->file);
}

static void reap(struct interrupter *i)
{
    struct io_event events[REAP];
    struct timespec now = {0, 0};

    if (syscall(SYS_io_getevents, i->context, 0L, (long)REAP, events, &now) >= 0)
        i->unreaped = 0;
}

/**
 * interrupter_ring() - Add 1 to an eventfd, or leave a full one as it is; does not block
 *
 * Return: 0, or a negative errno: the guest was not told
 */
int interrupter_ring(struct interrupter *i, int eventfd)
{
    struct iocb read = {
        .aio_lio_opcode = IOCB_CMD_PREAD,
        .aio_fildes = (uint32_t)i->file,
        .aio_flags = IOCB_FLAG_RESFD,
        .aio_resfd = (uint32_t)eventfd,
    };
    struct iocb *list[1] = {&read};
    long rc;

    if (++i->unreaped >= REAP)
        reap(i);
    do
        rc = syscall(SYS_io_submit, i->context, 1L, list);
    while (rc < 0 && errno == EINTR);
    return rc == 1 ? 0 : rc < 0 ? -errno : -EAGAIN;
}
