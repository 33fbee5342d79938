"""vgpu-admin backup: a copy that is whole, sound and nobody else's, or no file at all."""

from __future__ import annotations

import json
import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.unit.admin_under_test import Admin
from tests.unit.control_under_test import UUID_1, RunningControl, running_control
from vgpud.control.authz import RolePolicy
from vgpud.store.store import Store


@pytest.fixture
def control(control: RunningControl, admin: Admin) -> RunningControl:
    """A control server with a VM."""
    admin("register-vm", f"--vm-uuid={UUID_1}", "--vm-name=trainer")
    return control


def test_a_copy_is_a_database_that_vgpud_can_go_on_with(
    control: RunningControl, admin: Admin, tmp_path: Path
) -> None:
    file = tmp_path / "copy.db"
    ran = admin("backup", str(file))
    assert ran.code == 0 and ran.out.startswith(f"{file}: ") and "schema version" in ran.out
    assert file.stat().st_mode & 0o777 == 0o600
    admin("remove-vm", f"--vm-uuid={UUID_1}")
    store = Store.open(file)
    try:
        assert [vm.vm_name for vm in store.list_vms()] == ["trainer"]
        assert [pool.pool_id for pool in store.list_pools()] == ["A", "B"]
    finally:
        store.close()
    assert control.audit()[1].method == "org.vgpud.admin.Backup"


def test_a_file_that_is_there_is_replaced_by_force_only(
    control: RunningControl, admin: Admin, tmp_path: Path
) -> None:
    file = tmp_path / "copy.db"
    file.write_text("precious")
    ran = admin("backup", str(file))
    assert ran.code == 1 and f"{file} exists. Name another file, or add --force." in ran.err
    assert file.read_text() == "precious"
    done = json.loads(admin("backup", str(file), "--force", "--json").out)
    assert done["bytes"] == file.stat().st_size
    assert os.listdir(tmp_path) == ["copy.db"]
    with closing(sqlite3.connect(file)) as database:
        assert database.execute("SELECT count(*) FROM vms").fetchone() == (1,)


def test_what_cannot_be_written_leaves_nothing(
    control: RunningControl, admin: Admin, tmp_path: Path
) -> None:
    for file in (tmp_path / "nowhere" / "copy.db", Path("/dev/full/copy.db")):
        ran = admin("backup", str(file))
        assert ran.code == 1 and f"copying the database to {file}: {file} cannot" in ran.err
        assert "[BackupError]" in ran.err and "has been done" not in ran.err
    for name in ("/", "", "x" * 300):
        ran = admin("backup", name, "--force", "--json")
        assert ran.code == 1 and json.loads(ran.out)["error"]["code"] == "BackupError"
    assert os.listdir(tmp_path) == []


def test_a_copy_is_for_administrators(
    short_dir: Path, monkeypatch: pytest.MonkeyPatch, admin: Admin, tmp_path: Path
) -> None:
    viewer = RolePolicy(frozenset(), view_gid=os.getegid())
    with running_control(short_dir, policy=viewer) as running:
        monkeypatch.setenv("VGPUD_SOCKET", str(running.socket))
        assert admin("backup", str(tmp_path / "copy.db")).code == 4
    assert os.listdir(tmp_path) == []
