"""The engine of this host: what the reconciler moves, joined from mediator, VM files and workers.

Here desired rows become live things: a pool, a VM with its sockets and shared memory, a worker when
there is work. And here what the engine reports becomes log lines and workers. Nothing is decided
about rows, and nothing is written to the store.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from vgpud.client_news import log_client_news
from vgpud.config import Config
from vgpud.descriptors import DescriptorBudget
from vgpud.engine_limits import limits_of, workforce_config
from vgpud.engine_status import pool_statuses, vm_status
from vgpud.errors import EngineError, SpawnerError
from vgpud.fault_words import as_quarantine
from vgpud.mediator import Event, EventType, LayoutMismatchError, Mediator
from vgpud.model.engine import EngineSnapshot, VmStatus
from vgpud.model.explanation import Explanation
from vgpud.model.mediation import VmFds, VmIdentity
from vgpud.model.pool import Pool
from vgpud.model.vm import NEVER_QUARANTINED, PeerRule, Quarantine, Vm
from vgpud.probe import Device, with_quota
from vgpud.qemu_account import qemu_uid
from vgpud.spawner import HeldEntry, Spawner, close_fds, isolation_gaps
from vgpud.trace_feed import TraceFeed
from vgpud.vm_files import VmFiles, VmFileSizes
from vgpud.worker_process import Tenant
from vgpud.workforce import Workforce

log = logging.getLogger(__name__)


@dataclass
class _Entry:
    """A VM that the engine has. `opened_to` is the account that its sockets are open to."""

    tenant: Tenant
    peer_uid: int
    pool_id: str
    pairs: int
    opened_to: int | None = None


class HostEngine:
    """Implements what reconcile.Engine asks for. Lives in the event loop."""

    def __init__(
        self,
        config: Config,
        spawner: Spawner,
        mediator: Mediator,
        device: Device,
        descriptors: DescriptorBudget,
    ) -> None:
        """The mediator is not started yet; `start()` does that. Raises EngineError."""
        self._descriptors = descriptors
        self._config = config
        self._spawner = spawner
        self._mediator = mediator
        self._device = device
        self._sizes = VmFileSizes(
            slots=config.vms.max_queued_per_vm,
            pairs=config.vms.ring_queue_pairs,
            entries=config.vms.ring_entries,
            data_bytes=config.vms.ring_data_bytes,
        )
        self._files = VmFiles(config.vms_dir, spawner)
        self._workforce = Workforce(
            spawner,
            mediator,
            workforce_config(config, device.worker_settings()),
            self._tenant_empty,
        )
        self._trace = TraceFeed(mediator)
        self._entries: dict[str, _Entry] = {}
        self._pairs = 0  # of all of them
        self._by_handle: dict[int, _Entry] = {}
        self._held: dict[str, HeldEntry] = {}
        self._held_by_vm: dict[str, list[str]] = {}
        self._events_dropped = 0
        self._on_idle: Callable[[], None] | None = None
        self._on_quarantine: Callable[[Iterable[str] | None], None] | None = None
        self._running = False
        self._draining = False

    # --- life ---------------------------------------------------------------------------------

    def begin(self) -> None:
        """Find what a predecessor had held. After this the reconciler may set pools and VMs."""
        self._held = {entry.key: entry for entry in self._spawner.fetch("vm/")}
        for key in self._held:
            self._held_by_vm.setdefault(key.split("/")[1], []).append(key)
        if self._held:
            log.info("found %d entries that a predecessor had held", len(self._held))
        self.use_device(self._device)

    def start(self) -> None:
        """Take over a predecessor's workers and start serving; the VMs have been set by now."""
        tenants = [entry.tenant for entry in self._entries.values()]
        self._workforce.adopt(tenants, self._held, self._spawner.workers())
        for key, entry in self._held.items():
            close_fds(entry.fds)
            self._spawner.drop(key)
        self._held = {}
        self._files.keep_only(self._entries)
        self._held_by_vm = {}
        self._mediator.start()
        self._running = True
        loop = asyncio.get_running_loop()
        loop.add_reader(self._mediator.event_fd(), self._news)
        self._spawner.listen()

    @property
    def workforce(self) -> Workforce:
        """Who is to be told of workers' exits."""
        return self._workforce

    @property
    def trace(self) -> TraceFeed:
        """The requests that are finished."""
        return self._trace

    def watch_quarantines(self, told: Callable[[Iterable[str] | None], None]) -> None:
        """`told` hears of the VMs that the engine quarantines; None: of any, look at all."""
        self._on_quarantine = told

    def drain(self, *, cancel: bool, on_idle: Callable[[], None]) -> None:
        """Take nothing more; `on_idle` is called once nothing runs."""
        self._draining = True
        self._on_idle = on_idle
        self._mediator.drain(cancel=cancel)

    def stop(self) -> None:
        """End the reactor. What is held stays held, and workers go on with what they have."""
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._mediator.event_fd())
        self._spawner.silence()
        self._running = False
        self._workforce.close()
        self._mediator.close()
        for entry in self._entries.values():
            entry.tenant.close()

    def reload(self, config: Config) -> None:
        """Take over the limits that can change while running."""
        self._mediator.set_limits(limits_of(config))
        self._workforce.reload(workforce_config(config, self._device.worker_settings()))
        self._config = config
        self._descriptors = self._descriptors.reloaded(config)
        self.use_device(self._device)

    def use_device(self, device: Device) -> None:
        """A device was found, or is no more: what it is, and where workers start from now on."""
        self._device = device
        memory_bytes = self._config.device.vm_memory_bytes
        self._mediator.set_device(device.info and with_quota(device.info, memory_bytes))
        self._workforce.use_device(device.worker_settings())

    # --- what the reconciler asks -------------------------------------------------------------

    def set_pool(self, pool: Pool) -> None:
        """Takes over a new or changed pool."""
        self._mediator.set_pool(pool.pool_id, pool.weight, pool.enabled)

    def remove_pool(self, pool_id: str) -> None:
        """Forgets a pool, if it is known."""
        self._mediator.remove_pool(pool_id)

    def set_vm(self, vm: Vm, quarantine: Quarantine) -> None:
        """Takes over a new or changed VM, with its sockets."""
        try:
            self._set_vm(vm, quarantine)
        except SpawnerError as error:
            raise EngineError(str(error), error.next_step) from error

    def _set_vm(self, vm: Vm, quarantine: Quarantine) -> None:
        peer_uid = self._uid_of(vm.peer)
        identity = _identity(vm, quarantine, peer_uid)
        entry = self._entries.get(vm.vm_uuid)
        if entry is None:
            self._add_vm(identity)
            return
        self._open(entry, peer_uid)
        self._mediator.set_vm(entry.tenant.handle, identity)
        entry.peer_uid, entry.pool_id = peer_uid, identity.pool_id

    def remove_vm(self, vm_uuid: str) -> None:
        """Forgets a VM, if it is known: closes its connections, ends its workers."""
        entry = self._entries.pop(vm_uuid, None)
        if entry is None:
            return
        self._pairs -= entry.pairs
        tenant = entry.tenant
        self._mediator.retire_vm(tenant.handle)
        del self._by_handle[tenant.handle]
        self._trace.remove_vm(vm_uuid)
        try:
            self._files.remove(vm_uuid, self._files.held_keys(vm_uuid, entry.pairs))
        except SpawnerError as error:
            # The VM is gone all the same; what is still held is let go of at the next start.
            log.error("VM %s: %s", vm_uuid, error)
        finally:
            self._workforce.retire(tenant)

    def quarantine_of(self, vm_uuid: str) -> Quarantine:
        """The last quarantine that the engine knows of a VM."""
        entry = self._entries.get(vm_uuid)
        if entry is None:
            return NEVER_QUARANTINED
        return as_quarantine(self._mediator.vm_counters(entry.tenant.handle).quarantine)

    def snapshot(self) -> EngineSnapshot:
        """Reads all counters. What is queued in a pool is so in the VMs of the same snapshot."""
        counters = self._mediator.counters()
        vms, pools = self._mediator.all_vm_counters(), self._mediator.all_pool_counters()
        # A VM that was removed may still wait for the end of its worker: nobody asks for it.
        known = [(entry, c) for c in vms if (entry := self._by_handle.get(c.handle)) is not None]
        return EngineSnapshot(
            running=self._running,
            draining=self._draining,
            device=self._device.status,
            vms={entry.tenant.vm_uuid: vm_status(c) for entry, c in known},
            pools=pool_statuses(pools, [(entry.pool_id, c) for entry, c in known]),
            events_dropped=counters.events_dropped,
            requests_total=counters.answered,
            isolation_gaps=isolation_gaps(self._spawner.info.capabilities),
        )

    def explain(self, vm_uuid: str, seq: int | None) -> Explanation | None:
        """Why a queued request of a VM waits, None if it has none, or is not known."""
        entry = self._entries.get(vm_uuid)
        return self._mediator.explain(entry.tenant.handle, seq) if entry else None

    def vm_status(self, vm_uuid: str) -> VmStatus | None:
        """Reads the counters of one VM; None while the engine does not know it."""
        entry = self._entries.get(vm_uuid)
        return vm_status(self._mediator.vm_counters(entry.tenant.handle)) if entry else None

    # --- VMs ----------------------------------------------------------------------------------

    def _add_vm(self, identity: VmIdentity) -> None:
        uuid, peer_uid = identity.uuid, identity.peer_uid
        fds = self._recover_files(uuid)
        if fds is not None:
            # Its descriptors are open already.
            try:
                entry = self._take_over(identity, fds)
            except LayoutMismatchError as error:
                log.error("VM %s: its clients must connect anew: %s", uuid, error)
            else:
                self._open(entry, peer_uid)
                return
        self._descriptors.check(len(self._entries) + 1, self._pairs + self._sizes.pairs)
        fds = self._files.create(uuid, peer_uid, self._sizes)
        self._take_over(identity, fds).opened_to = peer_uid

    def _open(self, entry: _Entry, peer_uid: int) -> None:
        """Let an account connect to a VM. What fails is tried again when the VM is next set."""
        if entry.opened_to != peer_uid:
            self._files.open_to(entry.tenant.vm_uuid, peer_uid)
            entry.opened_to = peer_uid

    def _take_over(self, identity: VmIdentity, fds: VmFds) -> _Entry:
        """Gives a VM and its descriptors to the engine. Raises EngineError; nothing stays open."""
        ring = os.dup(fds.ring)
        try:
            handle = self._mediator.add_vm(identity, fds)
        except EngineError:
            os.close(ring)
            raise
        tenant = Tenant(handle, identity.uuid, ring)
        entry = _Entry(tenant, identity.peer_uid, identity.pool_id, len(fds.host_doorbells))
        self._entries[identity.uuid] = self._by_handle[handle] = entry
        self._pairs += entry.pairs
        self._trace.add_vm(identity.uuid, handle)
        if self._running:
            self._workforce.review(entry.tenant)
        return entry

    def _recover_files(self, vm_uuid: str) -> VmFds | None:
        held = {
            key: self._held.pop(key)
            for key in self._held_by_vm.pop(vm_uuid, ())
            if "/worker/" not in key
        }
        fds = self._files.recover(vm_uuid, held)
        if fds is None:
            for entry in held.values():
                close_fds(entry.fds)
        return fds

    def _uid_of(self, peer: PeerRule) -> int:
        if peer.uid is not None:
            return peer.uid
        return qemu_uid(self._config.vms.qemu_user)

    def _tenant_empty(self, tenant: Tenant) -> None:
        """A retired VM has no workers any more."""
        if not self._mediator.remove_vm(tenant.handle):
            log.error("VM %s: the engine still waits for a worker of it", tenant.vm_uuid)
        tenant.close()

    # --- news ---------------------------------------------------------------------------------

    def _news(self) -> None:
        for event in self._mediator.events():
            self._tell(event)
        dropped = self._mediator.counters().events_dropped
        if dropped != self._events_dropped:
            # Something was not heard: look at everybody.
            log.warning("%d events of the engine were lost", dropped - self._events_dropped)
            self._events_dropped = dropped
            self._trace.wake()
            for entry in list(self._entries.values()):
                self._review(entry.tenant)
            self._quarantined(None)

    def _tell(self, event: Event) -> None:
        if event.type is EventType.IDLE:
            if self._on_idle is not None:
                self._on_idle()
            return
        if event.type is EventType.TRACED:
            self._trace.wake()
            return
        found = self._by_handle.get(event.vm)
        if found is None:
            return  # of a VM that was removed meanwhile
        uuid = found.tenant.vm_uuid
        if event.type is EventType.WORKERS:
            self._review(found.tenant)
        elif event.type is EventType.QUARANTINED:
            log.warning(
                "VM %s: quarantined: %s; refused until `vgpu-admin clear-quarantine --vm-uuid=%s`",
                uuid,
                self.quarantine_of(uuid).reason,
                uuid,
            )
            self._quarantined([uuid])
        else:
            log_client_news(uuid, found.peer_uid, event)

    def _quarantined(self, vm_uuids: Iterable[str] | None) -> None:
        if self._on_quarantine is not None:
            self._on_quarantine(vm_uuids)

    def _review(self, tenant: Tenant) -> None:
        try:
            self._workforce.review(tenant)
        except (EngineError, SpawnerError) as error:
            log.error("VM %s: %s", tenant.vm_uuid, error)


def _identity(vm: Vm, quarantine: Quarantine, peer_uid: int) -> VmIdentity:
    return VmIdentity(
        uuid=vm.vm_uuid,
        vm_id=vm.vm_id,
        peer_uid=peer_uid,
        weight=vm.weight,
        max_queued=vm.max_queue_depth,
        max_rate=vm.max_jobs_per_sec,
        max_burst=vm.max_burst,
        quarantine_number=quarantine.number,
        quarantined=quarantine.active,
        pool_id=vm.pool_id or "",
        priority=int(vm.priority),
    )
