"""The command that lists names one a line, for scripts and for completion in a shell."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from vgpud.cli.command import Command, Output
from vgpud.client import Client, Vgpud

PUNCTUATION = "-_.:@+%,/"
"""Besides letters and digits: bash expands what it is given to complete with, and a VM may be named
$(reboot)."""


def _options(parser: ArgumentParser) -> None:
    parser.add_argument(
        "of", choices=("pools", "vms", "uuids"), help="pool ids, names of VMs, or UUIDs of VMs"
    )


def _names(client: Client, options: Namespace) -> Output:
    vgpud = Vgpud(client=client)
    if options.of == "pools":
        names = [pool.pool_id for pool in vgpud.list_pools()]
    elif options.of == "uuids":
        names = [vm.vm_uuid for vm in vgpud.list_vms()]
    else:
        given = (vm.vm_name for vm in vgpud.list_vms())
        names = sorted({name for name in given if name and _is_plain(name)})
    return Output("\n".join(names), {"names": names})


def _is_plain(name: str) -> bool:
    return name.isascii() and all(c.isalnum() or c in PUNCTUATION for c in name)


COMMANDS = (
    Command(
        "names",
        "list pools or VMs, one a line, without names that a shell would have to quote",
        lambda options: f"listing {options.of}",
        _options,
        _names,
        "names pools",
    ),
)
