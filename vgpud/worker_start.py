"""How a worker comes to be: a process of the spawner, bound to a VM by passing descriptors.

The bind is sent before the worker has opened its device; its one answer on the control socket says
whether it is ready, or why not.
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass

from vgpud.errors import EngineError
from vgpud.mediator import Lane, Mediator, channel_bytes
from vgpud.spawner import Spawner, close_fds
from vgpud.vm_files import doorbell, sealed_memfd
from vgpud.worker_messages import READY_BYTES, pack_bind, unpack_ready
from vgpud.worker_process import ROLE_OF, Tenant, Worker

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class WorkerTerms:
    """What a worker is given: `settings` are environment variables; memory in bytes."""

    settings: Mapping[str, str]
    memory_bytes: int


def start_worker(
    spawner: Spawner, mediator: Mediator, tenant: Tenant, lane: Lane, slot: int, terms: WorkerTerms
) -> Worker:
    """Spawn a worker and bind it; its answer is awaited by the caller.

    Raises OSError, EngineError or SpawnerError with nothing left open. A build worker needs the
    VM's launch worker.
    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    opened: list[int] = []
    try:
        with theirs:
            process = spawner.spawn_worker(
                ROLE_OF[lane], slot, theirs, terms.settings, tenant.vm_uuid
            )
        os.close(process.pidfd)
        channel = sealed_memfd(f"vgpud-channel-{process.worker_id}", channel_bytes())
        opened.append(channel)
        bell = doorbell()
        opened.append(bell)
        exchange_here, exchange_there = _exchange(tenant, lane)
        opened.append(exchange_here)
        bind = pack_bind(ROLE_OF[lane], mediator.vm_layout(tenant.handle), terms.memory_bytes)
        with exchange_there:
            fds = [channel, bell, tenant.ring, exchange_there.fileno()]
            socket.send_fds(ours, [bind], fds)
    except BaseException:
        # The worker, if there is one, ends when its control socket does.
        ours.close()
        close_fds(fd for fd in opened if fd >= 0)
        raise
    ours.setblocking(False)
    worker = Worker(
        tenant, lane, process.worker_id, process.pid, ours, channel, bell, exchange_here
    )
    log.info("VM %s: %s started (pid %d, uid %d)", tenant.vm_uuid, worker, process.pid, process.uid)
    return worker


def take_answer(worker: Worker) -> None:
    """Read the worker's answer, which is there. Raises OSError, or EngineError if it is no yes."""
    ready = unpack_ready(worker.control.recv(READY_BYTES + 1))
    if ready.error_number:
        raise EngineError(f"{ready.reason} ({os.strerror(ready.error_number)})")


def _exchange(tenant: Tenant, lane: Lane) -> tuple[int, socket.socket]:
    """Ends of the pair between build and launch worker: the one kept, the one given away."""
    if lane is Lane.LAUNCH:
        build_end, launch_end = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        return build_end.detach(), launch_end
    launcher = tenant.workers[Lane.LAUNCH]
    return -1, socket.socket(fileno=os.dup(launcher.exchange))
