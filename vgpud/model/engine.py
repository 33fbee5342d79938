"""What the engine is, as one consistent reading of its counters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from vgpud.model.mediation import NO_TIMES, Times
from vgpud.model.vm import NEVER_QUARANTINED, Quarantine


@dataclass(frozen=True)
class DeviceStatus:
    """The device that work runs on. `reason` says why it is not ready, else it is empty."""

    name: str = ""
    backend: str = ""
    global_mem_bytes: int = 0
    compute_units: int = 0
    ready: bool = False
    reason: str = ""


@dataclass(frozen=True)
class VmStatus:
    """One VM's live numbers, counted since the engine started.

    `submitted` is the sum of `completed` (answered with success), `failed` (answered with an
    error), `refused` (never queued), `dropped` (the client was gone) and, at this moment, `queued`
    and `running`. `refused_by` is `refused` by reason, without those that did not occur. `faults`
    are the VM's own doing (malformed, foreign identity), `fault_points` what they weigh at this
    moment. `wait` is from arrival to the start of running, `run` the time on the device, both of
    requests that began to run; `total` is from arrival to answer. `worker_pid` is 0 while there is
    no worker.
    """

    connected_stub: bool = False
    connected_ring: bool = False
    queued: int = 0
    running: int = 0
    submitted: int = 0
    completed: int = 0
    refused: int = 0
    refused_by: Mapping[str, int] = field(default_factory=dict)
    failed: int = 0
    dropped: int = 0
    faults: int = 0
    fault_points: int = 0
    worker_pid: int = 0
    gpu_time_ns: int = 0
    build_time_ns: int = 0
    wait: Times = NO_TIMES
    run: Times = NO_TIMES
    total: Times = NO_TIMES
    quarantine: Quarantine = NEVER_QUARANTINED


@dataclass(frozen=True)
class PoolStatus:
    """One pool's live numbers: what its VMs did while they were in it; fields as in VmStatus.

    `queued` and `running` are of the VMs that it has at this moment.
    """

    queued: int = 0
    running: int = 0
    submitted: int = 0
    completed: int = 0
    refused: int = 0
    failed: int = 0
    dropped: int = 0
    faults: int = 0
    gpu_time_ns: int = 0
    build_time_ns: int = 0
    wait: Times = NO_TIMES
    run: Times = NO_TIMES
    total: Times = NO_TIMES


@dataclass(frozen=True)
class EngineSnapshot:
    """The whole engine; `vms` is keyed by canonical UUID, `pools` by id.

    While it is `draining` it takes no more requests, and runs what it has. `isolation_gaps` says
    what code of guests is not kept from on this host.
    """

    running: bool = False
    draining: bool = False
    device: DeviceStatus = DeviceStatus()
    vms: Mapping[str, VmStatus] = field(default_factory=dict)
    pools: Mapping[str, PoolStatus] = field(default_factory=dict)
    events_dropped: int = 0
    requests_total: int = 0
    isolation_gaps: tuple[str, ...] = ()
