"""What the service manager is told, and the units that start vgpud."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.guards.sources import ROOT
from vgpud.config import Config
from vgpud.systemd import ServiceManager

UNITS = ("vgpud.service", "vgpu-spawn.service")


@pytest.fixture
def told(short_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], str]]:
    """Plays the service manager; returns what it was told last."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(short_dir / "notify"))
        manager.settimeout(10)
        monkeypatch.setenv("NOTIFY_SOCKET", str(short_dir / "notify"))
        yield lambda: manager.recv(4096).decode()


def test_ready_comes_with_a_status_of_one_line(told: Callable[[], str]) -> None:
    with contextlib.closing(ServiceManager()) as manager:
        manager.ready("two\nlines")
    assert told() == "READY=1\nSTATUS=two lines"


def test_reloading_carries_the_time(told: Callable[[], str]) -> None:
    with contextlib.closing(ServiceManager()) as manager:
        manager.reloading()
    assert re.fullmatch(r"RELOADING=1\nMONOTONIC_USEC=\d+", told())


def test_stopping_status_and_watchdog_are_told(told: Callable[[], str]) -> None:
    with contextlib.closing(ServiceManager()) as manager:
        manager.stopping("draining")
        assert told() == "STOPPING=1\nSTATUS=draining"
        manager.status("serving 2 VMs")
        assert told() == "STATUS=serving 2 VMs"
        manager.watchdog()
        assert told() == "WATCHDOG=1"


def test_without_a_service_manager_nothing_happens() -> None:
    with contextlib.closing(ServiceManager({})) as manager:
        manager.ready("alone")
        assert manager.watchdog_interval_s() is None


@pytest.mark.parametrize(
    ("environment", "interval_s"),
    [
        ({"WATCHDOG_USEC": "30000000"}, 15.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}, 15.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
    ],
)
def test_watchdog_is_pinged_twice_per_period(
    environment: dict[str, str], interval_s: float | None
) -> None:
    with contextlib.closing(ServiceManager(environment)) as manager:
        assert manager.watchdog_interval_s() == interval_s


def test_the_unit_waits_longer_for_the_stop_than_the_daemon_drains() -> None:
    unit = (ROOT / "systemd/vgpud.service").read_text()
    found = re.search(r"^TimeoutStopSec=(\d+)s$", unit, re.MULTILINE)
    assert found and int(found[1]) * 1000 > Config().daemon.shutdown_timeout_ms


def test_the_spawner_listens_where_vgpud_looks() -> None:
    unit = (ROOT / "systemd/vgpu-spawn.service").read_text()
    assert f"--socket {Config().spawn_socket} " in unit


def test_systemd_accepts_the_units_and_rates_the_daemon_safe(short_dir: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is missing (package systemd)")
    for name in UNITS:
        # Judged without an installation: only whether the programs exist would differ.
        text = re.sub(
            r"^(Exec\w+=)\S+", r"\1/bin/true", (ROOT / "systemd" / name).read_text(), flags=re.M
        )
        (short_dir / name).write_text(text)
    files = [str(short_dir / name) for name in UNITS]
    verified = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *files],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (verified.returncode, verified.stderr) == (0, "")
    rated = subprocess.run(
        ["systemd-analyze", "security", "--offline=yes", "--threshold=15", files[0]],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert rated.returncode == 0, rated.stdout
