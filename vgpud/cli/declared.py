"""The commands that compare pools and VMs with a file, and make them as it says.

What reads and writes such files is loaded by whoever needs it, for the sake of all other commands.
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from vgpud.cli.command import Command, Output, no_options
from vgpud.cli.confirm import confirmed
from vgpud.client import Client, Vgpud
from vgpud.errors import ExitCode, NotConfirmedError

if TYPE_CHECKING:
    from vgpud.cli.changes import Change


def _file_options(parser: ArgumentParser) -> None:
    parser.add_argument(
        "-f", "--file", required=True, metavar="FILE", help="TOML, as export prints it; - for input"
    )
    parser.add_argument(
        "--prune", action="store_true", help="also take away pools and VMs that the file leaves out"
    )


def _apply_options(parser: ArgumentParser) -> None:
    _file_options(parser)
    parser.add_argument("--dry-run", action="store_true", help="only say what would be done")
    parser.add_argument("--yes", action="store_true", help="do not ask before taking away")


def _export(client: Client, options: Namespace) -> Output:
    from vgpud.cli.declaration import declaration_of

    vgpud = Vgpud(client=client)
    declared = declaration_of(vgpud.list_pools(), vgpud.list_vms())
    return Output(declared.as_toml().rstrip("\n"), declared.as_document())


def _changes(client: Client, options: Namespace) -> list[Change]:
    from vgpud.cli.changes import changes_to
    from vgpud.cli.declaration import read_declaration

    declared = read_declaration(options.file)
    vgpud = Vgpud(client=client)
    return changes_to(declared, vgpud.list_pools(), vgpud.list_vms(), prune=options.prune)


def _diff(client: Client, options: Namespace) -> Output:
    changes = _changes(client, options)
    answer = {"changes": [_as_dict(change) for change in changes]}
    if not changes:
        return Output("Nothing differs.", answer)
    return Output("\n".join(map(_line, changes)), answer, ExitCode.NEGATIVE)


def _apply(client: Client, options: Namespace) -> Output | Iterator[Output]:
    changes = _changes(client, options)
    if options.dry_run:
        text = "\n".join([*map(_line, changes), _summary(len(changes), "to be made")])
        return Output(text, {"changes": [_as_dict(change) for change in changes]})
    taken = [change for change in changes if change.takes_away]
    if taken and not options.yes and not confirmed(_question(taken)):
        raise NotConfirmedError("nothing was changed")
    return _make(client, changes)


def _make(client: Client, changes: Sequence[Change]) -> Iterator[Output]:
    """Each change is told once it is made: after an error one sees how far it came."""
    vgpud = Vgpud(client=client)
    for change in changes:
        change.make(vgpud)
        yield Output(_line(change), _as_dict(change))
    yield Output(_summary(len(changes), "made"), {"made": len(changes)})


def _line(change: Change) -> str:
    return f"{change.subject}: {change.what}"


def _as_dict(change: Change) -> dict[str, str]:
    return {"subject": change.subject, "what": change.what}


def _summary(count: int, participle: str) -> str:
    return f"{count} change{'' if count == 1 else 's'} {participle}."


def _question(taken: Sequence[Change]) -> str:
    return "\n".join([*map(_line, taken), "Go on?"])


COMMANDS = (
    Command(
        "export",
        "print all pools and VMs as a TOML file that diff and apply read",
        lambda _: "exporting pools and VMs",
        no_options,
        _export,
        "export > pools.toml",
    ),
    Command(
        "diff",
        "say what apply would change; exit status 1 if anything differs",
        lambda options: f"comparing with {options.file}",
        _file_options,
        _diff,
        "diff -f pools.toml",
    ),
    Command(
        "apply",
        "make pools and VMs as a file says; what it leaves out stays as it is",
        lambda options: f"applying {options.file}",
        _apply_options,
        _apply,
        "apply -f pools.toml --dry-run",
    ),
)
