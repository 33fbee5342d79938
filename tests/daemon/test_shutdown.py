"""`vgpud shutdown`: what it waits for, and what is said meanwhile."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from tests.daemon.guests import DEADLINE_S, eventually, register, stopped
from tests.daemon_under_test import BIN, RunningDaemon
from tests.stub_client import Opcode


def begin(daemon: RunningDaemon, *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [BIN / "vgpud", "--config", daemon.config, "shutdown", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def draining(daemon: RunningDaemon) -> bool:
    return "Engine: draining" in daemon.admin("status").stdout


@contextmanager
def working(daemon: RunningDaemon) -> Iterator[None]:
    """A request that runs for as long as the `with` block, and is answered after it."""
    guest = register(daemon)
    with guest.stub() as client:
        with stopped(guest.warm_up_over(client)):
            number = client.send_request(Opcode.VECTOR_ADD, (1, 1))
            guest.when(lambda live: live.running == 1, "it runs")
            yield
        assert client.receive().request_id == number


def test_it_returns_once_work_and_daemon_have_ended(vgpud_of_its_own: RunningDaemon) -> None:
    daemon = vgpud_of_its_own
    with working(daemon):
        asked = begin(daemon)
        eventually(lambda: draining(daemon), "status says that it drains")
        assert asked.poll() is None
    said, _ = asked.communicate(timeout=DEADLINE_S)
    assert (asked.returncode, said) == (0, "vgpud: ended\n")
    assert daemon.process is not None and daemon.process.poll() == 0
    daemon.process = None


def test_it_returns_at_once_when_nobody_waits(vgpud_of_its_own: RunningDaemon) -> None:
    daemon = vgpud_of_its_own
    with working(daemon):
        said, _ = begin(daemon, "--no-wait").communicate(timeout=DEADLINE_S)
        assert said == "vgpud: agreed to end\n"
        eventually(lambda: draining(daemon), "status says that it drains")
    assert daemon.process is not None and daemon.process.wait(DEADLINE_S) == 0
    daemon.process = None


def test_the_next_one_can_start_right_after_it(vgpud_of_its_own: RunningDaemon) -> None:
    daemon = vgpud_of_its_own
    for words in ((), ("--all",)):
        asked = begin(daemon, *words)
        said, _ = asked.communicate(timeout=DEADLINE_S)
        assert asked.returncode == 0 and said.startswith("vgpud: ended")
        assert daemon.process is not None and daemon.process.poll() == 0
        daemon.process = None
        daemon.start()
