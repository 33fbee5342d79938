"""VMs of a vgpud under test, from all sides: the guest's, the administrator's, the host's.

Whatever is waited for here is looked at again until it is so, or until a deadline that only a
broken daemon reaches; nothing is concluded from time having passed.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import os
import re
import signal
import struct
import termios
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import psutil

from tests.daemon_under_test import ROOT, RunningDaemon
from tests.ring_abi import DeviceStatus, Lane, Status, op_alloc, op_module_load, ref
from tests.ring_client import Refused, RingClient
from tests.stub_client import StubClient
from vgpud.client import Client
from vgpud.model.priority import Priority
from vgpud.protocol.messages import (
    DisablePool,
    DisablePoolReply,
    EnablePool,
    EnablePoolReply,
    ListVms,
    ListVmsReply,
    RegisterVm,
    RegisterVmReply,
    RemoveVm,
    RemoveVmReply,
    ShowVm,
    ShowVmReply,
    Trace,
    TraceReply,
)
from vgpud.protocol.states import RequestTrace, VmLive

DEADLINE_S = 30.0
PAUSE_S = 0.01
VGPU_CLIENT = ROOT / "vgpud" / "bin" / "vgpu-client"

Found = TypeVar("Found")


def eventually(
    look: Callable[[], Found | None], what: str, deadline_s: float = DEADLINE_S
) -> Found:
    """The first true thing that `look` returns; AssertionError with `what` after the deadline."""
    end = time.monotonic() + deadline_s
    while True:
        found = look()
        if found:
            return found
        assert time.monotonic() < end, f"not within {deadline_s:g} s: {what}"
        time.sleep(PAUSE_S)


@dataclass(frozen=True)
class Guest:
    """A registered VM."""

    daemon: RunningDaemon
    uuid: str
    vm_id: int

    @property
    def directory(self) -> Path:
        return self.daemon.run_dir / "vms" / self.uuid

    @property
    def stub_socket(self) -> Path:
        return self.directory / "stub.sock"

    @property
    def ring_socket(self) -> Path:
        return self.directory / "ring.sock"

    def stub(self) -> StubClient:
        """A version 1 connection."""
        return StubClient(self.stub_socket, timeout_s=DEADLINE_S)

    def attach(self) -> RingClient:
        """An attachment to the ring, its features not yet agreed on.

        A former client's end may not have been noticed yet: until then a second one is refused.
        """

        def once() -> RingClient | None:
            try:
                return RingClient(self.ring_socket, timeout_s=DEADLINE_S)
            except Refused:
                return None

        return eventually(once, f"VM {self.uuid} can be attached to")

    def ring(self) -> RingClient:
        """An attachment that is ready to be used."""
        ring = self.attach()
        assert ring.negotiate() is DeviceStatus.OK
        return ring

    def live(self) -> VmLive:
        """What the engine counts for this VM now."""
        reply, _ = client_of(self.daemon).call(ShowVm(vm_uuid=self.uuid), ShowVmReply)
        assert reply.vm.live is not None, "the engine does not know this VM"
        return reply.vm.live

    def when(self, condition: Callable[[VmLive], bool], what: str) -> VmLive:
        """Wait until the live numbers are so."""

        def look() -> VmLive | None:
            live = self.live()
            return live if condition(live) else None

        return eventually(look, f"VM {self.uuid}: {what}")

    def worker(self) -> psutil.Process:
        """The process that runs this VM's work, once there is one."""
        return psutil.Process(self.when(lambda live: live.worker_pid != 0, "a worker").worker_pid)

    def warm_up(self) -> psutil.Process:
        """Have one request served, so that a worker is there; returns it. Leaves no client."""
        with self.stub() as stub:
            worker = self.warm_up_over(stub)
        self.when(lambda live: not live.connected_stub, "the client has gone")
        return worker

    def warm_up_over(self, stub: StubClient) -> psutil.Process:
        """Have one request of this client served, so that a worker is there; returns it."""
        assert stub.vector_add(1, 2) == 3
        return self.worker()

    def logged(self, pattern: str) -> re.Match[str]:
        """Wait for a line of vgpud's log that is about this VM; `pattern` follows "VM <uuid>: "."""
        return logged(self.daemon, rf"VM {self.uuid}: {pattern}")

    def remove(self) -> None:
        """Have the VM forgotten."""
        client_of(self.daemon).call(RemoveVm(vm_uuid=self.uuid), RemoveVmReply)


def client_of(daemon: RunningDaemon) -> Client:
    """A client of the control socket, as vgpu-admin uses it."""
    return Client(str(daemon.control_socket), DEADLINE_S)


