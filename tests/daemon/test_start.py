"""What a start finds, makes and mends before vgpud serves, and what an end leaves."""

from __future__ import annotations

import os
import pwd
import signal
import stat
import subprocess
import uuid
from pathlib import Path

import pytest

from tests.daemon.guests import register
from tests.daemon.place import Place, read_until
from tests.daemon_under_test import BIN, running_vgpud

ONLY_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root changes accounts")
READY = "ready: administration on"


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def end(place: Place, process: subprocess.Popen[str]) -> str:
    """End a vgpud with all that belongs to it; returns what it logged meanwhile."""
    done = place.start("shutdown", "--all")
    _, said = process.communicate(timeout=30)
    assert (done.returncode, process.returncode) == (0, 0), done.stderr + said
    return said


def test_everybody_may_enter_the_run_directory_whatever_the_umask(place: Place) -> None:
    place.configure('[device]\nbackend = "null"\n')
    place.config.write_text(place.config.read_text().replace("/run", "/way/run"))
    vgpud = place.begin(umask=0o077)
    assert "cannot be entered" not in read_until(vgpud, READY)
    assert mode_of(place.base / "way" / "run") == 0o711
    assert mode_of(place.base / "way") == 0o755
    end(place, vgpud)


def test_a_run_directory_that_is_closed_is_opened_and_that_is_said(place: Place) -> None:
    place.run_dir.mkdir(mode=0o700)
    vgpud = place.begin()
    assert f"{place.run_dir} may be entered by everybody now" in read_until(vgpud, READY)
    assert mode_of(place.run_dir) == 0o711
    end(place, vgpud)


def test_a_closed_directory_above_is_left_and_said(place: Place) -> None:
    place.base.chmod(0o700)
    vgpud = place.begin()
    assert f"{place.base} cannot be entered by everybody" in read_until(vgpud, READY)
    assert mode_of(place.base) == 0o700
    end(place, vgpud)


def test_a_file_where_the_vms_belong_refuses_the_start_in_one_sentence(place: Place) -> None:
    place.run_dir.mkdir()
    (place.run_dir / "vms").write_text("in the way")
    done = place.start()
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    said = f"vgpud: {place.run_dir}/vms is in the way and is not a directory. Move it away."
    assert done.stderr.splitlines()[-1] == said


def test_a_reload_asked_for_during_the_start_happens_after_it(place: Place) -> None:
    gate = place.base / "gate"
    os.mkfifo(gate)
    spawner = place.base / "spawner"
    real = BIN.parent.parent / "vgpud" / "bin" / "vgpu-spawn"
    spawner.write_text(f'#!/bin/sh\nread line <{gate}\nexec {real} "$@"\n')
    spawner.chmod(0o755)
    place.configure(f'[spawner]\nbinary = "{spawner}"\n[device]\nbackend = "null"\n')
    vgpud = place.begin()
    with gate.open("w") as opened:  # the start waits for its spawner now
        vgpud.send_signal(signal.SIGHUP)
        opened.write("go on\n")
    read_until(vgpud, "reload: done")
    end(place, vgpud)


def test_directories_of_vms_that_are_gone_are_removed(place: Place) -> None:
    gone = place.run_dir / "vms" / "5b0a4c6e-2f6d-4a55-9a51-0a6f2d1c7e01"
    other = place.run_dir / "vms" / "notes"
    for directory in (gone, other):
        directory.mkdir(parents=True)
        (directory / "stub.sock").touch()
    vgpud = place.begin()
    read_until(vgpud, READY)
    assert not gone.exists() and other.exists()
    end(place, vgpud)


def test_nothing_of_a_vm_is_left_in_the_run_directory_after_everything_has_ended() -> None:
    with running_vgpud() as daemon:
        guest = register(daemon)
        guest.warm_up()
        subprocess.run(
            [BIN / "vgpud", "--config", daemon.config, "shutdown", "--all"], check=True, timeout=60
        )
        assert daemon.process is not None and daemon.process.wait(30) == 0
        assert not guest.directory.exists()
        daemon.process = None
        daemon.start()
        assert guest.warm_up().is_running()


def test_the_first_commands_of_an_administrator_work_on_any_host() -> None:
    with running_vgpud() as daemon:
        for pool, name in (("A", "Production Pool"), ("B", "Development Pool")):
            made = daemon.admin("create-pool", f"--pool-id={pool}", f"--pool-name={name}")
            assert made.returncode == 0, made.stderr
        assert daemon.admin("list-pools").stdout.splitlines()[1:] == [
            'Pool A: "Production Pool" | Enabled | VMs: 0',
            'Pool B: "Development Pool" | Enabled | VMs: 0',
        ]
        words = (f"--vm-uuid={uuid.uuid4()}", "--pool=A", "--priority=high", "--vm-id=1")
        registered = daemon.admin("register-vm", *words)
        assert registered.returncode == 0, registered.stderr
        assert registered.stdout.startswith("VM registered successfully:\n")


@ONLY_ROOT
def test_another_account_takes_over_what_root_has_left(place: Place) -> None:
    def configure(more: str) -> None:
        place.configure(f'{more}[control]\nview_group = "games"\n[device]\nbackend = "null"\n')

    vm_uuid = "5b0a4c6e-2f6d-4a55-9a51-0a6f2d1c7e01"
    configure("")
    vgpud = place.begin()
    read_until(vgpud, READY)
    socket = place.run_dir / "control.sock"
    admin = [str(BIN / "vgpu-admin"), f"--socket={socket}"]
    subprocess.run([*admin, "register-vm", f"--vm-uuid={vm_uuid}", "--peer=uid:1"], check=True)
    for process in place.processes():  # so that all files stay
        process.kill()
    vgpud.communicate(timeout=30)
    configure('user = "nobody"\n')
    vgpud = place.begin()
    assert "not applied" not in read_until(vgpud, READY)
    shown = subprocess.run([*admin, "status"], check=True, capture_output=True, text=True)
    assert vm_uuid in shown.stdout and "not applied yet" not in shown.stdout
    assert socket.stat().st_uid == pwd.getpwnam("nobody").pw_uid
    assert socket.group() == "games"
    end(place, vgpud)
