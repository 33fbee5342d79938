"""Moves what should be (the store) to what is (the engine); nothing else does.

Start-up, an administrator's command, a reload and recovery all take this path: compare the store
with what the engine has taken over, send the differences, remember what went through. What failed
stays pending and is tried again, so that a stored change is applied sooner or later without anybody
asking again.

One thing goes the other way: a quarantine that the engine began by itself is stored, so that it
survives the engine's memory. Quarantines are numbered; the later one is the truth on both sides.

Order: VMs to remove, pools to set, VMs to set, pools to remove. So a VM never refers to a pool the
engine does not have, and a vm_id is free before it is given away again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Iterable
from typing import Protocol, TypeVar

from vgpud.errors import EngineError, ReconcileError, StoreError
from vgpud.model.engine import EngineSnapshot, VmStatus
from vgpud.model.explanation import Explanation
from vgpud.model.pool import Pool
from vgpud.model.trace import TraceBatch
from vgpud.model.vm import NEVER_QUARANTINED, Quarantine, Vm
from vgpud.store.store import Store

log = logging.getLogger(__name__)

RETRY_FIRST_S = 1.0
RETRY_LONGEST_S = 30.0

Object = TypeVar("Object")


class Trace(Protocol):
    """What the control path asks of the engine's trace; as `trace_feed.TraceFeed` has it."""

    def latest(self, vm_uuid: str | None, count: int) -> TraceBatch:
        """The last `count` finished requests of a VM, or of all."""

    def follow(self, vm_uuid: str | None, count: int) -> AsyncGenerator[TraceBatch, None]:
        """The same, and then those that come, until the VM is removed."""


class Engine(Protocol):
    """What the control path asks of the engine.

    All calls return within milliseconds, since they hold the event loop, and are idempotent: a call
    that failed half-way is repeated. The setters and removers raise EngineError or OSError.
    """

    def set_pool(self, pool: Pool) -> None:
        """Takes over a new or changed pool."""

    def remove_pool(self, pool_id: str) -> None:
        """Forgets a pool, if it is known; no VM refers to it any more."""

    def set_vm(self, vm: Vm, quarantine: Quarantine) -> None:
        """Takes over a new or changed VM, with its sockets, kept out if `quarantine` is active.

        A `quarantine` that is earlier than the engine's own is ignored.
        """

    def remove_vm(self, vm_uuid: str) -> None:
        """Forgets a VM, if it is known: answers what waits, ends worker and sockets."""

    @property
    def trace(self) -> Trace:
        """The requests that are finished."""

    def quarantine_of(self, vm_uuid: str) -> Quarantine:
        """The last quarantine that the engine knows of a VM, NEVER_QUARANTINED if none."""

    def snapshot(self) -> EngineSnapshot:
        """Reads all counters. Never raises."""

    def explain(self, vm_uuid: str, seq: int | None) -> Explanation | None:
        """Why a queued request of a VM waits: that of `seq`, or the oldest.

        None when there is no such request, or the engine does not know the VM.
        """

    def vm_status(self, vm_uuid: str) -> VmStatus | None:
        """Reads the counters of one VM; None while the engine does not know it."""


def pool_subject(pool_id: str) -> str:
    """How a pool is called in failures."""
    return f"pool {pool_id}"


def vm_subject(vm_uuid: str) -> str:
    """How a VM is called in failures."""
    return f"VM {vm_uuid}"


