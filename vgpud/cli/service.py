"""The commands about the daemon itself: read its configuration again, wait until it serves."""

from __future__ import annotations

import time
from argparse import ArgumentParser, Namespace

from vgpud.cli.command import Command, Output
from vgpud.client import Client
from vgpud.errors import NoDaemonError, TimeoutExpiredError
from vgpud.protocol.messages import ReloadConfig, ReloadConfigReply, Status, StatusReply

PAUSE_S = 0.1


def _no_options(parser: ArgumentParser) -> None:
    """Has none of its own."""


def _ready_options(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--without-device",
        action="store_true",
        help="it is enough that the daemon serves, be there a device or not",
    )


def _reload(client: Client, options: Namespace) -> Output:
    reply, answer = client.call(ReloadConfig(), ReloadConfigReply)
    lines = ["Configuration reloaded."]
    if reply.restart_needed:
        lines.append(f"Takes effect at the next start: {', '.join(reply.restart_needed)}")
    lines += [f"Not applied yet: {failure}" for failure in reply.pending]
    return Output("\n".join(lines), answer)


def _wait_ready(client: Client, options: Namespace) -> Output:
    deadline = time.monotonic() + options.timeout
    while True:
        try:
            reply, answer = client.call(Status(), StatusReply)
        except NoDaemonError as error:
            missing = str(error)
        else:
            missing = _missing(reply, without_device=options.without_device)
            if not missing:
                return Output(f"vgpud is ready: {_device(reply)}", answer)
        if time.monotonic() + PAUSE_S > deadline:
            raise TimeoutExpiredError(
                f"not ready within {options.timeout:g} s: {missing}",
                "See `vgpu-admin status` and the log; --timeout waits longer.",
            )
        time.sleep(PAUSE_S)


def _missing(status: StatusReply, *, without_device: bool) -> str:
    """What keeps it from serving, or nothing."""
    if status.daemon.draining:
        return "the daemon is ending"
    if not status.daemon.engine_running:
        return "its engine does not run yet"
    if not (without_device or status.device.ready):
        return f"no device: {status.device.reason}"
    return ""


def _device(status: StatusReply) -> str:
    return status.device.name if status.device.ready else "without a device"


COMMANDS = (
    Command(
        "reload-config",
        "read vgpud.toml again, as `systemctl reload vgpud` does",
        lambda _: "reloading the configuration",
        _no_options,
        _reload,
        "reload-config",
    ),
    Command(
        "wait-ready",
        "wait until the daemon serves and has a device, for --timeout seconds at most",
        lambda _: "waiting for the daemon",
        _ready_options,
        _wait_ready,
        "wait-ready --timeout=60",
    ),
)
