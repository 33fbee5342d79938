/*
 * sandbox.c - The rights a worker gives up, in stages
 *
 * A core file would hold a VM's data and lie where the VM's owner is not asked.
 *
 * LLVM, inside a CPU device's runtime, installs handlers for the signals that a crash raises. A
 * kernel's wild write must end this process by that very signal: it is what the exit report tells
 * the operator. That comes before the filter, which is the last act: a handler would run under it.
 */
#include "sandbox.h"

#include <errno.h>
#include <signal.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "bind.h"
#include "filter.h"

/* Address space that can be written to, whether or not it is. */
#define RUNTIME_BYTES  (1ull << 30)
#define THREAD_BYTES   (32ull << 20) /* its stack, and its part of the heap */
#define COMPILER_BYTES (4ull << 30)

int sandbox_before_device(void)
{
    struct rlimit none = {0, 0};

    if (setrlimit(RLIMIT_CORE, &none) < 0)
        return -errno;
    if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
        return -errno;
    return 0;
}

int sandbox_before_guest(uint32_t role, bool has_driver)
{
    for (int number = 1; number <= SIGSYS; number++) { /* the classic ones; no runtime uses more */
        struct sigaction now;

        if (sigaction(number, NULL, &now) < 0)
            return -errno;
        if (now.sa_handler == SIG_DFL || now.sa_handler == SIG_IGN)
            continue;
        now = (struct sigaction){.sa_handler = SIG_DFL};
        if (sigaction(number, &now, NULL) < 0)
            return -errno;
    }
    return filter_install(role, has_driver);
}

int sandbox_limit_memory(uint32_t role, bool has_driver, uint64_t quota_bytes)
{
    long cpus = sysconf(_SC_NPROCESSORS_CONF);
    struct rlimit limit;

    if (has_driver)
        return 0;
    if (role == BIND_LAUNCH)
        limit.rlim_cur =
            quota_bytes + RUNTIME_BYTES + (uint64_t)(cpus > 0 ? cpus : 1) * THREAD_BYTES;
    else
        limit.rlim_cur = COMPILER_BYTES;
    limit.rlim_max = limit.rlim_cur;
    return setrlimit(RLIMIT_DATA, &limit) < 0 ? -errno : 0;
}
