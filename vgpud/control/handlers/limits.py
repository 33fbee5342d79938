"""What a VM may have of the device: its weight and its limits."""

from __future__ import annotations

from vgpud.control.handlers.context import Context
from vgpud.control.handlers.views import vm_state
from vgpud.control.handlers.vms import find_vm
from vgpud.model.vm import Vm
from vgpud.protocol.messages import (
    SetRateLimit,
    SetRateLimitReply,
    SetWeight,
    SetWeightReply,
    VmState,
)
from vgpud.vms import limited, weighted


def set_weight(context: Context, call: SetWeight) -> SetWeightReply:
    """Changes a VM's share among its equals."""
    vm = find_vm(context, call.vm_uuid, call.vm_name)
    return SetWeightReply(_stored(context, weighted(vm, call.weight)))


def set_rate_limit(context: Context, call: SetRateLimit) -> SetRateLimitReply:
    """Changes how much a VM may ask for, in a second, at once, and outstanding."""
    vm = find_vm(context, call.vm_uuid, call.vm_name)
    wanted = limited(vm, call.rate, call.burst, call.queue_depth)
    return SetRateLimitReply(_stored(context, wanted))


def _stored(context: Context, vm: Vm) -> VmState:
    context.store.set_vm_shares(vm)
    return vm_state(context, find_vm(context, vm.vm_uuid, None))
