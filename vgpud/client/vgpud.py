"""All calls that can be made to a vgpud, as methods."""

from __future__ import annotations

import os

from vgpud.client.connection import DEFAULT_SOCKET, Client
from vgpud.client.pools import PoolCalls
from vgpud.client.requests import RequestCalls
from vgpud.client.service import ServiceCalls
from vgpud.client.vms import VmCalls

TIMEOUT_S = 10.0


class Vgpud(PoolCalls, VmCalls, RequestCalls, ServiceCalls):
    """The vgpud that listens on a control socket.

    Each call is a connection of its own: it can be used from several threads, and goes on working
    when vgpud is started again. Every failure is a vgpud.errors.VgpudError with a sentence, a
    `next_step`, and a `code` that never changes; calls say which of them are theirs. Any call may
    raise NoDaemonError, AccessError, TimeoutExpiredError, PermissionDenied, and, when a change is
    stored but not in effect yet, StoredNotApplied.
    """

    def __init__(
        self,
        socket_path: str | None = None,
        timeout_s: float = TIMEOUT_S,
        *,
        client: Client | None = None,
    ) -> None:
        """Without a path: VGPUD_SOCKET of the environment, else where vgpud listens by default.

        `timeout_s` is how long to wait for an answer, in seconds. A `client` that is there already
        is used as it is.
        """
        super().__init__(client or Client(path_of_socket(socket_path), timeout_s))


def path_of_socket(named: str | None) -> str:
    """Where the control socket is."""
    return named or os.environ.get("VGPUD_SOCKET") or DEFAULT_SOCKET
