/*
 * filter.c - A worker's system calls, filtered by the kernel
 *
 * The table of filter_calls.c becomes a program that the kernel runs before every call: one
 * comparison for each row, and for a row with a condition a few instructions that look at the
 * arguments. For numbers that are allowed whatever the arguments, the kernel keeps the answer and
 * runs nothing.
 *
 * The numbers mean what they say for one architecture only, so others are refused first: on x86_64
 * the 32-bit calls, which have another architecture, and those of x32, which have the same one and a
 * bit in the number.
 */
#include "filter.h"

#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "bind.h"
#include "filter_calls.h"

#if defined(__x86_64__)
#define ARCHITECTURE AUDIT_ARCH_X86_64
#define FIRST_X32    0x40000000u
#elif defined(__aarch64__)
#define ARCHITECTURE AUDIT_ARCH_AARCH64
#else
#error the numbers of system calls are known for x86_64 and aarch64 only
#endif

/* The longest condition, with the comparison before it. */
#define CALL_INSTRUCTIONS_MAX 8u
#define INSTRUCTIONS_MAX      2048u

#define KILL        SECCOMP_RET_KILL_PROCESS
#define FAIL(error) (SECCOMP_RET_ERRNO | (error))
#define NAMESPACE_FLAGS                                                                            \
    (CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER | CLONE_NEWPID |  \
     CLONE_NEWNET)
#define THREAD_FLAGS     (CLONE_VM | CLONE_SIGHAND | CLONE_THREAD)
#define SET_NAME_OF_AREA 0x53564d41u /* PR_SET_VMA */

struct program {
    struct sock_filter instructions[INSTRUCTIONS_MAX];
    uint16_t count;
    uint32_t otherwise; /* what becomes of a call that is not allowed */
};

static void put(struct program *program, uint16_t code, uint8_t if_true, uint8_t if_false,
                uint32_t word)
{
    program->instructions[program->count++] =
        (struct sock_filter){.code = code, .jt = if_true, .jf = if_false, .k = word};
}

static void put_load(struct program *program, size_t offset)
{
    put(program, BPF_LD | BPF_W | BPF_ABS, 0, 0, (uint32_t)offset);
}

/* The low half: what the kernel takes of an int and of clone's flags. */
static void put_load_argument(struct program *program, unsigned int index)
{
    put_load(program, offsetof(struct seccomp_data, args) + index * sizeof(uint64_t));
}

static void put_return(struct program *program, uint32_t action)
{
    put(program, BPF_RET | BPF_K, 0, 0, action);
}

/* The end of a condition: allowed if the accumulator is @wanted. */
static void put_verdict(struct program *program, uint32_t wanted)
{
    put(program, BPF_JMP | BPF_JEQ | BPF_K, 0, 1, wanted);
    put_return(program, SECCOMP_RET_ALLOW);
    put_return(program, program->otherwise);
}

static void put_rule(struct program *program, enum filter_rule rule)
{
    switch (rule) {
    case FILTER_ALLOWED:
        put_return(program, SECCOMP_RET_ALLOW);
        return;
    case FILTER_THREAD:
        put_load_argument(program, 0);
        put(program, BPF_ALU | BPF_AND | BPF_K, 0, 0, THREAD_FLAGS | NAMESPACE_FLAGS);
        put_verdict(program, THREAD_FLAGS);
        return;
    case FILTER_PROCESS:
        put_load_argument(program, 0);
        put(program, BPF_ALU | BPF_AND | BPF_K, 0, 0, NAMESPACE_FLAGS);
        put_verdict(program, 0);
        return;
    case FILTER_OWN_PROCESS:
        put_load_argument(program, 0);
        put_verdict(program, (uint32_t)getpid());
        return;
    case FILTER_OWN_LIMITS:
        put_load_argument(program, 0);
        put_verdict(program, 0);
        return;
    case FILTER_OWN_MEMORY:
        put_load_argument(program, 3);
        put(program, BPF_JMP | BPF_JSET | BPF_K, 2, 0, MAP_GROWSDOWN);
        put(program, BPF_ALU | BPF_AND | BPF_K, 0, 0, MAP_SHARED | MAP_ANONYMOUS);
        put(program, BPF_JMP | BPF_JEQ | BPF_K, 0, 1, MAP_SHARED | MAP_ANONYMOUS);
        put_return(program, program->otherwise);
        put_return(program, SECCOMP_RET_ALLOW);
        return;
    case FILTER_NAMING:
        put_load_argument(program, 0);
        put(program, BPF_JMP | BPF_JEQ | BPF_K, 1, 0, SET_NAME_OF_AREA);
        put(program, BPF_JMP | BPF_JEQ | BPF_K, 0, 1, PR_SET_NAME);
        put_return(program, SECCOMP_RET_ALLOW);
        put_return(program, program->otherwise);
        return;
    case FILTER_NOT_THERE:
        put_return(program, FAIL(ENOSYS));
        return;
    case FILTER_NO_TERMINAL:
        put_return(program, FAIL(ENOTTY));
        return;
    }
    put_return(program, program->otherwise);
}

static void put_call(struct program *program, const struct filter_call *call)
{
    uint16_t comparison = program->count;

    put(program, BPF_JMP | BPF_JEQ | BPF_K, 0, 0, call->number);
    put_rule(program, (enum filter_rule)call->rule);
    program->instructions[comparison].jf = (uint8_t)(program->count - comparison - 1);
}

static uint32_t party_of(uint32_t role)
{
    switch (role) {
    case BIND_LAUNCH:
        return FILTER_LAUNCH;
    case BIND_BUILD:
        return FILTER_BUILD;
    case BIND_PROBE:
        return FILTER_PROBE;
    default:
        return 0;
    }
}

/* Return: 0, or -E2BIG for a table that became too long */
static int make(struct program *program, uint32_t parties)
{
    const struct filter_call *calls;
    size_t count;

    calls = filter_calls(&count);
    program->count = 0;
    put_load(program, offsetof(struct seccomp_data, arch));
    put(program, BPF_JMP | BPF_JEQ | BPF_K, 1, 0, ARCHITECTURE);
    put_return(program, KILL);
    put_load(program, offsetof(struct seccomp_data, nr));
#ifdef FIRST_X32
    put(program, BPF_JMP | BPF_JGE | BPF_K, 0, 1, FIRST_X32);
    put_return(program, KILL);
#endif
    for (size_t i = 0; i < count; i++) {
        if (program->count + CALL_INSTRUCTIONS_MAX >= INSTRUCTIONS_MAX)
            return -E2BIG;
        if (calls[i].parties & parties)
            put_call(program, &calls[i]);
    }
    put_return(program, program->otherwise);
    return 0;
}

int filter_install(uint32_t role, bool has_driver)
{
    uint32_t parties = party_of(role) | (has_driver ? FILTER_DRIVER : 0);
    struct sock_fprog loaded;
    struct program program;
    long refused;
    int error;

    program.otherwise = has_driver ? FAIL(EPERM) : KILL;
    error = make(&program, parties);
    if (error)
        return error;
    loaded = (struct sock_fprog){.len = program.count, .filter = program.instructions};
    /* The spawner has said so already; a worker without one says it for itself. */
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        return -errno;
    refused = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &loaded);
    if (refused < 0)
        return -errno;
    return refused > 0 ? -EBUSY : 0; /* a thread that has a filter of its own */
}
