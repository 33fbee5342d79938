"""The commands of VMs."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace, _MutuallyExclusiveGroup

from vgpud.cli.command import Command, Output
from vgpud.cli.render import vm_block, vm_list
from vgpud.cli.values import whole_number
from vgpud.client import Client
from vgpud.model.priority import Priority
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

PRIORITIES = [priority.label for priority in Priority]
VM_ID_MAX = 2**31 - 1
POOL_HELP = "the pool: one letter or digit; case counts"


def which_vm(parser: ArgumentParser) -> _MutuallyExclusiveGroup:
    """Declares the two ways to name a VM, of which one is needed."""
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--vm-uuid", metavar="UUID", help="the VM by its UUID")
    which.add_argument("--vm-name", metavar="NAME", help="the VM by its name, if only one has it")
    return which


def _register_options(parser: ArgumentParser) -> None:
    parser.add_argument("--vm-uuid", required=True, metavar="UUID", help="the VM's UUID")
    parser.add_argument("--vm-name", metavar="NAME", help="what people call it")
    parser.add_argument("--pool", metavar="ID", help=f"{POOL_HELP} (default A)")
    parser.add_argument("--priority", choices=PRIORITIES, help="its class (default medium)")
    parser.add_argument(
        "--vm-id",
        type=whole_number(1, VM_ID_MAX),
        metavar="N",
        help=f"1 to {VM_ID_MAX} (default: the next one free)",
    )
    parser.add_argument(
        "--peer",
        metavar="WHO",
        help="who may connect as this VM: qemu, or uid:N (default qemu)",
    )


def _list_options(parser: ArgumentParser) -> None:
    parser.add_argument("--pool", metavar="ID", help=f"only this pool's; {POOL_HELP}")
    parser.add_argument("--priority", choices=PRIORITIES, help="only those of this class")


def priority_of(options: Namespace) -> Priority | None:
    """The priority that was asked for, None if it was left out."""
    return Priority.from_label(options.priority) if options.priority is not None else None


def _register(client: Client, options: Namespace) -> Output:
    call = RegisterVm(
        vm_uuid=options.vm_uuid,
        vm_name=options.vm_name,
        pool_id=options.pool,
        priority=priority_of(options),
        vm_id=options.vm_id,
        peer=options.peer,
    )
    reply, answer = client.call(call, RegisterVmReply)
    # The engine has only just heard of it: there is nothing live to show.
    return Output(f"VM registered successfully:\n{vm_block(reply.vm, with_live=False)}", answer)


def _list(client: Client, options: Namespace) -> Output:
    reply, answer = client.call(ListVms(options.pool, priority_of(options)), ListVmsReply)
    return Output(vm_list(reply.vms), answer)


def _show(client: Client, options: Namespace) -> Output:
    reply, answer = client.call(ShowVm(options.vm_uuid, options.vm_name), ShowVmReply)
    return Output(vm_block(reply.vm), answer)


def _remove(client: Client, options: Namespace) -> Output:
    reply, answer = client.call(RemoveVm(options.vm_uuid, options.vm_name), RemoveVmReply)
    name = f" ({reply.vm.vm_name})" if reply.vm.vm_name is not None else ""
    return Output(f"VM {reply.vm.vm_uuid}{name} removed.", answer)


def named(options: Namespace) -> str:
    """The VM as the caller called it."""
    return f"VM {options.vm_uuid if options.vm_uuid is not None else repr(options.vm_name)}"


COMMANDS = (
    Command(
        "register-vm",
        "register a VM and assign it to a pool",
        lambda options: f"registering {named(options)}",
        _register_options,
        _register,
    ),
    Command("list-vms", "list the VMs", lambda _: "listing VMs", _list_options, _list),
    Command("show-vm", "show a VM", lambda options: f"showing {named(options)}", which_vm, _show),
    Command(
        "remove-vm",
        "forget a VM and end what it has on the device",
        lambda options: f"removing {named(options)}",
        which_vm,
        _remove,
    ),
)
