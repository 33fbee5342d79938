"""From what the C engine counts to what is shown of it; no I/O."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

from vgpud.fault_words import as_quarantine
from vgpud.model.engine import PoolStatus, VmStatus
from vgpud.model.mediation import PoolCounters, VmCounters


def vm_status(c: VmCounters) -> VmStatus:
    """One VM's live numbers."""
    return VmStatus(
        connected_stub=c.stub_connected,
        connected_ring=c.ring_connected,
        queued=c.queued,
        running=c.running,
        submitted=c.submitted,
        completed=c.completed,
        refused=c.refused,
        refused_by=c.refused_by,
        failed=c.failed,
        dropped=c.dropped,
        faults=c.faults,
        fault_points=c.fault_points,
        worker_pid=c.launch.pid,
        gpu_time_ns=c.device_ns,
        build_time_ns=c.build_ns,
        wait=c.wait,
        run=c.run,
        total=c.total,
        quarantine=as_quarantine(c.quarantine),
    )


def pool_statuses(
    pools: Iterable[PoolCounters], vms: Iterable[tuple[str | None, VmCounters]]
) -> dict[str, PoolStatus]:
    """The pools' live numbers by id; `vms` are all VMs, each with the id of its pool."""
    members: defaultdict[str | None, list[VmCounters]] = defaultdict(list)
    for pool_id, counters in vms:
        members[pool_id].append(counters)
    return {pool.pool_id: _pool_status(pool, members[pool.pool_id]) for pool in pools}


def _pool_status(c: PoolCounters, members: Sequence[VmCounters]) -> PoolStatus:
    return PoolStatus(
        queued=sum(vm.queued for vm in members),
        running=sum(vm.running for vm in members),
        submitted=c.submitted,
        completed=c.completed,
        refused=c.refused,
        failed=c.failed,
        dropped=c.dropped,
        faults=c.faults,
        gpu_time_ns=c.device_ns,
        build_time_ns=c.build_ns,
        wait=c.wait,
        run=c.run,
        total=c.total,
    )
