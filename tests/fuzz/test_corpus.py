"""Every known input of every fuzz target does no harm, under gcc's sanitizers.

The inputs are tests/fuzz/corpus/<target>/<what it is>. What a fuzzer found is added there, under a
name that says what it does; that is its regression test.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.c.run import OPTIONS
from tests.fuzz.run import target_names

ROOT = Path(__file__).resolve().parent.parent.parent
CORPUS = ROOT / "tests" / "fuzz" / "corpus"
TARGETS = target_names()
INPUTS = sorted(path for path in CORPUS.glob("*/*"))
MADE_UP = 200


@pytest.fixture(scope="session")
def replays() -> Path:
    """The directory with the targets built for replaying."""
    argv = ["make", "-C", str(ROOT / "mediator_ext"), f"-j{os.cpu_count() or 1}"]
    done = subprocess.run(
        [*argv, "SAN=address", "replays"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return ROOT / "build" / "address" / "replay"


def replay(program: Path, *arguments: str) -> str:
    """Run a target to its end; a non-empty answer is why it failed."""
    done = subprocess.run(
        [str(program), *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env={**os.environ, **OPTIONS},
        timeout=100,
        check=False,
    )
    text = done.stderr.decode(errors="replace")
    return f"exit {done.returncode}\n{text}" if done.returncode else ""


@pytest.mark.parametrize("path", INPUTS, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_a_known_input_does_no_harm(replays: Path, path: Path) -> None:
    failure = replay(replays / path.parent.name, str(path))
    assert not failure, failure


@pytest.mark.parametrize("name", TARGETS)
def test_made_up_inputs_do_no_harm(replays: Path, name: str) -> None:
    failure = replay(replays / name, str(MADE_UP))
    assert not failure, failure


def test_every_target_has_a_corpus_and_every_corpus_a_target() -> None:
    assert sorted({path.parent.name for path in INPUTS}) == TARGETS
