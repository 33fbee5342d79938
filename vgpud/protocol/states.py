"""What the messages of org.vgpud.admin are about: pools, VMs, the daemon, finished requests.

Class and field names are those of the interface description beside this file; a guard compares
them.
"""

from __future__ import annotations

from vgpud.model.priority import Priority
from vgpud.record import Record


class PriorityCounts(Record):
    """How many VMs of each priority there are."""

    high: int
    medium: int
    low: int

    @property
    def total(self) -> int:
        """All of them."""
        return self.high + self.medium + self.low


class RequestTimes(Record):
    """How long requests took; as in `vgpud.model.mediation.Times`."""

    count: int
    sum_ns: int
    p50_ns: int
    p95_ns: int
    p99_ns: int
    max_ns: int


class PoolLive(Record):
    """What the engine counts for a pool; as in `vgpud.model.engine.PoolStatus`."""

    queued: int
    running: int
    submitted: int
    completed: int
    refused: int
    failed: int
    dropped: int
    faults: int
    gpu_time_ns: int
    build_time_ns: int
    wait: RequestTimes
    run: RequestTimes
    total: RequestTimes


class PoolState(Record):
    """A pool, how many VMs it has, and what the engine knows now if that was asked for."""

    pool_id: str
    pool_name: str | None
    description: str | None
    enabled: bool
    weight: int
    created_at: str
    updated_at: str
    vms: PriorityCounts
    live: PoolLive | None


class RefusalCount(Record):
    """How many requests were refused for one reason."""

    reason: str
    count: int


class VmLive(Record):
    """What the engine counts for a VM; as in `vgpud.model.engine.VmStatus`."""

    connected_stub: bool
    connected_ring: bool
    queued: int
    running: int
    submitted: int
    completed: int
    refused: int
    refused_by: list[RefusalCount]
    failed: int
    dropped: int
    faults: int
    fault_points: int
    worker_pid: int
    gpu_time_ns: int
    build_time_ns: int
    wait: RequestTimes
    run: RequestTimes
    total: RequestTimes


class VmState(Record):
    """A VM as it should be, what was observed about it, and what the engine knows now."""

    vm_uuid: str
    vm_id: int
    vm_name: str | None
    pool_id: str | None
    pool_name: str | None
    pool_enabled: bool | None
    priority: Priority
    weight: int
    max_jobs_per_sec: int
    max_burst: int
    max_queue_depth: int
    peer: str
    quarantined: bool
    quarantine_reason: str | None
    quarantined_since: str | None
    fault_count: int
    created_at: str
    updated_at: str
    live: VmLive | None


class DeviceState(Record):
    """The device that all pools share."""

    name: str
    backend: str
    global_mem_bytes: int
    compute_units: int
    ready: bool
    reason: str


class DaemonState(Record):
    """The daemon and its engine."""

    version: str
    pid: int
    uptime_s: int
    state_dir: str
    engine_running: bool
    draining: bool
    requests_total: int
    events_dropped: int
    pending: list[str]
    isolation_gaps: list[str]


class AuditRecord(Record):
    """Who asked for what, and how it ended; as in `vgpud.store.store.AuditEntry`."""

    at: str
    uid: int
    gid: int
    pid: int
    method: str
    parameters: str
    outcome: str
    error: str | None


class RequestExplanation(Record):
    """Why a queued request waits; as in `vgpud.model.explanation.Explanation`."""

    request: int
    hold: str
    units_ahead: int
    stream_ahead: int
    vms_ahead: int
    pools_ahead: int
    running: int
    waited_ns: int
    wait_ns: int | None


class RequestTrace(Record):
    """A finished request; as in `vgpud.model.trace.TraceEntry`, with words for its enums."""

    seq: int
    vm_uuid: str | None
    vm_id: int
    pool_id: str | None
    priority: Priority
    transport: str
    queue_pair: int
    stream: int
    kind: str
    request: int | None
    cookie: str
    outcome: str
    status: str
    op_index: int
    native: int
    retry_after_us: int
    received_ns: int
    queued_ns: int | None
    picked_ns: int | None
    started_ns: int | None
    ended_ns: int | None
    answered_ns: int
    gpu_time_ns: int
    build_time_ns: int
    dispatches: int
