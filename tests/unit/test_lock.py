"""One daemon per state directory."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from vgpud.errors import ExitCode, InstanceLockedError, StoreError
from vgpud.store.lock import acquire_instance_lock


def test_a_second_daemon_is_told_who_holds_the_lock(short_dir: Path) -> None:
    path = short_dir / "vgpud.lock"
    lock = acquire_instance_lock(path)
    with pytest.raises(InstanceLockedError, match=f"pid {os.getpid()}") as refused:
        acquire_instance_lock(path)
    assert refused.value.exit_code is ExitCode.CONFLICT
    lock.release()


def test_a_released_lock_can_be_taken_and_its_file_stays(short_dir: Path) -> None:
    path = short_dir / "vgpud.lock"
    acquire_instance_lock(path).release()
    acquire_instance_lock(path).release()
    assert path.read_text() == f"{os.getpid()}\n"


def test_a_killed_holder_leaves_no_lock(short_dir: Path) -> None:
    path = short_dir / "vgpud.lock"
    child = os.fork()
    if child == 0:
        acquire_instance_lock(path)
        os._exit(0)
    os.waitpid(child, 0)
    acquire_instance_lock(path).release()


def test_a_link_is_not_followed(short_dir: Path) -> None:
    (short_dir / "vgpud.lock").symlink_to(short_dir / "elsewhere")
    with pytest.raises(StoreError, match="cannot open the lock"):
        acquire_instance_lock(short_dir / "vgpud.lock")
    assert not (short_dir / "elsewhere").exists()
