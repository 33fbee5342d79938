"""Keeping VMs out, and letting them in again."""

from __future__ import annotations

from vgpud.control.handlers.context import Context
from vgpud.control.handlers.views import last_quarantine, vm_state
from vgpud.control.handlers.vms import find_vm
from vgpud.model.vm import Quarantine, Vm
from vgpud.protocol.messages import (
    ClearQuarantine,
    ClearQuarantineReply,
    QuarantineVm,
    QuarantineVmReply,
)
from vgpud.protocol.states import VmState
from vgpud.vms import lifted, quarantined


def quarantine_vm(context: Context, call: QuarantineVm) -> QuarantineVmReply:
    """Refuses a VM's requests from now on; asking twice is no mistake."""
    vm = find_vm(context, call.vm_uuid, call.vm_name)
    last = _last(context, vm)
    state = _stored(context, vm, quarantined(last, call.reason))
    return QuarantineVmReply(state, not last.active)


def clear_quarantine(context: Context, call: ClearQuarantine) -> ClearQuarantineReply:
    """Lets a VM in again and forgets its faults; asking twice is no mistake."""
    vm = find_vm(context, call.vm_uuid, call.vm_name)
    last = _last(context, vm)
    return ClearQuarantineReply(_stored(context, vm, lifted(last)), last.active)


def _last(context: Context, vm: Vm) -> Quarantine:
    """The last one, also if the engine has begun it this moment and it is not stored yet."""
    return last_quarantine(
        context.store.get_quarantine(vm.vm_uuid), context.engine.quarantine_of(vm.vm_uuid)
    )


def _stored(context: Context, vm: Vm, quarantine: Quarantine) -> VmState:
    context.store.set_quarantine(vm.vm_uuid, quarantine)
    return vm_state(context, vm)
