"""The commands about the daemon itself: read its configuration again, wait until it serves."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from vgpud.cli.command import Command, Output, no_options
from vgpud.client import Client
from vgpud.client.service import wait_ready
from vgpud.protocol.messages import ReloadConfig, ReloadConfigReply, StatusReply


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
    reply, answer = wait_ready(client, options.timeout, without_device=options.without_device)
    return Output(f"vgpud is ready: {_device(reply)}", answer)


def _device(status: StatusReply) -> str:
    return status.device.name if status.device.ready else "without a device"


COMMANDS = (
    Command(
        "reload-config",
        "read vgpud.toml again, as `systemctl reload vgpud` does",
        lambda _: "reloading the configuration",
        no_options,
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
