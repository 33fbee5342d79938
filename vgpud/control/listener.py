"""The control socket's file: made, given to its group, and removed.

It is taken before anything else of a start, while the daemon still has the rights it was started
with; whoever connects meanwhile waits for the server.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import stat
from pathlib import Path

from vgpud.control.peer import group_id
from vgpud.errors import ControlError, InstanceLockedError

log = logging.getLogger(__name__)

BACKLOG = 128
SO_PASSRIGHTS = 83
"""Of Linux 6.16, in <asm-generic/socket.h>."""


class ControlListener:
    """A listening control socket at `path`, from `bind()` to `close()`."""

    def __init__(self, path: Path, listener: socket.socket) -> None:
        """Takes over a socket that is bound to `path`."""
        self.path = path
        self.socket = listener
        self._closed = False

    @classmethod
    def bind(cls, path: Path, mode: int, group: str) -> ControlListener:
        """Begins to listen at `path`, whose directory must exist; a dead socket is replaced.

        Args:
            path: where to listen.
            mode: the mode of the socket's file.
            group: the group it is given to; see `give_to_group`.

        Raises InstanceLockedError if another daemon answers there, and ControlError if the path is
        taken by something else or cannot be bound.
        """
        _remove_stale(path)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        # Whoever drops a descriptor that a client sends along waits for its close, for as long as
        # that client likes. An older kernel cannot refuse them; there a client has to be trusted.
        with contextlib.suppress(OSError):
            listener.setsockopt(socket.SOL_SOCKET, SO_PASSRIGHTS, 0)
        try:
            listener.bind(os.fspath(path))
            # Nobody can connect before listen(), so there is no moment with another mode.
            path.chmod(mode)
            bound = cls(path, listener)
            bound.give_to_group(group)
            listener.listen(BACKLOG)
        except OSError as error:
            listener.close()
            raise ControlError(
                f"cannot listen on {path}: {error.strerror or error}",
                "Its directory must exist and belong to the account vgpud runs as.",
            ) from error
        return bound

    def give_to_group(self, name: str) -> None:
        """Gives the socket to a group, or to this account's where there is no such group.

        An account may give its files to groups that it is a member of; else that is logged.
        """
        wanted = group_id(name)
        gid = os.getegid() if wanted is None else wanted
        try:
            if self.path.stat().st_gid != gid:
                os.chown(self.path, -1, gid)
        except PermissionError:
            log.warning(
                "%s stays with its group: vgpud may not give it to group %s", self.path, name or gid
            )

    def close(self) -> None:
        """Stops listening and removes the socket; once, since the path may be another's then."""
        if self._closed:
            return
        self._closed = True
        self.socket.close()
        try:
            self.path.unlink(missing_ok=True)
        except PermissionError:
            # Of an account that has become another one since: the next start replaces it.
            log.warning("%s stays: its directory belongs to another account", self.path)


def _remove_stale(path: Path) -> None:
    """Makes way for a new socket: only for the dead one that a killed daemon left behind."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    except OSError as error:
        raise ControlError(f"cannot look at {path}: {error.strerror or error}") from error
    if not stat.S_ISSOCK(mode):
        raise ControlError(f"{path} is in the way and is not a socket", "Move it away.")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(os.fspath(path))
        except ConnectionRefusedError:
            path.unlink(missing_ok=True)
            return
        except BlockingIOError:
            pass  # so many wait for an answer that there is no room for another
        except OSError as error:
            raise ControlError(f"cannot replace {path}: {error.strerror or error}") from error
    raise InstanceLockedError(
        f"another daemon answers on {path}", "Stop it first, or use another socket."
    )
