"""Where a VM's worker comes from: the standby, or a slot that is free."""

from __future__ import annotations

import errno
import logging

from vgpud.errors import EngineError
from vgpud.mediator import Lane, Mediator
from vgpud.spawner import Spawner, SpawnerRefusedError
from vgpud.standby import Standby
from vgpud.worker_process import Tenant, Worker
from vgpud.worker_slots import NoSlotError, WorkerSlots
from vgpud.worker_start import Recruit, WorkerTerms, bind_recruit, spawn_recruit

log = logging.getLogger(__name__)


class Recruiter:
    """Finds processes for VMs, and binds them. A worker that it returns has its slot taken."""

    def __init__(
        self, spawner: Spawner, mediator: Mediator, slots: WorkerSlots, standby: Standby
    ) -> None:
        self._spawner = spawner
        self._mediator = mediator
        self._slots = slots
        self._standby = standby

    def recruit(self, tenant: Tenant, lane: Lane, terms: WorkerTerms) -> Worker:
        """A worker that was bound, and has yet to answer.

        A build worker runs in its launch worker's slot, and needs that. Raises NoSlotError, and
        OSError, EngineError or SpawnerError when a worker could not be started.
        """
        worker = self._from_standby(tenant, terms) if lane is Lane.LAUNCH else None
        return worker or self._fresh(tenant, lane, terms)

    def _from_standby(self, tenant: Tenant, terms: WorkerTerms) -> Worker | None:
        taken = self._standby.take()
        if taken is None:
            return None
        recruit, stands_by_due = taken
        try:
            worker = bind_recruit(self._mediator, tenant, Lane.LAUNCH, recruit, terms.memory_bytes)
        except (OSError, EngineError) as error:
            log.warning("the standby (worker %d) cannot be bound: %s", recruit.worker_id, error)
            self._slots.release(recruit.slot)
            self._slots.leave_to([(recruit.worker_id, recruit.slot)])
            return None
        worker.was_standby, worker.stands_by_due = True, stands_by_due
        _tell(worker, recruit, ": it was the standby")
        return worker

    def _fresh(self, tenant: Tenant, lane: Lane, terms: WorkerTerms) -> Worker:
        own = [worker.slot for worker in tenant.workers.values()]
        for slot in [*own[:1], *self._slots.free()]:
            try:
                recruit = spawn_recruit(self._spawner, lane, slot, terms.settings, tenant.vm_uuid)
            except SpawnerRefusedError as error:
                if error.error_number != errno.EBUSY:
                    raise
                continue  # something ends there of which nobody has told us
            try:
                worker = bind_recruit(self._mediator, tenant, lane, recruit, terms.memory_bytes)
            except BaseException:
                self._slots.leave_to([(recruit.worker_id, recruit.slot)])
                raise
            self._slots.take(slot)
            _tell(worker, recruit, "")
            return worker
        raise NoSlotError(
            f"all {self._slots.count} slots for workers are taken",
            "Raise [spawner] max_workers, if the device has room for more.",
        )


def _tell(worker: Worker, recruit: Recruit, remark: str) -> None:
    log.info(
        "VM %s: %s started (pid %d, uid %d)%s",
        worker.tenant.vm_uuid,
        worker,
        recruit.pid,
        recruit.uid,
        remark,
    )
