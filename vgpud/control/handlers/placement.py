"""Where a VM belongs: its pool, its priority in it, and the number that its requests carry."""

from __future__ import annotations

from vgpud.control.handlers.context import Context
from vgpud.control.handlers.views import vm_state
from vgpud.control.handlers.vms import find_vm
from vgpud.pools import parse_pool_id, pool_for_vm
from vgpud.protocol.messages import MoveVm, MoveVmReply
from vgpud.vms import placed


def move_vm(context: Context, call: MoveVm) -> MoveVmReply:
    """Changes the place of a VM; what it has queued goes with it."""
    store = context.store
    vm = find_vm(context, call.vm_uuid, call.vm_name)
    before = vm_state(context, vm)
    pool = None
    if call.pool_id is not None:
        pool_id = parse_pool_id(call.pool_id)
        pool = pool_for_vm(store.get_pool(pool_id), pool_id, present=vm.pool_id)
    holder = None if call.vm_id is None else store.get_vm_by_id(call.vm_id)
    wanted = placed(vm, pool, call.priority, call.vm_id, holder)
    if wanted != vm:
        store.set_vm_place(wanted)
    return MoveVmReply(vm_state(context, find_vm(context, vm.vm_uuid, None)), before)
