"""Calls about VMs."""

from __future__ import annotations

from vgpud.client.connection import Client
from vgpud.model.priority import Priority
from vgpud.protocol.messages import (
    ClearQuarantine,
    ClearQuarantineReply,
    ListVms,
    ListVmsReply,
    MoveVm,
    MoveVmReply,
    QuarantineVm,
    QuarantineVmReply,
    RegisterVm,
    RegisterVmReply,
    RemoveVm,
    RemoveVmReply,
    SetRateLimit,
    SetRateLimitReply,
    SetWeight,
    SetWeightReply,
    ShowVm,
    ShowVmReply,
)
from vgpud.protocol.states import VmState


class VmCalls:
    """All that can be asked of VMs.

    A VM is named by its UUID, or by `vm_name` if only one has that name; by exactly one of the two.
    Whatever names one raises VmNotFound, AmbiguousVm, and InvalidArgument for a value that is out
    of range.
    """

    def __init__(self, client: Client) -> None:
        self._client = client

    def register_vm(
        self,
        vm_uuid: str,
        *,
        vm_name: str | None = None,
        pool_id: str | None = None,
        priority: Priority | None = None,
        vm_id: int | None = None,
        peer: str | None = None,
    ) -> VmState:
        """A new VM; its defaults are pool A, priority medium, the next free vm_id, peer "qemu".

        Raises VmExists, VmIdInUse, PoolNotFound, PoolDisabled.
        """
        call = RegisterVm(vm_uuid, vm_name, pool_id, priority, vm_id, peer)
        return self._client.call(call, RegisterVmReply)[0].vm

    def show_vm(self, vm_uuid: str | None = None, *, vm_name: str | None = None) -> VmState:
        """A VM, with live numbers."""
        return self._client.call(ShowVm(vm_uuid, vm_name), ShowVmReply)[0].vm

    def list_vms(
        self, *, pool_id: str | None = None, priority: Priority | None = None
    ) -> list[VmState]:
        """All VMs, or those of a pool, of a priority, or of both. Raises PoolNotFound."""
        return self._client.call(ListVms(pool_id, priority), ListVmsReply)[0].vms

    def remove_vm(self, vm_uuid: str | None = None, *, vm_name: str | None = None) -> VmState:
        """Forget a VM: its sockets and its workers end. Returns it as it was."""
        return self._client.call(RemoveVm(vm_uuid, vm_name), RemoveVmReply)[0].vm

    def update_vm(
        self,
        vm_uuid: str | None = None,
        *,
        vm_name: str | None = None,
        pool_id: str | None = None,
        priority: Priority | None = None,
        vm_id: int | None = None,
    ) -> VmState:
        """Another pool, priority or vm_id, at once, with what the VM has queued.

        What is None stays as it is. Raises PoolNotFound, PoolDisabled, VmIdInUse.
        """
        call = MoveVm(vm_uuid, vm_name, pool_id, priority, vm_id)
        return self._client.call(call, MoveVmReply)[0].vm

    def set_pool(
        self, pool_id: str, vm_uuid: str | None = None, *, vm_name: str | None = None
    ) -> VmState:
        """Another pool. Raises PoolNotFound, PoolDisabled."""
        return self.update_vm(vm_uuid, vm_name=vm_name, pool_id=pool_id)

    def set_priority(
        self, priority: Priority, vm_uuid: str | None = None, *, vm_name: str | None = None
    ) -> VmState:
        """Another priority."""
        return self.update_vm(vm_uuid, vm_name=vm_name, priority=priority)

    def set_vm_id(
        self, vm_id: int, vm_uuid: str | None = None, *, vm_name: str | None = None
    ) -> VmState:
        """Another number for its requests to carry. Raises VmIdInUse."""
        return self.update_vm(vm_uuid, vm_name=vm_name, vm_id=vm_id)

    def set_weight(
        self, weight: int, vm_uuid: str | None = None, *, vm_name: str | None = None
    ) -> VmState:
        """Its share among the VMs of its pool and priority, 1 to 100."""
        return self._client.call(SetWeight(weight, vm_uuid, vm_name), SetWeightReply)[0].vm

    def set_rate_limit(
        self,
        vm_uuid: str | None = None,
        *,
        vm_name: str | None = None,
        rate: int | None = None,
        burst: int | None = None,
        queue_depth: int | None = None,
    ) -> VmState:
        """What it may ask for: requests per second, at once, and waiting and running.

        What is None stays as it is; 0 is unlimited, as many as `rate`, and the default.
        """
        call = SetRateLimit(vm_uuid, vm_name, rate, burst, queue_depth)
        return self._client.call(call, SetRateLimitReply)[0].vm

    def quarantine_vm(
        self,
        vm_uuid: str | None = None,
        *,
        vm_name: str | None = None,
        reason: str | None = None,
    ) -> bool:
        """Refuse all its requests until it is let in again. Returns false if it was so before."""
        call = QuarantineVm(vm_uuid, vm_name, reason)
        return self._client.call(call, QuarantineVmReply)[0].changed

    def clear_quarantine(self, vm_uuid: str | None = None, *, vm_name: str | None = None) -> bool:
        """Let it in again. Returns false if it was not quarantined."""
        call = ClearQuarantine(vm_uuid, vm_name)
        return self._client.call(call, ClearQuarantineReply)[0].changed
