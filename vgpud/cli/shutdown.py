"""`vgpud shutdown`: asks a running daemon to drain and end."""

from __future__ import annotations

from vgpud.cli.client import Client
from vgpud.protocol.messages import Shutdown, ShutdownReply


def request_shutdown(socket_path: str, *, everything: bool, timeout_s: float = 10.0) -> None:
    """Makes the call and returns once the daemon has agreed; it drains after that.

    Args:
        socket_path: the control socket.
        everything: end workers and spawner too.
        timeout_s: seconds to wait for the answer.

    Raises:
        VgpudError: there is no daemon, or it refuses; see `exit_code`.
    """
    Client(socket_path, timeout_s).call(Shutdown(all=everything), ShutdownReply)
