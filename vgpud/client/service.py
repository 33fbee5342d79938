"""Calls about the daemon itself."""

from __future__ import annotations

import base64
import binascii
import time
from typing import Any

from vgpud.client.connection import Client
from vgpud.errors import BackupError, NoDaemonError, TimeoutExpiredError
from vgpud.protocol.messages import (
    Backup,
    BackupReply,
    ListAudit,
    ListAuditReply,
    ReloadConfig,
    ReloadConfigReply,
    Shutdown,
    ShutdownReply,
    Status,
    StatusReply,
)
from vgpud.protocol.states import AuditRecord

PAUSE_S = 0.1


class ServiceCalls:
    """All that can be asked of the daemon."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def status(self) -> StatusReply:
        """Daemon, device, pools and VMs at a glance."""
        return self._client.call(Status(), StatusReply)[0]

    def wait_ready(self, limit_s: float, *, without_device: bool = False) -> StatusReply:
        """Returns once it serves and has a device, or once it serves `without_device`.

        Raises TimeoutExpiredError, which says what is missing.
        """
        return wait_ready(self._client, limit_s, without_device=without_device)[0]

    def reload_config(self) -> list[str]:
        """Have vgpud.toml read again. Returns the keys that take effect at the next start.

        Raises ConfigRefused, and the old configuration stays.
        """
        return self._client.call(ReloadConfig(), ReloadConfigReply)[0].restart_needed

    def list_audit(self, *, limit: int | None = None, refused: bool = False) -> list[AuditRecord]:
        """Who asked for what, newest last, 100 rows if `limit` is None.

        With `refused` only what was refused, or stored and not applied.
        """
        return self._client.call(ListAudit(limit, refused), ListAuditReply)[0].entries

    def backup(self) -> bytes:
        """A consistent copy of the database: a whole SQLite file. Raises BackupError."""
        return database_of(self._client.call(Backup(), BackupReply)[0])

    def shutdown(self, *, everything: bool = False) -> None:
        """Have it drain and end; with `everything` its workers and its spawner as well."""
        self._client.call(Shutdown(everything), ShutdownReply)


def database_of(reply: BackupReply) -> bytes:
    """The file that is in an answer. Raises BackupError."""
    try:
        return base64.b64decode(reply.database, validate=True)
    except binascii.Error as error:
        raise BackupError(f"the daemon's answer is no copy: {error}") from error


def wait_ready(
    client: Client, limit_s: float, *, without_device: bool
) -> tuple[StatusReply, dict[str, Any]]:
    """As ServiceCalls.wait_ready(); returns the answer also as it came."""
    deadline = time.monotonic() + limit_s
    while True:
        try:
            reply, answer = client.call(Status(), StatusReply)
        except (NoDaemonError, TimeoutExpiredError) as error:
            missing = str(error)
        else:
            missing = _missing(reply, without_device=without_device)
            if not missing:
                return reply, answer
        if time.monotonic() + PAUSE_S > deadline:
            raise TimeoutExpiredError(
                f"not ready within {limit_s:g} s: {missing}",
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
