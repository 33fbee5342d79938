"""What is decided about workers without touching one: who goes on, where, and when again."""

from __future__ import annotations

import pytest

from vgpud.config_file import config_from_document
from vgpud.engine_limits import workforce_config
from vgpud.hold_off import FIRST_S, LONGEST_S, HoldOff
from vgpud.mediator import Lane
from vgpud.model.engine import DeviceStatus
from vgpud.probe import Device
from vgpud.spawner import Capability, HeldEntry, Role, WorkerEntry, WorkerExit
from vgpud.spawner.messages import Flag, Message, Verb
from vgpud.worker_adoption import sort_out
from vgpud.worker_messages import DEVICE_LAYOUT, DeviceType
from vgpud.worker_process import (
    SAY_AGAIN_S,
    Refusals,
    how_it_ended,
    parse_worker_key,
    worker_key,
)
from vgpud.worker_slots import WorkerSlots

VM = "6f1c2f8e-0d5b-4a53-9a55-1d3c7c0a0001"
LAUNCH_FDS, BUILD_FDS = (10, 11, 12, 13), (10, 11, 12)


def process(worker_id: int, role: Role = Role.LAUNCH, *, pid: int = 99) -> WorkerEntry:
    return WorkerEntry(worker_id, pid, 60000, worker_id, role, VM)


def entry(worker_id: int, lane: Lane = Lane.LAUNCH, fds: tuple[int, ...] = ()) -> HeldEntry:
    whole = LAUNCH_FDS if lane is Lane.LAUNCH else BUILD_FDS
    return HeldEntry(worker_key(VM, lane, worker_id), worker_id, fds or whole)


def test_what_all_three_sides_know_goes_on() -> None:
    journal = {(VM, Lane.LAUNCH): 3, (VM, Lane.BUILD): 4}
    entries = [entry(4, Lane.BUILD), entry(3)]
    estate = sort_out(journal, entries, [process(3), process(4, Role.BUILD)])
    assert {(heir.lane, heir.process.worker_id) for heir in estate.heirs} == {
        (Lane.LAUNCH, 3),
        (Lane.BUILD, 4),
    }
    assert (estate.stale, estate.orphans) == ((), ())


@pytest.mark.parametrize(
    ("journal", "held", "living"),
    [
        ({(VM, Lane.LAUNCH): 3}, entry(3), process(3, pid=0)),
        ({(VM, Lane.LAUNCH): 3}, entry(3), process(8)),
        ({(VM, Lane.LAUNCH): 8}, entry(3), process(3)),
        ({(VM, Lane.LAUNCH): 3}, entry(3), process(3, Role.BUILD)),
        ({(VM, Lane.LAUNCH): 3}, entry(3, fds=BUILD_FDS), process(3)),
        ({}, entry(3), process(3)),
        ({(VM, Lane.LAUNCH): 3}, HeldEntry(f"vm/{VM}/worker/0", 3, LAUNCH_FDS), process(3)),
    ],
    ids=["ended", "another lives", "another attached", "role", "descriptors", "no VM", "old key"],
)
def test_what_does_not_fit_together_is_dropped_and_ended(
    journal: dict[tuple[str, Lane], int], held: HeldEntry, living: WorkerEntry
) -> None:
    estate = sort_out(journal, [held], [living])
    assert (estate.heirs, estate.stale) == ((), (held,))
    assert estate.orphans == ((living,) if living.pid else ())


def test_of_two_that_were_held_and_never_attached_the_younger_goes_on() -> None:
    for entries in ([entry(3), entry(5)], [entry(5), entry(3)]):
        estate = sort_out({(VM, Lane.LAUNCH): 0}, entries, [process(3), process(5)])
        assert [heir.process.worker_id for heir in estate.heirs] == [5]
        assert [stale.arg for stale in estate.stale] == [3]
        assert [orphan.worker_id for orphan in estate.orphans] == [3]


def test_a_probe_is_nobodys_orphan() -> None:
    assert sort_out({}, [], [process(1, Role.PROBE)]).orphans == ()


def test_a_workers_key_is_read_back_and_others_are_not_workers() -> None:
    assert parse_worker_key(worker_key(VM, Lane.BUILD, 71)) == (VM, Lane.BUILD, 71)
    for key in (f"vm/{VM}/base", f"vm/{VM}/worker/2/1", f"vm/{VM}/worker/0/x", "device"):
        assert parse_worker_key(key) is None


