"""Every message of org.vgpud.admin and org.varlink.service, one class each.

Class and field names are those of the interface descriptions beside this file; a guard compares
them. `METHODS` says which class is whose call and reply.
"""

from __future__ import annotations

from vgpud.model.priority import Priority
from vgpud.record import Record
from vgpud.refusals import ADMIN_INTERFACE, SERVICE_INTERFACE


class PriorityCounts(Record):
    """How many VMs of each priority there are."""

    high: int
    medium: int
    low: int

    @property
    def total(self) -> int:
        """All of them."""
        return self.high + self.medium + self.low


class PoolState(Record):
    """A pool and how many VMs it has."""

    pool_id: str
    pool_name: str | None
    description: str | None
    enabled: bool
    weight: int
    created_at: str
    updated_at: str
    vms: PriorityCounts


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
    completed: int
    refused: int
    refused_by: list[RefusalCount]
    failed: int
    faults: int
    fault_points: int
    worker_pid: int
    gpu_time_ns: int
    wait_ns_total: int
    wait_ns_max: int


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


class ListPools(Record):
    """All pools."""

    enabled_only: bool | None = None


class ListPoolsReply(Record):
    """All pools, by id."""

    pools: list[PoolState]


class ShowPool(Record):
    """One pool."""

    pool_id: str


class ShowPoolReply(Record):
    """One pool and its VMs."""

    pool: PoolState
    vms: list[VmState]


class CreatePool(Record):
    """A new pool."""

    pool_id: str
    pool_name: str | None = None
    description: str | None = None


class CreatePoolReply(Record):
    """The pool created."""

    pool: PoolState


class EnablePool(Record):
    """A pool to enable."""

    pool_id: str


class EnablePoolReply(Record):
    """The pool, and whether it was disabled before."""

    pool: PoolState
    changed: bool


class DisablePool(Record):
    """A pool to disable."""

    pool_id: str


class DisablePoolReply(Record):
    """The pool, and whether it was enabled before."""

    pool: PoolState
    changed: bool


class RegisterVm(Record):
    """A new VM."""

    vm_uuid: str
    vm_name: str | None = None
    pool_id: str | None = None
    priority: Priority | None = None
    vm_id: int | None = None
    peer: str | None = None


class RegisterVmReply(Record):
    """The VM registered."""

    vm: VmState


class ShowVm(Record):
    """One VM, by exactly one of the two."""

    vm_uuid: str | None = None
    vm_name: str | None = None


class ShowVmReply(Record):
    """The VM."""

    vm: VmState


class ListVms(Record):
    """All VMs, or those of a pool, of a priority, or of both."""

    pool_id: str | None = None
    priority: Priority | None = None


class ListVmsReply(Record):
    """The VMs by pool, priority and vm_id."""

    vms: list[VmState]


class RemoveVm(Record):
    """A VM to forget, by exactly one of the two."""

    vm_uuid: str | None = None
    vm_name: str | None = None


class RemoveVmReply(Record):
    """The VM as it was."""

    vm: VmState


class SetWeight(Record):
    """Another weight of a VM, which is named by exactly one of the first two."""

    weight: int
    vm_uuid: str | None = None
    vm_name: str | None = None


class SetWeightReply(Record):
    """The VM as it is now."""

    vm: VmState


class SetRateLimit(Record):
    """Other limits of a VM, which is named by exactly one of the first two; at least one limit."""

    vm_uuid: str | None = None
    vm_name: str | None = None
    rate: int | None = None
    burst: int | None = None
    queue_depth: int | None = None


class SetRateLimitReply(Record):
    """The VM as it is now."""

    vm: VmState


class QuarantineVm(Record):
    """A VM to keep out, by exactly one of the first two."""

    vm_uuid: str | None = None
    vm_name: str | None = None
    reason: str | None = None


class QuarantineVmReply(Record):
    """The VM, and whether it was not quarantined before."""

    vm: VmState
    changed: bool


class ClearQuarantine(Record):
    """A VM to let in again, by exactly one of the two."""

    vm_uuid: str | None = None
    vm_name: str | None = None


class ClearQuarantineReply(Record):
    """The VM, and whether it was quarantined before."""

    vm: VmState
    changed: bool


class Status(Record):
    """Everything at a glance."""


class StatusReply(Record):
    """Daemon, device, pools and VMs."""

    daemon: DaemonState
    device: DeviceState
    pools: list[PoolState]
    vms: list[VmState]


class Shutdown(Record):
    """The end of the daemon; with `all`, of workers and spawner too."""

    all: bool | None = None


class ShutdownReply(Record):
    """It will happen."""


class GetInfo(Record):
    """Who serves here."""


class GetInfoReply(Record):
    """The service and its interfaces."""

    vendor: str
    product: str
    version: str
    url: str
    interfaces: list[str]


class GetInterfaceDescription(Record):
    """An interface to describe."""

    interface: str


class GetInterfaceDescriptionReply(Record):
    """The description in Varlink's interface language."""

    description: str


METHODS: dict[str, tuple[type[Record], type[Record]]] = {
    f"{interface}.{call.__name__}": (call, reply)
    for interface, call, reply in (
        (SERVICE_INTERFACE, GetInfo, GetInfoReply),
        (SERVICE_INTERFACE, GetInterfaceDescription, GetInterfaceDescriptionReply),
        (ADMIN_INTERFACE, ListPools, ListPoolsReply),
        (ADMIN_INTERFACE, ShowPool, ShowPoolReply),
        (ADMIN_INTERFACE, CreatePool, CreatePoolReply),
        (ADMIN_INTERFACE, EnablePool, EnablePoolReply),
        (ADMIN_INTERFACE, DisablePool, DisablePoolReply),
        (ADMIN_INTERFACE, RegisterVm, RegisterVmReply),
        (ADMIN_INTERFACE, ShowVm, ShowVmReply),
        (ADMIN_INTERFACE, ListVms, ListVmsReply),
        (ADMIN_INTERFACE, RemoveVm, RemoveVmReply),
        (ADMIN_INTERFACE, SetWeight, SetWeightReply),
        (ADMIN_INTERFACE, SetRateLimit, SetRateLimitReply),
        (ADMIN_INTERFACE, QuarantineVm, QuarantineVmReply),
        (ADMIN_INTERFACE, ClearQuarantine, ClearQuarantineReply),
        (ADMIN_INTERFACE, Status, StatusReply),
        (ADMIN_INTERFACE, Shutdown, ShutdownReply),
    )
}
"""Call and reply class of every method, by its qualified name."""
