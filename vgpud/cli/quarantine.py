"""The commands that keep a VM out and let it in again."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from vgpud.cli.command import Command, Output
from vgpud.cli.vms import named, which_vm
from vgpud.client import Client
from vgpud.protocol.messages import (
    ClearQuarantine,
    ClearQuarantineReply,
    QuarantineVm,
    QuarantineVmReply,
)


def _quarantine_options(parser: ArgumentParser) -> None:
    which_vm(parser)
    parser.add_argument("--reason", metavar="TEXT", help="why, for those who look at it later")


def _quarantine(client: Client, options: Namespace) -> Output:
    call = QuarantineVm(options.vm_uuid, options.vm_name, options.reason)
    reply, answer = client.call(call, QuarantineVmReply)
    vm = reply.vm
    if reply.changed:
        text = f"VM {vm.vm_uuid} has been quarantined. New GPU submissions will be rejected."
    else:
        text = (
            f"VM {vm.vm_uuid} is already quarantined, since {vm.quarantined_since}: "
            f"{vm.quarantine_reason}"
        )
    return Output(text, answer)


def _clear(client: Client, options: Namespace) -> Output:
    call = ClearQuarantine(options.vm_uuid, options.vm_name)
    reply, answer = client.call(call, ClearQuarantineReply)
    uuid = reply.vm.vm_uuid
    was = (
        f"Quarantine cleared for VM {uuid}." if reply.changed else f"VM {uuid} was not quarantined."
    )
    return Output(f"{was} Error count reset.", answer)


COMMANDS = (
    Command(
        "quarantine-vm",
        "refuse the requests of a VM until that is cleared",
        lambda options: f"quarantining {named(options)}",
        _quarantine_options,
        _quarantine,
        'quarantine-vm --vm-name=trainer --reason="floods the queue"',
    ),
    Command(
        "clear-quarantine",
        "accept the requests of a VM again, and forget its faults",
        lambda options: f"clearing the quarantine of {named(options)}",
        which_vm,
        _clear,
        "clear-quarantine --vm-name=trainer",
    ),
)
