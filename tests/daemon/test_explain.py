"""Why a request waits, asked of a real vgpud while it waits."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from tests.daemon.guests import Guest, eventually, register, stopped
from tests.daemon_under_test import RunningDaemon, running_vgpud
from tests.stub_client import Opcode
from vgpud.model.priority import Priority


def explain(guest: Guest, *words: str) -> dict[str, object]:
    done = guest.daemon.admin("explain", f"--vm-uuid={guest.uuid}", "--json", *words)
    assert done.returncode == 0, done.stderr
    why: dict[str, object] = json.loads(done.stdout)["explanation"]
    return why


@dataclass(frozen=True)
class Waiting:
    """Somebody has the device; a high VM has one request queued, a low one three in one stream."""

    high: Guest
    low: Guest


@contextmanager
def waiting(daemon: RunningDaemon) -> Iterator[Waiting]:
    busy, high, low = (
        register(daemon, priority=priority)
        for priority in (Priority.MEDIUM, Priority.HIGH, Priority.LOW)
    )
    for guest in (high, low):
        guest.warm_up()
    with busy.stub() as first, high.stub() as second, low.stub() as third:
        with stopped(busy.warm_up_over(first)):
            first.send_request(Opcode.VECTOR_ADD, (1, 1))
            busy.when(lambda live: live.running == 1, "somebody has the device")
            second.send_request(Opcode.VECTOR_ADD, (2, 2))
            high.when(lambda live: live.queued == 1, "a high request waits")
            for _ in range(3):
                third.send_request(Opcode.VECTOR_ADD, (3, 3))
            low.when(lambda live: live.queued == 3, "low ones wait")
            yield Waiting(high, low)
        for client, count in ((first, 1), (second, 1), (third, 3)):
            for _ in range(count):
                client.receive()
    done = daemon.admin("explain", f"--vm-uuid={low.uuid}")
    assert done.stdout.startswith(f"VM {low.uuid} has nothing queued.\n")
    for guest in (busy, high, low):
        guest.remove()


def test_a_low_request_waits_for_the_high_one_and_the_next_one_for_its_stream() -> None:
    with (
        running_vgpud({"scheduler": {"aging_share_percent": 0}}) as daemon,
        waiting(daemon) as vms,
    ):
        assert explain(vms.high)["hold"] == "nothing"
        oldest = explain(vms.low)
        number = oldest["request"]
        assert isinstance(number, int)
        assert (oldest["hold"], oldest["stream_ahead"], oldest["running"]) == ("class", 0, 1)
        third = explain(vms.low, f"--request={number + 2}")
        assert (third["hold"], third["stream_ahead"]) == ("stream", 2)
        missing = daemon.admin("explain", f"--vm-uuid={vms.low.uuid}", f"--request={number + 3}")
        assert missing.returncode == 5


def test_a_low_request_that_has_waited_too_long_is_next_and_the_high_one_waits_for_it(
    vgpud: RunningDaemon,
) -> None:
    with waiting(vgpud) as vms:
        eventually(lambda: explain(vms.low)["hold"] == "nothing", "it has waited too long")
        assert explain(vms.high)["hold"] == "aged"
