"""When a worker has had nothing to do for so long that its VM can do without."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

from vgpud.mediator import Lane, Mediator
from vgpud.worker_process import Phase, Worker, lane_of


class WorkerIdleness:
    """Watches attached workers by one timer each; there is none while there are no workers.

    An idle one is let go of by the engine before anybody is told, so that nothing is sent to it
    any more. It is noticed after the time that is allowed, at the latest after twice as long. A
    launch worker that holds objects of its VM is never idle.
    """

    def __init__(
        self,
        mediator: Mediator,
        allowed_s: Mapping[Lane, float],
        on_idle: Callable[[Worker], None],
    ) -> None:
        self._mediator = mediator
        self._on_idle = on_idle
        self.allowed_s = allowed_s

    def watch(self, worker: Worker) -> None:
        """Watch an attached worker until it is idle, or ends."""
        used_ns = self._used_ns(worker)
        worker.timer = asyncio.get_running_loop().call_later(
            self.allowed_s[worker.lane], self._look, worker, used_ns
        )

    def _look(self, worker: Worker, used_ns: int) -> None:
        if worker.phase is not Phase.ATTACHED:
            return
        if self._used_ns(worker) == used_ns and self._mediator.dismiss_worker(
            worker.tenant.handle, worker.lane
        ):
            self._on_idle(worker)
        else:
            self.watch(worker)

    def _used_ns(self, worker: Worker) -> int:
        """When it last answered: changes with each unit."""
        counters = self._mediator.vm_counters(worker.tenant.handle)
        return lane_of(counters, worker.lane).used_ns
