"""A copy of the database, for an administrator to keep."""

from __future__ import annotations

import base64

from vgpud.control.handlers.context import Context
from vgpud.protocol.messages import Backup, BackupReply


def backup(context: Context, call: Backup) -> BackupReply:
    """All of it, as of this moment. Who took it is on record."""
    copy = context.store.copy()
    return BackupReply(base64.b64encode(copy.content).decode(), copy.version)
