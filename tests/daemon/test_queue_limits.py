"""What waits in a real vgpud: how much of it there may be, for how long, and what a reload does."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.daemon.guests import Guest, register, reload, stopped
from tests.daemon_under_test import RunningDaemon, running_vgpud
from tests.ring_abi import Kind, Status, Submission, op_nop
from tests.stub_client import MessageType, Opcode, StubClient, WireStatus, parse_response

DEPTH = 64
BACKLOG = 40
OF_ITS_OWN = 16
"""What a VM may have queued however much all of them have."""


@pytest.fixture(scope="module")
def daemon() -> Iterator[RunningDaemon]:
    """A daemon of this file, which is reconfigured."""
    with running_vgpud({"vms": {"max_queued_per_vm": DEPTH}}) as daemon:
        yield daemon


@pytest.fixture
def config(daemon: RunningDaemon) -> Iterator[str]:
    """The configuration the daemon was started with, and has again after the test."""
    config = daemon.config.read_text()
    yield config
    assert "reload: done" in reload(daemon, config)


@pytest.fixture
def holder(daemon: RunningDaemon) -> Iterator[Guest]:
    """A VM that can keep the device."""
    guest = register(daemon)
    yield guest
    guest.remove()


@pytest.fixture
def waiter(daemon: RunningDaemon) -> Iterator[Guest]:
    """A VM that waits for the device."""
    guest = register(daemon, pool="B")
    yield guest
    guest.remove()


@contextmanager
def held_device(holder: Guest) -> Iterator[StubClient]:
    """Within the block the device is busy with one request of a VM, whose client this gives."""
    with holder.stub() as client:
        with stopped(holder.warm_up_over(client)):
            client.send_request(Opcode.VECTOR_ADD, (1, 1))
            holder.when(lambda live: live.running == 1, "it has the device")
            yield client
        assert status_of(client) == WireStatus.OK


def send(client: StubClient, count: int) -> list[int]:
    return [client.send_request(Opcode.VECTOR_ADD, (0, i)) for i in range(count)]


def status_of(client: StubClient) -> int:
    answer = client.receive()
    assert answer.type == MessageType.RESPONSE, f"answered by type {answer.type:#x}"
    return parse_response(answer.payload).status


def busy(client: StubClient, count: int) -> list[int]:
    """The ids of the next so many answers, all of which must be BUSY."""
    answers = [client.receive() for _ in range(count)]
    assert {answer.type for answer in answers} == {MessageType.BUSY}
    return [answer.request_id for answer in answers]


def all_wait(guest: Guest, count: int) -> None:
    guest.when(lambda live: live.running + live.queued == count, f"{count} are accepted")


# --- How much -------------------------------------------------------------------------------------


def test_a_new_limit_on_all_that_wait_holds_at_once(
    daemon: RunningDaemon, config: str, holder: Guest, waiter: Guest
) -> None:
    first, more = OF_ITS_OWN + 4, 10
    total = 1 + BACKLOG + first
    with waiter.stub() as client:
        with held_device(holder) as holding:
            send(holding, BACKLOG)
            ids = send(client, first)
            all_wait(holder, 1 + BACKLOG)
            all_wait(waiter, first)
            few = config.replace("[vms]\n", f"[vms]\nmax_queued_total = {total + 3}\n")
            assert "next start" not in reload(daemon, few)
            over = send(client, more)
            assert busy(client, more - 3) == over[3:]
            refused = {r.reason: r.count for r in waiter.live().refused_by}
            assert refused == {"total_depth": more - 3}
            assert "next start" not in reload(daemon, config)
            ids += [*over[:3], *send(client, 1)]
            all_wait(waiter, len(ids))
        assert [client.receive().request_id for _ in ids] == ids


def test_a_queue_depth_set_for_a_vm_holds_at_once_and_for_it_alone(
    daemon: RunningDaemon, holder: Guest, waiter: Guest
) -> None:
    def set_depth(depth: int) -> None:
        done = daemon.admin("set-rate-limit", f"--vm-uuid={waiter.uuid}", f"--queue-depth={depth}")
        assert done.returncode == 0, done.stderr

    with waiter.stub() as client:
        with held_device(holder) as holding:
            ids = send(client, 8)
            all_wait(waiter, 8)
            set_depth(5)  # what waits already goes on waiting
            over = send(client, 1)
            assert busy(client, 1) == over
            set_depth(10)
            over = send(client, 4)
            assert busy(client, 2) == over[2:]
            ids += over[:2]
            all_wait(waiter, 10)
            assert {r.reason: r.count for r in waiter.live().refused_by} == {"vm_depth": 3}
            others = send(holding, 20)
            all_wait(holder, 1 + len(others))
        assert [client.receive().request_id for _ in ids] == ids
        set_depth(5)
        assert client.vector_add(1, 1) == 2


# --- How long -------------------------------------------------------------------------------------


def test_what_waits_longer_than_the_host_allows_is_answered_timeout_on_both_ways_in(
    daemon: RunningDaemon, config: str, holder: Guest, waiter: Guest
) -> None:
    with waiter.stub() as client, waiter.ring() as ring:
        assert ring.run(op_nop()).status == Status.OK
        with held_device(holder):
            ids = send(client, 3)
            cookies = [100, 101, 102]
            ring.submit(*(Submission(c, kind=Kind.COMMAND, cmd_len=8) for c in cookies))
            all_wait(waiter, 6)
            reload(daemon, config + "[scheduler]\nqueue_timeout_ms = 200\n")
            answers = [client.receive() for _ in ids]
            assert [answer.request_id for answer in answers] == ids
            assert {parse_response(a.payload).status for a in answers} == {WireStatus.TIMEOUT}
            late = [ring.wait() for _ in cookies]
            assert [done.cookie for done in late] == cookies
            # 0: it was never begun.
            assert {(done.status, done.native) for done in late} == {(Status.TIMEOUT, 0)}
            live = waiter.live()
            assert (live.queued, live.running) == (0, 0)
            reload(daemon, config)
            (last,) = send(client, 1)
            all_wait(waiter, 1)
        # What had the device meanwhile did not wait: held_device() sees it answered.
        answer = client.receive()
        assert (answer.request_id, parse_response(answer.payload).status) == (last, WireStatus.OK)
    assert waiter.live().faults == 0


# --- Over a reload --------------------------------------------------------------------------------


def test_a_reload_loses_nothing_of_what_waits(
    daemon: RunningDaemon, config: str, holder: Guest, waiter: Guest
) -> None:
    changed = '[scheduler]\npriority_scope = "global"\nquantum_us = 5000\nunits_in_flight = 2\n'
    with waiter.stub() as client, waiter.ring() as ring:
        assert ring.run(op_nop()).status == Status.OK
        with held_device(holder):
            ids = send(client, 20)
            cookies = list(range(100, 120))
            ring.submit(*(Submission(c, kind=Kind.COMMAND, cmd_len=8) for c in cookies))
            all_wait(waiter, len(ids) + len(cookies))
            assert "reload: done" in reload(daemon, config + changed)
            assert waiter.live().queued == len(ids) + len(cookies)
        answers = [client.receive() for _ in ids]
        assert [answer.request_id for answer in answers] == ids
        assert {parse_response(answer.payload).status for answer in answers} == {WireStatus.OK}
        done = [ring.wait() for _ in cookies]
        assert [completion.cookie for completion in done] == cookies
        assert {completion.status for completion in done} == {Status.OK}
    assert waiter.live().queued == 0
