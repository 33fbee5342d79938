"""Completion of commands, options, pools and VMs in a shell: the script that it wants.

What pools and VMs there are the script asks vgpu-admin at each time; see names.py.
"""

from __future__ import annotations

from argparse import Action, ArgumentParser, _SubParsersAction
from collections.abc import Iterator, Mapping

import shtab

_ASKED = "vgpu-admin names {} --timeout=1 2>/dev/null"

_BY_OPTION: Mapping[str, object] = {
    "--pool": shtab.cmd(_ASKED.format("pools")),
    "--pool-id": shtab.cmd(_ASKED.format("pools")),
    "--vm-name": shtab.cmd(_ASKED.format("vms")),
    "--vm-uuid": shtab.cmd(_ASKED.format("uuids")),
    "--socket": shtab.FILE,
    "--file": shtab.FILE,
}

_NEW_OBJECTS = {"create-pool": "--pool-id", "register-vm": "--vm-uuid"}
"""To propose what is there already would be no help."""


def script(parser: ArgumentParser, shell: str) -> str:
    """What a shell is to read: bash, zsh or fish."""
    for command, action in _actions(parser):
        for option in action.option_strings:
            if option in _BY_OPTION and _NEW_OBJECTS.get(command) != option:
                action.complete = _BY_OPTION[option]  # type: ignore[attr-defined]
        if not action.option_strings and action.dest == "file":
            action.complete = shtab.FILE  # type: ignore[attr-defined]
    return shtab.complete(parser, shell=shell)


def _actions(parser: ArgumentParser) -> Iterator[tuple[str, Action]]:
    """All of them, with the command that they belong to, "" for those of all commands."""
    for action in parser._actions:
        yield "", action
        if isinstance(action, _SubParsersAction):
            for name, subparser in action.choices.items():
                yield from ((name, each) for each in subparser._actions)
