"""Rows and live numbers, put together into what is shown."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from vgpud.control.handlers.context import Context
from vgpud.model.engine import EngineSnapshot, VmStatus
from vgpud.model.pool import Pool
from vgpud.model.priority import Priority
from vgpud.model.vm import NEVER_QUARANTINED, Quarantine, Vm
from vgpud.protocol.messages import PoolState, PriorityCounts, RefusalCount, VmLive, VmState


def pool_state(pool: Pool, vms: Iterable[Vm]) -> PoolState:
    """A pool with the count of its VMs; `vms` may hold those of other pools too."""
    counts = Counter(vm.priority for vm in vms if vm.pool_id == pool.pool_id)
    return PoolState(
        pool_id=pool.pool_id,
        pool_name=pool.pool_name,
        description=pool.description,
        enabled=pool.enabled,
        weight=pool.weight,
        created_at=pool.created_at,
        updated_at=pool.updated_at,
        vms=PriorityCounts(
            high=counts[Priority.HIGH],
            medium=counts[Priority.MEDIUM],
            low=counts[Priority.LOW],
        ),
    )


def vm_states(context: Context, vms: Iterable[Vm], engine: EngineSnapshot) -> list[VmState]:
    """The VMs with their quarantines and with their live numbers of one moment."""
    pools = {pool.pool_id: pool for pool in context.store.list_pools()}
    quarantines = context.store.list_quarantines()
    return [
        _vm_state(vm, pools, quarantines.get(vm.vm_uuid), engine.vms.get(vm.vm_uuid)) for vm in vms
    ]


def vm_state(context: Context, vm: Vm) -> VmState:
    """One VM as in `vm_states`."""
    pools = {pool.pool_id: pool for pool in context.store.list_pools()}
    stored = context.store.get_quarantine(vm.vm_uuid)
    return _vm_state(vm, pools, stored, context.engine.vm_status(vm.vm_uuid))


def last_quarantine(stored: Quarantine | None, of_engine: Quarantine) -> Quarantine:
    """The later of the two; of the same one what is stored, which an administrator may change."""
    if stored is None or of_engine.number > stored.number:
        return of_engine
    return stored


def _vm_state(
    vm: Vm, pools: Mapping[str, Pool], stored: Quarantine | None, status: VmStatus | None
) -> VmState:
    pool = pools.get(vm.pool_id) if vm.pool_id is not None else None
    of_engine = status.quarantine if status else NEVER_QUARANTINED
    last = last_quarantine(stored, of_engine)
    # The engine forgets a VM's faults when it hears that a quarantine is lifted.
    lifted_unheard = not last.active and (last.number, False) != (
        of_engine.number,
        of_engine.active,
    )
    return VmState(
        vm_uuid=vm.vm_uuid,
        vm_id=vm.vm_id,
        vm_name=vm.vm_name,
        pool_id=vm.pool_id,
        pool_name=pool.pool_name if pool else None,
        pool_enabled=pool.enabled if pool else None,
        priority=vm.priority,
        weight=vm.weight,
        max_jobs_per_sec=vm.max_jobs_per_sec,
        max_burst=vm.max_burst,
        max_queue_depth=vm.max_queue_depth,
        peer=str(vm.peer),
        quarantined=last.active,
        quarantine_reason=last.reason if last.active else None,
        quarantined_since=last.since if last.active else None,
        fault_count=status.fault_points if status and not lifted_unheard else 0,
        created_at=vm.created_at,
        updated_at=vm.updated_at,
        live=_vm_live(status) if status else None,
    )


def _vm_live(status: VmStatus) -> VmLive:
    same = {name: getattr(status, name) for name in VmLive.field_defaults if name != "refused_by"}
    refused_by = [RefusalCount(reason, count) for reason, count in status.refused_by.items()]
    return VmLive(**same, refused_by=refused_by)
