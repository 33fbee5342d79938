"""What vgpud and vgpu-spawn say to each other: mediator_ext/spawn/spawn_protocol.h as values.

No I/O here; tests/unit/test_spawner_protocol.py holds every number and offset against the header.
"""

from __future__ import annotations

import os
import signal
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum, IntFlag

MAGIC = 0x4E505356
VERSION = 2
KEY_BYTES = 104
DETAIL_BYTES = 512
MAX_FDS = 24


class Verb(IntEnum):
    """What a message is about."""

    HELLO = 1
    WORKER = 2
    KILL = 3
    REAPED = 4
    HOLD = 5
    DROP = 6
    FETCH = 7
    PEER = 8
    WORKERS = 9
    SHUTDOWN = 10
    EXITED = 11


class Role(IntEnum):
    """What a worker is for."""

    LAUNCH = 0
    BUILD = 1
    PROBE = 2


class Flag(IntFlag):
    """Flags of a message."""

    WANT_EXITS = 1
    MORE = 2
    OUT_OF_MEMORY = 4


class Capability(IntFlag):
    """What the spawner can give to workers on this machine."""

    SETUID = 1
    NAMESPACE = 2
    GROUP = 4
    LIMIT = 8


def isolation_gaps(capabilities: Capability) -> tuple[str, ...]:
    """What workers on this machine are not kept from, in words; nothing where all is as it should
    be."""
    gaps = []
    if Capability.SETUID not in capabilities:
        gaps.append(
            "workers have no account of their own: code of a guest can reach what vgpu-spawn's "
            "account can, such as other VMs' memory; start vgpu-spawn as root"
        )
    if Capability.NAMESPACE not in capabilities:
        gaps.append(
            "workers have no namespaces of their own: they see the host's network and files, and "
            "what they write is not limited; allow vgpu-spawn to make namespaces"
        )
    if Capability.GROUP not in capabilities:
        gaps.append(
            "workers have no control groups of their own: what one takes of memory and processors "
            "is not limited; let vgpu-spawn use cgroup version 2"
        )
    elif Capability.LIMIT not in capabilities:
        gaps.append(
            "workers' control groups have no controllers: what one takes of memory and processors "
            "is not limited; let systemd start vgpu-spawn with its unit, on a host with cgroup "
            "version 2 alone"
        )
    return tuple(gaps)


@dataclass(frozen=True)
class Message:
    """One datagram; the fields are those of struct spawn_message."""

    verb: int
    tag: int = 0
    status: int = 0
    flags: int = 0
    arg: int = 0
    worker_id: int = 0
    slot: int = 0
    pid: int = 0
    uid: int = 0
    key: str = ""
    detail: bytes = b""
    version: int = VERSION

    HEAD = struct.Struct("=IH")
    LAYOUT = struct.Struct(f"=IHHIiIIIIiI{KEY_BYTES}s{DETAIL_BYTES}s")

    def pack(self) -> bytes:
        """The bytes of the datagram. Raises ValueError if a text does not fit or is not ASCII."""
        key = self.key.encode("ascii")
        if len(key) >= KEY_BYTES or len(self.detail) >= DETAIL_BYTES:
            raise ValueError(
                f"key has {len(key)} bytes, detail {len(self.detail)}: "
                f"at most {KEY_BYTES - 1} and {DETAIL_BYTES - 1} fit"
            )
        return self.LAYOUT.pack(
            MAGIC,
            self.version,
            self.verb,
            self.tag,
            self.status,
            self.flags,
            self.arg,
            self.worker_id,
            self.slot,
            self.pid,
            self.uid,
            key,
            self.detail,
        )

    @classmethod
    def unpack(cls, data: bytes) -> Message:
        """Read a datagram. Raises ValueError if it is not one of ours."""
        if len(data) != cls.LAYOUT.size:
            spoken = cls.HEAD.unpack_from(data) if len(data) >= cls.HEAD.size else (0, 0)
            if spoken[0] == MAGIC and spoken[1] != VERSION:
                raise ValueError(f"it speaks version {spoken[1]}, not {VERSION}: restart it")
            raise ValueError(f"a message has {cls.LAYOUT.size} bytes, this one has {len(data)}")
        magic, version, verb, tag, status, flags, arg, worker_id, slot, pid, uid, key, detail = (
            cls.LAYOUT.unpack(data)
        )
        if magic != MAGIC:
            raise ValueError(f"a message starts with {MAGIC:#x}, this one with {magic:#x}")
        return cls(
            verb=verb,
            tag=tag,
            status=status,
            flags=flags,
            arg=arg,
            worker_id=worker_id,
            slot=slot,
            pid=pid,
            uid=uid,
            key=key.split(b"\0", 1)[0].decode("ascii", "replace"),
            detail=detail.rstrip(b"\0"),
            version=version,
        )


