"""What a killed spawner leaves behind, and what the next one does about it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.integration.spawner_under_test import (
    WAIT_S,
    Worker,
    needs_root,
    program,
    running_spawner,
    short_directory,
    wait_gone,
    worker_program,
)
from vgpud.spawner import SpawnerLaunch, connect_or_start

BASE = 1_910_000_000 + 64 * (os.getpid() % 100_000)
"""Of uids that no spawner chooses by itself, nor another run of these tests."""


@dataclass(frozen=True)
class Killed:
    """What is left: a worker, and a process that it has started in a session of its own."""

    scratch: Path
    worker: Worker
    daughter: int


@pytest.fixture
def directory() -> Iterator[Path]:
    with short_directory() as path:
        yield path


@pytest.fixture
def killed() -> Iterator[Killed]:
    """A spawner that is gone, with a worker and a process of it that live on."""
    with running_spawner(f"--worker-uid-base={BASE}", "--max-workers=4") as service:
        client = service.connect()
        worker = service.spawn(client, slot=2)
        daughter = int(worker.ask("daughter"))
        service.process.kill()
        service.process.wait(WAIT_S)
        yield Killed(service.directory / "scratch", worker, daughter)


def launch(scratch: Path, base: int | None) -> SpawnerLaunch:
    return SpawnerLaunch(
        binary=program(),
        worker_binary=worker_program(),
        allow_uid=os.geteuid(),
        uid_base=base,
        max_workers=4,
        max_held=64,
        scratch_dir=scratch,
        log_file=scratch / "log",
    )


def age(scratch: Path) -> list[Path]:
    """Make the directories of spawners look as old as they are when a host starts again."""
    directories = list(scratch.glob("vgpu-spawn-*"))
    for path in directories:
        os.utime(path, (0, 0))
    return directories


@needs_root
def test_what_its_workers_left_is_ended_at_the_start_of_the_next(
    killed: Killed, directory: Path
) -> None:
    scratch = killed.scratch
    (abandoned,) = age(scratch)
    assert list(abandoned.iterdir())
    spawner = connect_or_start(directory / "s", launch(scratch, BASE), directory / "lock", WAIT_S)
    # Nobody has used that slot again.
    wait_gone(killed.daughter)
    killed.worker.wait_ended()
    assert not abandoned.exists()
    spawner.shutdown()


@needs_root
def test_a_spawner_with_other_uids_leaves_it_alone(killed: Killed, directory: Path) -> None:
    scratch = killed.scratch
    (abandoned,) = age(scratch)
    other = launch(scratch, BASE + 1000)
    spawner = connect_or_start(directory / "s", other, directory / "lock", WAIT_S)
    assert killed.worker.ask("alive") == "alive"
    os.kill(killed.daughter, 0)
    assert abandoned.exists()
    spawner.shutdown()
    os.kill(killed.daughter, 9)
