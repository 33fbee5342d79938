"""vgpud ends, or is killed, in the middle of two VMs' work, and the next one goes on with it."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field

import psutil
import pytest

from tests.daemon.guests import DEADLINE_S, Guest, eventually, register, stopped, wait_ended
from tests.daemon_under_test import BIN, RunningDaemon, running_vgpud
from tests.ring_abi import (
    Kind,
    Lane,
    Status,
    Submission,
    op_alloc,
    op_kernel_create,
    op_launch,
    op_module_load,
    op_nop,
    op_read,
    op_write,
    ref,
)
from tests.ring_client import RingClient
from tests.stub_client import MessageType, Opcode, header, parse_response, request_payload

DEPTH = 32
PROGRESS = 200
SHUTDOWN_TIMEOUT_MS = 1000
# A restart is a start: reading the configuration, the probe, the store.
RESTART_DEADLINE_S = 30.0

SIGNALS = [signal.SIGTERM, signal.SIGKILL]
ENDS = {signal.SIGTERM: 0, signal.SIGKILL: -signal.SIGKILL}


@pytest.fixture(scope="module")
def restarted_vgpud() -> Iterator[RunningDaemon]:
    """The daemon of this file."""
    with running_vgpud({"daemon": {"shutdown_timeout_ms": SHUTDOWN_TIMEOUT_MS}}) as daemon:
        yield daemon


@pytest.fixture
def daemon(restarted_vgpud: RunningDaemon) -> RunningDaemon:
    """The same, running."""
    if restarted_vgpud.process is None:
        restarted_vgpud.start()
    return restarted_vgpud


@pytest.fixture
def two(daemon: RunningDaemon) -> Iterator[list[Guest]]:
    """Two VMs, in different pools, of this test alone."""
    guests = [register(daemon, pool="A"), register(daemon, pool="B")]
    yield guests
    if daemon.process is None:
        daemon.start()
    for guest in guests:
        guest.remove()


@dataclass
class Load:
    """A VM that keeps DEPTH commands outstanding on its ring, in a thread, and counts answers."""

    ring: RingClient
    submitted: int = 0
    statuses: Counter[int] = field(default_factory=Counter)
    answers: Counter[int] = field(default_factory=Counter)
    end: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        """Until told to end, and then until everything is answered."""
        command = op_nop()
        self.ring.poke(self.ring.data_at(), command)
        outstanding = 0
        while outstanding or not self.end.is_set():
            while outstanding < DEPTH and not self.end.is_set():
                self.ring.submit(
                    Submission(self.submitted, kind=Kind.COMMAND, cmd_len=len(command))
                )
                self.submitted += 1
                outstanding += 1
            done = self.ring.wait(timeout_s=RESTART_DEADLINE_S)
            self.answers[done.cookie] += 1
            self.statuses[done.status] += 1
            outstanding -= 1

    def wait_progress(self, job: Future[None]) -> None:
        """Wait until PROGRESS more answers have come."""
        goal = self.statuses.total() + PROGRESS

        def far_enough() -> bool:
            if job.done():
                job.result()
            return self.statuses.total() >= goal

        eventually(far_enough, "work goes on")


@contextmanager
def loaded(rings: list[RingClient]) -> Iterator[list[tuple[Load, Future[None]]]]:
    """All rings at work for the length of the `with` block; afterwards all of it is answered."""
    loads = [Load(ring) for ring in rings]
    with ThreadPoolExecutor(len(loads)) as threads:
        jobs = [(load, threads.submit(load.run)) for load in loads]
        try:
            for load, job in jobs:
                load.wait_progress(job)
            yield jobs
            for load, job in jobs:
                load.wait_progress(job)
        finally:
            for load in loads:
                load.end.set()
        for _, job in jobs:
            job.result()


@pytest.mark.parametrize("number", SIGNALS, ids=["SIGTERM", "SIGKILL"])
def test_every_submission_is_answered_exactly_once(
    daemon: RunningDaemon, two: list[Guest], number: signal.Signals
) -> None:
    with two[0].ring() as one, two[1].ring() as other:
        with loaded([one, other]) as jobs:
            for _ in range(2):
                assert daemon.end(number) == ENDS[number]
                daemon.start()
                for load, job in jobs:
                    load.wait_progress(job)
        for load, _ in jobs:
            assert load.answers == Counter(range(load.submitted))
            assert load.statuses == {Status.OK: load.submitted}
            assert load.ring.take() is None


@pytest.mark.parametrize("number", SIGNALS, ids=["SIGTERM", "SIGKILL"])
def test_workers_live_on_with_buffers_and_modules(
    daemon: RunningDaemon, two: list[Guest], number: signal.Signals
) -> None:
    size, source = 1 << 16, b"kernel void nothing() {}\n"
    patterns = [os.urandom(size) for _ in two]
    rings = [guest.ring() for guest in two]
    for ring, pattern in zip(rings, patterns, strict=True):
        ring.poke(ring.data_at(size), pattern)
        ring.poke(ring.data_at(4096), source)
        assert ring.run(op_alloc(1, size), op_write(1, 0, size, size)).status == Status.OK
        load = op_module_load(1, ref(4096, len(source)), ref(8192, 4096))
        assert ring.run(load, lane=Lane.BUILD).status == Status.OK
    workers = [guest.worker() for guest in two]
    daemon.end(number)
    daemon.start()
    for ring, pattern in zip(rings, patterns, strict=True):
        done = ring.run(
            op_read(1, 0, 4 * size, size), op_kernel_create(1, 1, b"nothing"), op_launch(1, [64])
        )
        assert done.status == Status.OK
        assert ring.peek(ring.data_at(4 * size), size) == pattern
        ring.close()
    assert [guest.live().worker_pid for guest in two] == [worker.pid for worker in workers]


@pytest.mark.parametrize("number", SIGNALS, ids=["SIGTERM", "SIGKILL"])
def test_answers_of_a_kept_version_1_connection_come_after_the_restart(
    daemon: RunningDaemon, two: list[Guest], number: signal.Signals
) -> None:
    guest, other = two
    count = 20
    worker = guest.warm_up()
    with guest.stub() as client, other.stub() as neighbour:
        with stopped(worker):
            ids = [client.send_request(Opcode.VECTOR_ADD, (i, i)) for i in range(count)]
            guest.when(lambda live: live.running + live.queued == count, "all are accepted")
            assert neighbour.ping()
            # The engine is done with all of this once it has answered another question.
            other.live()
            assert daemon.end(number) == ENDS[number]
            # Nobody is there to take this: it waits in the socket.
            ids.append(client.send_request(Opcode.VECTOR_ADD, (count, count)))
            daemon.start()
        answers = [client.receive() for _ in ids]
        assert neighbour.ping()
    assert [answer.request_id for answer in answers] == ids
    sums = [parse_response(answer.payload).results for answer in answers]
    assert sums == [(2 * i,) for i in range(count + 1)]


def test_half_a_frame_before_the_restart_and_half_after_it_are_one_frame(
    daemon: RunningDaemon, two: list[Guest]
) -> None:
    guest, _ = two
    payload = request_payload(Opcode.VECTOR_ADD, (20, 22))
    frame = header(MessageType.REQUEST, 7, len(payload)) + payload
    with guest.stub() as client:
        client.ping()
        client.send_raw(frame[:40])
        daemon.end(signal.SIGTERM)
        daemon.start()
        client.send_raw(frame[40:])
        answer = client.receive()
    assert answer.request_id == 7
    assert parse_response(answer.payload).results == (42,)


def test_who_connects_while_no_vgpud_runs_is_served_by_the_next_one(
    daemon: RunningDaemon, two: list[Guest]
) -> None:
    daemon.end(signal.SIGKILL)
    with two[0].stub() as client:
        request_id = client.send_request(Opcode.VECTOR_ADD, (1, 1))
        daemon.start()
        assert client.receive().request_id == request_id


def test_a_client_that_went_while_no_vgpud_ran_makes_room_for_the_next_one(
    daemon: RunningDaemon, two: list[Guest]
) -> None:
    guest = two[0]
    with guest.ring() as ring, guest.stub() as stub:
        assert ring.run(op_alloc(1, 64)).status == Status.OK
        assert stub.vector_add(1, 1) == 2
        daemon.end(signal.SIGKILL)
    daemon.start()
    guest.when(lambda live: not (live.connected_ring or live.connected_stub), "both have gone")
    with guest.ring() as ring, guest.stub() as stub:
        assert ring.page.generation == 2
        assert ring.run(op_alloc(1, 64)).status == Status.OK
        assert stub.vector_add(1, 1) == 2


def test_a_worker_that_died_while_no_vgpud_ran_is_noticed_by_the_next_one(
    daemon: RunningDaemon, two: list[Guest]
) -> None:
    guest, other = two
    worker = guest.warm_up()
    others = other.warm_up()
    with guest.ring() as ring:
        with stopped(worker):
            ring.submit(Submission(5, kind=Kind.COMMAND, cmd_len=8))
            guest.when(lambda live: live.running == 1, "it runs")
            daemon.end(signal.SIGKILL)
            worker.kill()
        daemon.start()
        assert ring.wait().status == Status.DEVICE_LOST
        assert ring.run(op_nop()).status == Status.OK
    assert other.live().worker_pid == others.pid


def test_pools_and_vms_are_as_they_were(daemon: RunningDaemon, two: list[Guest]) -> None:
    assert daemon.admin("create-pool", "--pool-id=C", "--pool-name=third").returncode == 0
    assert daemon.admin("disable-pool", "--pool-id=B").returncode == 0
    before = daemon.admin("list-pools").stdout
    daemon.end(signal.SIGKILL)
    daemon.start()
    assert daemon.admin("list-pools").stdout == before
    with two[0].ring() as of_enabled, two[1].ring() as of_disabled:
        assert of_enabled.run(op_nop()).status == Status.OK
        assert of_disabled.run(op_nop()).status == Status.POOL_DISABLED
    assert daemon.admin("enable-pool", "--pool-id=B").returncode == 0


def log_since(daemon: RunningDaemon, size: int) -> str:
    """What vgpud has logged since its log had that size."""
    return daemon.log.read_bytes()[size:].decode(errors="replace")


def test_sigterm_waits_for_what_runs_but_not_for_ever(
    daemon: RunningDaemon, two: list[Guest]
) -> None:
    guest = two[0]
    with guest.stub() as client, stopped(guest.warm_up_over(client)):
        client.send_request(Opcode.VECTOR_ADD, (1, 1))
        guest.when(lambda live: live.running == 1, "it runs")
        began, before = time.monotonic(), daemon.log.stat().st_size
        assert daemon.end(signal.SIGTERM) == 0
        assert time.monotonic() - began >= SHUTDOWN_TIMEOUT_MS / 1000
        assert "still running after 1 s: left to the workers" in log_since(daemon, before)


def test_an_idle_vgpud_ends_at_once(daemon: RunningDaemon, two: list[Guest]) -> None:
    two[0].warm_up()
    before = daemon.log.stat().st_size
    assert daemon.end(signal.SIGTERM) == 0
    assert "still running" not in log_since(daemon, before)


def shutdown(daemon: RunningDaemon, *words: str) -> int:
    """Run `vgpud shutdown`, and wait for the end of the daemon, if it runs; the exit status."""
    done = subprocess.run(
        [BIN / "vgpud", "--config", daemon.config, "shutdown", *words],
        capture_output=True,
        timeout=DEADLINE_S,
        check=False,
    )
    if daemon.process is not None:
        assert daemon.process.wait(DEADLINE_S) == 0
        daemon.process = None
    return done.returncode


def spawner_of(worker: psutil.Process) -> psutil.Process:
    parent = worker.parent()
    assert parent is not None and parent.name() == "vgpu-spawn"
    return parent


def test_shutdown_leaves_what_the_next_vgpud_goes_on_with(
    daemon: RunningDaemon, two: list[Guest]
) -> None:
    worker = two[0].warm_up()
    assert shutdown(daemon) == 0
    assert worker.is_running()
    daemon.start()
    assert two[0].warm_up() == worker


def test_shutdown_all_leaves_no_process_also_with_work_in_hand(
    daemon: RunningDaemon, two: list[Guest]
) -> None:
    workers = [guest.warm_up() for guest in two]
    spawner = spawner_of(workers[0])
    with two[0].stub() as client, stopped(workers[0]):
        client.send_request(Opcode.VECTOR_ADD, (1, 1))
        two[0].when(lambda live: live.running == 1, "it runs")
        assert shutdown(daemon, "--all") == 0
        wait_ended(spawner, *workers)
        assert client.wait_closed() == b""


def test_shutdown_all_also_ends_a_spawner_that_has_outlived_its_vgpud(
    daemon: RunningDaemon, two: list[Guest]
) -> None:
    worker = two[0].warm_up()
    spawner = spawner_of(worker)
    daemon.end(signal.SIGKILL)
    assert shutdown(daemon) == 3
    assert worker.is_running()
    assert shutdown(daemon, "--all") == 0
    wait_ended(spawner, worker)
