"""The methods of VMs."""

from __future__ import annotations

from vgpud.control.handlers.context import Context
from vgpud.control.handlers.views import vm_state, vm_states
from vgpud.model.priority import Priority
from vgpud.model.vm import PeerRule, Vm
from vgpud.names import NAME_MAX_CHARACTERS, parse_text
from vgpud.pools import existing_pool, parse_pool_id, pool_for_vm
from vgpud.protocol.messages import (
    ListVms,
    ListVmsReply,
    RegisterVm,
    RegisterVmReply,
    RemoveVm,
    RemoveVmReply,
    ShowVm,
    ShowVmReply,
)
from vgpud.refusals import InvalidArgument
from vgpud.vms import (
    DEFAULT_POOL_ID,
    new_vm,
    only_vm,
    parse_peer,
    parse_vm_id,
    parse_vm_uuid,
    stands_for_id,
)


def register_vm(context: Context, call: RegisterVm) -> RegisterVmReply:
    """Adds a VM to a pool."""
    store = context.store
    vm_uuid = parse_vm_uuid(call.vm_uuid)
    pool_id = parse_pool_id(DEFAULT_POOL_ID if call.pool_id is None else call.pool_id)
    vm_id = store.next_vm_id() if call.vm_id is None else parse_vm_id(call.vm_id)
    wanted = Vm(
        vm_uuid=vm_uuid,
        vm_id=vm_id,
        vm_name=call.vm_name,
        pool_id=pool_id,
        priority=Priority.MEDIUM if call.priority is None else call.priority,
        peer=PeerRule() if call.peer is None else parse_peer(call.peer),
    )
    pool_for_vm(store.get_pool(pool_id), pool_id)
    store.insert_vm(new_vm(wanted, store.get_vm(vm_uuid), store.get_vm_by_id(vm_id)))
    return RegisterVmReply(vm_state(context, find_vm(context, vm_uuid, None)))


def show_vm(context: Context, call: ShowVm) -> ShowVmReply:
    """One VM."""
    return ShowVmReply(vm_state(context, find_vm(context, call.vm_uuid, call.vm_name)))


def list_vms(context: Context, call: ListVms) -> ListVmsReply:
    """The VMs of a pool, of a priority, or all."""
    if call.pool_id is not None:
        existing_pool(context.store.get_pool(parse_pool_id(call.pool_id)), call.pool_id)
    vms = [
        vm
        for vm in context.store.list_vms()
        if call.pool_id in (None, vm.pool_id) and call.priority in (None, vm.priority)
    ]
    return ListVmsReply(vm_states(context, vms, context.engine.snapshot()))


def remove_vm(context: Context, call: RemoveVm) -> RemoveVmReply:
    """Forgets a VM."""
    vm = find_vm(context, call.vm_uuid, call.vm_name)
    state = vm_state(context, vm)
    context.store.delete_vm(vm.vm_uuid)
    return RemoveVmReply(state)


def find_vm(context: Context, vm_uuid: str | None, vm_name: str | None) -> Vm:
    """The VM that a call means, by exactly one of UUID and name.

    Raises InvalidArgument, VmNotFound or AmbiguousVm.
    """
    if vm_uuid is not None and vm_name is None:
        canonical = parse_vm_uuid(vm_uuid)
        held = context.store.get_vm(canonical)
        return only_vm([held] if held else [], canonical)
    if vm_name is not None and vm_uuid is None:
        parse_text("vm_name", vm_name, NAME_MAX_CHARACTERS)
        return only_vm(_called(context, vm_name), vm_name)
    given = "neither" if vm_uuid is None else "both"
    raise InvalidArgument("vm_uuid, vm_name", given, "exactly one of the two")


def _called(context: Context, name: str) -> list[Vm]:
    """The VMs of a name, or else the one without a name that is shown under it."""
    named = context.store.list_vms_by_name(name)
    vm_id = stands_for_id(name)
    if named or vm_id is None:
        return named
    held = context.store.get_vm_by_id(vm_id)
    return [held] if held is not None and held.vm_name is None else []
