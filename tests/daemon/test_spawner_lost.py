"""vgpud without its spawner: it ends, says why, and the next one goes on with what there is."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import psutil
import pytest

from tests.daemon.guests import DEADLINE_S, eventually, logged, register, stopped, wait_ended
from tests.daemon_under_test import BIN, RunningDaemon, running_vgpud
from tests.stub_client import Opcode, WireStatus, parse_response


@pytest.fixture
def daemon() -> Iterator[RunningDaemon]:
    """A daemon that gives a request to its spawner little time."""
    with running_vgpud(
        {"spawner": {"request_timeout_ms": 500}, "daemon": {"shutdown_timeout_ms": 500}}
    ) as running:
        yield running


def spawner_of(daemon: RunningDaemon) -> psutil.Process:
    (found,) = (
        process
        for process in psutil.process_iter(["name", "cmdline"])
        if process.info["name"] == "vgpu-spawn"
        and any(str(daemon.run_dir) in word for word in process.info["cmdline"] or ())
    )
    return found


def ended_by_itself(daemon: RunningDaemon) -> int:
    """The exit status of a daemon that was not asked to end."""
    assert daemon.process is not None
    returncode = daemon.process.wait(DEADLINE_S)
    daemon.process = None
    return returncode


def test_a_spawner_that_does_not_answer_ends_vgpud_and_the_next_one_goes_on(
    daemon: RunningDaemon,
) -> None:
    guest, other = register(daemon), register(daemon)
    worker = other.warm_up()
    with guest.stub() as stub:
        with stopped(spawner_of(daemon)):
            number = stub.send_request(Opcode.VECTOR_ADD, (20, 22))
            assert ended_by_itself(daemon) == 1
        logged(daemon, "lost vgpu-spawn on .*: timed out")
        logged(daemon, "ended, as vgpu-spawn was lost")
        daemon.start()
        answer = stub.receive()
    assert (answer.request_id, parse_response(answer.payload).status) == (number, WireStatus.OK)
    assert other.warm_up().pid == worker.pid


def test_a_killed_spawner_ends_vgpud_which_starts_anew_with_another_one(
    daemon: RunningDaemon,
) -> None:
    guest = register(daemon)
    worker = guest.warm_up()
    spawner_of(daemon).kill()
    assert ended_by_itself(daemon) == 1
    wait_ended(worker)
    assert "the spawner keeps" not in daemon.log.read_text()
    daemon.start()
    assert guest.warm_up().pid != worker.pid


def test_a_shutdown_of_everything_asks_a_slow_spawner_again(daemon: RunningDaemon) -> None:
    worker = register(daemon).warm_up()
    spawner = spawner_of(daemon)
    with stopped(spawner):
        subprocess.run(
            [BIN / "vgpud", "--config", daemon.config, "shutdown", "--all"], check=True, timeout=60
        )
        logged(daemon, "lost vgpu-spawn on .*: timed out; asking again")
    wait_ended(worker, spawner)
    assert ended_by_itself(daemon) == 0
    eventually(lambda: "with all workers and the spawner" in daemon.log.read_text(), "it says so")
