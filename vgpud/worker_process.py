"""A worker process and the VM it works for, as vgpud keeps account of them."""

from __future__ import annotations

import asyncio
import socket
from dataclasses import dataclass, field
from enum import Enum

from vgpud.mediator import Lane
from vgpud.spawner import close_fds


class Phase(Enum):
    """See workforce.py, where the moves between these are."""

    STARTING = "starting"
    ATTACHED = "attached"
    ENDING = "ending"


@dataclass
class Tenant:
    """A VM as far as its workers are concerned."""

    handle: int
    vm_uuid: str
    ring: int
    """Its shared memory, owned here: what workers map."""
    slot: int = -1
    workers: dict[Lane, Worker] = field(default_factory=dict)
    retired: bool = False


@dataclass
class Worker:
    """One worker process. Descriptors are owned here until `close()`."""

    tenant: Tenant
    lane: Lane
    worker_id: int
    pid: int
    control: socket.socket
    channel: int
    doorbell: int
    exchange: int
    """The build worker's end of the pair between both; -1 for the build worker itself."""
    phase: Phase = Phase.STARTING
    timeout: asyncio.TimerHandle | None = None

    def held(self) -> list[int]:
        """What the next vgpud needs to take it over."""
        fds = [self.control.fileno(), self.channel, self.doorbell]
        return [*fds, self.exchange] if self.exchange >= 0 else fds

    def close(self) -> None:
        """Let go of the descriptors."""
        if self.timeout is not None:
            self.timeout.cancel()
        self.control.close()
        close_fds(fd for fd in (self.channel, self.doorbell, self.exchange) if fd >= 0)
