"""From the store to the engine: order, differences, failures, and trying again."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.unit.control_under_test import UUID_1, UUID_2, EngineDouble
from vgpud import reconcile
from vgpud.errors import EngineError, StoreError
from vgpud.model.priority import Priority
from vgpud.model.vm import Quarantine, Vm
from vgpud.reconcile import Reconciler
from vgpud.store.store import Store

BROKEN = OSError(28, "No space left on device", "/run/vgpud/vms")


@pytest.fixture
def store(short_dir: Path) -> Iterator[Store]:
    opened = Store.open(short_dir / "vgpud.db")
    yield opened
    opened.close()


@pytest.fixture
def engine() -> EngineDouble:
    return EngineDouble()


def register(store: Store, vm_uuid: str, vm_id: int, pool_id: str = "A") -> None:
    with store.atomic():
        store.insert_vm(Vm(vm_uuid, vm_id, None, pool_id, Priority.LOW))


def remove(store: Store, vm_uuid: str) -> None:
    with store.atomic():
        store.delete_vm(vm_uuid)


def test_pools_are_set_before_the_vms_in_them(store: Store, engine: EngineDouble) -> None:
    register(store, UUID_1, 1)
    assert Reconciler(store, engine).apply() == ()
    assert engine.calls == ["set_pool A", "set_pool B", f"set_vm {UUID_1}"]


def test_only_differences_are_sent(store: Store, engine: EngineDouble) -> None:
    reconciler = Reconciler(store, engine)
    reconciler.apply()
    engine.calls.clear()
    reconciler.apply()
    assert engine.calls == []
    with store.atomic():
        store.set_pool_enabled("B", False)
    reconciler.apply()
    assert engine.calls == ["set_pool B"]
    assert not engine.pools["B"].enabled


def test_a_change_of_one_vm_looks_at_no_other(store: Store, engine: EngineDouble) -> None:
    reconciler = Reconciler(store, engine)
    reconciler.apply()
    engine.calls.clear()
    register(store, UUID_1, 1)
    register(store, UUID_2, 2)
    assert reconciler.apply_vm(UUID_1) == ()
    assert engine.calls == [f"set_vm {UUID_1}"]
    remove(store, UUID_1)
    assert reconciler.apply_vm(UUID_1) == ()
    assert engine.calls == [f"set_vm {UUID_1}", f"remove_vm {UUID_1}"]
    reconciler.apply()
    assert engine.calls[2:] == [f"set_vm {UUID_2}"]


def test_one_vm_is_applied_with_all_else_while_something_is_pending(
    store: Store, engine: EngineDouble
) -> None:
    register(store, UUID_1, 1)
    reconciler = Reconciler(store, engine)
    reconciler.apply()
    remove(store, UUID_1)
    engine.broken[UUID_1] = BROKEN
    assert [failure.subject for failure in reconciler.apply_vm(UUID_1)] == [f"VM {UUID_1}"]
    engine.broken.clear()
    engine.calls.clear()
    register(store, UUID_2, 1)
    assert reconciler.apply_vm(UUID_2) == ()
    assert engine.calls == [f"remove_vm {UUID_1}", f"set_vm {UUID_2}"]


def test_before_anything_was_applied_one_vm_brings_its_pools(
    store: Store, engine: EngineDouble
) -> None:
    register(store, UUID_1, 1)
    assert Reconciler(store, engine).apply_vm(UUID_1) == ()
    assert engine.calls == ["set_pool A", "set_pool B", f"set_vm {UUID_1}"]


def test_a_vm_id_is_free_before_it_is_given_away(store: Store, engine: EngineDouble) -> None:
    register(store, UUID_1, 1)
    reconciler = Reconciler(store, engine)
    reconciler.apply()
    engine.calls.clear()
    remove(store, UUID_1)
    register(store, UUID_2, 1)
    reconciler.apply()
    assert engine.calls == [f"remove_vm {UUID_1}", f"set_vm {UUID_2}"]


def test_a_failure_is_named_and_does_not_stop_the_rest(store: Store, engine: EngineDouble) -> None:
    register(store, UUID_1, 1)
    register(store, UUID_2, 2)
    engine.broken[UUID_1] = BROKEN
    reconciler = Reconciler(store, engine)
    (failure,) = reconciler.apply()
    assert str(failure) == f"VM {UUID_1}: /run/vgpud/vms: No space left on device"
    assert set(engine.vms) == {UUID_2}
    assert reconciler.pending == (failure,)


def test_what_failed_is_sent_again(store: Store, engine: EngineDouble) -> None:
    register(store, UUID_1, 1)
    engine.broken[UUID_1] = BROKEN
    reconciler = Reconciler(store, engine)
    reconciler.apply()
    del engine.broken[UUID_1]
    assert reconciler.apply() == ()
    assert set(engine.vms) == {UUID_1}


def test_a_vm_whose_pool_is_not_applied_waits_for_it(store: Store, engine: EngineDouble) -> None:
    register(store, UUID_1, 1)
    engine.broken["A"] = BROKEN
    reconciler = Reconciler(store, engine)
    subjects = [failure.subject for failure in reconciler.apply()]
    assert subjects == ["pool A", f"VM {UUID_1}"]
    assert f"set_vm {UUID_1}" not in engine.calls


def test_a_vm_that_was_set_half_way_is_removed_all_the_same(
    store: Store, engine: EngineDouble
) -> None:
    register(store, UUID_1, 1)
    engine.broken[UUID_1] = BROKEN
    reconciler = Reconciler(store, engine)
    reconciler.apply()
    del engine.broken[UUID_1]
    remove(store, UUID_1)
    reconciler.apply()
    assert engine.calls[-1] == f"remove_vm {UUID_1}"


def test_a_removal_that_fails_is_tried_again(store: Store, engine: EngineDouble) -> None:
    register(store, UUID_1, 1)
    reconciler = Reconciler(store, engine)
    reconciler.apply()
    engine.broken[UUID_1] = BROKEN
    remove(store, UUID_1)
    assert [failure.subject for failure in reconciler.apply()] == [f"VM {UUID_1}"]
    del engine.broken[UUID_1]
    assert reconciler.apply() == ()
    assert engine.vms == {}


def test_a_pool_is_removed_after_its_vms(
    short_dir: Path, store: Store, engine: EngineDouble
) -> None:
    register(store, UUID_1, 1, "B")
    reconciler = Reconciler(store, engine)
    reconciler.apply()
    engine.calls.clear()
    with contextlib.closing(sqlite3.connect(short_dir / "vgpud.db", isolation_level=None)) as raw:
        raw.execute("DELETE FROM vms")
        raw.execute("DELETE FROM pools WHERE pool_id = 'B'")
    reconciler.apply()
    assert engine.calls == [f"remove_vm {UUID_1}", "remove_pool B"]


def test_all_is_sent_again_when_what_it_means_has_changed(
    store: Store, engine: EngineDouble
) -> None:
    register(store, UUID_1, 1)
    reconciler = Reconciler(store, engine)
    reconciler.apply()
    engine.calls.clear()
    assert reconciler.apply_anew() == ()
    assert engine.calls == ["set_pool A", "set_pool B", f"set_vm {UUID_1}"]


def test_a_removal_that_failed_is_not_forgotten_when_all_is_sent_again(
    store: Store, engine: EngineDouble
) -> None:
    register(store, UUID_1, 1)
    reconciler = Reconciler(store, engine)
    reconciler.apply()
    engine.broken[UUID_1] = BROKEN
    remove(store, UUID_1)
    reconciler.apply()
    del engine.broken[UUID_1]
    assert reconciler.apply_anew() == ()
    assert engine.vms == {}


def test_pending_work_is_tried_again_by_itself(
    store: Store, engine: EngineDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reconcile, "RETRY_FIRST_S", 0.001)
    register(store, UUID_1, 1)
    engine.broken[UUID_1] = BROKEN

    async def run() -> None:
        applied = asyncio.Event()
        reconciler = Reconciler(store, engine)
        task = asyncio.create_task(reconciler.run())
        reconciler.apply()
        attempts = engine.calls.count(f"set_vm {UUID_1}")

        def set_vm(vm: Vm, quarantine: Quarantine) -> None:
            nonlocal attempts
            attempts += 1
            if attempts < 4:
                raise EngineError("not yet")
            applied.set()

        monkeypatch.setattr(engine, "set_vm", set_vm)
        async with asyncio.timeout(10):
            await applied.wait()
        assert reconciler.pending == ()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(run())


def test_a_store_that_cannot_be_read_sends_nothing(store: Store, engine: EngineDouble) -> None:
    reconciler = Reconciler(store, engine)
    store.close()
    with pytest.raises(StoreError):
        reconciler.apply()
    assert engine.calls == []


FOUND = Quarantine(3, True, "100 fault points, the last fault: crash", "2026-01-11 10:00:00")


def test_a_stored_quarantine_goes_to_the_engine_with_its_vm(
    store: Store, engine: EngineDouble
) -> None:
    register(store, UUID_1, 1)
    register(store, UUID_2, 2)
    with store.atomic():
        store.set_quarantine(UUID_1, FOUND)
    reconciler = Reconciler(store, engine)
    reconciler.apply()
    assert engine.quarantines == {UUID_1: FOUND, UUID_2: Quarantine()}
    engine.calls.clear()
    reconciler.apply()
    assert engine.calls == []


def test_a_quarantine_that_was_lifted_is_a_difference(store: Store, engine: EngineDouble) -> None:
    register(store, UUID_1, 1)
    reconciler = Reconciler(store, engine)
    with store.atomic():
        store.set_quarantine(UUID_1, FOUND)
    reconciler.apply()
    with store.atomic():
        store.set_quarantine(UUID_1, replace(FOUND, active=False))
    reconciler.apply()
    assert not engine.quarantines[UUID_1].active and engine.quarantines[UUID_1].number == 3


@pytest.mark.parametrize("told", [None, [UUID_1]])
def test_what_the_engine_has_found_is_stored_as_it_was(
    store: Store, engine: EngineDouble, told: list[str] | None
) -> None:
    register(store, UUID_1, 1)
    engine.found[UUID_1] = FOUND
    Reconciler(store, engine).observe(told)
    (stored,) = store.list_quarantines().values()
    assert (stored, stored.since) == (FOUND, FOUND.since)


def test_only_what_is_later_is_stored(store: Store, engine: EngineDouble) -> None:
    register(store, UUID_1, 1)
    for number in (3, 4):
        lifted = Quarantine(number, False, "cleared")
        with store.atomic():
            store.set_quarantine(UUID_1, lifted)
        engine.found[UUID_1] = FOUND
        Reconciler(store, engine).observe()
        assert store.list_quarantines() == {UUID_1: lifted}


def test_a_vm_that_is_not_registered_any_more_is_left_out(
    store: Store, engine: EngineDouble
) -> None:
    engine.found[UUID_1] = FOUND
    reconciler = Reconciler(store, engine)
    reconciler.observe([UUID_1])
    reconciler.observe()
    assert store.list_quarantines() == {}


def test_a_quarantine_that_the_store_refuses_is_stored_later(
    short_dir: Path, store: Store, engine: EngineDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reconcile, "RETRY_FIRST_S", 0.001)
    register(store, UUID_1, 1)
    engine.found[UUID_1] = FOUND

    async def run() -> None:
        reconciler = Reconciler(store, engine)
        task = asyncio.create_task(reconciler.run())
        with contextlib.closing(
            sqlite3.connect(short_dir / "vgpud.db", isolation_level=None)
        ) as raw:
            raw.execute("ALTER TABLE vm_quarantine RENAME TO lost")
            reconciler.observe([UUID_1])
            raw.execute("ALTER TABLE lost RENAME TO vm_quarantine")
        async with asyncio.timeout(10):
            while not store.list_quarantines():
                await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(run())
    assert store.list_quarantines() == {UUID_1: FOUND}
