"""What goes into the engine and comes out of it, as values.

The counterparts of the structures in mediator.h; times in nanoseconds of CLOCK_MONOTONIC.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum


class PriorityScope(IntEnum):
    """Whether pools are above the priority classes, or the classes above the pools."""

    POOL = 0
    GLOBAL = 1


class Refusal(IntEnum):
    """Why a request was not accepted; enum mediator_refusal."""

    MALFORMED = 0
    UNSUPPORTED = 1
    POOL = 2
    QUARANTINE = 3
    RATE = 4
    VM_DEPTH = 5
    TOTAL_DEPTH = 6
    STREAMS = 7
    TIMELINES = 8


@dataclass(frozen=True)
class EngineLimits:
    """What struct mediator_config holds, with its units in the names."""

    max_queued_total: int
    units_in_flight: int
    max_builds: int
    quantum_us: int
    spin_us: int
    run_timeout_ms: int
    build_timeout_ms: int
    queue_timeout_ms: int
    aging_after_ms: int
    aging_share: int
    priority_scope: PriorityScope
    trace_entries: int
    fault_threshold: int
    fault_half_life_ms: int


@dataclass(frozen=True)
class VmIdentity:
    """A VM as the engine knows it, see struct mediator_vm for what 0 means; `pool_id` "" = none."""

    uuid: str
    vm_id: int
    peer_uid: int
    weight: int
    max_queued: int
    max_rate: int
    max_burst: int
    quarantine_number: int
    quarantined: bool
    pool_id: str
    priority: int


@dataclass(frozen=True)
class VmFds:
    """The descriptors of a VM; the engine takes them over. -1 = no connection."""

    journal: int
    ring: int
    stub_listener: int
    ring_listener: int
    host_doorbells: Sequence[int]
    guest_doorbells: Sequence[int]
    stub_connection: int = -1
    ring_connection: int = -1


@dataclass(frozen=True)
class RingLayout:
    """Where the data slices of a VM's ring lie, in bytes; for its workers."""

    qp_count: int
    qp_base: int
    qp_stride: int
    data_offset: int
    data_bytes: int


@dataclass(frozen=True)
class LaneStatus:
    """One worker of a VM. `worker_id` is the journal's, also while nobody is attached; 0 = none.

    `spare`: it has nothing to do and holds nothing. `used_ns` is when it last answered, by the
    monotonic clock; 0 = not yet.
    """

    pid: int
    worker_id: int
    wanted: bool
    doomed: bool
    spare: bool
    used_ns: int


@dataclass(frozen=True)
class Times:
    """How long requests took: count, sum and maximum exact, quantiles within 1/16."""

    count: int = 0
    sum_ns: int = 0
    p50_ns: int = 0
    p95_ns: int = 0
    p99_ns: int = 0
    max_ns: int = 0


NO_TIMES = Times()
"""Of what never happened."""


@dataclass(frozen=True)
class EngineQuarantine:
    """The last quarantine in a VM's journal. `fault` 0 = it was not the engine that began it."""

    number: int
    active: bool
    fault: int
    points: int
    since_s: int


@dataclass(frozen=True)
class VmCounters:
    """Counters since the engine started, and level state; times in nanoseconds."""

    handle: int
    submitted: int
    completed: int
    failed: int
    refused: int
    dropped: int
    faults: int
    mismatches: int
    device_ns: int
    build_ns: int
    wait: Times
    run: Times
    total: Times
    queued: int
    running: int
    stub_connected: bool
    ring_connected: bool
    launch: LaneStatus
    build: LaneStatus
    refused_by: Mapping[str, int]
    fault_points: int
    quarantine: EngineQuarantine


@dataclass(frozen=True)
class PoolCounters:
    """What was counted of the VMs of a pool while they were in it."""

    pool_id: str
    submitted: int
    completed: int
    failed: int
    refused: int
    dropped: int
    faults: int
    device_ns: int
    build_ns: int
    wait: Times
    run: Times
    total: Times


@dataclass(frozen=True)
class EngineCounters:
    """Counters of the whole engine."""

    accepted: int
    answered: int
    events_dropped: int
    turns: int
    outstanding: int
    in_flight: int
    builds: int
    vms: int
