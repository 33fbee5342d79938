"""Work that VMs submit to an installed vgpud, and what restarts and kills do to it."""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
from collections.abc import Iterator

import pytest

from tests.platform.installed import Guest, daemon_answers, main_pid, status_of
from tests.platform.systemd_host import UNITS

# The first test of a run also installs and boots.
pytestmark = pytest.mark.timeout(300)

WORKER_UIDS = range(0x7000_0000, 0x7FFE_0000)
MORE_THAN_ENOUGH = 10_000_000
"""Requests that take ten seconds and more; a restart takes about one."""


def test_work_runs_in_a_worker_of_a_uid_of_its_own(guest: Guest) -> None:
    assert guest.ask("stub", "vector-add", "2", "40")["result"] == 42
    pid = guest.live()["worker_pid"]
    status = status_of(guest.host, pid)
    uids = {int(uid) for uid in status["Uid"].split()}
    assert len(uids) == 1 and uids.pop() in WORKER_UIDS
    assert int(status["PPid"]) == main_pid(guest.host, "vgpu-spawn.service")
    assert int(status["CapEff"], 16) == 0 and status["NoNewPrivs"] == "1"
    cgroup = guest.host.read(f"/proc/{pid}/cgroup").strip()
    assert re.search(r"/system.slice/vgpu-spawn.service/vgpu-workers-\d+/worker-\d+$", cgroup)
    spawner = main_pid(guest.host, "vgpu-spawn.service")
    own = guest.host.read(f"/proc/{spawner}/cgroup").strip()
    assert own.endswith("/system.slice/vgpu-spawn.service/spawner")


def test_the_kernel_ends_a_worker_before_it_ends_vgpud_or_the_spawner(guest: Guest) -> None:
    guest.ask("stub", "vector-add", "1", "2")

    def score(pid: int) -> int:
        return int(guest.host.read(f"/proc/{pid}/oom_score_adj"))

    others = [main_pid(guest.host, unit) for unit in UNITS]
    assert score(guest.live()["worker_pid"]) >= 500 > max(map(score, others))


def test_a_program_is_built_and_its_result_is_right(guest: Guest) -> None:
    answer = guest.ask("ring", "saxpy", "--elements", "100000")
    assert (answer["checked"], answer["wrong"]) == (100_000, 0)


@contextlib.contextmanager
def ring_work(guest: Guest) -> Iterator[subprocess.Popen[str]]:
    """Ring work that goes through a worker, under way; every request has to be answered once."""
    work = ("nop", "--worker", "--depth=64")
    client = guest.host.begin(*guest.client("ring", *work, f"--count={MORE_THAN_ENOUGH}"))
    try:
        guest.host.eventually(lambda: guest.live()["completed"] > 1_000, "work is under way")
        yield client
        before = guest.live()["completed"]
        guest.host.eventually(lambda: guest.live()["completed"] > before, "it goes on")
        guest.host.do("pkill", "--signal=INT", "vgpu-client")
        said = client.communicate(timeout=60)[0]
        assert client.returncode == 0, said
        done = json.loads(said)
        assert 1_000 < done["answered"] == done["sent"] < MORE_THAN_ENOUGH
    finally:
        with client:
            client.kill()


def test_a_restart_in_the_middle_of_ring_work_loses_nothing(guest: Guest) -> None:
    host = guest.host
    with ring_work(guest):
        old, worker = main_pid(host, "vgpud.service"), guest.live()["worker_pid"]
        host.do("systemctl", "restart", "vgpud.service")
        assert daemon_answers(host, not_pid=old)
        assert guest.live()["worker_pid"] == worker


def test_systemd_starts_a_killed_vgpud_again_and_the_work_goes_on(guest: Guest) -> None:
    host = guest.host
    with ring_work(guest):
        old, worker = main_pid(host, "vgpud.service"), guest.live()["worker_pid"]
        host.do("systemctl", "kill", "--signal=KILL", "vgpud.service")
        host.eventually(lambda: daemon_answers(host, not_pid=old), "another vgpud answers")
        assert int(host.show("vgpud.service", "NRestarts")) == 1
        assert guest.live()["worker_pid"] == worker


def test_a_killed_spawner_takes_the_work_with_it_and_both_come_back(guest: Guest) -> None:
    host = guest.host
    guest.ask("stub", "vector-add", "1", "2")
    old, worker = main_pid(host, "vgpud.service"), guest.live()["worker_pid"]
    host.do("systemctl", "kill", "--kill-who=main", "--signal=KILL", "vgpu-spawn.service")
    host.eventually(lambda: daemon_answers(host, not_pid=old), "another vgpud answers")
    assert worker not in host.processes("^vgpu-worker")
    assert guest.ask("stub", "vector-add", "3", "4")["result"] == 7
