"""The rows of the database as values: pools, VMs, what was observed, who asked for what."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from vgpud.errors import StoreError
from vgpud.model.pool import Pool
from vgpud.model.priority import Priority
from vgpud.model.vm import NEVER_QUARANTINED, PeerRule, Quarantine, Vm
from vgpud.store.database import open_database
from vgpud.store.queries import load_queries

AUDIT_KEPT_ROWS = 100_000


class AuditOutcome(Enum):
    """How a request ended."""

    STORED = "stored"
    REFUSED = "refused"
    NOT_APPLIED = "not_applied"


@dataclass(frozen=True)
class AuditEntry:
    """Who asked for what. `parameters` is JSON; `error` is empty for a change that was stored."""

    uid: int
    gid: int
    pid: int
    method: str
    parameters: str
    outcome: AuditOutcome
    error: str | None = None
    at: str = ""


@dataclass(frozen=True)
class DatabaseCopy:
    """A SQLite file and the version of its schema."""

    content: bytes
    version: int


class Store:
    """The open database. Not for use from several threads; every call blocks on the disk.

    Reads see what is committed. Writes only inside `atomic()`. Every method raises StoreError when
    the database refuses; nothing of the transaction is kept then.
    """

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        """`path` names the file in errors."""
        self._connection = connection
        self._path = path
        self._queries = load_queries()

    @classmethod
    def open(cls, path: Path) -> Store:
        """Opens the database at `path`, and creates it if there is none. Raises StoreError."""
        return cls(open_database(path), path)

    def copy(self) -> DatabaseCopy:
        """The whole database as of this moment, proven sound. Raises StoreError."""
        try:
            with closing(sqlite3.connect(":memory:")) as copy:
                self._connection.backup(copy)
                ((verdict,),) = copy.execute("PRAGMA integrity_check(1)")
                ((version,),) = copy.execute("SELECT max(version) FROM migrations")
                content = copy.serialize()
        except (sqlite3.Error, ValueError) as error:
            raise StoreError(f"{self._path}: cannot be copied: {error}") from error
        if verdict != "ok":
            raise StoreError(f"{self._path}: is damaged: {verdict}")
        return DatabaseCopy(content, int(version))

    def close(self) -> None:
        """Writes the journal back into the file and closes it."""
        self._connection.close()

    @contextmanager
    def atomic(self) -> Iterator[None]:
        """One transaction: all of the block's writes are kept, or none if it raises."""
        if self._in_transaction():
            raise RuntimeError("Store.atomic() does not nest")
        self._control("BEGIN IMMEDIATE")
        try:
            yield
            self._control("COMMIT")
        finally:
            if self._in_transaction():
                self._control("ROLLBACK")

    def list_pools(self) -> list[Pool]:
        """All pools, by id."""
        return [_pool(row) for row in self._read("list_pools")]

    def get_pool(self, pool_id: str) -> Pool | None:
        """One pool, or None."""
        return next((_pool(row) for row in self._read("get_pool", pool_id=pool_id)), None)

    def insert_pool(self, pool: Pool) -> None:
        """Adds a pool; its times are set by the database."""
        self._write(
            "insert_pool",
            pool_id=pool.pool_id,
            pool_name=pool.pool_name,
            description=pool.description,
            enabled=pool.enabled,
            weight=pool.weight,
        )

    def describe_pool(self, pool: Pool) -> None:
        """Sets the name and the description of a pool."""
        self._write(
            "describe_pool",
            pool_id=pool.pool_id,
            pool_name=pool.pool_name,
            description=pool.description,
        )

    def set_pool_enabled(self, pool_id: str, enabled: bool) -> None:
        """Enables or disables a pool; its VMs stay in it."""
        self._write("set_pool_enabled", pool_id=pool_id, enabled=enabled)

    def set_pool_weight(self, pool_id: str, weight: int) -> None:
        """Changes a pool's share among pools."""
        self._write("set_pool_weight", pool_id=pool_id, weight=weight)

    def delete_pool(self, pool_id: str) -> None:
        """Forgets a pool. Refused while it has VMs."""
        self._write("delete_pool", pool_id=pool_id)

    def list_vms(self) -> list[Vm]:
        """All VMs, by pool (none last), priority (high first) and vm_id."""
        return [_vm(row) for row in self._read("list_vms")]

    def get_vm(self, vm_uuid: str) -> Vm | None:
        """The VM of a canonical UUID, or None."""
        return next((_vm(row) for row in self._read("get_vm", vm_uuid=vm_uuid)), None)

    def get_vm_by_id(self, vm_id: int) -> Vm | None:
        """The VM that holds `vm_id`, or None."""
        return next((_vm(row) for row in self._read("get_vm_by_id", vm_id=vm_id)), None)

    def list_vms_by_name(self, vm_name: str) -> list[Vm]:
        """The VMs named so; names need not be unique."""
        return [_vm(row) for row in self._read("list_vms_by_name", vm_name=vm_name)]

    def next_vm_id(self) -> int:
        """An id that no VM holds, preferably the one after the highest that one holds."""
        return int(self._read("next_vm_id")[0]["vm_id"])

    def insert_vm(self, vm: Vm) -> None:
        """Adds a VM; its times are set by the database."""
        self._write(
            "insert_vm",
            vm_uuid=vm.vm_uuid,
            vm_id=vm.vm_id,
            vm_name=vm.vm_name,
            pool_id=vm.pool_id,
            priority=int(vm.priority),
            weight=vm.weight,
            max_jobs_per_sec=vm.max_jobs_per_sec,
            max_burst=vm.max_burst,
            max_queue_depth=vm.max_queue_depth,
            peer=str(vm.peer),
        )

    def set_vm_shares(self, vm: Vm) -> None:
        """Changes weight, rate, burst and depth of a registered VM to what they are in `vm`."""
        self._write(
            "set_vm_shares",
            vm_uuid=vm.vm_uuid,
            weight=vm.weight,
            max_jobs_per_sec=vm.max_jobs_per_sec,
            max_burst=vm.max_burst,
            max_queue_depth=vm.max_queue_depth,
        )

    def set_vm_place(self, vm: Vm) -> None:
        """Changes pool, priority and vm_id of a registered VM to what they are in `vm`."""
        self._write(
            "set_vm_place",
            vm_uuid=vm.vm_uuid,
            pool_id=vm.pool_id,
            priority=int(vm.priority),
            vm_id=vm.vm_id,
        )

    def unassign_vms(self, pool_id: str) -> None:
        """Takes all VMs out of a pool; they belong to none then."""
        self._write("unassign_vms", pool_id=pool_id)

    def delete_vm(self, vm_uuid: str) -> None:
        """Forgets a VM and its quarantine."""
        self._write("delete_vm", vm_uuid=vm_uuid)

    def list_quarantines(self) -> dict[str, Quarantine]:
        """The last quarantine of each VM by UUID; a VM that never had one is absent."""
        return {row["vm_uuid"]: _quarantine(row) for row in self._read("list_quarantines")}

    def get_quarantine(self, vm_uuid: str) -> Quarantine:
        """The last quarantine of a VM, NEVER_QUARANTINED if it never had one."""
        found = self._read("get_quarantine", vm_uuid=vm_uuid)
        return next(map(_quarantine, found), NEVER_QUARANTINED)

    def set_quarantine(self, vm_uuid: str, quarantine: Quarantine) -> None:
        """Keeps the last quarantine of a registered VM; an empty `since` means now."""
        self._write(
            "set_quarantine",
            vm_uuid=vm_uuid,
            number=quarantine.number,
            active=quarantine.active,
            reason=quarantine.reason,
            since=quarantine.since or None,
        )

    def append_audit(self, entry: AuditEntry) -> None:
        """Records a change in its own transaction, or a refusal; the newest 100,000 rows stay."""
        self._write(
            "append_audit",
            uid=entry.uid,
            gid=entry.gid,
            pid=entry.pid,
            method=entry.method,
            parameters=entry.parameters,
            outcome=entry.outcome.value,
            error=entry.error,
        )
        self._write("trim_audit", kept_rows=AUDIT_KEPT_ROWS)

    def list_audit(self, limit: int, *, refused: bool = False) -> list[AuditEntry]:
        """The newest `limit` audit rows, newest first; `refused`: only what was not carried out."""
        return [
            AuditEntry(
                uid=row["uid"],
                gid=row["gid"],
                pid=row["pid"],
                method=row["method"],
                parameters=row["parameters"],
                outcome=AuditOutcome(row["outcome"]),
                error=row["error"],
                at=row["at"],
            )
            for row in self._read("list_audit", limit=limit, refused=refused)
        ]

    def _in_transaction(self) -> bool:
        return self._connection.in_transaction

    def _read(self, query: str, **parameters: str | int) -> list[sqlite3.Row]:
        return self._execute(query, parameters).fetchall()

    def _write(self, query: str, **parameters: str | int | None) -> None:
        if not self._in_transaction():
            raise RuntimeError(f"{query} must run inside Store.atomic()")
        self._execute(query, parameters)

    def _execute(self, query: str, parameters: Mapping[str, str | int | None]) -> sqlite3.Cursor:
        try:
            return self._connection.execute(self._queries[query], parameters)
        except sqlite3.Error as error:
            raise StoreError(f"{self._path}: {query}: {error}") from error

    def _control(self, statement: str) -> None:
        try:
            self._connection.execute(statement)
        except sqlite3.Error as error:
            raise StoreError(f"{self._path}: {statement.lower()}: {error}") from error


def _pool(row: sqlite3.Row) -> Pool:
    return Pool(
        pool_id=row["pool_id"],
        pool_name=row["pool_name"],
        description=row["description"],
        enabled=bool(row["enabled"]),
        weight=row["weight"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
    )


def _quarantine(row: sqlite3.Row) -> Quarantine:
    return Quarantine(row["number"], bool(row["active"]), row["reason"], row["since"])


def _vm(row: sqlite3.Row) -> Vm:
    try:
        peer = PeerRule.parse(row["peer"])
    except ValueError as error:
        raise StoreError(f"vms.peer of VM {row['vm_uuid']}: {error}") from error
    return Vm(
        vm_uuid=row["vm_uuid"],
        vm_id=row["vm_id"],
        vm_name=row["vm_name"],
        pool_id=row["pool_id"],
        priority=Priority(row["priority"]),
        weight=row["weight"],
        max_jobs_per_sec=row["max_jobs_per_sec"],
        max_burst=row["max_burst"],
        max_queue_depth=row["max_queue_depth"],
        peer=peer,
        created_at=row["created_at"],
        updated_at=row["updated_at"],
    )
