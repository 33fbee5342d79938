/*
 * test_worker_filter.c - Which system calls a worker's filter lets through
 *
 * Each call is made by a child that has installed the filter. What the child thinks of it is its exit
 * status: 0 when the call returned what was expected of it.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"
#include "worker/bind.h"
#include "worker/filter.h"

typedef long (*attempt_fn)(void);

static pid_t parent;

/* Return: the wait status of a child of that role that tries something, and exits 0 if that works */
static int tried(uint32_t role, bool has_driver, attempt_fn attempt)
{
    int status = -1;
    pid_t child = fork();

    if (child < 0)
        abort();
    if (child == 0) {
        if (filter_install(role, has_driver) != 0)
            syscall(SYS_exit_group, 99);
        syscall(SYS_exit_group, attempt() >= 0 ? 0 : 1);
    }
    while (waitpid(child, &status, 0) < 0 && errno == EINTR)
        ;
    return status;
}

static bool works(uint32_t role, attempt_fn attempt)
{
    int status = tried(role, false, attempt);

    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static bool kills(uint32_t role, attempt_fn attempt)
{
    int status = tried(role, false, attempt);

    return WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS;
}

static bool fails(uint32_t role, bool has_driver, attempt_fn attempt)
{
    int status = tried(role, has_driver, attempt);

    return WIFEXITED(status) && WEXITSTATUS(status) == 1;
}

static long make_socket(void)
{
    return socket(AF_UNIX, SOCK_STREAM, 0);
}

static long execute(void)
{
    char *arguments[] = {"true", NULL};

    return execve("/bin/true", arguments, arguments + 1);
}

static long make_process(void)
{
    long child = syscall(SYS_clone, (long)SIGCHLD, 0l, 0l, 0l, 0l);

    if (child == 0)
        syscall(SYS_exit_group, 0);
    return child;
}

static long make_namespace(void)
{
    return syscall(SYS_clone, (long)(SIGCHLD | CLONE_NEWUSER), 0l, 0l, 0l, 0l);
}

static void *nothing(void *argument)
{
    return argument;
}

static long make_thread(void)
{
    pthread_t thread;

    return -pthread_create(&thread, NULL, nothing, NULL) - pthread_join(thread, NULL);
}

static long signal_parent(void)
{
    return kill(parent, 0);
}

static long signal_group(void)
{
    return syscall(SYS_kill, 0l, 0l);
}

static long signal_itself(void)
{
    return kill(getpid(), 0);
}

static long become_dumpable(void)
{
    return prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);
}

static long take_a_name(void)
{
    return prctl(PR_SET_NAME, "worker", 0, 0, 0);
}

static long read_limits(void)
{
    struct rlimit limit;

    return getrlimit(RLIMIT_STACK, &limit);
}

static long limit_parent(void)
{
    struct rlimit limit;

    return prlimit(parent, RLIMIT_STACK, NULL, &limit);
}

static long open_and_read(void)
{
    char byte;
    int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);

    return fd < 0 ? fd : read(fd, &byte, 1);
}

static long trace(void)
{
    return syscall(SYS_ptrace, 0l, 0l, 0l, 0l);
}

static long make_memory_file(void)
{
    return syscall(SYS_memfd_create, "x", 0u);
}

static long map(int flags)
{
    return mmap(NULL, 4096, PROT_READ | PROT_WRITE, flags, -1, 0) == MAP_FAILED ? -1 : 0;
}

static long map_private(void)
{
    return map(MAP_PRIVATE | MAP_ANONYMOUS);
}

/* Memory of a kind that RLIMIT_DATA does not count. */
static long map_shared(void)
{
    return map(MAP_SHARED | MAP_ANONYMOUS);
}

static long map_growing(void)
{
    return map(MAP_PRIVATE | MAP_ANONYMOUS | MAP_GROWSDOWN);
}

static long filter_again(void)
{
    return filter_install(BIND_LAUNCH, false);
}

static long control_terminal(void)
{
    return syscall(SYS_ioctl, STDERR_FILENO, 0x5401l, 0l) == -1 && errno == ENOTTY ? 0 : -1;
}

