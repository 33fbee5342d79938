"""Guest code that attacks its host through OpenCL C: what it gets, and that it is alone in that."""

from __future__ import annotations

import contextlib
import errno
import os
import platform
import struct
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from tests.daemon.escapes import ESCAPE, FORBIDDEN, GETPID, HOG, OPENED, PARENT, WRITTEN, Call
from tests.daemon.guests import Guest, eventually, register, wait_ended
from tests.daemon.test_opencl import ADD_ONE, BUILD_S, DATA, ENDLESS, LOG, load, start
from tests.daemon_under_test import RunningDaemon, running_vgpud
from tests.ring_abi import (
    Completion,
    Status,
    arg_buffer,
    arg_value,
    op_alloc,
    op_free,
    op_kernel_create,
    op_launch,
    op_read,
    op_sync,
    op_write,
)
from tests.ring_client import RingClient

BUILD_TIMEOUT_MS = 10_000

INCBIN = b"""
kernel void steal(global char *a)
{
    const char *stolen;
    __asm__ volatile(".pushsection .data\\n1: .incbin \\"PATH\\"\\n.popsection\\nlea 1b(%%rip), %0"
                     : "=r"(stolen));
    for (int i = 0; i < 64; i++)
        a[i] = stolen[i];
}
"""

# More than a builder may write, and a linker may map.
HUGE = b"""
__constant int huge[1 << 28] = {1};
kernel void look(global int *a) { a[0] = huge[a[1]]; }
"""

# Each line doubles what the one before it becomes.
BOMB = (
    b"#define X0 x = x * 3 + 1;\n"
    + b"".join(b"#define X%d X%d X%d\n" % (n + 1, n, n) for n in range(24))
    + b"kernel void bomb(global int *a) { int x = a[0]; X24 a[0] = x; }\n"
)

USEFUL = op_launch(1, [64], [arg_buffer(1)])
TEXT = DATA + 0x1000

x86_64 = pytest.mark.skipif(
    platform.machine() != "x86_64", reason="its kernels are written for x86_64"
)
confined = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to confine workers")

pytestmark = confined


@dataclass(frozen=True)
class Neighbour:
    """Another VM, with a kernel of its own loaded and a buffer for it."""

    guest: Guest
    ring: RingClient


@contextlib.contextmanager
def moved_in(daemon: RunningDaemon) -> Iterator[Neighbour]:
    """A VM in another pool than the attackers'."""
    guest = register(daemon, pool="B")
    with guest.ring() as ring:
        start(ring, ADD_ONE, b"add_one")
        yield Neighbour(guest, ring)
    guest.remove()


@pytest.fixture(scope="module")
def neighbour(opencl_vgpud: RunningDaemon) -> Iterator[Neighbour]:
    with moved_in(opencl_vgpud) as neighbour:
        yield neighbour


@contextlib.contextmanager
def served_all_along(neighbour: Neighbour) -> Iterator[None]:
    """A VM has kernels run one after the other, before, meanwhile and after, and all are."""
    done, stop = 0, threading.Event()
    failed: list[Completion] = []

    def work() -> None:
        nonlocal done
        while not stop.is_set() and not failed:
            answer = neighbour.ring.run(USEFUL, op_sync(), timeout_s=BUILD_S)
            if answer.status != Status.OK:
                failed.append(answer)
            done += 1

    def goes_on(what: str) -> None:
        before = done
        eventually(lambda: failed or done > before + 1, f"a neighbour is served {what}")

    worker = neighbour.guest.worker()
    thread = threading.Thread(target=work)
    thread.start()
    try:
        goes_on("before")
        yield
        goes_on("afterwards")
    finally:
        stop.set()
        thread.join()
    assert not failed
    assert neighbour.guest.worker() == worker
    live = neighbour.guest.live()
    assert (live.faults, live.failed) == (0, 0)


def begin_escape(ring: RingClient) -> None:
    """ESCAPE's kernel as kernel 1, and a buffer 1 for what it finds."""
    assert load(ring, 1, ESCAPE).status == Status.OK
    assert ring.run(op_alloc(1, 64), op_kernel_create(1, 1, b"escape")).status == Status.OK


