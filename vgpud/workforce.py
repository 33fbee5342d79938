"""Starting workers when the engine wants them, and telling it when they are there or gone.

A VM has at most two: one that launches, one that builds. The life of a worker here:

    STARTING  spawned, bound to its VM by passing descriptors; its answer is awaited
    ATTACHED  held in the spawner, in use by the engine
    ENDING    to be killed, or killed; its exit is awaited

Whatever happened, a worker leaves this table when the spawner reports its exit, and only then:
until then its uid and its slot are not free. A worker that a predecessor started is taken over with
all that it has in hand.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

from vgpud.errors import EngineError, SpawnerError
from vgpud.mediator import Lane, Mediator, channel_bytes
from vgpud.model.mediation import LaneStatus, VmCounters
from vgpud.spawner import HeldEntry, Role, Spawner, WorkerEntry, WorkerExit, close_fds
from vgpud.vm_files import doorbell, key_prefix, sealed_memfd
from vgpud.worker_messages import READY_BYTES, pack_bind, unpack_ready
from vgpud.worker_process import Phase, Tenant, Worker

log = logging.getLogger(__name__)

RETRY_AFTER_US = 1_000_000
"""When a client should ask again for a worker that cannot be had now."""

ROLE_OF = {Lane.LAUNCH: Role.LAUNCH, Lane.BUILD: Role.BUILD}


@dataclass(frozen=True)
class WorkforceConfig:
    """`settings` are environment variables for every worker; sizes in bytes."""

    settings: Mapping[str, str]
    memory_bytes: int
    max_workers: int
    start_timeout_s: float


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
        self._slots: set[int] = set()

    def reload(self, memory_bytes: int, start_timeout_s: float) -> None:
        """Take over other limits, for workers that start from now on."""
        self._config = replace(
            self._config, memory_bytes=memory_bytes, start_timeout_s=start_timeout_s
        )

    # --- what the engine wants ----------------------------------------------------------------

    def review(self, tenant: Tenant) -> None:
        """Look at what the engine wants for a VM: start who is missing, kill who is doomed."""
        if tenant.retired:
            return
        counters = self._mediator.vm_counters(tenant.handle)
        for lane in Lane:
            worker = tenant.workers.get(lane)
            if lane_of(counters, lane).doomed and worker is not None:
                self._end(worker, "it took too long, or broke the rules of its channel")
            if lane_of(counters, lane).wanted and worker is None:
                self._want(tenant, lane)

    def retire(self, tenant: Tenant) -> None:
        """End a VM's workers for good; `on_tenant_empty` follows, at once if there are none."""
        tenant.retired = True
        for worker in list(tenant.workers.values()):
            self._end(worker, "its VM was removed")
        if not tenant.workers:
            self._vacate(tenant)

    # --- starting -----------------------------------------------------------------------------

    def _want(self, tenant: Tenant, lane: Lane) -> None:
        launcher = tenant.workers.get(Lane.LAUNCH)
        if lane is Lane.BUILD and (launcher is None or launcher.phase is not Phase.ATTACHED):
            # A build worker hands what it made to a launch worker: that one must be there first.
            # Its attach reviews the VM again.
            if launcher is None:
                self._start(tenant, Lane.LAUNCH)
            return
        self._start(tenant, lane)

    def _start(self, tenant: Tenant, lane: Lane) -> None:
        try:
            self._take_slot(tenant)
            worker = self._spawn(tenant, lane)
        except (OSError, EngineError, SpawnerError) as error:
            log.error("VM %s: no %s worker: %s", tenant.vm_uuid, lane.name.lower(), error)
            self._release_slot(tenant)
            self._mediator.refuse_worker(tenant.handle, lane, RETRY_AFTER_US)
            return
        tenant.workers[lane] = worker
        self._by_id[worker.worker_id] = worker
        loop = asyncio.get_running_loop()
        loop.add_reader(worker.control.fileno(), self._answered, worker)
        worker.timeout = loop.call_later(
            self._config.start_timeout_s, self._end, worker, "it did not answer in time"
        )

    def _take_slot(self, tenant: Tenant) -> None:
        if tenant.slot >= 0:
            return
        free = next((i for i in range(self._config.max_workers) if i not in self._slots), None)
        if free is None:
            raise EngineError(
                f"all {self._config.max_workers} slots for workers are taken",
                "Raise [spawner] max_workers, if the device has room for more.",
            )
        tenant.slot = free
        self._slots.add(free)

    def _release_slot(self, tenant: Tenant) -> None:
        if not tenant.workers and tenant.slot >= 0:
            self._slots.discard(tenant.slot)
            tenant.slot = -1

    def _spawn(self, tenant: Tenant, lane: Lane) -> Worker:
        """Spawn and bind. Raises OSError, EngineError or SpawnerError with nothing left open."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        opened: list[int] = []
        try:
            with theirs:
                process = self._spawner.spawn_worker(
                    ROLE_OF[lane], tenant.slot, theirs, self._config.settings, tenant.vm_uuid
                )
            os.close(process.pidfd)
            channel = sealed_memfd(f"vgpud-channel-{process.worker_id}", channel_bytes())
            opened.append(channel)
            bell = doorbell()
            opened.append(bell)
            exchange_here, exchange_there = self._exchange(tenant, lane)
            opened.append(exchange_here)
            bind = pack_bind(
                ROLE_OF[lane], self._mediator.vm_layout(tenant.handle), self._config.memory_bytes
            )
            with exchange_there:
                fds = [channel, bell, tenant.ring, exchange_there.fileno()]
                socket.send_fds(ours, [bind], fds)
        except BaseException:
            # The worker, if there is one, ends when its control socket does.
            ours.close()
            close_fds(fd for fd in opened if fd >= 0)
            raise
        ours.setblocking(False)
        log.info(
            "VM %s: %s worker %d started (pid %d, uid %d)",
            tenant.vm_uuid,
            lane.name.lower(),
            process.worker_id,
            process.pid,
            process.uid,
        )
        return Worker(
            tenant, lane, process.worker_id, process.pid, ours, channel, bell, exchange_here
        )

    def _exchange(self, tenant: Tenant, lane: Lane) -> tuple[int, socket.socket]:
        """Ends of the pair between build and launch worker: the one kept, the one given away."""
        if lane is Lane.LAUNCH:
            build_end, launch_end = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            return build_end.detach(), launch_end
        launcher = tenant.workers[Lane.LAUNCH]
        return -1, socket.socket(fileno=os.dup(launcher.exchange))

    def _answered(self, worker: Worker) -> None:
        """The worker's control socket is readable for the first time."""
        asyncio.get_running_loop().remove_reader(worker.control.fileno())
        if worker.timeout is not None:
            worker.timeout.cancel()
        if worker.phase is not Phase.STARTING:
            return
        try:
            ready = unpack_ready(worker.control.recv(READY_BYTES + 1))
            if ready.error_number:
                raise EngineError(f"{ready.reason} ({os.strerror(ready.error_number)})")
            self._spawner.hold(self._key(worker), worker.held(), arg=worker.worker_id)
            self._attach(worker)
        except (OSError, EngineError, SpawnerError) as error:
            self._end(worker, str(error))

    def _attach(self, worker: Worker) -> None:
        self._mediator.attach_worker(
            worker.tenant.handle,
            worker.lane,
            worker.worker_id,
            worker.pid,
            os.dup(worker.channel),
            os.dup(worker.doorbell),
        )
        worker.phase = Phase.ATTACHED
        self.review(worker.tenant)

    def _key(self, worker: Worker) -> str:
        return f"{key_prefix(worker.tenant.vm_uuid)}worker/{worker.lane.value}"

    # --- ending -------------------------------------------------------------------------------

    def _end(self, worker: Worker, why: str) -> None:
        """Have a worker killed. The rest happens when its exit is reported."""
        if worker.phase is Phase.ENDING:
            return
        log.warning(
            "VM %s: ending %s worker %d: %s",
            worker.tenant.vm_uuid,
            worker.lane.name.lower(),
            worker.worker_id,
            why,
        )
        if worker.phase is Phase.STARTING:
            asyncio.get_running_loop().remove_reader(worker.control.fileno())
        worker.phase = Phase.ENDING
        try:
            self._spawner.kill(worker.worker_id)
        except SpawnerError as error:
            # It may have ended by itself a moment ago; then its exit is on the way.
            log.info("worker %d: %s", worker.worker_id, error)

    def exited(self, report: WorkerExit) -> None:
        """The spawner says that a worker has ended."""
        self._spawner.reaped(report.worker_id)
        worker = self._by_id.pop(report.worker_id, None)
        if worker is None:
            log.debug("worker %d, which no VM has, ended: %s", report.worker_id, _how(report))
            return
        tenant, lane = worker.tenant, worker.lane
        by_itself = worker.phase is not Phase.ENDING
        if by_itself:
            log.error(
                "VM %s: %s worker %d (pid %d) ended: %s",
                tenant.vm_uuid,
                lane.name.lower(),
                worker.worker_id,
                worker.pid,
                _how(report),
            )
        attached = self._was_attached(worker)
        if worker.phase is Phase.STARTING:
            asyncio.get_running_loop().remove_reader(worker.control.fileno())
        del tenant.workers[lane]
        worker.close()
        if attached:
            self._spawner.drop(self._key(worker))
            detail = report.signal_number or 256 + (report.exit_status or 0)
            self._mediator.worker_gone(tenant.handle, lane, crashed=by_itself, detail=detail)
        elif not tenant.retired:
            self._mediator.refuse_worker(tenant.handle, lane, RETRY_AFTER_US)
        if lane is Lane.LAUNCH and Lane.BUILD in tenant.workers:
            self._end(tenant.workers[Lane.BUILD], "its launch worker is gone")
        if tenant.retired:
            if not tenant.workers:
                self._vacate(tenant)
            return
        self._release_slot(tenant)
        self.review(tenant)

    def _was_attached(self, worker: Worker) -> bool:
        counters = self._mediator.vm_counters(worker.tenant.handle)
        return lane_of(counters, worker.lane).worker_id == worker.worker_id

    def _vacate(self, tenant: Tenant) -> None:
        self._release_slot(tenant)
        self._on_tenant_empty(tenant)

    # --- taking over --------------------------------------------------------------------------

    def adopt(
        self, tenants: Iterable[Tenant], held: dict[str, HeldEntry], living: Iterable[WorkerEntry]
    ) -> None:
        """Take over a predecessor's workers: attach those that live, settle those that do not.

        Takes the descriptors of their entries out of `held`. Workers that belong to nobody are
        killed.
        """
        by_id = {entry.worker_id: entry for entry in living if entry.pid}
        for tenant in tenants:
            for lane in Lane:
                key = f"{key_prefix(tenant.vm_uuid)}worker/{lane.value}"
                entry = held.pop(key, None)
                process = by_id.pop(entry.arg, None) if entry is not None else None
                if entry is not None and process is not None:
                    self._adopt_one(tenant, lane, entry, process)
                elif entry is not None:
                    close_fds(entry.fds)
                    self._spawner.drop(key)
            self._settle_lost(tenant)
            self.review(tenant)
        for process in by_id.values():
            if process.role is Role.PROBE:
                continue  # ends by itself
            log.info("ending worker %d, which belongs to no VM", process.worker_id)
            self._spawner.kill(process.worker_id)

    def _adopt_one(
        self, tenant: Tenant, lane: Lane, entry: HeldEntry, process: WorkerEntry
    ) -> None:
        control, channel, bell, *exchange = entry.fds
        worker = Worker(
            tenant,
            lane,
            process.worker_id,
            process.pid,
            socket.socket(fileno=control),
            channel,
            bell,
            exchange[0] if exchange else -1,
        )
        tenant.workers[lane] = worker
        tenant.slot = process.slot
        self._slots.add(process.slot)
        self._by_id[process.worker_id] = worker
        try:
            self._mediator.attach_worker(
                tenant.handle, lane, process.worker_id, process.pid, os.dup(channel), os.dup(bell)
            )
            worker.phase = Phase.ATTACHED
        except EngineError as error:
            self._end(worker, str(error))

    def _settle_lost(self, tenant: Tenant) -> None:
        """Workers that ended while no vgpud was there: the journal still knows them."""
        counters = self._mediator.vm_counters(tenant.handle)
        for lane in Lane:
            if lane_of(counters, lane).worker_id and lane not in tenant.workers:
                log.error(
                    "VM %s: its %s worker ended while vgpud was away",
                    tenant.vm_uuid,
                    lane.name.lower(),
                )
                self._mediator.worker_gone(tenant.handle, lane, crashed=True)


def lane_of(counters: VmCounters, lane: Lane) -> LaneStatus:
    """What the engine says of one of a VM's workers."""
    return counters.launch if lane is Lane.LAUNCH else counters.build


def _how(report: WorkerExit) -> str:
    if report.signal_number is not None:
        return f"killed by signal {report.signal_number}"
    return f"exit status {report.exit_status}"
