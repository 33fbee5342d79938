"""Where workers come from: how many, when there is none to be had, and what that costs others."""

from __future__ import annotations

import json
import re
import shutil
import signal
from pathlib import Path

import pytest

from tests.daemon.guests import (
    Guest,
    both_workers,
    build,
    eventually,
    logged,
    register,
    wait_ended,
)
from tests.daemon_under_test import ROOT, RunningDaemon, running_vgpud
from tests.fake_cuda import fake_cuda
from tests.integration.spawner_under_test import worker_program
from tests.stub_client import Opcode, WireStatus
from vgpud.pocl import find_bundled_pocl

REQUESTS = 200


def ask_often(guest: Guest) -> None:
    """Every one of many requests is answered that there is no worker."""
    with guest.stub() as stub:
        for _ in range(REQUESTS):
            answer = stub.request(Opcode.VECTOR_ADD, (1, 2))
            assert answer.status == WireStatus.UNAVAILABLE


def lines_about(guest: Guest, what: str) -> list[str]:
    text = guest.daemon.log.read_text(errors="replace")
    return [line for line in text.splitlines() if f"VM {guest.uuid}: " in line and what in line]


def device_of(daemon: RunningDaemon) -> dict[str, object]:
    answer = json.loads(daemon.admin("status", "--json").stdout)
    device = answer["device"]
    assert isinstance(device, dict)
    return device


def put_program(place: Path, program: Path) -> Path:
    """A program in the place of vgpu-worker, that everybody can execute. Returns the place."""
    copy = place.with_suffix(".new")
    shutil.copyfile(program, copy)
    copy.chmod(0o755)
    copy.replace(place)
    return place


REAL_WORKER = ROOT / "vgpud" / "bin" / "vgpu-worker"
ENDS_AT_ONCE = Path("/bin/false")


def test_without_a_device_no_worker_is_started_and_little_is_logged() -> None:
    missing = {"backend": "opencl", "opencl_library": "/nonexistent/libOpenCL.so"}
    with running_vgpud({"device": missing}) as daemon:
        guest = register(daemon)
        ask_often(guest)
        assert lines_about(guest, "worker") == lines_about(guest, "there is no device")
        assert len(lines_about(guest, "worker")) == 1


def test_auto_takes_cuda_where_it_works() -> None:
    with running_vgpud({"device": {"backend": "auto", "cuda_library": fake_cuda()}}) as daemon:
        assert device_of(daemon)["backend"] == "cuda"


@pytest.mark.skipif(
    find_bundled_pocl() is None, reason="the package pocl-binary-distribution is not installed"
)
def test_auto_takes_opencl_where_cuda_does_not_work_and_the_log_says_why() -> None:
    broken, pocl = fake_cuda("_broken"), str(find_bundled_pocl())
    device = {"backend": "auto", "cuda_library": broken, "opencl_library": pocl}
    with running_vgpud({"device": device}) as daemon:
        assert device_of(daemon)["backend"] == "opencl"
        logged(daemon, rf"device: {broken} cannot be used: .* has no cuLinkComplete")


@pytest.mark.parametrize("length", [400, 4000])
def test_a_device_with_a_long_path_is_tried_or_named_in_the_reason(length: int) -> None:
    library = "/" + "x" * (length - 1)
    with running_vgpud({"device": {"backend": "opencl", "opencl_library": library}}) as daemon:
        device = device_of(daemon)
        assert device["ready"] is False
        reason = str(device["reason"]).replace(library, "PATH")
        assert ("PATH: the settings of a worker" in reason) == (length == 4000), reason


def test_a_worker_that_comes_to_nothing_is_not_tried_at_each_request(short_dir: Path) -> None:
    short_dir.chmod(0o755)
    program = put_program(short_dir / "worker", REAL_WORKER)
    with running_vgpud({"spawner": {"worker_binary": str(program), "standby": 0}}) as daemon:
        guest = register(daemon)
        put_program(program, ENDS_AT_ONCE)
        ask_often(guest)
        # One, and another each time the growing pause is over: far from one for each request.
        spawned = (daemon.state_dir / "vgpu-spawn.log").read_text()
        assert 1 <= spawned.count("launch worker started") < REQUESTS / 10
        assert 1 <= len(lines_about(guest, "worker")) < REQUESTS / 10


def test_a_device_that_appears_later_is_used_without_a_restart(short_dir: Path) -> None:
    short_dir.chmod(0o755)
    program = put_program(short_dir / "worker", ENDS_AT_ONCE)
    with running_vgpud(
        {"spawner": {"worker_binary": str(program)}, "device": {"retry_interval_ms": 100}}
    ) as daemon:
        guest = register(daemon)
        assert device_of(daemon)["ready"] is False
        with guest.stub() as stub:
            assert stub.request(Opcode.VECTOR_ADD, (1, 2)).status == WireStatus.UNAVAILABLE
            put_program(program, REAL_WORKER)
            eventually(lambda: device_of(daemon)["ready"], "the device is found")
            assert stub.vector_add(1, 2) == 3


def test_as_many_vms_as_are_allowed_can_build_and_vgpud_can_be_restarted_then() -> None:
    with running_vgpud({"spawner": {"max_workers": 2}}) as daemon:
        guests = [register(daemon), register(daemon)]
        for guest in guests:
            both_workers(guest)
        daemon.end(signal.SIGKILL)
        daemon.start()
        assert device_of(daemon)["ready"] is True
        for guest in guests:
            with guest.ring() as ring:
                build(ring, module=2)


def test_a_build_worker_that_has_nothing_to_do_is_ended_and_costs_nothing() -> None:
    with running_vgpud({"spawner": {"build_idle_ms": 50}}) as daemon:
        guest = register(daemon)
        launcher = guest.warm_up()
        with guest.ring() as ring:
            build(ring)
            guest.logged(r"ending build worker \d+: it has had nothing to do")
            build(ring, module=2)
        assert len(lines_about(guest, "build worker")) >= 3  # started, ended, started
        assert guest.live().worker_pid == launcher.pid
        assert (guest.live().failed, guest.live().faults) == (0, 0)


def test_a_build_worker_whose_launch_worker_died_meanwhile_is_not_taken_over(
    vgpud_of_its_own: RunningDaemon,
) -> None:
    daemon = vgpud_of_its_own
    guest = register(daemon)
    launcher, builder = both_workers(guest)
    daemon.end(signal.SIGKILL)
    launcher.kill()
    wait_ended(launcher)
    daemon.start()
    wait_ended(builder)
    with guest.ring() as ring:
        build(ring, module=2)


def test_a_device_whose_probe_cannot_be_asked_is_what_it_was(short_dir: Path) -> None:
    short_dir.chmod(0o755)
    program = put_program(short_dir / "worker", REAL_WORKER)
    with running_vgpud(
        {
            "spawner": {"worker_binary": str(program), "start_timeout_ms": 2000},
            "device": {"retry_interval_ms": 100},
        }
    ) as daemon:
        guest = register(daemon)
        guest.warm_up()
        put_program(program, worker_program())  # waits for commands, and says nothing by itself
        daemon.end(signal.SIGKILL)
        daemon.start()
        logged(daemon, "device: taking null for what it last was")
        assert device_of(daemon)["ready"] is True
        guest.warm_up()
        put_program(program, REAL_WORKER)
        eventually(
            lambda: len(re.findall("device: null", daemon.log.read_text())) > 1, "it is asked"
        )
