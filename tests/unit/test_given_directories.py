"""Giving vgpud's directories to its account, which may own and change them already."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from vgpud.directories import give_directory

UID = 54321

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to give files away")


def test_files_and_directories_are_given_but_the_one_that_is_kept(tmp_path: Path) -> None:
    for name in ("database", "spawn.sock"):
        (tmp_path / name).touch()
    (tmp_path / "vms").mkdir()
    give_directory(tmp_path, UID, UID, but=[tmp_path / "spawn.sock"])
    owners = {path.name: path.stat().st_uid for path in tmp_path.iterdir()}
    assert owners == {"database": UID, "vms": UID, "spawn.sock": 0}
    assert tmp_path.stat().st_uid == UID


def test_what_a_link_leads_to_is_not_given_away(tmp_path: Path) -> None:
    directory, secret = tmp_path / "state", tmp_path / "shadow"
    directory.mkdir()
    secret.touch()
    (directory / "soft").symlink_to(secret)
    (directory / "hard").hardlink_to(secret)
    give_directory(directory, UID, UID, but=[])
    assert secret.stat().st_uid == 0
    assert (directory / "soft").lstat().st_uid == UID
