"""The commands that move a VM: to another pool, priority or VM ID."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from typing import Any

from vgpud.cli.command import Command, Output
from vgpud.cli.render import vm_block
from vgpud.cli.values import whole_number
from vgpud.cli.vms import POOL_HELP, PRIORITIES, VM_ID_MAX, named, priority_of, which_vm
from vgpud.client import Client
from vgpud.protocol.messages import MoveVm, MoveVmReply
from vgpud.protocol.states import VmState


def _pool(parser: ArgumentParser, *, required: bool) -> None:
    parser.add_argument("--pool", required=required, metavar="ID", help=POOL_HELP)


def _priority(parser: ArgumentParser, *, required: bool) -> None:
    parser.add_argument("--priority", required=required, choices=PRIORITIES, help="its class")


def _vm_id(parser: ArgumentParser, *, required: bool) -> None:
    parser.add_argument(
        "--vm-id",
        required=required,
        type=whole_number(1, VM_ID_MAX),
        metavar="N",
        help=f"1 to {VM_ID_MAX}; its client may name the old one until it connects anew",
    )


def _pool_options(parser: ArgumentParser) -> None:
    which_vm(parser)
    _pool(parser, required=True)


def _priority_options(parser: ArgumentParser) -> None:
    which_vm(parser)
    _priority(parser, required=True)


def _vm_id_options(parser: ArgumentParser) -> None:
    which_vm(parser)
    _vm_id(parser, required=True)


def _update_options(parser: ArgumentParser) -> None:
    which_vm(parser)
    _pool(parser, required=False)
    _priority(parser, required=False)
    _vm_id(parser, required=False)


def _change(what: str, before: str, now: str) -> str | None:
    return f"{what}: {before} -> {now}" if before != now else None


def _changes(before: VmState, now: VmState) -> list[str]:
    changes = (
        _change("pool", before.pool_id or "none", now.pool_id or "none"),
        _change("priority", before.priority.label, now.priority.label),
        _change("VM ID", str(before.vm_id), str(now.vm_id)),
    )
    return [change for change in changes if change is not None]


def _told(reply: MoveVmReply) -> str:
    changes = _changes(reply.before, reply.vm)
    told = "; ".join(changes) if changes else "it is so already, nothing was changed"
    return f"VM {reply.vm.vm_uuid}: {told}"


def _call(client: Client, options: Namespace) -> tuple[MoveVmReply, dict[str, Any]]:
    call = MoveVm(
        options.vm_uuid,
        options.vm_name,
        pool_id=getattr(options, "pool", None),
        priority=priority_of(options) if hasattr(options, "priority") else None,
        vm_id=getattr(options, "vm_id", None),
    )
    return client.call(call, MoveVmReply)


def _move(client: Client, options: Namespace) -> Output:
    reply, answer = _call(client, options)
    return Output(_told(reply), answer)


def _update(client: Client, options: Namespace) -> Output:
    reply, answer = _call(client, options)
    return Output(f"{_told(reply)}\n{vm_block(reply.vm, with_live=False)}", answer)


COMMANDS = (
    Command(
        "set-pool",
        "move a VM to another pool, with what it has queued",
        lambda options: f"moving {named(options)} to pool {options.pool}",
        _pool_options,
        _move,
        "set-pool --vm-name=trainer --pool=B",
    ),
    Command(
        "set-priority",
        "set a VM's priority in its pool",
        lambda options: f"setting the priority of {named(options)}",
        _priority_options,
        _move,
        "set-priority --vm-name=trainer --priority=high",
    ),
    Command(
        "set-vm-id",
        "set the number that a VM's requests carry",
        lambda options: f"setting the VM ID of {named(options)}",
        _vm_id_options,
        _move,
        "set-vm-id --vm-name=trainer --vm-id=12",
    ),
    Command(
        "update-vm",
        "change pool, priority and VM ID of a VM at once; what is left out stays as it is",
        lambda options: f"changing {named(options)}",
        _update_options,
        _update,
        "update-vm --vm-name=trainer --pool=B --priority=low",
    ),
)
