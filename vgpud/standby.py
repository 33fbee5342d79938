"""The standby: a launch worker that has its device open and waits for a VM that needs it.

Opening a device takes far longer than all else that a VM's first request waits for. So one worker
is started before anybody asks; to make it a VM's is to pass it descriptors. It has a slot, and so
uids, of its own, which the VM has from then on.

    STARTING  asked to say when it waits to be bound
    READY     it waits
    ENDING    wanted no more; its exit is awaited

It counts among max_workers and is in nobody's way: a VM that needs a worker has it, in whatever
state it is. It is not held in the spawner: when vgpud ends, its control socket does, and then it
ends by itself. Its end is nobody's fault; after one, or where there was no room for it, the next
one is tried after a pause that grows.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from vgpud.errors import EngineError, SpawnerError
from vgpud.hold_off import HoldOff
from vgpud.mediator import Lane
from vgpud.spawner import Spawner, SpawnerLostError, SpawnerRefusedError, WorkerExit
from vgpud.worker_messages import pack_stand_by
from vgpud.worker_slots import WorkerSlots
from vgpud.worker_start import Recruit, spawn_recruit, take_answer

log = logging.getLogger(__name__)

LABEL = "standby"
LEAVE_FREE_BYTES = 512 << 20
"""No standby is started on a host with less memory to spare than this."""

MEMORY_INFO = Path("/proc/meminfo")


class Readiness(Enum):
    """See above."""

    STARTING = "starting"
    READY = "ready"
    ENDING = "ending"


@dataclass
class _Candidate:
    recruit: Recruit
    readiness: Readiness = Readiness.STARTING


class Standby:
    """At most one. Lives in the event loop."""

    def __init__(
        self, spawner: Spawner, slots: WorkerSlots, *, wanted: bool, start_timeout_s: float
    ) -> None:
        """`start_timeout_s` is how long one may take until it waits."""
        self._spawner = spawner
        self._slots = slots
        self.wanted = wanted
        self.start_timeout_s = start_timeout_s
        self._settings: Mapping[str, str] = {}
        self._begun = False
        self._candidate: _Candidate | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._hold_off = HoldOff()

    @property
    def readiness(self) -> Readiness | None:
        """None while there is none."""
        return self._candidate.readiness if self._candidate is not None else None

    def begin(self) -> None:
        """All slots that are not free are known from now on."""
        self._begun = True
        self.review()

    def use_device(self, settings: Mapping[str, str]) -> None:
        """It is to be started like this, with its device open; none with an empty mapping."""
        if settings != self._settings:
            self._settings = settings
            self._end("others are started in another way now")
        self.review()

    def review(self) -> None:
        """Start one where one is wanted, missing and has room; end one that is not wanted."""
        if not self._begun:
            return
        if not self.wanted or not self._settings:
            self._stop_timer()
            self._end("none is wanted")
        elif self._candidate is None:
            left_s = self._hold_off.left_s(asyncio.get_running_loop().time())
            if left_s > 0:
                self._in(left_s)
            elif spare_memory_bytes() < LEAVE_FREE_BYTES:
                log.info("no standby is started: this host has little memory to spare")
                self._pause()
            else:
                self._start()

    def take(self) -> tuple[Recruit, bool] | None:
        """The process, now the caller's with its slot, and whether it has yet to say that it waits.

        None if there is none that lives.
        """
        if self._candidate is None or self._candidate.readiness is Readiness.ENDING:
            return None
        recruit, readiness = self._candidate.recruit, self._candidate.readiness
        if is_at_its_end(recruit.control):
            self._give_up("it has ended")
            return None
        self._expect_nothing()
        self._candidate = None
        if readiness is Readiness.READY:
            self._hold_off.succeeded()
        return recruit, readiness is Readiness.STARTING

    def exited(self, report: WorkerExit) -> bool:
        """The spawner says that a worker has ended. Returns false if it is another one."""
        candidate = self._candidate
        if candidate is None or candidate.recruit.worker_id != report.worker_id:
            return False
        self._expect_nothing()
        self._candidate = None
        candidate.recruit.control.close()
        self._slots.release(candidate.recruit.slot)
        if candidate.readiness is not Readiness.ENDING:
            log.warning("the standby (worker %d) ended: %s", report.worker_id, report)
            self._pause()
        return True

    def close(self) -> None:
        """Let go of it: it ends by itself."""
        self._begun = False
        self._expect_nothing()
        if self._candidate is not None:
            self._candidate.recruit.control.close()
            self._candidate = None

    def _start(self) -> None:
        try:
            recruit = self._spawn()
        except SpawnerLostError:
            return  # whoever watches the spawner is told
        except (OSError, SpawnerError) as error:
            log.warning("no standby: %s", error)
            self._pause()
            return
        if recruit is None:
            return  # who ends, and leaves a slot, has it reviewed
        self._slots.take(recruit.slot)
        self._candidate = _Candidate(recruit)
        loop = asyncio.get_running_loop()
        loop.add_reader(recruit.control.fileno(), self._answered, recruit)
        self._timer = loop.call_later(
            self.start_timeout_s, self._give_up, "it did not answer in time"
        )
        log.info("standby: worker %d started (pid %d)", recruit.worker_id, recruit.pid)

    def _spawn(self) -> Recruit | None:
        for slot in self._slots.free():
            try:
                recruit = spawn_recruit(self._spawner, Lane.LAUNCH, slot, self._settings, LABEL)
            except SpawnerRefusedError as error:
                if error.error_number != errno.EBUSY:
                    raise
                continue  # something ends there of which nobody has told us
            try:
                recruit.control.send(pack_stand_by())
            except OSError as error:
                # It has ended already; its slot is free when that is reported.
                self._slots.leave_to([(recruit.worker_id, slot)])
                recruit.control.close()
                raise SpawnerError(f"worker {recruit.worker_id} ended at once") from error
            return recruit
        return None

    def _answered(self, recruit: Recruit) -> None:
        self._expect_nothing()
        if self._candidate is None:
            return
        try:
            take_answer(recruit.control)
        except (OSError, EngineError) as error:
            self._give_up(str(error) or "it closed its control socket")
            return
        self._candidate.readiness = Readiness.READY
        log.info("standby: worker %d waits to be bound", recruit.worker_id)

    def _give_up(self, why: str) -> None:
        log.warning("the standby is of no use: %s", why)
        self._hold_off.failed(asyncio.get_running_loop().time())
        self._end(why)

    def _end(self, why: str) -> None:
        if self._candidate is None or self._candidate.readiness is Readiness.ENDING:
            return
        self._expect_nothing()
        recruit = self._candidate.recruit
        self._candidate.readiness = Readiness.ENDING
        log.info("ending the standby (worker %d): %s", recruit.worker_id, why)
        try:
            self._spawner.kill(recruit.worker_id)
        except SpawnerError as error:
            # It may have ended by itself a moment ago; then its exit is on the way.
            log.info("worker %d: %s", recruit.worker_id, error)

    def _pause(self) -> None:
        """It cannot be now: look again later."""
        now_s = asyncio.get_running_loop().time()
        self._hold_off.failed(now_s)
        self._in(self._hold_off.left_s(now_s))

    def _in(self, delay_s: float) -> None:
        self._stop_timer()
        self._timer = asyncio.get_running_loop().call_later(delay_s, self.review)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _expect_nothing(self) -> None:
        self._stop_timer()
        if self._candidate is not None and self._candidate.readiness is Readiness.STARTING:
            asyncio.get_running_loop().remove_reader(self._candidate.recruit.control.fileno())


def is_at_its_end(control: socket.socket) -> bool:
    """Has the worker at the other end closed it, as it does when it ends?"""
    try:
        return not control.recv(1, socket.MSG_PEEK)
    except BlockingIOError:
        return False
    except OSError:
        return True


def spare_memory_bytes() -> int:
    """What the kernel could give to new processes; without its word, as much as anybody wants."""
    try:
        lines = MEMORY_INFO.read_text().splitlines()
    except OSError:
        return 1 << 62
    for line in lines:
        name, _, rest = line.partition(":")
        if name == "MemAvailable":
            return int(rest.split()[0]) * 1024
    return 1 << 62
