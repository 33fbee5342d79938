"""Clients that go in the middle of their work: nobody else gets their answers, nothing is left."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

import pytest

from tests.daemon.guests import Guest, eventually, register, stopped
from tests.daemon_under_test import RunningDaemon
from tests.ring_abi import Kind, Status, Submission
from tests.stub_client import (
    MessageType,
    Opcode,
    StubClient,
    header,
    parse_response,
    request_payload,
)

BACKLOG = 20
STORM = 300


@pytest.fixture
def vm(vgpud_of_its_own: RunningDaemon) -> Iterator[Guest]:
    """A VM on a daemon that nobody else has descriptors in."""
    guest = register(vgpud_of_its_own)
    yield guest
    guest.remove()


def descriptors(daemon: RunningDaemon) -> int:
    """How many descriptors vgpud has open."""
    assert daemon.process is not None
    return len(os.listdir(f"/proc/{daemon.process.pid}/fd"))


def gone(guest: Guest) -> None:
    guest.when(lambda live: not (live.connected_stub or live.connected_ring), "the client has gone")


def connected(guest: Guest) -> StubClient:
    """A client that has been let in."""
    client = guest.stub()
    client.ping()
    return client


def test_answers_of_a_client_that_is_gone_do_not_reach_the_next_one(vm: Guest) -> None:
    worker = vm.warm_up()
    gone(vm)
    first = connected(vm)
    with stopped(worker):
        for i in range(BACKLOG):
            first.send_request(Opcode.VECTOR_ADD, (1000, i))
        vm.when(lambda live: live.running + live.queued == BACKLOG, "all are accepted")
        running = vm.live().running
        first.close()
        gone(vm)
        assert (vm.live().queued, vm.live().running) == (0, running)
        second = connected(vm)
        # The same ids as the first client had.
        ids = [second.send_request(Opcode.VECTOR_ADD, (2000, i)) for i in range(BACKLOG)]
        vm.when(lambda live: live.queued == BACKLOG, "they wait")
    answers = [second.receive() for _ in ids]
    assert [answer.request_id for answer in answers] == ids
    assert [parse_response(a.payload).results for a in answers] == [
        (2000 + i,) for i in range(BACKLOG)
    ]
    second.ping()
    second.close()


def test_completions_of_a_client_that_is_gone_do_not_reach_the_next_ring(vm: Guest) -> None:
    worker = vm.warm_up()
    first = vm.ring()
    with stopped(worker):
        first.submit(*(Submission(i, kind=Kind.COMMAND, cmd_len=8) for i in range(BACKLOG)))
        live = vm.when(lambda live: live.running + live.queued == BACKLOG, "all are accepted")
        first.close()
        gone(vm)
        assert (vm.live().queued, vm.live().running) == (0, live.running)
        second = vm.ring()
        second.submit(*(Submission(i) for i in range(BACKLOG)))
    done = [second.wait() for _ in range(BACKLOG)]
    assert [d.cookie for d in done] == list(range(BACKLOG))
    assert {(d.status, d.generation) for d in done} == {(Status.OK, second.page.generation)}
    assert second.nop().status == Status.OK and second.take() is None
    second.close()


def come_and_go(guest: Guest, number: int) -> None:
    """Connect, send a request, half of one or nothing, and close at once.

    A client that comes while the last one is still there is refused, and one that finds the
    listener's backlog full does not even connect: all the same to the storm.
    """
    payload = request_payload(Opcode.VECTOR_ADD, (1, 1))
    with contextlib.suppress(ConnectionError, BlockingIOError), guest.stub() as client:
        if number % 3:
            frame = header(MessageType.REQUEST, number, len(payload)) + payload
            client.send_raw(frame if number % 3 == 1 else frame[: len(frame) // 2])


def test_a_storm_of_clients_leaves_no_descriptor_and_no_request(vm: Guest) -> None:
    other = register(vm.daemon, pool="B")
    for guest in (vm, other):
        guest.warm_up()
        gone(guest)
    before = descriptors(vm.daemon)
    with other.stub() as neighbour:
        for i in range(STORM):
            come_and_go(vm, i)
            if i % 20 == 0:
                assert neighbour.vector_add(i, 1) == i + 1
                with vm.attach():
                    pass
    gone(vm)
    gone(other)
    vm.when(lambda live: live.queued == live.running == 0, "nothing is left")
    eventually(lambda: descriptors(vm.daemon) <= before, "no descriptor is left either")
    assert vm.warm_up().is_running()
    other.remove()
