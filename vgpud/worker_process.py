"""A worker process and the VM it works for, as vgpud keeps account of them."""

from __future__ import annotations

import asyncio
import math
import os
import re
import socket
from dataclasses import dataclass, field
from enum import Enum

from vgpud.hold_off import HoldOff
from vgpud.mediator import Lane
from vgpud.model.mediation import LaneStatus, VmCounters
from vgpud.spawner import Role, WorkerExit, close_fds
from vgpud.vm_files import key_prefix

ROLE_OF = {Lane.LAUNCH: Role.LAUNCH, Lane.BUILD: Role.BUILD}

SAY_AGAIN_S = 60.0
"""How long the same reason for having no worker is not said again about one VM."""

_KEY = re.compile(r"vm/(?P<uuid>[^/]+)/worker/(?P<lane>[01])/(?P<worker_id>\d+)")


class Phase(Enum):
    """See workforce.py, where the moves between these are."""

    STARTING = "starting"
    ATTACHED = "attached"
    ENDING = "ending"


@dataclass
class Refusals:
    """What a VM without a worker was last said to lack, so that it is not said each time."""

    _reason: str = ""
    _said_at_s: float = -math.inf

    def is_news(self, reason: str, now_s: float) -> bool:
        """Whether it is to be said: it is another reason, or was not said for a while."""
        news = reason != self._reason or now_s - self._said_at_s >= SAY_AGAIN_S
        if news:
            self._reason, self._said_at_s = reason, now_s
        return news

    def forget(self) -> None:
        """It has a worker: the next refusal is news."""
        self._reason = ""


@dataclass
class Tenant:
    """A VM as far as its workers are concerned."""

    handle: int
    vm_uuid: str
    ring: int
    """Its shared memory, owned here: what workers map."""
    workers: dict[Lane, Worker] = field(default_factory=dict)
    retired: bool = False
    hold_off: dict[Lane, HoldOff] = field(
        default_factory=lambda: {lane: HoldOff() for lane in Lane}
    )
    refusals: Refusals = field(default_factory=Refusals)

    def close(self) -> None:
        """Let go of all descriptors. What is held goes on."""
        for worker in self.workers.values():
            worker.close()
        os.close(self.ring)


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
    slot: int
    phase: Phase = Phase.STARTING
    timer: asyncio.TimerHandle | None = None
    """While it starts, for its answer; for a build worker after that, until it counts as idle."""
    is_held: bool = False
    """The spawner has been asked to keep `held()` under `key`."""
    was_standby: bool = False
    """It was started for nobody in particular."""
    stands_by_due: bool = False
    """It was asked to stand by, and has yet to answer that before it answers the bind."""
    failed: bool = False
    """It is of no use, by its own doing: the next one is not started at once."""

    @property
    def key(self) -> str:
        """Under which it is held. A VM that was removed and registered again has other workers."""
        return worker_key(self.tenant.vm_uuid, self.lane, self.worker_id)

    def held(self) -> list[int]:
        """What the next vgpud needs to take it over."""
        fds = [self.control.fileno(), self.channel, self.doorbell]
        return [*fds, self.exchange] if self.exchange >= 0 else fds

    def stop_timer(self) -> None:
        """Nothing is due any more."""
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None

    def close(self) -> None:
        """Let go of the descriptors."""
        self.stop_timer()
        self.control.close()
        close_fds(fd for fd in (self.channel, self.doorbell, self.exchange) if fd >= 0)

    def __str__(self) -> str:
        return f"{self.lane.name.lower()} worker {self.worker_id}"


HELD_FDS = {Lane.LAUNCH: 4, Lane.BUILD: 3}
"""How many descriptors `Worker.held()` has."""


def worker_key(vm_uuid: str, lane: Lane, worker_id: int) -> str:
    """Under which a worker of a VM is held."""
    return f"{key_prefix(vm_uuid)}worker/{lane.value}/{worker_id}"


def parse_worker_key(key: str) -> tuple[str, Lane, int] | None:
    """UUID, lane and worker id of a key; None when it is not a worker's."""
    found = _KEY.fullmatch(key)
    if found is None:
        return None
    return found["uuid"], Lane(int(found["lane"])), int(found["worker_id"])


def lane_of(counters: VmCounters, lane: Lane) -> LaneStatus:
    """What the engine says of one of a VM's workers."""
    return counters.launch if lane is Lane.LAUNCH else counters.build


def how_it_ended(report: WorkerExit) -> str:
    """For logs."""
    if report.out_of_memory:
        return "ended by the kernel: it reached its memory limit (worker_memory_bytes)"
    return str(report) if report.signal_number is None else f"killed by {report}"
