"""What holds for every file of the tree: length, name, an opening comment, nothing unfinished."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.guards.sources import files, name_of

MAX_LINES = {".py": 400, ".sh": 400, ".c": 450, ".h": 450}
NAMES_THAT_SAY_NOTHING = {"util", "utils", "common", "helper", "helpers", "manager", "misc"}
# Written in two pieces, so that this file may stand in the tree it checks.
MARKS = ("TO" + "DO", "FIX" + "ME", "XX" + "X", "HA" + "CK")
UNFINISHED = re.compile(rf"\b(?:{'|'.join(MARKS)})\b")
SOMEBODYS_MACHINE = re.compile(r"(?<![\w.$}~/*-])/(?:home|root|work|Users)/")
TEXT = (".py", ".c", ".h", ".sh", ".md", ".toml", ".txt", ".sql", ".varlink", ".service", ".conf")


def too_long(path: Path, text: str) -> str | None:
    limit = MAX_LINES.get(path.suffix)
    lines = text.count("\n")
    return f"{path}: {lines} lines, at most {limit}" if limit and lines > limit else None


def says_nothing(path: Path) -> bool:
    """Whether a file's name is, or ends in, a word under which anything could be put."""
    return bool(NAMES_THAT_SAY_NOTHING & set(path.stem.lower().split("_")))


def unfinished_lines(text: str) -> list[str]:
    """The lines with a mark of unfinished work, or a path of one person's machine."""
    return [
        f"{number}: {line.strip()}"
        for number, line in enumerate(text.splitlines(), 1)
        if UNFINISHED.search(line) or SOMEBODYS_MACHINE.search(line)
    ]


def opens_with_comment(text: str) -> bool:
    return text.lstrip().startswith("/*")


def test_no_file_is_too_long() -> None:
    reports = [too_long(path, path.read_text()) for path in files(*MAX_LINES)]
    assert reports and not any(reports), "\n".join(filter(None, reports))


def test_no_name_says_nothing() -> None:
    assert [name_of(path) for path in files(".py", ".c", ".h") if says_nothing(path)] == []


def test_every_c_file_opens_with_a_comment() -> None:
    sources = files(".c", ".h")
    assert sources
    assert [name_of(p) for p in sources if not opens_with_comment(p.read_text())] == []


def test_every_python_module_opens_with_a_docstring() -> None:
    silent = [
        name_of(path)
        for path in files(".py")
        if path.read_text().strip() and not path.read_text().lstrip().startswith(('"""', 'r"""'))
    ]
    assert silent == []


def test_nothing_is_unfinished_and_no_path_is_of_one_machine() -> None:
    found = [
        f"{name_of(path)}:{line}"
        for path in files()
        if path.suffix in TEXT or path.name == "Makefile"
        for line in unfinished_lines(path.read_text())
    ]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    "line",
    [*(f"/* {mark}: later */" for mark in MARKS), 'open("/' + 'home/ann/x")', "in /" + "root/x"],
)
def test_an_unfinished_line_is_seen(line: str) -> None:
    assert unfinished_lines(f"first\n{line}\n") == [f"2: {line}"]


@pytest.mark.parametrize("line", ['mkdtemp("/tmp/x-XXXXXX")', "ProtectHome=yes", "a/work/b"])
def test_an_ordinary_line_is_not_reported(line: str) -> None:
    assert unfinished_lines(line) == []


def test_a_long_file_and_an_empty_name_are_seen() -> None:
    assert too_long(Path("a.py"), "\n" * 401)
    assert too_long(Path("a.py"), "\n" * 400) is None
    assert says_nothing(Path("vgpud/string_utils.py")) and says_nothing(Path("common.h"))
    assert not says_nothing(Path("vgpud/mediator.py"))
    assert not opens_with_comment("#include <stdio.h>\n/* late */")
