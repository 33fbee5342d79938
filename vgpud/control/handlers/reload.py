"""Reading the configuration again."""

from __future__ import annotations

from vgpud.control.handlers.context import Context
from vgpud.errors import VgpudError
from vgpud.protocol.messages import ReloadConfig, ReloadConfigReply
from vgpud.refusals import ConfigRefused


def reload_config(context: Context, call: ReloadConfig) -> ReloadConfigReply:
    """As SIGHUP does, and says what has become of it."""
    try:
        restart_needed = context.reload()
    except VgpudError as error:
        raise ConfigRefused(str(error), error.next_step) from error
    return ReloadConfigReply(
        list(restart_needed), [str(failure) for failure in context.reconciler.pending]
    )