def attempt(ring: RingClient, call: Call, parent: int = 0) -> Completion:
    """Have ESCAPE's kernel make a system call; its result comes back at DATA."""
    ring.poke(ring.data_at(TEXT), call.text.encode() + b"\0")
    numbers = (parent if n == PARENT else n for n in (call.place, call.number, *call.args))
    args = [arg_buffer(1), arg_buffer(2), *(arg_value(struct.pack("<q", n)) for n in numbers)]
    return ring.run(
        op_alloc(2, 64),
        op_write(2, 0, TEXT, len(call.text) + 1),
        op_launch(1, [1], args),
        op_read(1, 0, DATA, 8),
        timeout_s=60,
    )


def result(ring: RingClient) -> int:
    """What the system call returned."""
    (number,) = struct.unpack("<q", ring.peek(ring.data_at(DATA), 8))
    return int(number)


def lives_anew(guest: Guest, ring: RingClient, dead: psutil.Process) -> None:
    """The VM's next request runs on a fresh worker, which has nothing of the old one's."""
    wait_ended(dead)
    start(ring, ADD_ONE, b"add_one")
    assert ring.run(USEFUL, op_sync()).status == Status.OK
    assert guest.worker() != dead


@x86_64
@pytest.mark.parametrize("call", FORBIDDEN, ids=str)
def test_a_forbidden_system_call_ends_the_worker_of_its_vm_alone(
    opencl_guest: Guest, neighbour: Neighbour, call: Call
) -> None:
    with served_all_along(neighbour), opencl_guest.ring() as ring:
        begin_escape(ring)
        worker = opencl_guest.worker()
        spawner = worker.parent()
        assert spawner is not None
        assert attempt(ring, call, spawner.pid).status == Status.DEVICE_LOST
        assert spawner.is_running()
        opencl_guest.logged(rf".*\(pid {worker.pid}\) ended: killed by signal SIGSYS")
        opencl_guest.logged("fault: its worker ended: signal SIGSYS")
        assert opencl_guest.live().faults == 1
        lives_anew(opencl_guest, ring, worker)


@x86_64
def test_files_that_a_worker_does_not_need_are_not_there(opencl_guest: Guest) -> None:
    with opencl_guest.ring() as ring:
        begin_escape(ring)
        found = {}
        for call in OPENED:
            assert attempt(ring, call).status == Status.OK
            found[call.name] = result(ring)
            assert ring.run(op_free(2)).status == Status.OK
        assert found == {call.name: -errno.ENOENT for call in OPENED}


@x86_64
def test_nothing_can_be_written_outside_the_workers_own_directory(opencl_guest: Guest) -> None:
    with opencl_guest.ring() as ring:
        begin_escape(ring)
        for call in WRITTEN:
            assert attempt(ring, call).status == Status.OK
            assert result(ring) in (-errno.EROFS, -errno.EACCES), call
            assert not Path(call.name).exists()
            assert ring.run(op_free(2)).status == Status.OK


@x86_64
def test_a_system_call_that_is_allowed_is_no_fault(opencl_guest: Guest) -> None:
    with opencl_guest.ring() as ring:
        begin_escape(ring)
        worker = opencl_guest.worker()
        assert attempt(ring, GETPID).status == Status.OK
        assert result(ring) == worker.pid
    assert opencl_guest.live().faults == 0


@pytest.mark.parametrize("path", ["/etc/passwd", "/proc/self/environ", "/etc/hostname"])
def test_a_host_file_cannot_be_included(opencl_guest: Guest, path: str) -> None:
    with opencl_guest.ring() as ring:
        done = load(ring, 1, f'#include "{path}"\nkernel void k() {{}}\n'.encode())
        assert done.status == Status.BUILD_FAILED
        log = ring.peek(ring.data_at(LOG), done.out_len)
        assert b"file not found" in log
        assert not any(line in log for line in secrets(path))
    assert opencl_guest.live().faults == 0


def secrets(path: str) -> list[bytes]:
    """The lines of a host's file that would be recognized."""
    with contextlib.suppress(FileNotFoundError):
        return [line for line in Path(path).read_bytes().splitlines() if len(line) > 3]
    return []


