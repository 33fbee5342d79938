"""What every Varlink service answers about itself."""

from __future__ import annotations

import vgpud
from vgpud.control.handlers.context import Context
from vgpud.protocol.descriptions import INTERFACES, load_description
from vgpud.protocol.messages import (
    GetInfo,
    GetInfoReply,
    GetInterfaceDescription,
    GetInterfaceDescriptionReply,
)
from vgpud.refusals import InterfaceNotFound


def get_info(context: Context, call: GetInfo) -> GetInfoReply:
    """Who serves here."""
    return GetInfoReply(
        vendor="vgpud",
        product="vgpud",
        version=vgpud.__version__,
        url="man:vgpud(8)",
        interfaces=list(INTERFACES),
    )


def get_interface_description(
    context: Context, call: GetInterfaceDescription
) -> GetInterfaceDescriptionReply:
    """The description of one interface. Raises InterfaceNotFound."""
    if call.interface not in INTERFACES:
        raise InterfaceNotFound(call.interface)
    return GetInterfaceDescriptionReply(load_description(call.interface))
