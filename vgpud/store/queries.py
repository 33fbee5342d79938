"""Reads the .sql files: named statements, and the migrations in their order."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources

_NAME = re.compile(r"^-- name: (?P<name>[a-z_]+)\n-- (?P<purpose>.+)\n", re.MULTILINE)


@dataclass(frozen=True)
class Migration:
    """One step from version - 1 to version; `name` is its file's."""

    version: int
    name: str
    sql: str


def parse_queries(text: str) -> Mapping[str, str]:
    """Splits a file of statements, each under "-- name: x" and a line with its purpose.

    Raises ValueError for a name that occurs twice.
    """
    queries: dict[str, str] = {}
    heads = list(_NAME.finditer(text))
    for head, following in zip(heads, [*heads[1:], None], strict=True):
        if head["name"] in queries:
            raise ValueError(f"query {head['name']} is defined twice")
        end = following.start() if following else len(text)
        queries[head["name"]] = text[head.end() : end].strip()
    return queries


def load_queries() -> Mapping[str, str]:
    """The statements of queries.sql by name."""
    return parse_queries(_read("queries.sql"))


def load_schema() -> str:
    """The schema as documented; the store itself is built by the migrations."""
    return _read("schema.sql")


def load_migrations() -> tuple[Migration, ...]:
    """All migrations, oldest first; versions count from 1 without a gap.

    Raises ValueError when file names do not say so.
    """
    folder = resources.files("vgpud.store") / "migrations"
    names = sorted(entry.name for entry in folder.iterdir() if entry.name.endswith(".sql"))
    migrations = tuple(
        Migration(int(name.partition("_")[0]), name, _read(f"migrations/{name}")) for name in names
    )
    if [migration.version for migration in migrations] != list(range(1, len(names) + 1)):
        raise ValueError(f"migrations are not numbered from 1 without a gap: {names}")
    return migrations


def _read(name: str) -> str:
    return (resources.files("vgpud.store") / name).read_text(encoding="utf-8")