@dataclass(frozen=True)
class SpawnerInfo:
    """Who answers, and what it can do."""

    pid: int
    capabilities: Capability


@dataclass(frozen=True)
class WorkerProcess:
    """A worker that was just started. `pidfd` is the caller's to close; it tells only *that* the
    process ended, how it ended comes as a `WorkerExit`."""

    worker_id: int
    pid: int
    uid: int
    pidfd: int


@dataclass(frozen=True)
class WorkerEntry:
    """A worker that the spawner knows. `pid` is 0 once it has ended and `reaped()` is due."""

    worker_id: int
    pid: int
    uid: int
    slot: int
    role: Role
    label: str


def signal_name(number: int) -> str:
    """SIGSEGV for 11; real-time signals have no names, and stay numbers."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return str(number)


@dataclass(frozen=True)
class WorkerExit:
    """How a worker ended: with `exit_status`, or by `signal_number`; the other is None.

    `out_of_memory`: the kernel ended it because it had reached its memory limit.
    """

    worker_id: int
    pid: int
    slot: int
    label: str
    exit_status: int | None
    signal_number: int | None
    out_of_memory: bool = False

    @classmethod
    def from_message(cls, message: Message) -> WorkerExit:
        """Read a SPAWN_EXITED message, which carries si_code and si_status of waitid(2)."""
        by_itself = message.arg == os.CLD_EXITED
        return cls(
            worker_id=message.worker_id,
            pid=message.pid,
            slot=message.slot,
            label=message.key,
            exit_status=message.status if by_itself else None,
            signal_number=None if by_itself else message.status,
            out_of_memory=bool(message.flags & Flag.OUT_OF_MEMORY),
        )

    def __str__(self) -> str:
        if self.signal_number is None:
            return f"exit status {self.exit_status}"
        return f"signal {signal_name(self.signal_number)}"


@dataclass(frozen=True)
class HeldEntry:
    """Descriptors that were held: duplicates, the receiver's to close, and the holder's word."""

    key: str
    arg: int
    fds: tuple[int, ...]


@dataclass(frozen=True)
class PeerProcess:
    """Who a process is: its effective uid and the beginning of its command line."""

    pid: int
    uid: int
    command: str


def encode_settings(settings: Mapping[str, str]) -> bytes:
    """The environment of a worker as it goes into a message.

    Which names may be set is the spawner's to decide. Raises ValueError for a name or value that
    cannot be in an environment, and if they do not fit into one message together.
    """
    for name, value in settings.items():
        if not name or "=" in name or "\0" in name + value:
            raise ValueError(f"{name!r}={value!r} cannot be in an environment")
    entries = (os.fsencode(f"{name}={value}") for name, value in settings.items())
    detail = b"\0".join(entries)
    if len(detail) >= DETAIL_BYTES:
        raise ValueError(f"the settings of a worker have {len(detail)} of {DETAIL_BYTES - 1} bytes")
    return detail
