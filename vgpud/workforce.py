"""Starting workers when the engine wants them, and telling it when they are there or gone.

A VM has at most two: one that launches, one that builds. The life of a worker here:

    STARTING  spawned, bound to its VM by passing descriptors; its answer is awaited
    ATTACHED  held in the spawner, in use by the engine
    ENDING    to be killed, or killed; its exit is awaited

Whatever happened, a worker leaves this table when the spawner reports its exit, and only then:
until then its uid and its slot are not free. A worker that a predecessor started is taken over with
all that it has in hand.

What cannot be had is refused at once, so that nobody waits for it: while there is no device, while
all slots are needed, and for a while after a worker that came to nothing. A worker that has had
nothing to do for a while is ended, a launch worker only if it holds no object of its VM; and such a
one makes room at once for a VM that needs a slot, which waits meanwhile.

When the spawner is lost nothing is refused and nobody is blamed: vgpud is about to end, and the
next one goes on with what is queued.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

from vgpud.errors import EngineError, SpawnerError
from vgpud.eviction import Eviction
from vgpud.mediator import Lane, Mediator
from vgpud.recruiter import Recruiter
from vgpud.room import Room
from vgpud.spawner import (
    HeldEntry,
    Spawner,
    SpawnerLostError,
    SpawnerRefusedError,
    WorkerEntry,
    WorkerExit,
    close_fds,
)
from vgpud.standby import Readiness, Standby, is_at_its_end
from vgpud.worker_adoption import Heir, journal_of, settle_lost, sort_out
from vgpud.worker_idleness import WorkerIdleness
from vgpud.worker_process import (
    Phase,
    Tenant,
    Worker,
    how_it_ended,
    lane_of,
    parse_worker_key,
)
from vgpud.worker_slots import NoSlotError, WorkerSlots
from vgpud.worker_start import WorkerTerms, WorkforceConfig, attach_worker, take_answer

log = logging.getLogger(__name__)

RETRY_AFTER_S = 1.0
"""When a client should ask again for a worker that cannot be had now."""


class Workforce:
    """All workers of this host. Lives in the event loop."""

    def __init__(
        self,
        spawner: Spawner,
        mediator: Mediator,
        config: WorkforceConfig,
        on_tenant_empty: Callable[[Tenant], None],
    ) -> None:
        """`on_tenant_empty` is told when the last worker of a retired tenant has ended."""
        self._spawner = spawner
        self._mediator = mediator
        self._config = config
        self._on_tenant_empty = on_tenant_empty
        self._by_id: dict[int, Worker] = {}
        self._slots = WorkerSlots(config.max_vms)
        self._idleness = WorkerIdleness(mediator, config.idle_s, self._end_idle)
        self._standby = Standby(
            spawner,
            self._slots,
            wanted=config.standby,
            start_timeout_s=config.start_timeout_s,
        )
        self._recruiter = Recruiter(spawner, mediator, self._slots, self._standby)
        self._room = Room(
            self._slots, self._standby, Eviction(mediator), self._by_id, self._end_for_another
        )

    @property
    def standby(self) -> Readiness | None:
        """How far the standby is; None while there is none."""
        return self._standby.readiness

    def reload(self, config: WorkforceConfig) -> None:
        """Take over other limits, for workers that start, or are used, from now on; `max_vms`
        remains. `use_device()` follows."""
        self._config = replace(config, max_vms=self._config.max_vms)
        self._idleness.allowed_s = config.idle_s
        self._standby.wanted = config.standby
        self._standby.start_timeout_s = config.start_timeout_s

    def close(self) -> None:
        """Let go of the standby, which ends. VMs keep their workers."""
        self._standby.close()

    def use_device(self, settings: Mapping[str, str]) -> None:
        """Workers that start from now on use this device; none start with an empty one."""
        self._config = replace(self._config, settings=settings)
        self._standby.use_device(self._terms().settings)

    # --- what the engine wants ----------------------------------------------------------------

    def review(self, tenant: Tenant) -> None:
        """Look at what the engine wants for a VM: start who is missing, kill who is doomed."""
        if tenant.retired:
            return
        counters = self._mediator.vm_counters(tenant.handle)
        for lane in Lane:
            worker = tenant.workers.get(lane)
            if lane_of(counters, lane).doomed and worker is not None:
                self._end(worker, "it took too long, is wanted no more, or broke its channel")
            if lane_of(counters, lane).wanted and worker is None:
                self._want(tenant, lane)

    def retire(self, tenant: Tenant) -> None:
        """End a VM's workers for good; `on_tenant_empty` follows, at once if there are none."""
        tenant.retired = True
        self._room.forget(tenant)
        for worker in list(tenant.workers.values()):
            self._end(worker, "its VM was removed")
        if not tenant.workers:
            self._on_tenant_empty(tenant)

    def _want(self, tenant: Tenant, lane: Lane) -> None:
        if self._room.is_waiting(tenant):
            return
        launcher = tenant.workers.get(Lane.LAUNCH)
        if lane is Lane.BUILD and launcher is not None and launcher.phase is not Phase.ATTACHED:
            # A build worker hands what it made to a launch worker: that one must be there first.
            # Its attach, or its end, reviews the VM again.
            return
        first = Lane.LAUNCH if launcher is None else lane
        if not self._config.settings:
            self._refuse(tenant, lane, "there is no device", RETRY_AFTER_S)
            return
        left_s = tenant.hold_off[first].left_s(asyncio.get_running_loop().time())
        if left_s > 0:
            self._mediator.refuse_worker(tenant.handle, lane, left_s)
        elif not self._start(tenant, first) and first is not lane:
            self._mediator.refuse_worker(tenant.handle, lane, RETRY_AFTER_S)

    def _refuse(self, tenant: Tenant, lane: Lane, reason: str, retry_s: float) -> None:
        """Answer what waits for a worker; say why, but not at each request."""
        if tenant.refusals.is_news(reason, asyncio.get_running_loop().time()):
            log.error("VM %s: no %s worker: %s", tenant.vm_uuid, lane.name.lower(), reason)
        self._mediator.refuse_worker(tenant.handle, lane, retry_s)

    def _hold_off(self, tenant: Tenant, lane: Lane) -> float:
        """A start came to nothing. Returns for how many seconds there is no other one."""
        now_s = asyncio.get_running_loop().time()
        tenant.hold_off[lane].failed(now_s)
        return tenant.hold_off[lane].left_s(now_s)

    def _terms(self) -> WorkerTerms:
        return self._config.terms(self._spawner.info.capabilities)

    # --- starting -----------------------------------------------------------------------------

    def _start(self, tenant: Tenant, lane: Lane) -> bool:
        """Returns false when what waits for this worker has been refused."""
        try:
            worker = self._recruiter.recruit(tenant, lane, self._terms())
        except SpawnerLostError:
            return True  # whoever watches the spawner is told
        except NoSlotError as error:
            if self._room.make(tenant):
                return True
            self._refuse(tenant, lane, str(error), RETRY_AFTER_S)
            return False
        except (OSError, EngineError, SpawnerError) as error:
            self._refuse(tenant, lane, str(error), self._hold_off(tenant, lane))
            return False
        tenant.workers[lane] = worker
        self._by_id[worker.worker_id] = worker
        loop = asyncio.get_running_loop()
        loop.add_reader(worker.control.fileno(), self._answered, worker)
        worker.timer = loop.call_later(
            self._config.start_timeout_s, self._fail, worker, "it did not answer in time"
        )
        return True

    def _answered(self, worker: Worker) -> None:
        """The worker's control socket is readable."""
        if worker.phase is not Phase.STARTING:
            return
        if worker.was_standby and is_at_its_end(worker.control):
            # Nobody's failure: its VM wants another one when this one's exit is reported.
            self._end(worker, "it ended as it was bound", logging.INFO)
            return
        try:
            take_answer(worker.control)
            if worker.stands_by_due:
                worker.stands_by_due = False
                return
            self._expect_nothing(worker)
            self._spawner.hold(worker.key, worker.held(), arg=worker.worker_id)
            worker.is_held = True
            self._attach(worker)
        except (OSError, EngineError, SpawnerError) as error:
            self._fail(worker, str(error))
            return
        worker.tenant.hold_off[worker.lane].succeeded()
        worker.tenant.refusals.forget()
        self.review(worker.tenant)
        self._review_standby()

    def _attach(self, worker: Worker) -> None:
        attach_worker(self._mediator, worker)
        worker.phase = Phase.ATTACHED
        self._idleness.watch(worker)

    # --- ending -------------------------------------------------------------------------------

    def _fail(self, worker: Worker, why: str) -> None:
        worker.failed = True
        self._end(worker, why)

    def _end(self, worker: Worker, why: str, level: int = logging.WARNING) -> None:
        """Have a worker killed. The rest happens when its exit is reported."""
        if worker.phase is Phase.ENDING:
            return
        log.log(level, "VM %s: ending %s: %s", worker.tenant.vm_uuid, worker, why)
        self._expect_nothing(worker)
        worker.phase = Phase.ENDING
        self._kill(worker.worker_id)

    def _end_idle(self, worker: Worker) -> None:
        """The engine has let go of it, and of nothing else."""
        self._end(worker, "it has had nothing to do", logging.INFO)

    def _end_for_another(self, worker: Worker) -> None:
        self._end(worker, "another VM needs its place", logging.INFO)

    def _kill(self, worker_id: int) -> None:
        try:
            self._spawner.kill(worker_id)
        except SpawnerError as error:
            # It may have ended by itself a moment ago; then its exit is on the way.
            log.info("worker %d: %s", worker_id, error)

    def _expect_nothing(self, worker: Worker) -> None:
        worker.stop_timer()
        if worker.phase is Phase.STARTING:
            asyncio.get_running_loop().remove_reader(worker.control.fileno())

    def exited(self, report: WorkerExit) -> None:
        """The spawner says that a worker has ended.

        The engine comes first: whatever becomes of the spawner, its VMs are answered.
        """
        worker = self._by_id.pop(report.worker_id, None)
        if worker is None and not self._standby.exited(report):
            log.debug("worker %d, which no VM has, ended: %s", report.worker_id, report)
            self._slots.orphan_ended(report.worker_id)
        elif worker is not None:
            self._settle(worker, report)
        try:
            if worker is not None and worker.is_held:
                self._drop(worker.key)
            self._spawner.reaped(report.worker_id)
        except SpawnerError as error:
            log.error("worker %d has ended: %s", report.worker_id, error)
        self._room.serve(self.review)
        if worker is not None:
            self._after(worker.tenant)
        self._review_standby()

    def _settle(self, worker: Worker, report: WorkerExit) -> None:
        """All that is between a worker that has ended and its VM."""
        tenant, lane = worker.tenant, worker.lane
        by_itself = worker.phase is not Phase.ENDING
        waited = worker.was_standby and worker.phase is Phase.STARTING
        if by_itself:
            log.error(
                "VM %s: %s (pid %d) ended: %s",
                tenant.vm_uuid,
                worker,
                worker.pid,
                how_it_ended(report),
            )
        attached = self._was_attached(worker)
        self._expect_nothing(worker)
        del tenant.workers[lane]
        worker.close()
        self._slots.release(worker.slot)
        if attached:
            detail = report.signal_number or 256 + (report.exit_status or 0)
            self._mediator.worker_gone(tenant.handle, lane, crashed=by_itself, detail=detail)
        elif not tenant.retired and not waited and (worker.failed or by_itself):
            # A standby that ended as it was bound leaves its VM as it was: wanting one.
            self._mediator.refuse_worker(tenant.handle, lane, self._hold_off(tenant, lane))
        if lane is Lane.LAUNCH and Lane.BUILD in tenant.workers:
            self._end(tenant.workers[Lane.BUILD], "its launch worker is gone")

    def _after(self, tenant: Tenant) -> None:
        """A worker of this VM has ended, and is settled."""
        if tenant.retired:
            if not tenant.workers:
                self._on_tenant_empty(tenant)
            return
        self.review(tenant)

    def _was_attached(self, worker: Worker) -> bool:
        counters = self._mediator.vm_counters(worker.tenant.handle)
        return lane_of(counters, worker.lane).worker_id == worker.worker_id

    def _drop(self, key: str) -> None:
        try:
            self._spawner.drop(key)
        except SpawnerRefusedError as error:
            if error.error_number != errno.ENOENT:
                raise

    def _review_standby(self) -> None:
        """The next one is started when no VM waits: starting a process holds the event loop up."""
        if not any(worker.phase is Phase.STARTING for worker in self._by_id.values()):
            self._standby.review()

    # --- taking over --------------------------------------------------------------------------

    def adopt(
        self, tenants: Sequence[Tenant], held: dict[str, HeldEntry], living: Iterable[WorkerEntry]
    ) -> None:
        """Take over a predecessor's workers: attach those that live, settle those that do not.

        Takes the entries of workers out of `held`. Workers that belong to nobody are killed. Only
        when all slots that are not free are known does anybody get a new one.
        """
        journal = journal_of(self._mediator, tenants)
        mine = [held.pop(key) for key in list(held) if parse_worker_key(key) is not None]
        estate = sort_out(journal, mine, living)
        for entry in estate.stale:
            close_fds(entry.fds)
            self._drop(entry.key)
        by_uuid = {tenant.vm_uuid: tenant for tenant in tenants}
        for heir in sorted(estate.heirs, key=lambda heir: heir.lane):  # launch comes first
            self._adopt_one(by_uuid[heir.vm_uuid], heir)
        settle_lost(self._mediator, tenants)
        self._slots.leave_to((orphan.worker_id, orphan.slot) for orphan in estate.orphans)
        for orphan in estate.orphans:
            log.info("ending worker %d, which belongs to no VM", orphan.worker_id)
            self._kill(orphan.worker_id)
        for tenant in tenants:
            self.review(tenant)
        self._standby.begin()

    def _adopt_one(self, tenant: Tenant, heir: Heir) -> None:
        control, channel, bell, *exchange = heir.entry.fds
        worker = Worker(
            tenant,
            heir.lane,
            heir.process.worker_id,
            heir.process.pid,
            socket.socket(fileno=control),
            channel,
            bell,
            exchange[0] if exchange else -1,
            heir.process.slot,
            phase=Phase.ATTACHED,
            is_held=True,
        )
        tenant.workers[heir.lane] = worker
        self._slots.take(heir.process.slot)
        self._by_id[worker.worker_id] = worker
        if heir.lane is Lane.BUILD and Lane.LAUNCH not in tenant.workers:
            self._end(worker, "its launch worker is gone")
            return
        try:
            self._attach(worker)
        except EngineError as error:
            self._fail(worker, str(error))
