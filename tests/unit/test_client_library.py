"""vgpud.client: every call as a method, typed values, errors as exceptions."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest

from tests.unit.control_under_test import UUID_1, UUID_2, RunningControl, traced
from vgpud.client import Client, Priority, Vgpud
from vgpud.errors import NoDaemonError, TimeoutExpiredError
from vgpud.model.trace import TraceBatch
from vgpud.protocol.methods import METHODS
from vgpud.record import Record
from vgpud.refusals import (
    ADMIN_INTERFACE,
    InvalidArgument,
    PoolDisabled,
    PoolExists,
    PoolNotEmpty,
    PoolNotFound,
    VmExists,
    VmIdInUse,
    VmNotFound,
)


@pytest.fixture
def vgpud(control: RunningControl) -> Vgpud:
    """Found by VGPUD_SOCKET."""
    return Vgpud()


def test_pools_are_created_listed_switched_and_deleted(vgpud: Vgpud) -> None:
    made = vgpud.create_pool("C", "Batch", "what can wait")
    assert (made.pool_name, made.description, made.enabled) == ("Batch", "what can wait", True)
    assert [pool.pool_id for pool in vgpud.list_pools()] == ["A", "B", "C"]
    assert vgpud.disable_pool("C") and not vgpud.disable_pool("C")
    assert [pool.pool_id for pool in vgpud.list_pools(enabled_only=True)] == ["A", "B"]
    assert vgpud.enable_pool("C") and not vgpud.enable_pool("C")
    assert vgpud.set_pool_weight("C", 80).weight == 80
    assert vgpud.delete_pool("C") == []
    with pytest.raises(PoolNotFound) as missing:
        vgpud.show_pool("C")
    assert missing.value.pool_id == "C"
    assert missing.value.code == "PoolNotFound" and "list-pools" in missing.value.next_step


def test_a_pool_is_valid_if_it_is_there_and_enabled(vgpud: Vgpud) -> None:
    assert vgpud.validate_pool("A").pool_id == "A"
    vgpud.disable_pool("A")
    with pytest.raises(PoolDisabled):
        vgpud.validate_pool("A")
    with pytest.raises(PoolNotFound):
        vgpud.validate_pool("Z")


def test_vms_are_registered_changed_and_removed_by_uuid_or_name(vgpud: Vgpud) -> None:
    made = vgpud.register_vm(UUID_1, vm_name="trainer", priority=Priority.LOW)
    assert (made.pool_id, made.priority, made.vm_id) == ("A", Priority.LOW, 1)
    assert vgpud.show_vm(vm_name="trainer").vm_uuid == vgpud.show_vm(UUID_1).vm_uuid == UUID_1
    assert vgpud.set_pool("B", UUID_1).pool_id == "B"
    assert vgpud.set_priority(Priority.HIGH, vm_name="trainer").priority is Priority.HIGH
    assert vgpud.set_vm_id(7, UUID_1).vm_id == 7
    assert vgpud.set_weight(90, UUID_1).weight == 90
    limited = vgpud.set_rate_limit(UUID_1, rate=50, burst=100)
    assert (limited.max_jobs_per_sec, limited.max_burst) == (50, 100)
    assert vgpud.quarantine_vm(UUID_1, reason="noisy") and not vgpud.quarantine_vm(UUID_1)
    assert vgpud.show_vm(UUID_1).quarantine_reason == "noisy"
    assert vgpud.clear_quarantine(UUID_1) and not vgpud.clear_quarantine(UUID_1)
    changed = vgpud.update_vm(UUID_1, pool_id="A", priority=Priority.MEDIUM)
    assert (changed.pool_id, changed.priority, changed.vm_id) == ("A", Priority.MEDIUM, 7)
    assert vgpud.remove_vm(vm_name="trainer").vm_uuid == UUID_1
    assert vgpud.list_vms() == []


def test_vms_are_listed_by_pool_and_priority(vgpud: Vgpud) -> None:
    vgpud.register_vm(UUID_1, pool_id="A", priority=Priority.HIGH)
    vgpud.register_vm(UUID_2, pool_id="B", priority=Priority.HIGH)
    assert [vm.vm_uuid for vm in vgpud.list_vms(pool_id="B")] == [UUID_2]
    assert len(vgpud.list_vms(priority=Priority.HIGH)) == 2
    assert vgpud.list_vms(pool_id="A", priority=Priority.LOW) == []
    pool, vms = vgpud.show_pool("A")
    assert pool.vms.high == 1 and [vm.vm_uuid for vm in vms] == [UUID_1]


def test_what_the_rules_refuse_is_raised_with_its_facts(vgpud: Vgpud) -> None:
    vgpud.register_vm(UUID_1, vm_id=5)
    with pytest.raises(VmExists):
        vgpud.register_vm(UUID_1)
    with pytest.raises(VmIdInUse) as taken:
        vgpud.register_vm(UUID_2, vm_id=5)
    assert (taken.value.vm_id, taken.value.vm_uuid) == (5, UUID_1)
    vgpud.create_pool("D")
    with pytest.raises(PoolExists):
        vgpud.create_pool("D")
    with pytest.raises(PoolNotEmpty) as full:
        vgpud.delete_pool("A")
    assert len(full.value.vms) == 1
    assert [vm.pool_id for vm in vgpud.delete_pool("A", force=True)] == [None]
    with pytest.raises(VmNotFound):
        vgpud.show_vm(vm_name="nobody")
    with pytest.raises(InvalidArgument) as refused:
        vgpud.set_weight(0, UUID_1)
    assert refused.value.parameter == "weight"


def test_the_database_comes_as_a_file_that_sqlite_opens(vgpud: Vgpud, short_dir: Path) -> None:
    vgpud.register_vm(UUID_1)
    copy = short_dir / "copy.db"
    copy.write_bytes(vgpud.backup())
    with sqlite3.connect(copy) as database:
        assert database.execute("SELECT vm_uuid FROM vms").fetchall() == [(UUID_1,)]
    database.close()


def test_requests_are_told_of_and_followed_as_they_finish(
    vgpud: Vgpud, control: RunningControl
) -> None:
    trace = control.engine.trace
    trace.kept.append(traced(1))
    assert [request.seq for request in vgpud.trace(limit=10)] == [1]
    followed = vgpud.follow_trace()
    assert next(followed).seq == 1
    control.in_loop(lambda: trace.add(TraceBatch([traced(2), traced(3)], 0)))
    assert [next(followed).seq, next(followed).seq] == [2, 3]
    followed.close()
    assert trace.left.wait(5), "the daemon noticed"


def test_waiting_for_a_daemon_says_what_is_missing(short_dir: Path) -> None:
    absent = Vgpud(str(short_dir / "nobody.sock"))
    with pytest.raises(NoDaemonError):
        absent.status()
    with pytest.raises(TimeoutExpiredError, match=r"not ready within 0\.2 s: no daemon answers"):
        absent.wait_ready(0.2)


def test_every_call_has_its_method(vgpud: Vgpud, monkeypatch: pytest.MonkeyPatch) -> None:
    made: set[str] = set()

    def note(client: Client, message: Record, reply_type: type[Record]) -> Any:
        made.add(f"{ADMIN_INTERFACE}.{type(message).__name__}")
        raise NoDaemonError("only noted")

    monkeypatch.setattr(Client, "call", note)
    needed = {
        "create_pool": ("C",),
        "show_pool": ("A",),
        "enable_pool": ("A",),
        "disable_pool": ("A",),
        "delete_pool": ("A",),
        "set_pool_weight": ("A", 1),
        "validate_pool": ("A",),
        "register_vm": (UUID_1,),
        "set_pool": ("A",),
        "set_priority": (Priority.LOW,),
        "set_vm_id": (1,),
        "set_weight": (1,),
    }
    for name in dir(Vgpud):
        if not name.startswith("_") and name not in ("follow_trace", "wait_ready"):
            with pytest.raises(NoDaemonError, match="only noted"):
                getattr(vgpud, name)(*needed.get(name, ()))
    assert made == {name for name in METHODS if name.startswith(ADMIN_INTERFACE)}
