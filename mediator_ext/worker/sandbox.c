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

#include "filter.h"

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
