"""Databases of past versions: what is in them is taken over, and they end as a new one is."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from tests.unit.control_under_test import UUID_1, UUID_2
from vgpud.model.pool import Pool
from vgpud.model.priority import Priority
from vgpud.model.vm import PeerRule, Quarantine, Vm
from vgpud.store.database import APPLICATION_ID
from vgpud.store.queries import load_migrations, load_schema
from vgpud.store.store import Store


@pytest.fixture
def path(short_dir: Path) -> Path:
    return short_dir / "vgpud.db"


def schema_of(connection: sqlite3.Connection) -> list[tuple[str, str]]:
    return connection.execute(
        "SELECT name, sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY name"
    ).fetchall()


def test_schema_is_the_sum_of_the_migrations() -> None:
    documented, migrated = sqlite3.connect(":memory:"), sqlite3.connect(":memory:")
    documented.executescript(load_schema())
    for migration in load_migrations():
        migrated.executescript(migration.sql)
    assert schema_of(documented) == schema_of(migrated)
    documented.close()
    migrated.close()


def database_of_version(path: Path, version: int) -> None:
    """A database as the vgpud that knew so many migrations left it, with rows of every kind."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    for migration in load_migrations()[:version]:
        connection.executescript(migration.sql)
        connection.execute(
            "INSERT INTO migrations (version, name) VALUES (?, ?)",
            (migration.version, migration.name),
        )
    connection.execute(f"PRAGMA user_version = {version}")
    connection.execute("PRAGMA foreign_keys = ON")
    rows = "INSERT INTO vms (vm_uuid, vm_id, vm_name, pool_id, priority, weight, peer) VALUES "
    connection.execute(f"{rows} ('{UUID_1}', 41, 'one', 'A', 2, 80, 'uid:7')")
    connection.execute(f"{rows} ('{UUID_2}', 42, NULL, 'B', 0, 1, 'qemu')")
    connection.execute("UPDATE pools SET enabled = 0, weight = 9 WHERE pool_id = 'B'")
    connection.execute(
        "INSERT INTO audit (uid, gid, pid, method, parameters, outcome)"
        " VALUES (1, 2, 3, 'm', '{}', 'stored')"
    )
    connection.close()


@pytest.mark.parametrize("version", range(1, len(load_migrations()) + 1))
def test_a_database_of_every_past_version_is_taken_over_with_all_it_has(
    path: Path, version: int
) -> None:
    database_of_version(path, version)
    store = Store.open(path)
    one, two = store.list_vms()
    assert one == Vm(UUID_1, 41, "one", "A", Priority.HIGH, 80, peer=PeerRule(7))
    assert two == Vm(UUID_2, 42, None, "B", Priority.LOW, 1)
    assert store.get_pool("B") == Pool("B", "Pool B", enabled=False, weight=9)
    assert [entry.pid for entry in store.list_audit(9)] == [3]
    store.close()
    raw = sqlite3.connect(path)
    documented = sqlite3.connect(":memory:")
    documented.executescript(load_schema())
    assert schema_of(raw) == schema_of(documented)
    assert raw.execute("SELECT max(version) FROM migrations").fetchone() == (
        len(load_migrations()),
    )
    with pytest.raises(sqlite3.IntegrityError, match="disabled"):
        raw.execute("UPDATE vms SET pool_id = 'B' WHERE vm_id = 41")
    documented.close()
    raw.close()


def test_quarantines_and_limits_of_version_1_are_taken_over(path: Path) -> None:
    database_of_version(path, 1)
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("UPDATE vms SET max_jobs_per_sec = 2000000, max_queue_depth = 99999")
    connection.execute(
        "INSERT INTO vm_observed (vm_uuid, quarantined, quarantine_reason, updated_at)"
        f" VALUES ('{UUID_1}', 1, 'five faults', '2026-01-11 10:00:00'), ('{UUID_2}', 0, NULL, '')"
    )
    connection.close()
    store = Store.open(path)
    assert store.list_quarantines() == {UUID_1: Quarantine(1, True, "five faults")}
    assert store.list_quarantines()[UUID_1].since == "2026-01-11 10:00:00"
    one = store.get_vm(UUID_1)
    assert one is not None and (one.max_jobs_per_sec, one.max_queue_depth) == (1_000_000, 32_768)
    store.close()
