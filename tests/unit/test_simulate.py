"""Recordings and their files: written, read, decided again; and what is none is refused."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from vgpud.config import Config
from vgpud.engine_limits import limits_of
from vgpud.errors import EngineError, RecordingError
from vgpud.mediator import Mediator, ffi, lib
from vgpud.simulate import (
    RECORD_BYTES,
    Recorder,
    Recording,
    Replay,
    Simulator,
    Verdict,
    read_recording,
    write_recording,
)

LIMITS = limits_of(Config())


@pytest.fixture
def mediator() -> Iterator[Mediator]:
    engine = Mediator(LIMITS)
    yield engine
    engine.close()


def recorded(mediator: Mediator) -> Recording:
    """What an engine is told that begins and gets pools, from the beginning."""
    recorder = Recorder(mediator, 100)
    mediator.set_pool("A", 50, True)
    mediator.set_pool("B", 20, False)
    mediator.remove_pool("A")
    recorder.stop()
    parts = list(iter(recorder.read, b""))
    return Recording(b"".join(parts), recorder.lost())


def record(type_: int, **fields: int | list[int]) -> bytes:
    made = ffi.new("struct mediator_record *")
    made.type = type_
    for name, value in fields.items():
        setattr(made, name, value)
    return bytes(ffi.buffer(made))


def test_what_an_engine_has_recorded_is_reproduced(mediator: Mediator) -> None:
    recording = recorded(mediator)
    types = [recording.records[i] for i in range(0, len(recording.records), RECORD_BYTES)]
    assert types[0] == lib.MEDIATOR_STATE_BEGIN
    assert types[-3:] == [
        lib.MEDIATOR_RECORD_POOL_ADD,
        lib.MEDIATOR_RECORD_POOL_ADD,
        lib.MEDIATOR_RECORD_POOL_REMOVE,
    ]
    assert Simulator().replay(recording) == Replay(Verdict.REPRODUCED, len(recording))


def test_a_state_given_out_is_a_recording_of_itself(mediator: Mediator) -> None:
    first, second = Simulator(), Simulator()
    assert first.replay(recorded(mediator)).verdict is Verdict.REPRODUCED
    state = first.state()
    assert second.replay(state) == Replay(Verdict.REPRODUCED, len(state))
    assert second.state() == state


def test_a_recording_survives_its_file(mediator: Mediator, tmp_path: Path) -> None:
    recording = recorded(mediator)
    write_recording(tmp_path / "r", Recording(recording.records, 7))
    assert read_recording(tmp_path / "r") == Recording(recording.records, 7)


def test_an_impossible_record_and_a_gap_are_named_by_their_place() -> None:
    good = record(lib.MEDIATOR_RECORD_VM_INIT, vm=1)
    bad = Recording(good + good + record(lib.MEDIATOR_RECORD_CANCEL, vm=1, unit=5))
    assert Simulator().replay(bad) == Replay(Verdict.IMPOSSIBLE, 2)
    gap = Recording(good + record(lib.MEDIATOR_RECORD_GAP), 3)
    assert Simulator().replay(gap) == Replay(Verdict.GAP, 1)


def test_another_decision_is_found_out() -> None:
    picked = record(
        lib.MEDIATOR_RECORD_PICK, flags=lib.MEDIATOR_RECORD_DECIDED, vm=1, unit=1, now_ns=5
    )
    assert Simulator().replay(Recording(picked)) == Replay(Verdict.DIFFERS, 0)
    assert Simulator().decide(picked) == record(lib.MEDIATOR_RECORD_PICK, now_ns=5)


def test_a_state_that_has_no_end_cannot_be_given_out() -> None:
    simulator = Simulator()
    simulator.decide(record(lib.MEDIATOR_STATE_BEGIN, value=[1, 0, 0]))
    with pytest.raises(EngineError, match="no state to give"):
        simulator.state()
    with pytest.raises(EngineError, match="record 0 is impossible"):
        simulator.decide(record(lib.MEDIATOR_RECORD_PICK))


def test_a_recording_is_started_once_and_with_a_sensible_room(mediator: Mediator) -> None:
    with pytest.raises(EngineError, match="start a recording"):
        Recorder(mediator, 2**20 + 1)
    Recorder(mediator, 1)
    with pytest.raises(EngineError, match="start a recording"):
        Recorder(mediator, 1)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda whole: b"", "is not a recording"),
        (lambda whole: whole[:20], "is not a recording"),
        (lambda whole: b"X" + whole[1:], "is not a recording"),
        (lambda whole: whole[:8] + struct.pack("<I", 2) + whole[12:], "of version 2"),
        (lambda whole: whole[:12] + struct.pack("<I", 80) + whole[16:], "of version 1"),
        (lambda whole: whole[:-1], "is damaged"),
        (lambda whole: whole + b"\0", "is damaged"),
        (lambda whole: whole[:16] + b"\xff" * 8 + whole[24:], "is damaged"),
    ],
)
def test_a_file_that_is_no_whole_recording_is_refused(
    damage: Callable[[bytes], bytes], said: str, tmp_path: Path
) -> None:
    path = tmp_path / "r"
    write_recording(path, Recording(record(lib.MEDIATOR_RECORD_PICK) * 3))
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(RecordingError, match=said):
        read_recording(path)


def test_a_file_that_cannot_be_opened_is_named_with_the_reason(tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match="No such file"):
        read_recording(tmp_path / "none")
    with pytest.raises(RecordingError, match="Is a directory"):
        write_recording(tmp_path, Recording(b""))