class Reconciler:
    """Keeps an engine equal to a store. Lives in the event loop; not for several threads."""

    def __init__(self, store: Store, engine: Engine) -> None:
        self._store = store
        self._engine = engine
        # What the engine has taken over; None where a call failed, so that it may be half there.
        self._pools: dict[str, Pool | None] = {}
        self._vms: dict[str, tuple[Vm, Quarantine] | None] = {}
        self._unheard: set[str] = set()  # VMs whose quarantine may not be stored yet
        self._failures: dict[str, ReconcileError] = {}
        self._failed = asyncio.Event()

    @property
    def pending(self) -> tuple[ReconcileError, ...]:
        """What is stored, but not taken over, as of the last attempt."""
        return tuple(self._failures.values())

    def apply_anew(self) -> tuple[ReconcileError, ...]:
        """Sends everything, as after a reload that changed what it means; else as `apply()`."""
        self._pools = dict.fromkeys(self._pools)
        self._vms = dict.fromkeys(self._vms)
        return self.apply()

    def apply(self) -> tuple[ReconcileError, ...]:
        """Sends all differences and returns what failed; one failure does not stop the rest.

        Raises StoreError if the store cannot be read; nothing was sent then.
        """
        pools = {pool.pool_id: pool for pool in self._store.list_pools()}
        quarantines = self._store.list_quarantines()
        vms = {
            vm.vm_uuid: (vm, quarantines.get(vm.vm_uuid, NEVER_QUARANTINED))
            for vm in self._store.list_vms()
        }
        self._failures = {}

        for vm_uuid in [uuid for uuid in self._vms if uuid not in vms]:
            self._forget_vm(vm_uuid)
        for pool_id, pool in pools.items():
            if self._pools.get(pool_id) != pool:
                done = self._attempt(pool_subject(pool_id), self._engine.set_pool, pool)
                self._pools[pool_id] = pool if done else None
        for wanted in vms.values():
            self._take_vm(wanted)
        for pool_id in [pool_id for pool_id in self._pools if pool_id not in pools]:
            if self._attempt(pool_subject(pool_id), self._remove_pool, pool_id):
                del self._pools[pool_id]

        if self._failures:
            self._failed.set()
        return self.pending

    def apply_vm(self, vm_uuid: str) -> tuple[ReconcileError, ...]:
        """As `apply()` after a change of this one VM's row, at a cost that other VMs do not add to.

        While anything is pending, or nothing was applied yet, everything is: what is pending may be
        in the way of this VM.
        """
        if self._failures or not self._pools:
            return self.apply()
        vm = self._store.get_vm(vm_uuid)
        if vm is not None:
            self._take_vm((vm, self._store.get_quarantine(vm_uuid)))
        elif vm_uuid in self._vms:
            self._forget_vm(vm_uuid)
        if self._failures:
            self._failed.set()
        return self.pending

    def observe(self, vm_uuids: Iterable[str] | None = None) -> None:
        """Stores the quarantines that the engine began by itself; of all VMs without `vm_uuids`.

        What the store refuses is logged, and tried again by `run()`: the engine keeps it until
        then.
        """
        try:
            registered = {vm.vm_uuid for vm in self._store.list_vms()}
            self._unheard |= registered if vm_uuids is None else set(vm_uuids)
            stored = self._store.list_quarantines()
            news = {
                vm_uuid: found
                for vm_uuid in self._unheard & registered
                if (found := self._engine.quarantine_of(vm_uuid)).number
                > stored.get(vm_uuid, NEVER_QUARANTINED).number
            }
            if news:
                with self._store.atomic():
                    for vm_uuid, quarantine in news.items():
                        self._store.set_quarantine(vm_uuid, quarantine)
        except StoreError as error:
            log.error("cannot store who is quarantined: %s", error)
            self._failed.set()
            return
        self._unheard.clear()

    async def run(self) -> None:
        """Tries again what failed, after 1 s and then ever more rarely up to 30 s; never returns.

        Sleeps without a timer while nothing is pending.
        """
        while True:
            await self._failed.wait()
            delay_s = RETRY_FIRST_S
            while self._failures or self._unheard:
                await asyncio.sleep(delay_s)
                delay_s = min(2 * delay_s, RETRY_LONGEST_S)
                self._try_again()
            self._failed.clear()

    def _try_again(self) -> None:
        """Applies what failed, unless somebody else's change has done so meanwhile."""
        if self._unheard:
            self.observe(())
        before = len(self._failures)
        if not before:
            return
        try:
            self.apply()
        except StoreError as error:
            log.error("cannot read what to apply: %s", error)
            return
        if not self._failures:
            log.info("applied what was pending (%d)", before)

    def _take_vm(self, wanted: tuple[Vm, Quarantine]) -> None:
        vm_uuid = wanted[0].vm_uuid
        if self._vms.get(vm_uuid) != wanted:
            done = self._attempt(vm_subject(vm_uuid), self._set_vm, wanted)
            self._vms[vm_uuid] = wanted if done else None

    def _forget_vm(self, vm_uuid: str) -> None:
        if self._attempt(vm_subject(vm_uuid), self._engine.remove_vm, vm_uuid):
            del self._vms[vm_uuid]

    def _set_vm(self, wanted: tuple[Vm, Quarantine]) -> None:
        vm, quarantine = wanted
        if vm.pool_id is not None and self._pools.get(vm.pool_id) is None:
            raise EngineError(f"its pool {vm.pool_id} is not applied")
        self._engine.set_vm(vm, quarantine)

    def _remove_pool(self, pool_id: str) -> None:
        users = [
            applied[0].vm_uuid
            for applied in self._vms.values()
            if applied and applied[0].pool_id == pool_id
        ]
        if users:
            raise EngineError(f"VMs still use it: {', '.join(users)}")
        self._engine.remove_pool(pool_id)

    def _attempt(self, subject: str, action: Callable[[Object], None], argument: Object) -> bool:
        """Runs one step and says whether it went through; a failure is kept and logged."""
        try:
            action(argument)
        except (EngineError, OSError) as error:
            reason, remedy = str(error), ""
            if isinstance(error, EngineError):
                remedy = error.next_step
            elif error.strerror:
                reason = ": ".join(filter(None, (error.filename, error.strerror)))
            failure = ReconcileError(subject, reason, remedy)
            self._failures[subject] = failure
            log.warning("not applied: %s. %s", failure, remedy or "It is tried again.")
            return False
        return True
