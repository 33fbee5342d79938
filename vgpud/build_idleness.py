"""When a build worker has had nothing to do for so long that its VM can do without."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from vgpud.mediator import Mediator
from vgpud.worker_process import Phase, Worker


class BuildIdleness:
    """Watches build workers by one timer each; there is none while there are no build workers.

    An idle one is let go of by the engine before anybody is told, so that nothing is sent to it
    any more. It is noticed after the time that is allowed, at the latest after twice as long.
    """

    def __init__(
        self, mediator: Mediator, allowed_s: float, on_idle: Callable[[Worker], None]
    ) -> None:
        self._mediator = mediator
        self._on_idle = on_idle
        self.allowed_s = allowed_s

    def watch(self, worker: Worker) -> None:
        """Watch an attached build worker until it is idle, or ends."""
        built_ns = self._built_ns(worker)
        worker.timer = asyncio.get_running_loop().call_later(
            self.allowed_s, self._look, worker, built_ns
        )

    def _look(self, worker: Worker, built_ns: int) -> None:
        if worker.phase is not Phase.ATTACHED:
            return
        if self._built_ns(worker) == built_ns and self._mediator.dismiss_worker(
            worker.tenant.handle, worker.lane
        ):
            self._on_idle(worker)
        else:
            self.watch(worker)

    def _built_ns(self, worker: Worker) -> int:
        """Grows with each build."""
        return self._mediator.vm_counters(worker.tenant.handle).build_ns
