"""The command that shows what has become of requests."""

from __future__ import annotations

import time
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator

from vgpud.cli.command import Command, Output
from vgpud.cli.trace_table import HEADINGS, missed_line, trace_line
from vgpud.cli.values import whole_number
from vgpud.client import Client
from vgpud.protocol.messages import Trace, TraceReply

LIMIT_MAX = 1_000
"""What the daemon gives at a time."""


def _options(parser: ArgumentParser) -> None:
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--vm-uuid", metavar="UUID", help="only this VM's, by its UUID")
    which.add_argument("--vm-name", metavar="NAME", help="only this VM's, by its name")
    parser.add_argument(
        "--limit",
        type=whole_number(0, LIMIT_MAX),
        metavar="N",
        help=f"the last N requests, 0 to {LIMIT_MAX} (default 100)",
    )
    parser.add_argument(
        "--follow", action="store_true", help="go on with those that come, until Ctrl-C"
    )


def _attempt(options: Namespace) -> str:
    which = options.vm_uuid if options.vm_uuid is not None else options.vm_name
    return f"tracing requests of VM {which}" if which is not None else "tracing requests"


def _trace(client: Client, options: Namespace) -> Output | Iterator[Output]:
    call = Trace(options.vm_uuid, options.vm_name, options.limit)
    if options.follow:
        return _follow(client, call)
    reply, answer = client.call(call, TraceReply)
    return Output("\n".join([HEADINGS, *_lines(reply)]), answer)


def _follow(client: Client, call: Trace) -> Iterator[Output]:
    heading = [HEADINGS]
    for reply, answer in client.follow(call, TraceReply):
        yield Output("\n".join([*heading, *_lines(reply)]), answer)
        heading = []


def _lines(reply: TraceReply) -> list[str]:
    # The daemon is on this machine: its monotonic clock is ours.
    epoch_ns = time.time_ns() - time.monotonic_ns()
    lines = [missed_line(reply.missed)] if reply.missed else []
    return lines + [trace_line(request, epoch_ns) for request in reply.requests]


COMMANDS = (
    Command(
        "trace",
        "show what has become of requests",
        _attempt,
        _options,
        _trace,
        "trace --vm-name=trainer --follow",
        endless=True,
    ),
)