def test_a_slot_is_free_again_once_its_vm_and_what_was_left_in_it_have_ended() -> None:
    slots = WorkerSlots(3)
    slots.take(0)
    slots.leave_to([(7, 1)])
    assert list(slots.free()) == [2]
    slots.take(2)
    assert list(slots.free()) == []
    slots.orphan_ended(7)
    slots.orphan_ended(8)
    slots.release(0)
    assert list(slots.free()) == [0, 1]


def test_failures_in_a_row_are_waited_out_ever_longer_up_to_a_limit() -> None:
    hold_off, now_s, delays = HoldOff(), 1000.0, []
    assert hold_off.left_s(now_s) == 0
    for _ in range(9):
        hold_off.failed(now_s)
        delays.append(hold_off.left_s(now_s))
        now_s += delays[-1]
        assert hold_off.left_s(now_s) == 0
    assert delays[:3] == [FIRST_S, 2 * FIRST_S, 4 * FIRST_S]
    assert delays[-1] == delays[-2] == LONGEST_S
    hold_off.succeeded()
    hold_off.failed(now_s)
    assert hold_off.left_s(now_s) == FIRST_S


def test_a_reason_is_said_once_and_again_only_when_it_is_another_or_after_a_while() -> None:
    refusals = Refusals()
    assert [refusals.is_news("a", 0.0), refusals.is_news("a", 1.0)] == [True, False]
    assert [refusals.is_news("b", 2.0), refusals.is_news("b", 3.0)] == [True, False]
    assert refusals.is_news("b", 2.0 + SAY_AGAIN_S)
    refusals.forget()
    assert refusals.is_news("b", 3.0 + SAY_AGAIN_S)


@pytest.mark.parametrize(
    ("own", "expected"), [({}, 3 << 30), ({"worker_memory_bytes": 12345}, 12345)]
)
def test_a_worker_is_limited_where_that_can_be_and_is_then_told_of_nothing_else(
    own: dict[str, int], expected: int
) -> None:
    document = {"spawner": own, "device": {"vm_memory_bytes": 2 << 30}}
    config = workforce_config(config_from_document(document, "test"), {"VGPU_BACKEND": "null"})
    without = config.terms(Capability.SETUID | Capability.GROUP)
    assert without.settings == {"VGPU_BACKEND": "null"}
    limited = config.terms(Capability.GROUP | Capability.LIMIT)
    assert limited.settings == {
        "VGPU_BACKEND": "null",
        "VGPU_MEMORY_LIMIT": str(expected),
        "VGPU_TASKS_LIMIT": "1024",
    }


def test_without_a_device_a_worker_is_given_nothing_not_even_limits() -> None:
    config = workforce_config(config_from_document({}, "test"), {})
    assert not config.terms(Capability.GROUP | Capability.LIMIT).settings


def test_a_worker_that_reached_its_memory_limit_is_said_to_have() -> None:
    killed = Message(Verb.EXITED, status=9, arg=2, worker_id=7, pid=70)
    plain = WorkerExit.from_message(killed)
    assert not plain.out_of_memory and how_it_ended(plain) == "killed by signal SIGKILL"
    at_its_limit = Message(Verb.EXITED, status=9, arg=2, flags=Flag.OUT_OF_MEMORY)
    report = WorkerExit.from_message(at_its_limit)
    assert report.out_of_memory and "worker_memory_bytes" in how_it_ended(report)


@pytest.mark.parametrize("kind", DeviceType)
def test_only_workers_of_a_device_with_a_driver_are_given_its_nodes(kind: DeviceType) -> None:
    names = (b"", b"", b"", b"opencl")
    info = DEVICE_LAYOUT.pack(DEVICE_LAYOUT.size, kind, *names, *([0] * 9))
    device = Device({"VGPU_BACKEND": "opencl"}, info, DeviceStatus())
    nodes = device.worker_settings().get("VGPU_DEVICE_NODES")
    assert nodes == ("1" if kind in (DeviceType.GPU, DeviceType.ACCELERATOR) else None)


def test_without_a_device_workers_have_no_settings() -> None:
    assert not Device({}, b"", DeviceStatus()).worker_settings()
