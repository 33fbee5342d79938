"""The end of the daemon."""

from __future__ import annotations

from vgpud.control.handlers.context import Context
from vgpud.protocol.messages import Shutdown, ShutdownReply


def shutdown(context: Context, call: Shutdown) -> ShutdownReply:
    """Only permits it; `begin_shutdown` follows once the request is on record."""
    return ShutdownReply()


def begin_shutdown(context: Context, call: Shutdown) -> None:
    """Asks the daemon to drain and end."""
    context.request_shutdown(bool(call.all))
