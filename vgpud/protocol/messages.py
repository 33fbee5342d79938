"""Every message of org.vgpud.admin and org.varlink.service, one class each.

What they are about is in states.py, and which class is whose call and reply in methods.py.

Class and field names are those of the interface descriptions beside this file; a guard compares
them.
"""

from __future__ import annotations

from vgpud.model.priority import Priority
from vgpud.protocol.states import (
    AuditRecord,
    DaemonState,
    DeviceState,
    PoolState,
    RequestExplanation,
    RequestTrace,
    VmState,
)
from vgpud.record import Record


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


class SetPoolWeight(Record):
    """Another weight of a pool."""

    pool_id: str
    weight: int


class SetPoolWeightReply(Record):
    """The pool as it is now."""

    pool: PoolState


class DeletePool(Record):
    """A pool to delete, with `force` also one that has VMs."""

    pool_id: str
    force: bool | None = None


class DeletePoolReply(Record):
    """The pool as it was, and the VMs that belong to none now."""

    pool: PoolState
    vms: list[VmState]


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


class MoveVm(Record):
    """Another pool, priority or vm_id of a VM, which is named by exactly one of the first two."""

    vm_uuid: str | None = None
    vm_name: str | None = None
    pool_id: str | None = None
    priority: Priority | None = None
    vm_id: int | None = None


class MoveVmReply(Record):
    """The VM as it is now, and as it was."""

    vm: VmState
    before: VmState


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


class Trace(Record):
    """Finished requests of all VMs, or of one, by one of the two."""

    vm_uuid: str | None = None
    vm_name: str | None = None
    limit: int | None = None


class TraceReply(Record):
    """Requests, oldest first, and how many before them could not be told of any more."""

    requests: list[RequestTrace]
    missed: int


class Explain(Record):
    """A queued request of a VM, which is named by exactly one of the first two; else the oldest."""

    vm_uuid: str | None = None
    vm_name: str | None = None
    request: int | None = None


class ExplainReply(Record):
    """The VM, and why the request waits; None if nothing is queued."""

    vm: VmState
    explanation: RequestExplanation | None


class ListAudit(Record):
    """The newest audit rows."""

    limit: int | None = None
    refused: bool | None = None


class ListAuditReply(Record):
    """The rows, newest last."""

    entries: list[AuditRecord]


class Backup(Record):
    """A copy of the database."""


class BackupReply(Record):
    """A whole SQLite file in base64, and the version of its schema."""

    database: str
    version: int


class ReloadConfig(Record):
    """Read the configuration again."""


class ReloadConfigReply(Record):
    """What takes effect at the next start only, and what is not applied yet."""

    restart_needed: list[str]
    pending: list[str]


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
