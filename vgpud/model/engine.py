"""What the engine is, as one consistent reading of its counters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

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

    `queued` and `running` are requests at this moment. `completed` were answered with success,
    `failed` ran and were answered with an error, `refused` were never queued, `refused_by` is the
    same by reason, without those that did not occur; `faults` are the VM's own doing (malformed,
    foreign identity), `fault_points` what they weigh at this moment. Waits are counted from arrival
    to the start of running, over all requests that began to run. `worker_pid` is 0 while there is
    no worker.
    """

    connected_stub: bool = False
    connected_ring: bool = False
    queued: int = 0
    running: int = 0
    completed: int = 0
    refused: int = 0
    refused_by: Mapping[str, int] = field(default_factory=dict)
    failed: int = 0
    faults: int = 0
    fault_points: int = 0
    worker_pid: int = 0
    gpu_time_ns: int = 0
    wait_ns_total: int = 0
    wait_ns_max: int = 0
    quarantine: Quarantine = NEVER_QUARANTINED


@dataclass(frozen=True)
class EngineSnapshot:
    """The whole engine at one moment; `vms` is keyed by canonical UUID.

    While it is `draining` it takes no more requests, and runs what it has.
    """

    running: bool = False
    draining: bool = False
    device: DeviceStatus = DeviceStatus()
    vms: Mapping[str, VmStatus] = field(default_factory=dict)
    events_dropped: int = 0
    requests_total: int = 0
