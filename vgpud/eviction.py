"""Whose worker makes room when all slots are taken and another VM needs one."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from vgpud.mediator import Lane, Mediator
from vgpud.worker_process import Phase, Worker, lane_of

LOOK_PAUSE_S = 0.1
"""After a look that found nobody there is none for so long: refusals are to cost little."""


class Eviction:
    """Finds the launch worker that can best be spared.

    Only one that holds no object of its VM and has nothing to do can be, and of these the one that
    was used least recently is. The engine decides: it lets go of the worker in the same step in
    which it makes sure of that.
    """

    def __init__(self, mediator: Mediator) -> None:
        self._mediator = mediator
        self._look_at_s = 0.0

    def let_go(self, workers: Iterable[Worker]) -> Worker | None:
        """One of these, which is nobody's any more and is to be ended; None: all are needed."""
        now_s = asyncio.get_running_loop().time()
        if now_s < self._look_at_s:
            return None
        spare = []
        for worker in workers:
            if worker.lane is Lane.LAUNCH and worker.phase is Phase.ATTACHED:
                status = lane_of(self._mediator.vm_counters(worker.tenant.handle), worker.lane)
                if status.spare:
                    spare.append((status.used_ns, worker.worker_id, worker))
        for _, _, worker in sorted(spare, key=lambda candidate: candidate[:2]):
            if self._mediator.dismiss_worker(worker.tenant.handle, worker.lane):
                return worker
        self._look_at_s = now_s + LOOK_PAUSE_S
        return None
