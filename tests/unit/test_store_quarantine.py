"""Quarantines in the database: the last one of each VM, in range, and gone with the VM."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.control_under_test import UUID_1
from vgpud.model.priority import Priority
from vgpud.model.vm import Quarantine, Vm
from vgpud.store.store import Store

VM = Vm(UUID_1, 1, "one", "A", Priority.HIGH)


@pytest.fixture
def store(short_dir: Path) -> Iterator[Store]:
    opened = Store.open(short_dir / "vgpud.db")
    with opened.atomic():
        opened.insert_vm(VM)
    yield opened
    opened.close()


def test_a_quarantine_is_kept_replaced_and_goes_with_the_vm(store: Store) -> None:
    began = Quarantine(1, True, "five faults", "2026-01-11 10:00:00")
    with store.atomic():
        store.set_quarantine(UUID_1, began)
    assert store.list_quarantines() == {UUID_1: began}
    assert store.list_quarantines()[UUID_1].since == began.since
    lifted = Quarantine(2, False, "cleared")
    with store.atomic():
        store.set_quarantine(UUID_1, lifted)
    assert store.list_quarantines() == {UUID_1: lifted}
    assert len(store.list_quarantines()[UUID_1].since) == len(began.since)
    with store.atomic():
        store.delete_vm(UUID_1)
    assert store.list_quarantines() == {}


@pytest.mark.parametrize("values", ["0, 1, 'x'", "4294967296, 1, 'x'", "1, 2, 'x'", "1, 1, ''"])
def test_the_database_itself_refuses_a_quarantine_out_of_range(
    short_dir: Path, store: Store, values: str
) -> None:
    with (
        contextlib.closing(sqlite3.connect(short_dir / "vgpud.db")) as raw,
        pytest.raises(sqlite3.IntegrityError),
    ):
        raw.execute(
            "INSERT INTO vm_quarantine (vm_uuid, number, active, reason)"
            f" VALUES ('{UUID_1}', {values})"
        )