static int wake;

static void *socket_when_told(void *argument)
{
    char byte;

    if (read(wake, &byte, 1) == 1)
        make_socket();
    syscall(SYS_exit_group, 0);
    return argument;
}

/* A thread that was there before the filter, as those of a device's runtime are. */
static int older_thread(void)
{
    int status = -1, fds[2];
    pid_t child = fork();

    if (child == 0) {
        pthread_t thread;

        if (pipe(fds) < 0)
            syscall(SYS_exit_group, 97);
        wake = fds[0];
        if (pthread_create(&thread, NULL, socket_when_told, NULL) != 0)
            syscall(SYS_exit_group, 98);
        if (filter_install(BIND_LAUNCH, false) != 0 || write(fds[1], "", 1) != 1)
            syscall(SYS_exit_group, 99);
        pthread_join(thread, NULL);
    }
    while (waitpid(child, &status, 0) < 0 && errno == EINTR)
        ;
    return status;
}

#ifdef __x86_64__
/* Calls by other numbers: the 32-bit gate, and x32. */
static long enter_32_bit_gate(void)
{
    long result;

    __asm__ volatile("int $0x80" : "=a"(result) : "a"(20l) : "memory", "r8", "r9", "r10", "r11");
    return result;
}

static long call_x32(void)
{
    return syscall(0x40000000l | SYS_getpid);
}
#endif

int main(void)
{
    int status;

    parent = getpid();
    CASE("a launcher has its memory, its threads and its files");
    CHECK(works(BIND_LAUNCH, make_thread));
    CHECK(works(BIND_LAUNCH, open_and_read));
    CHECK(works(BIND_LAUNCH, read_limits));
    CHECK(works(BIND_LAUNCH, take_a_name));

    CASE("a launcher makes no process and runs no program");
    CHECK(kills(BIND_LAUNCH, make_process));
    CHECK(kills(BIND_LAUNCH, execute));

    CASE("a compiler does, for its linker");
    CHECK(works(BIND_BUILD, make_process) && works(BIND_BUILD, execute));
    CHECK(works(BIND_PROBE, make_process) && works(BIND_PROBE, execute));
    CHECK(works(BIND_BUILD, make_memory_file));

    CASE("nobody makes a socket, traces, or takes back a right");
    for (uint32_t role = BIND_LAUNCH; role <= BIND_PROBE; role++) {
        CHECK(kills(role, make_socket));
        CHECK(kills(role, trace));
        CHECK(kills(role, make_namespace));
        CHECK(kills(role, become_dumpable));
        CHECK(kills(role, filter_again));
    }

    CASE("a process may signal and ask about itself, and nobody else");
    CHECK(works(BIND_LAUNCH, signal_itself));
    CHECK(kills(BIND_LAUNCH, signal_parent));
    CHECK(kills(BIND_LAUNCH, signal_group));
    CHECK(kills(BIND_LAUNCH, limit_parent));

    CASE("memory that no limit would count is not to be had");
    CHECK(works(BIND_LAUNCH, map_private));
    CHECK(kills(BIND_LAUNCH, map_shared));
    CHECK(kills(BIND_LAUNCH, map_growing));

    CASE("asking for a terminal fails and is no offence");
    CHECK(works(BIND_LAUNCH, control_terminal));

    CASE("threads that were there before the filter have it too");
    status = older_thread();
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS);

    CASE("with a driver in the kernel other calls fail");
    CHECK(fails(BIND_LAUNCH, true, make_socket));
    CHECK(fails(BIND_LAUNCH, true, execute));
    CHECK(fails(BIND_LAUNCH, true, trace));
    CHECK(fails(BIND_LAUNCH, true, make_process));
    CHECK(fails(BIND_LAUNCH, true, become_dumpable));

#ifdef __x86_64__
    CASE("there is no other way in");
    CHECK(kills(BIND_LAUNCH, enter_32_bit_gate));
    CHECK(kills(BIND_LAUNCH, call_x32));
#endif
    return check_done();
}