@x86_64
def test_a_host_file_cannot_be_assembled_into_a_program(opencl_guest: Guest) -> None:
    stolen = {}
    for path in ("/etc/ld.so.cache", "/etc/passwd"):
        with opencl_guest.ring() as ring:
            assert load(ring, 1, INCBIN.replace(b"PATH", path.encode())).status == Status.OK
            done = ring.run(
                op_kernel_create(1, 1, b"steal"),
                op_alloc(1, 64),
                op_launch(1, [1], [arg_buffer(1)]),
                op_read(1, 0, DATA, 64),
            )
            assert done.status == Status.OK
            stolen[path] = ring.peek(ring.data_at(DATA), 64)
    # The attack works, with a file that a linker needs; so it is the other one that is not there.
    assert stolen["/etc/ld.so.cache"] == Path("/etc/ld.so.cache").read_bytes()[:64]
    assert stolen["/etc/passwd"][:4] != Path("/etc/passwd").read_bytes()[:4]


@x86_64
def test_a_kernel_gets_no_more_memory_than_its_vm_may_have(opencl_guest: Guest) -> None:
    with opencl_guest.ring() as ring:
        begin_escape(ring)
        assert attempt(ring, HOG).status == Status.OK
        assert result(ring) == -errno.ENOMEM


@pytest.mark.parametrize(
    "body",
    [
        pytest.param("*(volatile global int *)0 = 1;", id="null"),
        pytest.param("a[(long)1 << 44] = 1;", id="far"),
        pytest.param(
            "volatile int big[1 << 26]; for (int i = 0; i < 1 << 26; i += 512) big[i] = i;",
            id="stack",
        ),
    ],
)
def test_a_wild_write_is_that_vms_loss_alone(
    opencl_guest: Guest, neighbour: Neighbour, body: str
) -> None:
    source = f"kernel void wild(global int *a) {{ {body} }}\n".encode()
    with served_all_along(neighbour), opencl_guest.ring() as ring:
        start(ring, source, b"wild")
        worker = opencl_guest.worker()
        done = ring.run(op_launch(1, [1], [arg_buffer(1)]), op_sync(), timeout_s=60)
        assert done.status == Status.DEVICE_LOST
        opencl_guest.logged("fault: its worker ended: signal SIGSEGV")
        assert opencl_guest.live().faults == 1
        lives_anew(opencl_guest, ring, worker)


def test_an_endless_kernel_is_a_fault_and_its_vm_goes_on_with_a_fresh_worker(
    opencl_guest: Guest, neighbour: Neighbour
) -> None:
    with served_all_along(neighbour), opencl_guest.ring() as ring:
        start(ring, ENDLESS, b"endless")
        worker = opencl_guest.worker()
        done = ring.run(op_launch(1, [1], [arg_buffer(1)]), op_sync(), timeout_s=60)
        assert done.status == Status.TIMEOUT
        opencl_guest.logged("fault: its work ran longer than run_timeout_ms")
        assert opencl_guest.live().faults == 1
        lives_anew(opencl_guest, ring, worker)


def test_a_program_that_takes_for_ever_to_compile_is_a_timeout_of_its_vm_alone() -> None:
    with running_vgpud(
        {"device": {"backend": "opencl"}, "scheduler": {"build_timeout_ms": BUILD_TIMEOUT_MS}}
    ) as daemon:
        guest = register(daemon)
        with moved_in(daemon) as other, served_all_along(other), guest.ring() as ring:
            assert load(ring, 1, BOMB).status == Status.TIMEOUT
            guest.logged("fault: its build ran longer than build_timeout_ms")
            assert guest.live().faults == 1
            start(ring, ADD_ONE, b"add_one")
            assert ring.run(USEFUL, op_sync()).status == Status.OK


def test_a_program_too_large_for_its_builder_ends_that_one_alone(
    opencl_guest: Guest, neighbour: Neighbour
) -> None:
    with served_all_along(neighbour), opencl_guest.ring() as ring:
        start(ring, ADD_ONE, b"add_one")
        worker = opencl_guest.worker()
        assert load(ring, 2, HUGE).status == Status.BUILD_FAILED
        opencl_guest.logged(r"build worker \d+ \(pid \d+\) ended: killed by signal SIGABRT")
        opencl_guest.logged("fault: its worker ended: signal SIGABRT")
        assert opencl_guest.live().faults == 1
        # What the VM has on the device is as it was, and it can build again.
        assert ring.run(USEFUL, op_sync()).status == Status.OK
        assert load(ring, 2, ADD_ONE + b"/* again */").status == Status.OK
        assert opencl_guest.worker() == worker
