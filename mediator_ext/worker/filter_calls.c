/*
 * filter_calls.c - The system calls that a worker may make
 *
 * What a guest's native code could do with a call decides, not what a runtime would like. Calls on
 * files are allowed to everybody: a runtime unpacks programs into the scratch directory and loads
 * them from there, and a filter cannot see names. Which files there are, and which can be written,
 * is for the mount namespace to say.
 *
 * A launcher makes threads and nothing else that lives: no process, no socket, no signal to another
 * process. A compiler starts its linker.
 *
 * What fails instead of ending the process is what libraries try before something else:
 *
 *     clone3   its flags lie in memory, where a filter cannot look; the C library then uses clone
 *     ioctl    asks whether an output is a terminal
 *
 * Calls that exist on one machine only stand under #ifdef.
 */
#include "filter_calls.h"

#include <sys/syscall.h>

#define ALLOW(name, parties) {SYS_##name, parties, FILTER_ALLOWED}

static const struct filter_call calls[] = {
    /* Waiting and waking: what an empty launch does, so it comes first. */
    ALLOW(futex, FILTER_EVERYBODY),
    ALLOW(write, FILTER_EVERYBODY),
    ALLOW(read, FILTER_EVERYBODY),
    ALLOW(sched_yield, FILTER_EVERYBODY),
    ALLOW(clock_gettime, FILTER_EVERYBODY),
    ALLOW(clock_getres, FILTER_EVERYBODY),
    ALLOW(clock_nanosleep, FILTER_EVERYBODY),
    ALLOW(nanosleep, FILTER_EVERYBODY),
    ALLOW(gettimeofday, FILTER_EVERYBODY),
    ALLOW(ppoll, FILTER_EVERYBODY),
    ALLOW(restart_syscall, FILTER_EVERYBODY),

    /* The sockets and files that it was given. */
    ALLOW(recvmsg, FILTER_EVERYBODY),
    ALLOW(recvfrom, FILTER_EVERYBODY),
    ALLOW(sendmsg, FILTER_EVERYBODY),
    ALLOW(sendto, FILTER_EVERYBODY),
    ALLOW(fcntl, FILTER_EVERYBODY),

    /* Memory. */
    ALLOW(mmap, FILTER_DRIVER),
    {SYS_mmap, FILTER_EVERYBODY, FILTER_OWN_MEMORY},
    ALLOW(munmap, FILTER_EVERYBODY),
    ALLOW(mremap, FILTER_EVERYBODY),
    ALLOW(mprotect, FILTER_EVERYBODY),
    ALLOW(madvise, FILTER_EVERYBODY),
    ALLOW(msync, FILTER_EVERYBODY),
    ALLOW(brk, FILTER_EVERYBODY),
    ALLOW(membarrier, FILTER_EVERYBODY),

    /* Threads. */
    {SYS_clone3, FILTER_EVERYBODY, FILTER_NOT_THERE},
    {SYS_clone, FILTER_LAUNCH, FILTER_THREAD},
    ALLOW(set_robust_list, FILTER_EVERYBODY),
    ALLOW(rseq, FILTER_EVERYBODY),
    ALLOW(exit, FILTER_EVERYBODY),
    ALLOW(exit_group, FILTER_EVERYBODY),
    ALLOW(gettid, FILTER_EVERYBODY),
    ALLOW(getcpu, FILTER_EVERYBODY),
    ALLOW(sched_getaffinity, FILTER_EVERYBODY),
    ALLOW(sched_setaffinity, FILTER_EVERYBODY),
    {SYS_prctl, FILTER_EVERYBODY, FILTER_NAMING},

    /* Signals: its own, and abort(). */
    ALLOW(rt_sigaction, FILTER_EVERYBODY),
    ALLOW(rt_sigprocmask, FILTER_EVERYBODY),
    ALLOW(rt_sigreturn, FILTER_EVERYBODY),
    ALLOW(sigaltstack, FILTER_EVERYBODY),
    {SYS_tgkill, FILTER_EVERYBODY, FILTER_OWN_PROCESS},
    {SYS_kill, FILTER_EVERYBODY, FILTER_OWN_PROCESS},

    /* What everybody may know. */
    ALLOW(getrandom, FILTER_EVERYBODY),
    ALLOW(getpid, FILTER_EVERYBODY),
    ALLOW(getuid, FILTER_EVERYBODY),
    ALLOW(geteuid, FILTER_EVERYBODY),
    ALLOW(getgid, FILTER_EVERYBODY),
    ALLOW(getegid, FILTER_EVERYBODY),
    ALLOW(uname, FILTER_EVERYBODY),
    ALLOW(sysinfo, FILTER_EVERYBODY),
    ALLOW(getrusage, FILTER_EVERYBODY),
    ALLOW(times, FILTER_EVERYBODY),
    {SYS_prlimit64, FILTER_EVERYBODY, FILTER_OWN_LIMITS},

    /* Files: those that its mount namespace shows. */
    ALLOW(openat, FILTER_EVERYBODY),
    ALLOW(close, FILTER_EVERYBODY),
    ALLOW(fstat, FILTER_EVERYBODY),
    ALLOW(newfstatat, FILTER_EVERYBODY),
    ALLOW(statx, FILTER_EVERYBODY),
    ALLOW(statfs, FILTER_EVERYBODY),
    ALLOW(fstatfs, FILTER_EVERYBODY),
    ALLOW(lseek, FILTER_EVERYBODY),
    ALLOW(pread64, FILTER_EVERYBODY),
    ALLOW(pwrite64, FILTER_EVERYBODY),
    ALLOW(readv, FILTER_EVERYBODY),
    ALLOW(writev, FILTER_EVERYBODY),
    ALLOW(faccessat, FILTER_EVERYBODY),
#ifdef SYS_faccessat2 /* Linux 5.8 */
    ALLOW(faccessat2, FILTER_EVERYBODY),
#endif
    ALLOW(readlinkat, FILTER_EVERYBODY),
    ALLOW(getdents64, FILTER_EVERYBODY),
    ALLOW(getcwd, FILTER_EVERYBODY),
    ALLOW(mkdirat, FILTER_EVERYBODY),
    ALLOW(unlinkat, FILTER_EVERYBODY),
    ALLOW(renameat, FILTER_EVERYBODY),
    ALLOW(renameat2, FILTER_EVERYBODY),
    ALLOW(ftruncate, FILTER_EVERYBODY),
    ALLOW(fallocate, FILTER_EVERYBODY),
    ALLOW(fsync, FILTER_EVERYBODY),
    ALLOW(fdatasync, FILTER_EVERYBODY),
    ALLOW(flock, FILTER_EVERYBODY),
    ALLOW(fadvise64, FILTER_EVERYBODY),
    ALLOW(fchmod, FILTER_EVERYBODY),
    ALLOW(fchmodat, FILTER_EVERYBODY),
    ALLOW(umask, FILTER_EVERYBODY),
    ALLOW(utimensat, FILTER_EVERYBODY),

    /* A compiler makes a file to hand over, and runs a linker, which is a process. */
    ALLOW(memfd_create, FILTER_COMPILERS),
    {SYS_clone, FILTER_COMPILERS, FILTER_PROCESS},
    ALLOW(execve, FILTER_COMPILERS),
    ALLOW(wait4, FILTER_COMPILERS),
    ALLOW(waitid, FILTER_COMPILERS),
    ALLOW(pipe2, FILTER_COMPILERS),
    ALLOW(dup, FILTER_COMPILERS),
    ALLOW(dup3, FILTER_COMPILERS),
    ALLOW(set_tid_address, FILTER_COMPILERS),
    ALLOW(getppid, FILTER_COMPILERS),
    ALLOW(copy_file_range, FILTER_COMPILERS),
    ALLOW(sendfile, FILTER_COMPILERS),

    /* A driver in the kernel is spoken to by ioctl, and waited for in more ways. */
    ALLOW(ioctl, FILTER_DRIVER),
    ALLOW(eventfd2, FILTER_DRIVER),
    ALLOW(epoll_create1, FILTER_DRIVER),
    ALLOW(epoll_ctl, FILTER_DRIVER),
    ALLOW(epoll_pwait, FILTER_DRIVER),
    ALLOW(pselect6, FILTER_DRIVER),
    ALLOW(timerfd_create, FILTER_DRIVER),
    ALLOW(timerfd_settime, FILTER_DRIVER),
    ALLOW(pipe2, FILTER_DRIVER),
    ALLOW(dup, FILTER_DRIVER),
    ALLOW(memfd_create, FILTER_DRIVER),
    ALLOW(mlock, FILTER_DRIVER),
    ALLOW(munlock, FILTER_DRIVER),
    ALLOW(mbind, FILTER_DRIVER),
    ALLOW(get_mempolicy, FILTER_DRIVER),
    ALLOW(set_mempolicy, FILTER_DRIVER),
    ALLOW(sched_getscheduler, FILTER_DRIVER),
    ALLOW(sched_getparam, FILTER_DRIVER),
    ALLOW(sched_get_priority_max, FILTER_DRIVER),
    ALLOW(sched_get_priority_min, FILTER_DRIVER),
    {SYS_ioctl, FILTER_EVERYBODY, FILTER_NO_TERMINAL},

#ifdef __x86_64__
    ALLOW(open, FILTER_EVERYBODY),
    ALLOW(stat, FILTER_EVERYBODY),
    ALLOW(lstat, FILTER_EVERYBODY),
    ALLOW(access, FILTER_EVERYBODY),
    ALLOW(readlink, FILTER_EVERYBODY),
    ALLOW(mkdir, FILTER_EVERYBODY),
    ALLOW(rmdir, FILTER_EVERYBODY),
    ALLOW(unlink, FILTER_EVERYBODY),
    ALLOW(rename, FILTER_EVERYBODY),
    ALLOW(chmod, FILTER_EVERYBODY),
    ALLOW(poll, FILTER_EVERYBODY),
    ALLOW(time, FILTER_EVERYBODY),
    ALLOW(fork, FILTER_COMPILERS),
    ALLOW(vfork, FILTER_COMPILERS),
    ALLOW(pipe, FILTER_COMPILERS),
    ALLOW(dup2, FILTER_COMPILERS),
    ALLOW(arch_prctl, FILTER_COMPILERS),
    ALLOW(getpgrp, FILTER_COMPILERS),
    ALLOW(epoll_wait, FILTER_DRIVER),
    ALLOW(select, FILTER_DRIVER),
    ALLOW(pipe, FILTER_DRIVER),
#endif
};

const struct filter_call *filter_calls(size_t *count)
{
    *count = sizeof(calls) / sizeof(calls[0]);
    return calls;
}
