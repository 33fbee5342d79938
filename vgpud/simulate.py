"""Recordings of the engine's scheduler: their files, and the simulator that decides them again.

A recording is what was asked of the scheduler and what it decided, call by call, after its whole
state at the beginning: numbers only, nothing of a guest's data. The simulator is the scheduler's
own code without an engine around it, on the clock of the recording.

A file is a header and the records as they are in memory (struct mediator_record in mediator.h,
little-endian, as every machine that vgpud runs on).
"""

from __future__ import annotations

import errno
import os
import struct
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from vgpud.errors import EngineError, RecordingError
from vgpud.mediator import Mediator, ffi, lib

MAGIC = b"VGPUDREC"
VERSION = 1
RECORD_BYTES = int(ffi.sizeof("struct mediator_record"))
RECORDS_AT_ONCE = 4096

_HEADER = struct.Struct("<8sIIQQ")  # magic, version, size of a record, records, lost


@dataclass(frozen=True)
class Recording:
    """Records one after another, and how many more there were when its reader was too slow."""

    records: bytes
    lost: int = 0

    def __len__(self) -> int:
        """How many records there are."""
        return len(self.records) // RECORD_BYTES


class Recorder:
    """A recording that is being made of an engine.

    Starting it takes some 100 ns of the engine for each request that is queued; nothing blocks.
    """

    def __init__(self, mediator: Mediator, room: int) -> None:
        """Start, with room for so many unread records, at most 2**20.

        Raises EngineError when another one is being made, or for too much room.
        """
        self._m = mediator.pointer
        rc = lib.mediator_record_start(self._m, room)
        if rc < 0:
            raise EngineError(f"the engine could not start a recording: {os.strerror(-rc)}")

    def stop(self) -> None:
        """Record nothing more; what was recorded can still be read."""
        lib.mediator_record_stop(self._m)

    def read(self) -> bytes:
        """The next records, one after another, a bounded number; empty when there are none now."""
        records = ffi.new("struct mediator_record[]", RECORDS_AT_ONCE)
        count = lib.mediator_record_read(self._m, records, RECORDS_AT_ONCE)
        return bytes(ffi.buffer(records, count * RECORD_BYTES))

    def lost(self) -> int:
        """How many records there was no room for; the recording ends with a gap before them."""
        return int(lib.mediator_record_lost(self._m))


def write_recording(path: Path, recording: Recording) -> None:
    """Write a recording to a file; raises RecordingError when that cannot be done."""
    header = _HEADER.pack(MAGIC, VERSION, RECORD_BYTES, len(recording), recording.lost)
    try:
        path.write_bytes(header + recording.records)
    except OSError as error:
        raise RecordingError(f"the recording {path} cannot be written: {error.strerror}") from error


def read_recording(path: Path) -> Recording:
    """Read a recording from a file; raises RecordingError when it is not one, or not all of it."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise RecordingError(f"the recording {path} cannot be read: {error.strerror}") from error
    if len(content) < _HEADER.size or not content.startswith(MAGIC):
        raise RecordingError(f"{path} is not a recording")
    _, version, record_bytes, count, lost = _HEADER.unpack_from(content)
    if (version, record_bytes) != (VERSION, RECORD_BYTES):
        raise RecordingError(
            f"the recording {path} is of version {version}, this program reads version {VERSION}",
            "Read it with the release of vgpud that has written it.",
        )
    records = content[_HEADER.size :]
    if len(records) != count * RECORD_BYTES:
        raise RecordingError(
            f"the recording {path} is damaged: {count} records were written, "
            f"it has {len(records)} bytes of {count * RECORD_BYTES}"
        )
    return Recording(records, lost)


class Verdict(Enum):
    """How far a recording and the simulator agree."""

    REPRODUCED = 0
    DIFFERS = errno.EILSEQ
    IMPOSSIBLE = errno.EINVAL
    GAP = errno.ENODATA


@dataclass(frozen=True)
class Replay:
    """What became of a recording; `applied` records were decided in the same way.

    GAP: its reader was too slow, and it ends there. IMPOSSIBLE: no engine could have written the
    record behind those applied. DIFFERS: that record is of another decision.
    """

    verdict: Verdict
    applied: int


class Simulator:
    """A scheduler that is told what to do by records; empty when it is made. Never blocks."""

    def __init__(self) -> None:
        """Raises EngineError when there is no memory."""
        self._sim = lib.mediator_simulator_new()
        if self._sim == ffi.NULL:
            raise EngineError("there is no memory for a simulator")
        self._sim = ffi.gc(self._sim, lib.mediator_simulator_free)

    def replay(self, recording: Recording) -> Replay:
        """Decide a recording again, up to the first record that does not fit."""
        records = ffi.from_buffer("struct mediator_record[]", bytearray(recording.records))
        return self._apply(records, len(recording), compare=True)

    def decide(self, records: bytes) -> bytes:
        """Apply records and return them with the simulator's own decisions.

        Raises EngineError, with those before it applied, for a record that is impossible.
        """
        mine = bytearray(records)
        count = len(records) // RECORD_BYTES
        replay = self._apply(
            ffi.from_buffer("struct mediator_record[]", mine), count, compare=False
        )
        if replay.verdict is not Verdict.REPRODUCED:
            raise EngineError(f"record {replay.applied} is impossible")
        return bytes(mine)

    def state(self) -> Recording:
        """The whole state, as the recording that begins here would have it."""
        count = self._count(lib.mediator_simulator_state(self._sim, ffi.NULL, 0))
        records = ffi.new("struct mediator_record[]", count)
        self._count(lib.mediator_simulator_state(self._sim, records, count))
        return Recording(bytes(ffi.buffer(records)))

    def _apply(self, records: object, count: int, *, compare: bool) -> Replay:
        applied = ffi.new("uint32_t *")
        rc = lib.mediator_simulator_apply(self._sim, records, count, int(compare), applied)
        if rc == -errno.ENOMEM:
            raise EngineError("there is no memory for what the recording holds")
        return Replay(Verdict(-rc), int(applied[0]))

    @staticmethod
    def _count(rc: int) -> int:
        if rc < 0:
            raise EngineError(f"the simulator has no state to give: {os.strerror(-rc)}")
        return rc