def register(
    daemon: RunningDaemon,
    *,
    pool: str = "A",
    priority: Priority = Priority.MEDIUM,
    peer: str | None = None,
    vm_uuid: str | None = None,
) -> Guest:
    """Register a VM whose clients run as this process does, or as `peer` says."""
    call = RegisterVm(
        vm_uuid=vm_uuid or str(uuid.uuid4()),
        pool_id=pool,
        priority=priority,
        peer=peer or f"uid:{os.geteuid()}",
    )
    reply, _ = client_of(daemon).call(call, RegisterVmReply)
    return Guest(daemon, reply.vm.vm_uuid, reply.vm.vm_id)


def registered(daemon: RunningDaemon) -> list[str]:
    """The UUIDs of all VMs."""
    reply, _ = client_of(daemon).call(ListVms(), ListVmsReply)
    return [vm.vm_uuid for vm in reply.vms]


def vgpud_of(daemon: RunningDaemon) -> psutil.Process:
    """The daemon itself."""
    assert daemon.process is not None, "the daemon is not running"
    return psutil.Process(daemon.process.pid)


def spawner_of(daemon: RunningDaemon) -> psutil.Process:
    """The vgpu-spawn that the daemon has started."""
    return next(
        process
        for process in psutil.process_iter(["name", "cmdline"])
        if process.info["name"] == "vgpu-spawn"
        and any(str(daemon.run_dir) in argument for argument in process.info["cmdline"] or ())
    )


@contextlib.contextmanager
def disabled(daemon: RunningDaemon, pool_id: str) -> Iterator[None]:
    """A pool is disabled for the length of the `with` block."""
    client_of(daemon).call(DisablePool(pool_id), DisablePoolReply)
    try:
        yield
    finally:
        client_of(daemon).call(EnablePool(pool_id), EnablePoolReply)


def logged(daemon: RunningDaemon, pattern: str) -> re.Match[str]:
    """Wait for a line in vgpud's log; `pattern` is searched for."""
    return eventually(
        lambda: re.search(pattern, daemon.log.read_text(errors="replace")),
        f"{pattern!r} in the log of vgpud",
    )


def reload(daemon: RunningDaemon, config: str) -> str:
    """Change the configuration file, have it read, and return what vgpud said about it."""
    daemon.config.write_text(config)
    before = daemon.log.stat().st_size
    vgpud_of(daemon).send_signal(signal.SIGHUP)

    def said() -> str:
        text = daemon.log.read_bytes()[before:].decode()
        return text if "reload: done" in text or "reload: keeping" in text else ""

    return eventually(said, "vgpud says that it has read its configuration")


@contextlib.contextmanager
def stopped(process: psutil.Process) -> Iterator[None]:
    """A process does nothing for the length of the `with` block, unless it is killed meanwhile."""
    process.send_signal(signal.SIGSTOP)
    try:
        eventually(lambda: process.status() == psutil.STATUS_STOPPED, f"{process} has stopped")
        yield
    finally:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(signal.SIGCONT)


def wait_ended(*processes: psutil.Process) -> None:
    """Wait until processes have ended, whether or not their parent has noticed."""

    def ended(process: psutil.Process) -> bool:
        try:
            return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return True

    for process in processes:
        eventually(functools.partial(ended, process), f"{process} has ended")


def wait_taken(client: StubClient) -> None:
    """Wait until the other side has received every byte that was sent to it."""

    def none_left() -> bool:
        unread = fcntl.ioctl(client.socket, termios.TIOCOUTQ, struct.pack("i", 0))
        return struct.unpack("i", unread) == (0,)

    eventually(none_left, "vgpud has received what was sent")


def build(ring: RingClient, module: int = 1) -> None:
    """Have a module built that is like no other, so that the VM has its second worker."""
    source = b"kernel void nothing_%d() {}\n" % module
    ring.poke(ring.data_at(0x10000), source)
    load = op_module_load(module, ref(0x10000, len(source)), ref(0x20000, 0x10000))
    assert ring.run(load, lane=Lane.BUILD).status == Status.OK


def hold(guest: Guest) -> psutil.Process:
    """Have a buffer, which needs no build worker; returns the worker that has it."""
    with guest.ring() as ring:
        assert ring.run(op_alloc(1, 64)).status == Status.OK
    return guest.worker()


def both_workers(guest: Guest) -> list[psutil.Process]:
    """The launch and the build worker of a VM that has built something."""
    with guest.ring() as ring:
        build(ring)
    started = (
        guest.logged(rf"{lane} worker \d+ started \(pid (\d+)") for lane in ("launch", "build")
    )
    return [psutil.Process(int(match[1])) for match in started]


def traced(guest: Guest, limit: int = 100) -> list[RequestTrace]:
    """What became of the VM's requests that are finished, oldest first."""
    reply, _ = client_of(guest.daemon).call(Trace(vm_uuid=guest.uuid, limit=limit), TraceReply)
    assert reply.missed == 0
    return reply.requests
