"""Room for a VM that needs a worker when all slots are taken."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from vgpud.eviction import Eviction
from vgpud.standby import Readiness, Standby
from vgpud.worker_process import Phase, Tenant, Worker
from vgpud.worker_slots import WorkerSlots


class Room:
    """Who waits for a slot that will be free soon. Whoever waits is to be served whenever anything
    has ended."""

    def __init__(
        self,
        slots: WorkerSlots,
        standby: Standby,
        eviction: Eviction,
        workers: Mapping[int, Worker],
        end: Callable[[Worker], None],
    ) -> None:
        """`workers` are all that VMs have, as they come and go; `end` ends one."""
        self._slots = slots
        self._standby = standby
        self._eviction = eviction
        self._workers = workers
        self._end = end
        self._waiting: dict[int, Tenant] = {}  # by handle; the first comes first

    def is_waiting(self, tenant: Tenant) -> bool:
        """Nothing else is to be done for it meanwhile."""
        return tenant.handle in self._waiting

    def make(self, tenant: Tenant) -> bool:
        """Returns true if a slot will be free soon: then this VM waits for it."""
        if not (self._standby.readiness is Readiness.ENDING and not self._waiting):
            victim = self._eviction.let_go(self._workers.values())
            if victim is None:
                return False
            for worker in list(victim.tenant.workers.values()):
                self._end(worker)
        self._waiting[tenant.handle] = tenant
        return True

    def forget(self, tenant: Tenant) -> None:
        """It needs no worker any more."""
        self._waiting.pop(tenant.handle, None)

    def serve(self, review: Callable[[Tenant], None]) -> None:
        """Something has ended: who waits has the slots there are, or learns that there are none."""
        for _ in range(len(self._waiting)):  # who has to wait on comes back in at the end
            if not self._waiting or (
                next(self._slots.free(), None) is None and self._is_anything_ending()
            ):
                return
            review(self._waiting.pop(next(iter(self._waiting))))

    def _is_anything_ending(self) -> bool:
        return (
            self._slots.any_orphans
            or self._standby.readiness is Readiness.ENDING
            or any(worker.phase is Phase.ENDING for worker in self._workers.values())
        )
