"""`vgpud shutdown`: asks a running daemon to drain and end, and waits for that."""

from __future__ import annotations

import os
import select
import socket
import struct
from contextlib import suppress

from vgpud.client import Client
from vgpud.errors import TimeoutExpiredError
from vgpud.protocol.messages import Shutdown, ShutdownReply

_UCRED = struct.Struct("3i")


class Ending:
    """A daemon that has agreed to end."""

    def __init__(self, pid: int, pidfd: int) -> None:
        """`pidfd` is taken over; it is -1 where the daemon's process cannot be seen."""
        self.pid = pid
        self._pidfd = pidfd

    @property
    def is_seen(self) -> bool:
        """Whether its end can be waited for: a process of another container cannot be seen."""
        return self._pidfd >= 0

    def wait(self, limit_s: float) -> None:
        """Returns once the process has ended. Raises TimeoutExpiredError after `limit_s`."""
        ended, _, _ = select.select([self._pidfd], (), (), limit_s)
        if not ended:
            raise TimeoutExpiredError(
                f"vgpud (pid {self.pid}) has not ended within {limit_s:g} s",
                "It goes on ending; its log says what it waits for.",
            )

    def close(self) -> None:
        """Watches it no more."""
        if self._pidfd >= 0:
            os.close(self._pidfd)
            self._pidfd = -1


def request_shutdown(socket_path: str, *, everything: bool, timeout_s: float = 10.0) -> Ending:
    """Makes the call and returns once the daemon has agreed; it drains after that.

    Args:
        socket_path: the control socket.
        everything: end workers and spawner too.
        timeout_s: seconds to wait for the answer.

    Returns:
        What its end can be waited for with; the caller's to close.

    Raises:
        VgpudError: there is no daemon, or it refuses; see `exit_code`.
    """
    ending = Ending(0, -1)

    def watch(connection: socket.socket) -> None:
        # While it is connected the number is its own, and cannot be another process's already.
        nonlocal ending
        credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
        pid, _, _ = _UCRED.unpack(credentials)
        with suppress(OSError):
            ending = Ending(pid, os.pidfd_open(pid))

    try:
        Client(socket_path, timeout_s, watch).call(Shutdown(all=everything), ShutdownReply)
    except BaseException:
        ending.close()
        raise
    return ending
