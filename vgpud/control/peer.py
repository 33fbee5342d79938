"""Who is at the other end of a Unix socket, as the kernel knows it."""

from __future__ import annotations

import grp
import os
import pwd
import socket
import struct
import sys
from dataclasses import dataclass

_UCRED = struct.Struct("3i")
# Absent from Python's socket module; the number differs on a few architectures we do not serve.
_SO_PEERGROUPS = 59 if sys.platform == "linux" else None
_GROUPS_BYTES_MAX = 1024
"""What Python lets getsockopt() return: 256 groups."""


@dataclass(frozen=True)
class Peer:
    """A connected process at the moment it connected; `gids` holds `gid` and all others."""

    uid: int
    gid: int
    pid: int
    gids: frozenset[int]

    def __str__(self) -> str:
        return f"uid {self.uid} pid {self.pid}"


def peer_of(connection: socket.socket) -> Peer:
    """Asks the kernel. Raises OSError if the socket is not a connected Unix socket."""
    raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
    pid, uid, gid = _UCRED.unpack(raw)
    # Unsigned to the kernel; struct "i" keeps pid right and is undone here for the ids.
    uid, gid = uid & 0xFFFFFFFF, gid & 0xFFFFFFFF
    return Peer(uid, gid, pid, _groups(connection, uid, gid) | {gid})


def _groups(connection: socket.socket, uid: int, gid: int) -> frozenset[int]:
    """The supplementary groups the process had when it connected.

    A kernel that does not tell (before 4.13, or more than 256 groups) leaves what the user database
    says about the account.
    """
    if _SO_PEERGROUPS is not None:
        try:
            raw = connection.getsockopt(socket.SOL_SOCKET, _SO_PEERGROUPS, _GROUPS_BYTES_MAX)
        except OSError:
            return _account_groups(uid, gid)
        return frozenset(struct.unpack(f"{len(raw) // 4}I", raw))
    return _account_groups(uid, gid)


def _account_groups(uid: int, gid: int) -> frozenset[int]:
    try:
        return frozenset(os.getgrouplist(pwd.getpwuid(uid).pw_name, gid))
    except KeyError:
        return frozenset()


def group_id(name: str) -> int | None:
    """The gid of a group of this system; None for an empty name or a group that is not there."""
    if not name:
        return None
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        return None
