"""How a worker comes to be: a process of the spawner, bound to a VM by passing descriptors.

The bind may be sent before the worker has opened its device; its one answer on the control socket
says whether it is ready, or why not.
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field

from vgpud.errors import EngineError
from vgpud.mediator import Lane, Mediator, channel_bytes
from vgpud.spawner import Capability, Spawner, close_fds
from vgpud.vm_files import doorbell, sealed_memfd
from vgpud.worker_messages import READY_BYTES, pack_bind, unpack_ready
from vgpud.worker_process import ROLE_OF, Tenant, Worker

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class WorkerTerms:
    """What a worker is given: `settings` are environment variables; memory in bytes."""

    settings: Mapping[str, str]
    memory_bytes: int


@dataclass(frozen=True)
class WorkforceConfig:
    """`settings` are environment variables for every worker, none while there is no device; sizes
    in bytes. `max_vms` may have workers at a time. With `standby` one more waits for a VM.
    `limits` are what a worker may use up, as vgpu-spawn wants it."""

    settings: Mapping[str, str]
    memory_bytes: int
    max_vms: int
    start_timeout_s: float
    idle_s: Mapping[Lane, float]
    standby: bool
    limits: Mapping[str, str] = field(default_factory=dict)

    def terms(self, capabilities: Capability) -> WorkerTerms:
        """What a worker is given by a spawner that can do so much."""
        limits = self.limits if Capability.LIMIT in capabilities else {}
        settings = {**self.settings, **limits} if self.settings else {}
        return WorkerTerms(settings, self.memory_bytes)


@dataclass(frozen=True)
class Recruit:
    """A worker process that no VM has yet. `control` ends it when it is closed."""

    worker_id: int
    pid: int
    uid: int
    slot: int
    control: socket.socket


def spawn_recruit(
    spawner: Spawner, lane: Lane, slot: int, settings: Mapping[str, str], label: str
) -> Recruit:
    """Start a process that waits to be bound. Raises OSError or SpawnerError."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        with theirs:
            process = spawner.spawn_worker(ROLE_OF[lane], slot, theirs, settings, label)
        os.close(process.pidfd)
    except BaseException:
        ours.close()
        raise
    ours.setblocking(False)
    return Recruit(process.worker_id, process.pid, process.uid, slot, ours)


def bind_recruit(
    mediator: Mediator, tenant: Tenant, lane: Lane, recruit: Recruit, memory_bytes: int
) -> Worker:
    """Make a recruit a VM's worker; its answer is awaited by the caller.

    Raises OSError or EngineError; then the recruit ends, and nothing is left open. A build worker
    needs the VM's launch worker.
    """
    opened: list[int] = []
    try:
        channel = sealed_memfd(f"vgpud-channel-{recruit.worker_id}", channel_bytes())
        opened.append(channel)
        bell = doorbell()
        opened.append(bell)
        exchange_here, exchange_there = _exchange(tenant, lane)
        opened.append(exchange_here)
        bind = pack_bind(ROLE_OF[lane], mediator.vm_layout(tenant.handle), memory_bytes)
        with exchange_there:
            fds = [channel, bell, tenant.ring, exchange_there.fileno()]
            socket.send_fds(recruit.control, [bind], fds)
    except BaseException:
        recruit.control.close()
        close_fds(fd for fd in opened if fd >= 0)
        raise
    return Worker(
        tenant,
        lane,
        recruit.worker_id,
        recruit.pid,
        recruit.control,
        channel,
        bell,
        exchange_here,
        recruit.slot,
    )


def take_answer(control: socket.socket) -> None:
    """Read a worker's answer, which is there. Raises OSError, or EngineError if it is no yes."""
    ready = unpack_ready(control.recv(READY_BYTES + 1))
    if ready.error_number:
        raise EngineError(f"{ready.reason} ({os.strerror(ready.error_number)})")


def attach_worker(mediator: Mediator, worker: Worker) -> None:
    """Have the engine use a worker that is ready. Raises EngineError or OSError."""
    mediator.attach_worker(
        worker.tenant.handle,
        worker.lane,
        worker.worker_id,
        worker.pid,
        os.dup(worker.channel),
        os.dup(worker.doorbell),
    )


def _exchange(tenant: Tenant, lane: Lane) -> tuple[int, socket.socket]:
    """Ends of the pair between build and launch worker: the one kept, the one given away."""
    if lane is Lane.LAUNCH:
        build_end, launch_end = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        return build_end.detach(), launch_end
    launcher = tenant.workers[Lane.LAUNCH]
    return -1, socket.socket(fileno=os.dup(launcher.exchange))
