"""The command that says why a request waits."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Mapping

from vgpud.cli.command import Command, Output
from vgpud.cli.render import duration
from vgpud.cli.values import whole_number
from vgpud.cli.vms import named, which_vm
from vgpud.client import Client
from vgpud.protocol.messages import Explain, ExplainReply
from vgpud.protocol.states import RequestExplanation, VmState

REQUEST_MAX = 2**63 - 1

HOLDS: Mapping[str, str] = {
    "nothing": "nothing: it is next, as soon as the device is free",
    "no_pool": "its VM belongs to no pool (`vgpu-admin set-pool`)",
    "pool_disabled": "its pool is disabled (`vgpu-admin enable-pool`)",
    "no_worker": "no worker of its VM is there, or not yet (`vgpu-admin show-vm`, the log)",
    "waits": "it waits for what its submission names: a timeline has not come that far",
    "stream": "requests of its own stream come before it",
    "in_flight": "what its stream has on the device must come back first",
    "class": "VMs of a higher priority are served first",
    "pools": "other pools have their turn before it",
    "vms": "other VMs of its priority have their turn before it",
    "aged": "a VM of a lower priority has waited too long and is served first",
    "streams": "other streams of its VM have their turn before it",
    "draining": "vgpud is ending and serves nothing any more",
}


def _options(parser: ArgumentParser) -> None:
    which_vm(parser)
    parser.add_argument(
        "--request",
        type=whole_number(1, REQUEST_MAX),
        metavar="N",
        help="its number in the VM (default: the oldest that is queued)",
    )


def _explain(client: Client, options: Namespace) -> Output:
    call = Explain(options.vm_uuid, options.vm_name, options.request)
    reply, answer = client.call(call, ExplainReply)
    if reply.explanation is None:
        return Output(_nothing_queued(reply.vm), answer)
    return Output(_page(reply.vm, reply.explanation), answer)


def _nothing_queued(vm: VmState) -> str:
    lines = [f"VM {vm.vm_uuid} has nothing queued."]
    if vm.quarantined:
        lines.append("It is quarantined: its requests are refused (`vgpu-admin show-vm` has why).")
    elif vm.pool_id is None:
        lines.append("It belongs to no pool: its requests are refused (`vgpu-admin set-pool`).")
    elif not vm.pool_enabled:
        lines.append(f"Its pool {vm.pool_id} is disabled: its requests are refused.")
    elif vm.live is not None and not (vm.live.connected_stub or vm.live.connected_ring):
        lines.append("It is not connected.")
    return "\n".join(lines)


def _page(vm: VmState, why: RequestExplanation) -> str:
    turn = f"in about {duration(why.wait_ns)}" if why.wait_ns is not None else "nobody can say"
    return "\n".join(
        [
            f"Request {why.request} of VM {vm.vm_uuid} has waited for {duration(why.waited_ns)}.",
            f"  Held by: {HOLDS.get(why.hold, why.hold)}",
            f"  Ahead: {_count(why.units_ahead, 'request')}, {why.stream_ahead} of its own stream; "
            f"of {_count(why.vms_ahead, 'other VM')} and {_count(why.pools_ahead, 'other pool')}",
            f"  On the device: {_count(why.running, 'request')}",
            f"  Its turn: {turn}",
        ]
    )


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


COMMANDS = (
    Command(
        "explain",
        "say why a request of a VM waits, behind what, and for about how long",
        lambda options: f"explaining what {named(options)} waits for",
        _options,
        _explain,
        "explain --vm-name=trainer",
    ),
)
