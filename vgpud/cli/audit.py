"""The command that shows who changed what, and who was refused."""

from __future__ import annotations

import pwd
from argparse import ArgumentParser, Namespace

from vgpud.cli.command import Command, Output
from vgpud.cli.values import whole_number
from vgpud.client import Client
from vgpud.protocol.messages import ListAudit, ListAuditReply
from vgpud.protocol.states import AuditRecord

LIMIT_MAX = 1_000


def _options(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--limit",
        type=whole_number(1, LIMIT_MAX),
        metavar="N",
        help=f"the last N, 1 to {LIMIT_MAX} (default 100)",
    )
    parser.add_argument(
        "--refused", action="store_true", help="only what was refused, or stored and not applied"
    )


def _audit(client: Client, options: Namespace) -> Output:
    reply, answer = client.call(ListAudit(options.limit, options.refused), ListAuditReply)
    lines = [_line(entry) for entry in reply.entries]
    return Output("\n".join(lines) if lines else "Nothing is on record", answer)


def _line(entry: AuditRecord) -> str:
    what = f"{entry.method.rpartition('.')[2]} {entry.parameters}"
    ended = entry.outcome.replace("_", " ")
    if entry.error is not None:
        ended += f": {entry.error}"
    return f"{entry.at}  {_who(entry.uid)} (pid {entry.pid})  {what}  {ended}"


def _who(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"


COMMANDS = (
    Command(
        "audit",
        "show who changed what, and who was refused; times are UTC",
        lambda _: "reading the audit",
        _options,
        _audit,
        "audit --refused --limit=20",
    ),
)
