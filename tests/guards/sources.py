"""The files of this tree as the guards see them: sources only, nothing that was built."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
BUILT = {".git", ".venv", "build", "dist", "__pycache__"}
BUILT |= {".mypy_cache", ".pytest_cache", ".ruff_cache", ".hypothesis"}


def files(*suffixes: str, under: str = ".") -> list[Path]:
    """Every source file below a directory of the tree, sorted; without suffixes, of any kind."""
    found = [p for p in _walk(ROOT / under) if not suffixes or p.suffix in suffixes]
    return sorted(found)


def name_of(path: Path) -> str:
    """The path as it is written in tables and messages: relative to the tree's root."""
    return path.relative_to(ROOT).as_posix()


def _walk(directory: Path) -> Iterator[Path]:
    for path in directory.iterdir():
        if path.name in BUILT or path.name.endswith(".egg-info") or path.is_symlink():
            continue
        if path.is_dir():
            if path != ROOT / "vgpud" / "bin":
                yield from _walk(path)
        else:
            yield path
