"""What a command of vgpu-admin is made of."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterator
from typing import Any

from vgpud.client import Client
from vgpud.errors import ExitCode
from vgpud.record import Record


class Output(Record):
    """What a command prints: text for people, or the daemon's answer for --json.

    Without a text there is nothing to say to people. `exit_code` counts where it is the only one.
    """

    text: str
    answer: dict[str, Any]
    exit_code: ExitCode = ExitCode.OK


class Command(Record):
    """One verb.

    `attempt` says what is being attempted ("creating pool C"), for the message when it fails;
    `add_options` declares the options; `run` makes the call and raises VgpudError. One with several
    outputs gives each as it comes; an `endless` one goes on until the user ends it. `example` is
    shown by the command's help.
    """

    name: str
    summary: str
    attempt: Callable[[Namespace], str]
    add_options: Callable[[ArgumentParser], object]
    run: Callable[[Client, Namespace], Output | Iterator[Output]]
    example: str = ""
    endless: bool = False


def no_options(parser: ArgumentParser) -> None:
    """For a command that has none of its own."""
