"""The control panel."""

from __future__ import annotations

from argparse import Namespace

from vgpud.cli.command import Command, Output, no_options
from vgpud.cli.render import status_page
from vgpud.client import Client
from vgpud.protocol.messages import Status, StatusReply


def _status(client: Client, options: Namespace) -> Output:
    reply, answer = client.call(Status(), StatusReply)
    return Output(status_page(reply), answer)


COMMANDS = (
    Command(
        "status",
        "show daemon, device, pools and VMs",
        lambda _: "reading the status",
        no_options,
        _status,
    ),
)
