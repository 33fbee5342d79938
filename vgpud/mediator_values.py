"""What the C engine hands out, as values: one function for each structure of mediator.h."""

from __future__ import annotations

from typing import Any

from vgpud.model.mediation import (
    EngineQuarantine,
    LaneStatus,
    PoolCounters,
    Refusal,
    Times,
    VmCounters,
)
from vgpud.model.priority import Priority
from vgpud.model.trace import (
    RequestKind,
    RequestOutcome,
    RequestStatus,
    TraceEntry,
    Transport,
)


def times_of(c: Any) -> Times:
    """Of a struct mediator_times."""
    return Times(
        count=c.count,
        sum_ns=c.sum_ns,
        p50_ns=c.p50_ns,
        p95_ns=c.p95_ns,
        p99_ns=c.p99_ns,
        max_ns=c.max_ns,
    )


def vm_counters_of(c: Any) -> VmCounters:
    """Of a struct mediator_vm_stats."""
    launch, build = (
        LaneStatus(
            pid=c.worker_pid[i],
            worker_id=c.worker_id[i],
            wanted=bool(c.worker_wanted[i]),
            doomed=bool(c.worker_doomed[i]),
            spare=bool(c.worker_spare[i]),
            used_ns=c.worker_used_ns[i],
        )
        for i in range(2)
    )
    return VmCounters(
        handle=c.vm,
        submitted=c.submitted,
        completed=c.completed,
        failed=c.failed,
        refused=c.refused,
        dropped=c.dropped,
        faults=c.faults,
        mismatches=c.mismatches,
        device_ns=c.device_ns,
        build_ns=c.build_ns,
        wait=times_of(c.wait),
        run=times_of(c.run),
        total=times_of(c.total),
        queued=c.queued,
        running=c.running,
        stub_connected=bool(c.stub_connected),
        ring_connected=bool(c.ring_connected),
        launch=launch,
        build=build,
        refused_by={r.name.lower(): c.refused_by[r] for r in Refusal if c.refused_by[r]},
        fault_points=c.fault_points,
        quarantine=EngineQuarantine(
            number=c.quarantine_number,
            active=bool(c.quarantined),
            fault=c.quarantine_fault,
            points=c.quarantine_points,
            since_s=c.quarantine_since_s,
        ),
    )


def pool_counters_of(c: Any) -> PoolCounters:
    """Of a struct mediator_pool_stats."""
    return PoolCounters(
        pool_id=chr(c.pool_id),
        submitted=c.submitted,
        completed=c.completed,
        failed=c.failed,
        refused=c.refused,
        dropped=c.dropped,
        faults=c.faults,
        device_ns=c.device_ns,
        build_ns=c.build_ns,
        wait=times_of(c.wait),
        run=times_of(c.run),
        total=times_of(c.total),
    )


def trace_entry_of(c: Any) -> TraceEntry:
    """Of a struct mediator_trace."""
    return TraceEntry(
        seq=c.seq,
        request=c.request,
        cookie=c.cookie,
        received_ns=c.received_ns,
        queued_ns=c.queued_ns,
        picked_ns=c.picked_ns,
        started_ns=c.started_ns,
        ended_ns=c.ended_ns,
        answered_ns=c.answered_ns,
        device_ns=c.device_ns,
        build_ns=c.build_ns,
        handle=c.vm,
        vm_id=c.vm_id,
        stream=c.stream,
        dispatches=c.dispatches,
        op_index=c.op_index,
        native=c.native,
        retry_after_us=c.retry_after_us,
        status=RequestStatus(c.status),
        queue_pair=c.qp,
        pool_id=chr(c.pool_id) if c.pool_id else "",
        priority=Priority(c.priority),
        transport=Transport(c.transport),
        kind=RequestKind(c.kind),
        outcome=RequestOutcome(c.outcome),
    )
