"""Facts that stand in two places say the same in both."""

from __future__ import annotations

import ast
import re
import sys
import tomllib

import pytest

from tests.guards.sources import ROOT, files, name_of
from vgpud.fault_words import EXIT_DEVICE_LOST

VERB = re.compile(r"\./build\.sh ([a-z]+)")
VERSION = re.compile(r'^__version__ = "(\d+\.\d+\.\d+)"$', re.MULTILINE)


def verbs(build_script: str) -> set[str]:
    """The verbs that build.sh knows."""
    return set(re.findall(r"^verb_([a-z]+)\(\) \{ # \S", build_script, re.MULTILINE))


def pins(text: str) -> dict[str, str]:
    """Package to version, of a requirements file; raises ValueError for a line without a pin."""
    found: dict[str, str] = {}
    for line in text.splitlines():
        requirement = line.partition("#")[0].strip()
        if requirement:
            name, exact, version = requirement.partition("==")
            if not exact or not re.fullmatch(r"[\w.]+", version):
                raise ValueError(f"not pinned: {line}")
            found[name.lower().replace("_", "-")] = version
    return found


def _build_script() -> str:
    return (ROOT / "build.sh").read_text()


def test_documents_name_only_verbs_that_build_sh_has() -> None:
    known = verbs(_build_script())
    assert {"demo", "build", "test", "check", "bench", "help"} <= known
    texts = {name_of(p): p.read_text() for p in [*files(".md"), ROOT / ".ci" / "run"]}
    unknown = {(name, verb) for name, t in texts.items() for verb in VERB.findall(t)} - {
        (name, verb) for name in texts for verb in known
    }
    assert unknown == set()


def test_readme_names_the_commands_from_clone_to_answer_and_for_developers() -> None:
    named = set(VERB.findall((ROOT / "README.md").read_text()))
    assert {"demo", "test", "check", "bench"} <= named


def test_files_named_in_the_readme_exist() -> None:
    text = (ROOT / "README.md").read_text()
    named = re.findall(r"\]\(([\w./-]+)\)", text)
    assert named and [name for name in named if not (ROOT / name).exists()] == []


def test_ci_runs_what_a_reviewer_runs() -> None:
    script = (ROOT / ".ci" / "run").read_text()
    assert VERB.findall(script) == ["check", "test"]


def test_the_version_is_written_once() -> None:
    found = VERSION.search((ROOT / "vgpud" / "__init__.py").read_text())
    assert found
    again = [
        name_of(path)
        for path in files(".py", ".toml", ".c", ".h", ".sh")
        if path != ROOT / "vgpud" / "__init__.py" and f'"{found.group(1)}"' in path.read_text()
    ]
    assert again == []


def test_the_changelog_starts_with_this_version_or_unreleased() -> None:
    version = VERSION.search((ROOT / "vgpud" / "__init__.py").read_text())
    first = re.search(r"^## \[([^\]]+)\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert version and first
    assert first.group(1) in ("Unreleased", version.group(1))


def test_every_requirement_has_one_exact_version() -> None:
    seen: dict[str, str] = {}
    for path in sorted(ROOT.glob("requirements*.txt")):
        for name, version in pins(path.read_text()).items():
            assert seen.setdefault(name, version) == version, name
    build = tomllib.loads((ROOT / "pyproject.toml").read_text())["build-system"]["requires"]
    for name, version in pins("\n".join(build)).items():
        assert seen.get(name, version) == version, name


def test_what_vgpud_imports_is_what_is_required() -> None:
    runtime = {name.replace("-", "_") for name in pins((ROOT / "requirements.txt").read_text())}
    imported: set[str] = {"cffi", "pycparser"}  # the extension needs cffi, and that pycparser
    for path in files(".py", under="vgpud"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                imported.update(alias.name.partition(".")[0] for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                imported.add(node.module.partition(".")[0])
    assert imported - {"vgpud"} - sys.stdlib_module_names == runtime


def test_the_exit_status_of_a_lost_device_is_the_workers() -> None:
    worker = (ROOT / "mediator_ext" / "worker" / "main.c").read_text()
    found = re.search(r"EXIT_DEVICE_LOST = (\d+),", worker)
    assert found and int(found.group(1)) == EXIT_DEVICE_LOST


def test_an_unknown_verb_and_a_loose_requirement_are_seen() -> None:
    assert verbs("verb_demo() { # shows it\n}\nverb_hidden() {\n}\n") == {"demo"}
    assert VERB.findall("run `./build.sh dmeo` now") == ["dmeo"]
    with pytest.raises(ValueError, match="not pinned"):
        pins("cffi>=2")
