"""Opens the database file: refuses what is not ours, creates what is missing, applies migrations.

Nothing is written before the file is known to be a sound database of ours and of a version we
know. A new one is built beside its place and renamed into it, so that a first start that is killed
leaves either a complete database or none.
"""

from __future__ import annotations

import os
import re
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from vgpud.errors import StoreError
from vgpud.store.queries import Migration, load_migrations, load_queries

APPLICATION_ID = 0x76677064
"""Marks our databases in the SQLite header: "vgpd" in ASCII."""

BUSY_TIMEOUT_MS = 5_000
"""How long a statement waits for another process that reads the file, such as a backup."""

_SIDE_FILES = ("-wal", "-shm", "-journal")

_RESTORE = (
    "Restore it from a backup, or move it away, with -wal and -shm beside it where they are, "
    "to start with an empty one."
)
_COMMENT = re.compile(r"--[^\n]*")


def open_database(path: Path) -> sqlite3.Connection:
    """Opens, and at first start creates, the database; blocks on the disk.

    The caller holds the instance lock: nobody else creates or migrates meanwhile.

    Raises:
        StoreError: the file is unreadable, not a vgpud database, corrupt, or of a newer version;
            it is left as it is.
    """
    migrations = load_migrations()
    try:
        if not os.path.lexists(path):
            _create(path, migrations)
        _check(path, migrations)
        connection = _connect(path, "rw")
    except sqlite3.Error as error:
        raise StoreError(f"cannot open the database {path}: {error}", _RESTORE) from error
    except OSError as error:
        raise StoreError(
            f"cannot create the database {path}: {error.strerror}",
            "The state directory must exist and belong to the account vgpud runs as.",
        ) from error
    try:
        # Proves that the file can be written before anything is answered from it.
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("ROLLBACK")
        _migrate(connection, migrations)
    except sqlite3.Error as error:
        connection.close()
        raise StoreError(f"cannot write the database {path}: {error}", _RESTORE) from error
    return connection


def _connect(path: Path, mode: str) -> sqlite3.Connection:
    """A connection whose `mode` is that of SQLite's URIs."""
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode={mode}",
        uri=True,
        timeout=BUSY_TIMEOUT_MS / 1000,
        isolation_level=None,
    )
    connection.row_factory = sqlite3.Row
    connection.execute("PRAGMA foreign_keys = ON")
    # A commit is on the disk before it is answered, also through a loss of power.
    connection.execute("PRAGMA synchronous = FULL")
    return connection


def _create(path: Path, migrations: Sequence[Migration]) -> None:
    """Builds a new database and puts it in place in one step."""
    for journal in _side_files(path):
        # The one is rebuilt whenever it is needed; the others keep changes unless they are empty.
        if not journal.name.endswith("-shm") and journal.stat().st_size:
            raise StoreError(
                f"{path} is missing, but its journal {journal} is there",
                "Restore the database from a backup, or move the journal away to start afresh.",
            )
        journal.unlink()
    unfinished = path.with_name(f"{path.name}.new")
    for suffix in ("", *_SIDE_FILES):
        Path(f"{unfinished}{suffix}").unlink(missing_ok=True)
    os.close(os.open(unfinished, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600))
    with closing(_connect(unfinished, "rw")) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        _migrate(connection, migrations)
    unfinished.rename(path)
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def _side_files(path: Path) -> set[Path]:
    """What SQLite keeps beside a database that is open, or was not closed."""
    beside = {path.with_name(f"{path.name}{suffix}") for suffix in _SIDE_FILES}
    return {found for found in beside if os.path.lexists(found)}


def _check(path: Path, migrations: Sequence[Migration]) -> None:
    """Judges the file through a connection that cannot write it, and leaves nothing beside it."""
    if not path.is_file():
        raise StoreError(f"{path} is not a file", "Move it away, or set another state_dir.")
    before = _side_files(path)
    # A journal has to be read as well, through an index that is made for that.
    mode = "ro" if before else "ro&immutable=1"
    try:
        with closing(_connect(path, mode)) as connection:
            _judge(path, connection, migrations)
    finally:
        for made in _side_files(path) - before:
            made.unlink()


def _judge(path: Path, connection: sqlite3.Connection, migrations: Sequence[Migration]) -> None:
    if _pragma(connection, "application_id") != APPLICATION_ID:
        raise StoreError(
            f"{path} is not a database of vgpud",
            "Move it away to start with an empty one, or set another state_dir.",
        )
    version = _pragma(connection, "user_version")
    if version > len(migrations):
        raise StoreError(
            f"{path} is of version {version}, this vgpud knows versions up to {len(migrations)}",
            "Start the vgpud that wrote it, or a newer one.",
        )
    rows = connection.execute("PRAGMA quick_check(5)")
    findings = [" ".join(str(row[0]).split()) for row in rows]
    if findings != ["ok"]:
        raise StoreError(f"{path} is damaged: {'; '.join(findings)}", _RESTORE)
    orphans = list(connection.execute("PRAGMA foreign_key_check"))
    if orphans:
        tables = ", ".join(sorted({str(row[0]) for row in orphans}))
        raise StoreError(f"{path} is inconsistent: dangling references in {tables}", _RESTORE)
    wrong = _differences(connection, migrations[:version])
    if wrong:
        raise StoreError(f"{path} is not as vgpud made it: it {'; '.join(wrong)}", _RESTORE)


def _differences(connection: sqlite3.Connection, applied: Sequence[Migration]) -> list[str]:
    """What the migrations made and is not there any more, or is another one.

    What somebody has added (a view, the statistics of ANALYZE) is theirs.
    """
    with closing(sqlite3.connect(":memory:")) as made:
        for migration in applied:
            made.executescript(migration.sql)
        expected = _schema(made)
    found = _schema(connection)
    return [
        f"{'has another' if key in found else 'lacks'} {' '.join(key)}"
        for key, sql in expected.items()
        if found.get(key) != sql
    ]


def _schema(connection: sqlite3.Connection) -> dict[tuple[str, str], str]:
    """Kind and name of everything in a database to how it was made, without the comments."""
    rows = connection.execute(load_queries()["list_schema"])
    return {(kind, name): " ".join(_COMMENT.sub("", sql).split()) for kind, name, sql in rows}


def _pragma(connection: sqlite3.Connection, name: str) -> int:
    return int(connection.execute(f"PRAGMA {name}").fetchone()[0])


def _migrate(connection: sqlite3.Connection, migrations: Sequence[Migration]) -> None:
    """Applies what is missing, each migration and its record in one transaction."""
    record = load_queries()["record_migration"]
    for migration in migrations[_pragma(connection, "user_version") :]:
        try:
            # executescript() would commit a transaction of ours, so the script opens its own.
            connection.executescript(f"BEGIN IMMEDIATE;\n{migration.sql}")
            connection.execute(record, {"version": migration.version, "name": migration.name})
            connection.execute(f"PRAGMA user_version = {migration.version}")
            connection.execute("COMMIT")
        except sqlite3.Error:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
