"""What vgpud does not start with: it says why, exits with its own code, and changes nothing."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
from pathlib import Path

import pytest

from tests.daemon.place import Place
from tests.daemon_under_test import BIN, RunningDaemon

CONFLICT = 6


BAD = {
    "unknown key": ("[vms]\nmax_queud_per_vm = 5\n", "vms.max_queud_per_vm", "max_queued_per_vm"),
    "unknown section": ("[schedular]\n", "schedular", "scheduler"),
    "text for a number": (
        '[scheduler]\nquantum_us = "fast"\n',
        "scheduler.quantum_us",
        "an integer from 100 to 10000000",
    ),
    "number for a text": ("[vms]\nqemu_user = 64055\n", "vms.qemu_user", "a string"),
    "out of range": (
        "[vms]\nring_queue_pairs = 0\n",
        "vms.ring_queue_pairs",
        "an integer from 1 to 64",
    ),
    "no such choice": ('[device]\nbackend = "gpu"\n', "device.backend", "auto, cuda, opencl, null"),
}


@pytest.mark.parametrize(("section", "key", "expected"), BAD.values(), ids=BAD.keys())
def test_a_bad_configuration_refuses_the_start_with_file_key_and_expectation(
    place: Place, section: str, key: str, expected: str
) -> None:
    place.configure(section)
    done = place.start()
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1, done.stderr
    for part in (str(place.config), f"{key}: ", expected):
        assert part in done.stderr
    assert not place.processes()


def test_a_file_that_is_not_toml_is_named_with_the_line(place: Place) -> None:
    place.configure("[vms\n")
    done = place.start()
    assert done.returncode == 2
    assert f"{place.config}: is not valid TOML" in done.stderr and "line 4" in done.stderr


def test_a_missing_configuration_is_named(place: Place) -> None:
    place.config.unlink()
    done = place.start()
    assert done.returncode == 2
    assert str(place.config) in done.stderr


def test_the_configuration_can_be_checked_without_starting(place: Place) -> None:
    check = [str(BIN / "vgpud"), "--config", str(place.config), "--check-config"]
    good = subprocess.run(check, check=False, capture_output=True, text=True)
    assert (good.returncode, good.stdout) == (
        0,
        f"vgpud: the configuration is good ({place.config})\n",
    )
    place.configure("[nothing]\n")
    assert subprocess.run(check, check=False, capture_output=True).returncode == 2
    assert not place.processes()


def test_an_account_that_is_not_there_is_named_with_the_file_before_a_start(place: Place) -> None:
    place.configure('user = "no-such-account"\n')
    for words in (("--check-config",), ()):
        done = place.start(*words)
        assert done.returncode == 2
        said = f"vgpud: {place.config}: daemon.user: there is no account no-such-account."
        assert done.stderr == f"{said}\n"


def newer_database(path: Path) -> None:
    """A sound database of a release that is not there yet."""
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE pools (pool_id TEXT)")
        database.execute("INSERT INTO pools VALUES ('A')")
        database.execute("PRAGMA user_version = 9999")
    database.close()


def not_a_database(path: Path) -> None:
    path.write_bytes(b"These are the notes of somebody who misread state_dir.\n" * 100)


def damaged_database(path: Path) -> None:
    newer_database(path)
    path.write_bytes(path.read_bytes()[:100] + os.urandom(4096))


@pytest.mark.parametrize("write", [newer_database, not_a_database, damaged_database])
def test_a_store_that_cannot_be_used_refuses_the_start_and_stays_as_it_is(
    place: Place, write: object
) -> None:
    assert callable(write)
    write(place.database)
    before = place.database.read_bytes()
    done = place.start()
    assert done.returncode == CONFLICT
    assert str(place.database) in done.stderr
    assert place.database.read_bytes() == before
    assert sorted(path.name for path in place.database.parent.glob("vgpud.db*")) == ["vgpud.db"]


def test_a_start_that_is_refused_leaves_no_process(place: Place) -> None:
    not_a_database(place.database)
    assert place.start().returncode == CONFLICT
    assert not place.processes()


def test_a_start_that_fails_late_leaves_no_process(place: Place) -> None:
    place.configure('[control]\nsocket = "/nonexistent/control.sock"\n[device]\nbackend = "null"\n')
    done = place.start()
    assert done.returncode == 1
    assert "/nonexistent/control.sock" in done.stderr and "Traceback" not in done.stderr
    assert not place.processes()


def test_a_second_daemon_on_the_same_state_is_refused_and_told_the_pid(
    place: Place, vgpud: RunningDaemon
) -> None:
    assert vgpud.process is not None
    place.configure(state_dir=vgpud.state_dir)
    done = place.start()
    assert done.returncode == CONFLICT
    assert f"another vgpud (pid {vgpud.process.pid}) holds" in done.stderr
    assert vgpud.admin("list-pools").returncode == 0


def test_a_second_daemon_with_the_same_configuration_harms_nobody(vgpud: RunningDaemon) -> None:
    assert vgpud.process is not None
    done = subprocess.run(
        [BIN / "vgpud", "--config", vgpud.config],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == CONFLICT
    assert f"(pid {vgpud.process.pid})" in done.stderr
    assert vgpud.admin("status").returncode == 0


def admin(socket: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [BIN / "vgpu-admin", f"--socket={socket}", "list-pools"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_vgpu_admin_without_a_daemon_exits_3_and_says_how_to_start_it(short_dir: Path) -> None:
    done = admin(short_dir / "control.sock")
    assert done.returncode == 3
    assert "systemctl start vgpud" in done.stderr
    assert done.stdout == ""


def test_vgpu_admin_after_a_daemon_was_killed_exits_3(vgpud_of_its_own: RunningDaemon) -> None:
    vgpud_of_its_own.end(signal.SIGKILL)
    assert vgpud_of_its_own.control_socket.exists()
    done = vgpud_of_its_own.admin("list-pools")
    assert done.returncode == 3
    assert "systemctl start vgpud" in done.stderr
