"""What becomes of requests, told afterwards and as it happens, by a real vgpud."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from tests.daemon.guests import Guest, client_of, disabled, register, stopped, traced
from tests.daemon_under_test import RunningDaemon, running_vgpud
from tests.ring_abi import Status, op_alloc, op_nop
from tests.stub_client import Opcode, WireStatus
from vgpud.protocol.messages import Trace, TraceReply

STAMPS = ("received_ns", "queued_ns", "picked_ns", "started_ns", "ended_ns", "answered_ns")


@pytest.fixture(scope="module")
def forgetful_vgpud() -> Iterator[RunningDaemon]:
    """A daemon that remembers 16 requests."""
    with running_vgpud({"trace": {"entries": 16}}) as daemon:
        yield daemon


def following(daemon: RunningDaemon, *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        daemon.admin_argv("trace", "--follow", "--json", *words),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def answer_of(process: subprocess.Popen[str]) -> dict[str, Any]:
    assert process.stdout is not None
    answer: dict[str, Any] = json.loads(process.stdout.readline())
    return answer


def test_every_request_is_told_of_with_its_times_in_order(guest: Guest, neighbour: Guest) -> None:
    with guest.stub() as stub, neighbour.ring() as ring:
        assert stub.vector_add(1, 2) == 3
        assert ring.run(op_nop()).status == Status.OK
        assert stub.request(Opcode.NOP).status == WireStatus.OK
        assert ring.run(op_nop(), op_alloc(0, 1)).status == Status.INVALID
    first, second = traced(guest)
    assert (first.kind, second.kind) == ("vector_add", "nop")
    assert (first.vm_uuid, first.vm_id, first.pool_id) == (guest.uuid, guest.vm_id, "A")
    assert (first.transport, first.dispatches, first.request) == ("stub", 1, 1)
    assert (second.dispatches, second.gpu_time_ns, second.request) == (0, 0, 2)
    ran, failed = traced(neighbour)
    assert (ran.transport, ran.pool_id, ran.kind) == ("ring", "B", "command")
    assert (failed.status, failed.outcome, failed.op_index) == ("invalid", "answered", 1)
    for request in (first, second, ran, failed):
        stamps = [getattr(request, stamp) for stamp in STAMPS]
        assert all(stamps) and stamps == sorted(stamps)
    live = guest.live()
    assert live.gpu_time_ns == first.gpu_time_ns == live.run.max_ns
    assert live.wait.max_ns == (first.picked_ns or 0) - first.received_ns
    assert live.total.sum_ns == sum(r.answered_ns - r.received_ns for r in (first, second))


def test_refused_and_dropped_requests_are_told_of_too(vgpud: RunningDaemon, guest: Guest) -> None:
    with disabled(vgpud, "A"), guest.stub() as stub:
        assert stub.request(Opcode.NOP).status == WireStatus.INVALID_POOL
    guest.when(lambda live: not live.connected_stub, "the client has gone")
    with stopped(guest.warm_up()):
        with guest.stub() as stub:
            stub.send_request(Opcode.VECTOR_ADD, (1, 1))
            guest.when(lambda live: live.running == 1, "it is sent to the worker")
        guest.when(lambda live: not live.connected_stub, "the client has gone")
    live = guest.when(lambda live: live.dropped == 1, "its answer is dropped")
    assert (live.submitted, live.refused, live.completed) == (3, 1, 1)
    refused, _, dropped = traced(guest)
    assert (refused.outcome, refused.status, refused.request) == ("refused", "pool_disabled", None)
    assert [getattr(refused, stamp) for stamp in STAMPS[1:-1]] == [None] * 4
    assert (dropped.outcome, dropped.dispatches) == ("dropped", 1)


def test_a_follower_is_told_of_requests_as_they_finish(vgpud: RunningDaemon, guest: Guest) -> None:
    with following(vgpud, f"--vm-uuid={guest.uuid}") as follower, guest.stub() as stub:
        assert answer_of(follower) == {"requests": [], "missed": 0}
        for n in range(3):
            assert stub.vector_add(n, n) == 2 * n
            (request,) = answer_of(follower)["requests"]
            assert (request["request"], request["status"]) == (n + 1, "ok")
        follower.send_signal(signal.SIGINT)
        assert follower.communicate(timeout=30) == ("", "")
        assert follower.returncode == 0


def test_following_a_vm_ends_when_it_is_removed(vgpud: RunningDaemon) -> None:
    guest = register(vgpud)
    with following(vgpud, f"--vm-uuid={guest.uuid}") as follower:
        answer_of(follower)
        guest.remove()
        assert "[VmNotFound]" in follower.communicate(timeout=30)[1]
        assert follower.returncode == 5


def test_a_removed_vms_requests_are_kept_and_are_not_the_next_ones(vgpud: RunningDaemon) -> None:
    first = register(vgpud)
    with first.stub() as stub:
        assert stub.vector_add(1, 1) == 2
    first.remove()
    reply, _ = client_of(vgpud).call(Trace(), TraceReply)
    last = [request for request in reply.requests if request.vm_id == first.vm_id][-1]
    assert (last.kind, last.status, last.vm_uuid) == ("vector_add", "ok", None)
    second = register(vgpud)
    assert traced(second) == []
    second.remove()


def test_what_a_follower_is_not_told_of_is_counted(forgetful_vgpud: RunningDaemon) -> None:
    guest = register(forgetful_vgpud)
    with following(forgetful_vgpud) as follower, guest.ring() as ring:
        told = len(answer_of(follower)["requests"])
        missed = 0
        for _ in range(300):
            assert ring.nop().status == Status.OK
        while told + missed < 300:
            answer = answer_of(follower)
            told += len(answer["requests"])
            missed += answer["missed"]
        assert told + missed == 300
        assert len(traced(guest)) == 16
        follower.send_signal(signal.SIGINT)
        follower.communicate(timeout=30)


def test_without_a_trace_there_is_nothing_to_tell(vgpud_without_trace: RunningDaemon) -> None:
    guest = register(vgpud_without_trace)
    with following(vgpud_without_trace) as follower, guest.stub() as stub:
        answer_of(follower)
        assert stub.vector_add(1, 1) == 2
        assert traced(guest) == [] and guest.live().total.count == 1
        vgpud_without_trace.end(signal.SIGTERM)
        _, err = follower.communicate(timeout=30)
        assert follower.returncode == 3 and "has ended, or closed the connection" in err
    vgpud_without_trace.start()


@pytest.fixture
def vgpud_without_trace() -> Iterator[RunningDaemon]:
    """A daemon that remembers no requests."""
    with running_vgpud({"trace": {"entries": 0}}) as daemon:
        yield daemon
