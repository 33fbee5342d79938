"""The database: what it keeps, what it refuses, and that schema and migrations are one."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.unit.control_under_test import UUID_1, UUID_2
from vgpud.errors import StoreError
from vgpud.model.pool import Pool
from vgpud.model.priority import Priority
from vgpud.model.vm import PeerRule, Vm
from vgpud.pools import FIRST_POOLS
from vgpud.store.queries import load_migrations, load_queries, parse_queries
from vgpud.store.store import AuditEntry, AuditOutcome, Store

VM = Vm(UUID_1, 1, "one", "A", Priority.HIGH, peer=PeerRule(1000))


@pytest.fixture
def path(short_dir: Path) -> Path:
    return short_dir / "vgpud.db"


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    opened = Store.open(path)
    yield opened
    opened.close()


@pytest.fixture
def raw(path: Path, store: Store) -> Iterator[sqlite3.Connection]:
    """A connection as the sqlite3 command line makes it: foreign keys are off."""
    connection = sqlite3.connect(path, isolation_level=None)
    yield connection
    connection.close()


def test_every_query_is_legal_and_used(raw: sqlite3.Connection) -> None:
    source = "".join(
        (Path(__file__).parents[2] / "vgpud/store" / name).read_text()
        for name in ("store.py", "database.py")
    )
    for name, sql in load_queries().items():
        raw.execute(f"EXPLAIN {sql}", dict.fromkeys(re.findall(r":([a-z_]+)", sql), 1))
        assert f'"{name}"' in source, name


def test_query_defined_twice_is_refused() -> None:
    text = "-- name: a\n-- Does.\nSELECT 1;\n"
    assert parse_queries(text) == {"a": "SELECT 1;"}
    with pytest.raises(ValueError, match="twice"):
        parse_queries(text + text)


def test_first_start_creates_pools_a_and_b(store: Store) -> None:
    pools = store.list_pools()
    assert pools == [Pool("A", "Pool A"), Pool("B", "Pool B")] == list(FIRST_POOLS)
    assert all(len(pool.created_at) == len("2026-01-11 10:00:00") for pool in pools)


def test_a_deleted_pool_does_not_come_back(path: Path, store: Store) -> None:
    store.close()
    connection = sqlite3.connect(path)
    with connection:
        connection.execute("DELETE FROM pools WHERE pool_id = 'B'")
    connection.close()
    again = Store.open(path)
    assert [pool.pool_id for pool in again.list_pools()] == ["A"]
    again.close()


def test_a_vm_is_read_back_as_it_was_written(store: Store) -> None:
    with store.atomic():
        store.insert_vm(VM)
    assert store.get_vm(UUID_1) == VM
    assert store.get_vm_by_id(1) == VM
    assert store.list_vms_by_name("one") == [VM]


def test_vms_are_listed_by_pool_priority_and_id_without_pool_last(
    store: Store, raw: sqlite3.Connection
) -> None:
    rows = [("A", 0, 1), ("B", 2, 2), ("A", 2, 4), ("A", 2, 3), (None, 2, 5)]
    for number, (pool, priority, vm_id) in enumerate(rows):
        raw.execute(
            "INSERT INTO vms (vm_uuid, vm_id, pool_id, priority) VALUES (?, ?, ?, ?)",
            (f"{UUID_1[:-1]}{number}", vm_id, pool, priority),
        )
    assert [vm.vm_id for vm in store.list_vms()] == [3, 4, 1, 2, 5]


def test_a_failed_block_leaves_nothing(store: Store) -> None:
    with pytest.raises(StoreError, match=r"vms\.pool_id: no such pool"), store.atomic():
        store.insert_pool(Pool("C"))
        store.insert_vm(Vm(UUID_1, 1, None, "Z", Priority.LOW))
    assert store.get_pool("C") is None


def test_a_write_outside_a_transaction_is_a_mistake(store: Store) -> None:
    with pytest.raises(RuntimeError, match="atomic"):
        store.insert_pool(Pool("C"))


def test_transactions_do_not_nest(store: Store) -> None:
    with pytest.raises(RuntimeError, match="nest"), store.atomic(), store.atomic():
        pass


def test_next_vm_id_follows_the_highest(store: Store) -> None:
    assert store.next_vm_id() == 1
    with store.atomic():
        store.insert_vm(Vm(UUID_1, 41, None, "A", Priority.LOW))
    assert store.next_vm_id() == 42


def test_next_vm_id_takes_the_lowest_gap_once_the_range_is_used_up(store: Store) -> None:
    with store.atomic():
        store.insert_vm(Vm(UUID_1, 2**31 - 1, None, "A", Priority.LOW))
    assert store.next_vm_id() == 1
    with store.atomic():
        store.insert_vm(Vm(UUID_2, 1, None, "A", Priority.LOW))
    assert store.next_vm_id() == 2


def test_shares_are_changed_and_nothing_else(store: Store) -> None:
    with store.atomic():
        store.insert_vm(VM)
        changed = replace(VM, weight=80, max_jobs_per_sec=50, max_burst=100, max_queue_depth=7)
        store.set_vm_shares(replace(changed, priority=Priority.LOW, vm_name="other"))
    assert store.get_vm(UUID_1) == changed


def test_audit_keeps_the_newest_rows(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vgpud.store.store.AUDIT_KEPT_ROWS", 3)
    with store.atomic():
        for pid in range(5):
            store.append_audit(AuditEntry(0, 0, pid, "m", "{}", AuditOutcome.REFUSED, "no"))
    assert [entry.pid for entry in store.list_audit(10)] == [4, 3, 2]


INSERT = "INSERT INTO vms (vm_uuid, vm_id, pool_id, priority) VALUES (?, 1, ?, 1)"


@pytest.mark.parametrize("pool", ["A", None])
def test_a_vm_enters_an_enabled_pool_or_none(raw: sqlite3.Connection, pool: str | None) -> None:
    raw.execute(INSERT, (UUID_1, pool))
    assert raw.execute("SELECT count(*) FROM vms").fetchone() == (1,)


@pytest.mark.parametrize("foreign_keys", ["ON", "OFF"])
def test_no_vm_enters_a_pool_that_does_not_exist(
    raw: sqlite3.Connection, foreign_keys: str
) -> None:
    raw.execute(f"PRAGMA foreign_keys = {foreign_keys}")
    with pytest.raises(sqlite3.IntegrityError, match="no such pool"):
        raw.execute(INSERT, (UUID_1, "Z"))


def test_no_vm_enters_a_disabled_pool(raw: sqlite3.Connection) -> None:
    raw.execute(INSERT, (UUID_1, "A"))
    raw.execute("UPDATE pools SET enabled = 0 WHERE pool_id = 'B'")
    with pytest.raises(sqlite3.IntegrityError, match="disabled"):
        raw.execute("UPDATE vms SET pool_id = 'B'")
    with pytest.raises(sqlite3.IntegrityError, match="disabled"):
        raw.execute(INSERT.replace(", 1,", ", 2,"), (UUID_2, "B"))


def test_priority_changes_in_a_disabled_pool(raw: sqlite3.Connection) -> None:
    raw.execute(INSERT, (UUID_1, "A"))
    raw.execute("UPDATE pools SET enabled = 0")
    raw.execute("UPDATE vms SET priority = 2, pool_id = 'A'")
    assert raw.execute("SELECT priority FROM vms").fetchone() == (2,)


def test_a_pool_with_vms_is_not_deleted_nor_renamed(raw: sqlite3.Connection) -> None:
    raw.execute(INSERT, (UUID_1, "A"))
    with pytest.raises(sqlite3.IntegrityError, match="VMs are assigned"):
        raw.execute("DELETE FROM pools WHERE pool_id = 'A'")
    with pytest.raises(sqlite3.IntegrityError, match="cannot change"):
        raw.execute("UPDATE pools SET pool_id = 'C' WHERE pool_id = 'A'")
    raw.execute("DELETE FROM pools WHERE pool_id = 'B'")


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO pools (pool_id) VALUES ('AB')",
        "INSERT INTO pools (pool_id) VALUES ('-')",
        "INSERT INTO pools (pool_id) VALUES ('\u00e4')",
        "INSERT INTO pools (pool_id, weight) VALUES ('C', 0)",
        "INSERT INTO pools (pool_id, weight) VALUES ('C', 'many')",
        f"INSERT INTO vms (vm_uuid, vm_id, priority) VALUES ('{UUID_1.upper()}', 1, 1)",
        f"INSERT INTO vms (vm_uuid, vm_id, priority) VALUES ('{UUID_1}', 0, 1)",
        f"INSERT INTO vms (vm_uuid, vm_id, priority) VALUES ('{UUID_1}', 2147483648, 1)",
        f"INSERT INTO vms (vm_uuid, vm_id, priority) VALUES ('{UUID_1}', 1, 3)",
        f"INSERT INTO vms (vm_uuid, vm_id, priority, peer) VALUES ('{UUID_1}', 1, 1, 'me')",
        *(
            f"INSERT INTO vms (vm_uuid, vm_id, priority, {bad}) VALUES ('{UUID_1}', 1, 1, {value})"
            for bad in ("max_jobs_per_sec", "max_burst", "max_queue_depth", "weight")
            for value in (-1, 1_000_001, "'many'")
        ),
    ],
)
def test_the_database_itself_refuses_values_out_of_range(
    raw: sqlite3.Connection, statement: str
) -> None:
    with pytest.raises(sqlite3.IntegrityError):
        raw.execute(statement)


def files_beside(path: Path) -> dict[str, bytes]:
    """The database and what lies beside it; -shm is rebuilt by whoever opens the database."""
    return {
        found.name: found.read_bytes() if found.suffix != ".db-shm" else b""
        for found in path.parent.iterdir()
    }


def assert_refused_untouched(path: Path, match: str) -> None:
    before = files_beside(path)
    with pytest.raises(StoreError, match=match):
        Store.open(path)
    assert files_beside(path) == before


@pytest.mark.parametrize("content", [b"", b"not a database at all\n" * 100])
def test_a_file_that_is_not_ours_is_refused_and_kept(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    assert_refused_untouched(path, "not a database")


def test_a_foreign_database_is_refused_and_kept(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE pools (pool_id)")
    connection.close()
    assert_refused_untouched(path, "not a database of vgpud")


def test_a_newer_database_is_refused_and_kept(path: Path, store: Store) -> None:
    store.close()
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    assert_refused_untouched(
        path, f"of version 99, this vgpud knows versions up to {len(load_migrations())}"
    )


def test_a_newer_database_that_was_not_closed_is_refused_and_kept_with_its_journal(
    path: Path,
) -> None:
    Store.open(path).close()
    child = os.fork()
    if child == 0:
        connection = sqlite3.connect(path)
        connection.execute("PRAGMA user_version = 99")
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    path.with_name("vgpud.db-shm").unlink()
    assert path.with_name("vgpud.db-wal").stat().st_size > 0
    assert_refused_untouched(path, "of version 99")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("DROP TABLE audit", "lacks table audit"),
        ("DROP TRIGGER pools_keep_id_on_update", "lacks trigger pools_keep_id_on_update"),
        ("ALTER TABLE pools ADD COLUMN colour TEXT", "has another table pools"),
    ],
)
def test_a_database_without_what_belongs_in_it_is_refused_and_kept(
    path: Path, store: Store, change: str, said: str
) -> None:
    store.close()
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute(change)
        connection.commit()
    assert_refused_untouched(path, f"is not as vgpud made it: it {said}")


def test_what_an_administrator_has_added_is_left_alone(path: Path, store: Store) -> None:
    store.close()
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE VIEW busy AS SELECT vm_uuid FROM vms")
        connection.execute("ANALYZE")
        connection.commit()
    Store.open(path).close()


def test_a_directory_in_place_of_the_database_is_said_so(path: Path) -> None:
    path.mkdir()
    with pytest.raises(StoreError, match=r"vgpud\.db is not a file"):
        Store.open(path)


def test_a_damaged_database_is_refused_and_kept(path: Path, store: Store) -> None:
    store.close()
    content = bytearray(path.read_bytes())
    content[4096:] = b"\xff" * (len(content) - 4096)
    path.write_bytes(content)
    assert_refused_untouched(path, "damaged|malformed")


def test_damage_that_reading_would_not_meet_is_refused_too(path: Path, store: Store) -> None:
    store.close()
    content = bytearray(path.read_bytes())
    content[36:40] = (5).to_bytes(4, "big")  # the header's count of free pages; there are none
    path.write_bytes(content)
    assert_refused_untouched(path, "is damaged: .*[Ff]reelist")


def test_a_journal_without_its_database_is_not_overlaid(path: Path) -> None:
    journal = path.with_name("vgpud.db-wal")
    journal.write_bytes(b"committed changes")
    with pytest.raises(StoreError, match="journal"):
        Store.open(path)
    assert journal.read_bytes() == b"committed changes" and not path.exists()


def test_a_database_that_was_moved_away_may_leave_an_empty_journal(path: Path) -> None:
    path.with_name("vgpud.db-wal").touch()
    path.with_name("vgpud.db-shm").write_bytes(b"index of the journal")
    Store.open(path).close()


def test_a_refusal_says_what_to_move_away(path: Path, store: Store) -> None:
    store.close()
    path.write_bytes(b"nothing of ours" * 1000)
    with pytest.raises(StoreError) as refused:
        Store.open(path)
    assert "with -wal and -shm beside it" in refused.value.next_step


def test_an_error_names_the_file(path: Path, store: Store) -> None:
    store.close()
    with pytest.raises(StoreError, match=f"^{path}: list_pools: "):
        store.list_pools()


def test_a_state_directory_that_is_missing_is_said_so(short_dir: Path) -> None:
    with pytest.raises(StoreError, match="cannot create") as refused:
        Store.open(short_dir / "absent" / "vgpud.db")
    assert "state directory" in refused.value.next_step


def test_a_first_start_that_was_killed_is_started_over(path: Path) -> None:
    path.with_name("vgpud.db.new").write_bytes(b"half")
    path.with_name("vgpud.db.new-wal").write_bytes(b"half")
    opened = Store.open(path)
    assert len(opened.list_pools()) == 2
    opened.close()


def test_a_committed_change_survives_sigkill(path: Path) -> None:
    Store.open(path).close()
    child = os.fork()
    if child == 0:
        store = Store.open(path)
        with store.atomic():
            store.set_pool_enabled("A", False)
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    assert path.with_name("vgpud.db-wal").stat().st_size > 0
    again = Store.open(path)
    pool = again.get_pool("A")
    assert pool is not None and not pool.enabled
    again.close()
