"""OpenCL C that tries to get out of its worker, for tests: native code on a CPU device."""

from __future__ import annotations

from dataclasses import dataclass

ESCAPE = b"""
long call(long number, long a, long b, long c, long d)
{
    long result;
    __asm__ volatile("mov %5, %%r10\\n mov $-1, %%r8\\n xor %%r9d, %%r9d\\n syscall"
                     : "=a"(result) : "a"(number), "D"(a), "S"(b), "d"(c), "r"(d)
                     : "rcx", "r8", "r9", "r10", "r11", "memory");
    return result;
}
/* `place` says which argument is the address of the text: 1, 2, or 0 for none. */
kernel void escape(global long *result, global const char *text, long place, long number, long a,
                   long b, long c, long d)
{
    result[0] = call(number, place == 1 ? (long)text : a, place == 2 ? (long)text : b, c, d);
}
"""

PARENT = -1
"""In the place of an argument: the pid of the spawner."""

AT_FDCWD, O_RDONLY, O_WRONLY, O_CREAT = -100, 0, 1, 0o100
READ_WRITE = 3
MAP_SHARED, MAP_PRIVATE, MAP_ANONYMOUS, MAP_GROWSDOWN = 1, 2, 0x20, 0x102
SIGCHLD, SIGKILL, CLONE_NEWUSER = 17, 9, 0x10000000


@dataclass(frozen=True)
class Call:
    """A system call of x86_64. `text`, if there is any, is argument number `place`."""

    name: str
    number: int
    args: tuple[int, int, int, int] = (0, 0, 0, 0)
    text: str = ""
    place: int = 0

    def __str__(self) -> str:
        return self.name


FORBIDDEN = (
    Call("socket", 41, (1, 1, 0, 0)),
    Call("execve", 59, text="/usr/bin/ld", place=1),
    Call("ptrace", 101),
    Call("kill-of-the-parent", 62, (PARENT, SIGKILL, 0, 0)),
    Call("fork", 57),
    Call("clone-of-a-process", 56, (SIGCHLD, 0, 0, 0)),
    Call("unshare", 272, (CLONE_NEWUSER, 0, 0, 0)),
    Call("mount", 165, text="/", place=2),
    Call("set-dumpable", 157, (4, 1, 0, 0)),
    Call("limits-of-the-parent", 302, (PARENT, 7, 0, 0)),
    Call("memory-of-the-parent", 310, (PARENT, 0, 0, 0)),
    Call("io_uring_setup", 425, (1, 0, 0, 0)),
    Call("seccomp", 317),
    Call("shared-memory", 9, (0, 4096, READ_WRITE, MAP_SHARED | MAP_ANONYMOUS)),
    Call("growing-memory", 9, (0, 4096, READ_WRITE, MAP_GROWSDOWN | MAP_ANONYMOUS)),
)
"""Each of them ends the worker."""

OPENED = tuple(
    Call(path, 257, (AT_FDCWD, 0, flags, 0), text=path, place=2)
    for path, flags in (
        ("/etc/passwd", O_RDONLY),
        ("/proc/self/environ", O_RDONLY),
        ("/proc/1/cmdline", O_RDONLY),
        ("/run/vgpud", O_RDONLY),
        ("/var/lib", O_RDONLY),
        ("/dev/mem", O_RDONLY),
        ("/usr/bin/ld", O_RDONLY),
    )
)
"""What is not there for a launcher."""

WRITTEN = tuple(
    Call(path, 257, (AT_FDCWD, 0, O_WRONLY | O_CREAT, 0o600), text=path, place=2)
    for path in ("/escaped", "/usr/lib/escaped", "/tmp/escaped")
)
"""What cannot be made."""

GETPID = Call("getpid", 39)

HOG = Call("mmap", 9, (0, 1 << 36, READ_WRITE, MAP_PRIVATE | MAP_ANONYMOUS))
"""More memory than a VM may have."""
