"""Rates and quarantines of a real vgpud: what a VM sees, and what outlives the daemon's death."""

from __future__ import annotations

import contextlib
import signal
import sqlite3
import subprocess
import time
from collections.abc import Iterator

import pytest

from tests.daemon.guests import Guest, eventually, register, stopped, wait_ended
from tests.daemon_under_test import BIN, RunningDaemon, running_vgpud
from tests.ring_abi import Kind, Status, Submission, op_alloc, op_nop, op_read, op_write
from tests.ring_client import RingClient
from tests.stub_client import MessageType, Opcode, WireStatus, parse_response

THRESHOLD = 20
CRASH_POINTS = 10
BURST = 200


@pytest.fixture(scope="module")
def strict_vgpud() -> Iterator[RunningDaemon]:
    """A daemon of this file, which quarantines early."""
    with running_vgpud({"faults": {"threshold": THRESHOLD}}) as daemon:
        yield daemon


@pytest.fixture
def daemon(strict_vgpud: RunningDaemon) -> RunningDaemon:
    """The same, running."""
    if strict_vgpud.process is None:
        strict_vgpud.start()
    return strict_vgpud


@pytest.fixture
def vm(daemon: RunningDaemon) -> Iterator[Guest]:
    """A VM of one test."""
    guest = register(daemon)
    yield guest
    if daemon.process is None:
        daemon.start()
    guest.remove()


@pytest.fixture
def other(daemon: RunningDaemon) -> Iterator[Guest]:
    """A VM that does nothing wrong."""
    guest = register(daemon, pool="B")
    yield guest
    if daemon.process is None:
        daemon.start()
    guest.remove()


def admin(guest: Guest, command: str, *words: str) -> str:
    """What a command of vgpu-admin about a VM prints; it must succeed."""
    done = guest.daemon.admin(command, f"--vm-uuid={guest.uuid}", *words)
    assert done.returncode == 0, done.stderr
    return done.stdout


def stored(guest: Guest) -> tuple[int, int, str] | None:
    """Number, whether it holds, and reason of the VM's last quarantine in the database."""
    path = guest.daemon.state_dir / "vgpud.db"
    with contextlib.closing(sqlite3.connect(path)) as raw:
        row: tuple[int, int, str] | None = raw.execute(
            "SELECT number, active, reason FROM vm_quarantine WHERE vm_uuid = ?", (guest.uuid,)
        ).fetchone()
    return row


# --- Rate -----------------------------------------------------------------------------------------


def test_over_the_rate_a_stub_is_told_busy_and_keeps_connection_and_worker(
    vm: Guest, other: Guest
) -> None:
    worker = vm.warm_up()
    admin(vm, "set-rate-limit", "--rate=1", "--burst=3")
    with vm.stub() as client, other.stub() as neighbour:
        ids = [client.send_request(Opcode.NOP) for _ in range(8)]
        answers = [client.receive() for _ in ids]
        assert [answer.request_id for answer in answers] == ids
        busy = [answer.type == MessageType.BUSY for answer in answers]
        # Another second may have passed between the first and the last.
        assert busy[:3] == [False] * 3 and 0 < sum(busy) <= 5
        assert all(answer.payload == b"" for answer in answers if answer.type == MessageType.BUSY)
        assert neighbour.vector_add(1, 1) == 2
        admin(vm, "set-rate-limit", "--rate=0")
        assert client.vector_add(1, 1) == 2
    assert vm.worker() == worker
    assert {r.reason: r.count for r in vm.live().refused_by} == {"rate": sum(busy)}


def use_up(ring: RingClient) -> tuple[int, int]:
    """Ask until the rate is used up; how many passed, and what was said of when to try again."""
    passed = 0
    while (done := ring.nop()).status == Status.OK:
        passed += 1
    assert done.status == Status.RATE
    return passed, done.retry_after_us


def test_over_the_rate_a_ring_is_told_when_the_next_one_passes_and_loses_nothing(
    vm: Guest,
) -> None:
    with vm.ring() as ring:
        ring.poke(ring.data_at(4096), b"kept by the VM")
        assert ring.run(op_alloc(1, 64), op_write(1, 0, 4096, 14)).status == Status.OK
        admin(vm, "set-rate-limit", "--rate=2", "--burst=5")
        passed, retry_us = use_up(ring)
        assert passed >= 5 and 0 < retry_us <= 500_000
        eventually(
            lambda: ring.run(op_read(1, 0, 8192, 14)).status == Status.OK, "the next one passes"
        )
        assert ring.peek(ring.data_at(8192), 14) == b"kept by the VM"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL, signal.SIGHUP])
def test_neither_death_nor_reload_refills_a_bucket(vm: Guest, number: signal.Signals) -> None:
    with vm.ring() as ring:
        began = time.monotonic()
        admin(vm, "set-rate-limit", "--rate=1", f"--burst={BURST}")
        assert use_up(ring)[0] >= BURST
        if number == signal.SIGHUP:
            assert vm.daemon.process is not None
            before = vm.daemon.log.stat().st_size
            vm.daemon.process.send_signal(number)
            eventually(
                lambda: b"reload: done" in vm.daemon.log.read_bytes()[before:], "it is reloaded"
            )
        else:
            vm.daemon.end(number)
            vm.daemon.start()
        assert use_up(ring)[0] <= time.monotonic() - began + 1


# --- Quarantine -----------------------------------------------------------------------------------


def do_wrong(guest: Guest, count: int = THRESHOLD) -> None:
    """Malformed requests, each of which weighs a point."""
    with guest.stub() as client:
        for _ in range(count):
            client.send(MessageType.REQUEST, 1, b"")
            assert parse_response(client.receive().payload).status == WireStatus.INVALID_LENGTH
    guest.when(lambda live: not live.connected_stub, "the client has gone")


def is_out(guest: Guest) -> bool:
    """Whether the VM is refused as quarantined, on both ways in; it must be served on both else."""
    with guest.stub() as client, guest.ring() as ring:
        client.send_request(Opcode.VECTOR_ADD, (1, 1))
        kind, status = client.receive().type, ring.nop().status
    guest.when(lambda live: not (live.connected_stub or live.connected_ring), "both have gone")
    assert (kind, status) in (
        (MessageType.RESPONSE, Status.OK),
        (MessageType.QUARANTINED, Status.QUARANTINED),
    )
    return status == Status.QUARANTINED


def test_a_vm_that_does_too_much_wrong_is_out_until_it_is_cleared(vm: Guest, other: Guest) -> None:
    do_wrong(vm, THRESHOLD - 1)
    assert not is_out(vm)
    do_wrong(vm, 1)
    vm.logged(f"quarantined: {THRESHOLD} fault points, the last fault: frame")
    assert is_out(vm) and not is_out(other)
    assert stored(vm) == (1, 1, f"{THRESHOLD} fault points, the last fault: frame")
    shown = admin(vm, "show-vm")
    assert f"Quarantine: YES (error count: {THRESHOLD})\n" in shown
    assert "Quarantined Since: 20" in shown
    assert admin(vm, "clear-quarantine").startswith("Quarantine cleared")
    assert not is_out(vm)
    assert "Quarantine: no (error count: 0)\n" in admin(vm, "show-vm")


def reboot(daemon: RunningDaemon) -> None:
    """As after a boot of the host: no process and no memory is left, the disk is."""
    done = subprocess.run(
        [BIN / "vgpud", "--config", daemon.config, "shutdown", "--all"], timeout=60, check=False
    )
    assert done.returncode == 0 and daemon.process is not None
    assert daemon.process.wait(60) == 0
    daemon.process = None


@pytest.mark.parametrize("how", ["SIGTERM", "SIGKILL", "reboot"])
@pytest.mark.parametrize("by_hand", [False, True])
def test_a_quarantine_survives_the_daemon_and_the_host(vm: Guest, how: str, by_hand: bool) -> None:
    if by_hand:
        admin(vm, "quarantine-vm", "--reason=to be looked at")
    else:
        do_wrong(vm)
        eventually(lambda: stored(vm), "it is stored")
    before = stored(vm)
    if how == "reboot":
        reboot(vm.daemon)
    else:
        vm.daemon.end(signal.Signals[how])
    vm.daemon.start()
    assert is_out(vm) and stored(vm) == before
    admin(vm, "clear-quarantine")
    assert not is_out(vm)


def test_what_the_engine_found_and_nobody_stored_is_stored_by_the_next_daemon(vm: Guest) -> None:
    path = vm.daemon.state_dir / "vgpud.db"
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as raw:
        raw.execute("BEGIN IMMEDIATE")  # nobody else can write
        with vm.stub() as client:
            for _ in range(THRESHOLD):
                client.send(MessageType.REQUEST, 1, b"")
                client.receive()
        vm.logged("quarantined: ")
        vm.daemon.end(signal.SIGKILL)
        raw.execute("ROLLBACK")
    assert stored(vm) is None
    vm.daemon.start()
    assert stored(vm) == (1, 1, f"{THRESHOLD} fault points, the last fault: frame")
    assert is_out(vm)


def test_what_was_cleared_while_no_engine_heard_of_it_is_cleared(vm: Guest) -> None:
    do_wrong(vm)
    eventually(lambda: stored(vm), "it is stored")
    vm.daemon.end(signal.SIGKILL)
    path = vm.daemon.state_dir / "vgpud.db"
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as raw:
        raw.execute("UPDATE vm_quarantine SET active = 0 WHERE vm_uuid = ?", (vm.uuid,))
    vm.daemon.start()
    assert not is_out(vm)
    do_wrong(vm)
    assert is_out(vm)
    assert eventually(lambda: stored(vm), "the next one")[:2] == (2, 1)


def test_no_change_of_the_vm_and_no_reload_lifts_a_quarantine(vm: Guest) -> None:
    do_wrong(vm)
    admin(vm, "set-rate-limit", "--rate=100")
    admin(vm, "set-weight", "--weight=7")
    assert vm.daemon.process is not None
    before = vm.daemon.log.stat().st_size
    vm.daemon.process.send_signal(signal.SIGHUP)
    eventually(lambda: b"reload: done" in vm.daemon.log.read_bytes()[before:], "it is reloaded")
    assert is_out(vm)


def test_workers_that_die_of_their_work_quarantine_their_vm(vm: Guest, other: Guest) -> None:
    neighbour = other.warm_up()
    with vm.ring() as ring:
        for _ in range(THRESHOLD // CRASH_POINTS):
            assert ring.run(op_nop()).status == Status.OK
            worker = vm.worker()
            with stopped(worker):
                ring.submit(Submission(5, kind=Kind.COMMAND, cmd_len=8))
                vm.when(lambda live: live.running == 1, "it runs")
                worker.kill()
            assert ring.wait().status == Status.DEVICE_LOST
            wait_ended(worker)
        assert ring.nop().status == Status.QUARANTINED
    assert "the last fault: crash" in admin(vm, "show-vm")
    assert other.worker() == neighbour and not is_out(other)


def test_what_waits_is_answered_and_what_runs_finishes(vm: Guest) -> None:
    with vm.ring() as ring:
        assert ring.run(op_alloc(1, 64)).status == Status.OK
        worker = vm.worker()
        cookies = list(range(100, 120))
        with stopped(worker):
            ring.submit(*(Submission(c, kind=Kind.COMMAND, cmd_len=8) for c in cookies))
            live = vm.when(lambda live: live.running + live.queued == len(cookies), "all wait")
            assert live.running and live.queued
            admin(vm, "quarantine-vm")
            waited = [ring.wait() for _ in range(live.queued)]
            assert {done.status for done in waited} == {Status.QUARANTINED}
            assert [done.cookie for done in waited] == cookies[live.running :]
        ran = [ring.wait() for _ in range(live.running)]
        assert [done.cookie for done in ran] == cookies[: live.running]
        assert Status.QUARANTINED not in {done.status for done in ran}
        admin(vm, "clear-quarantine")
        # The worker and what the VM has on the device are still there.
        assert ring.run(op_read(1, 0, 4096, 64)).status == Status.OK
        assert vm.worker() == worker


def test_a_vm_that_is_removed_and_registered_again_starts_without_one(
    daemon: RunningDaemon,
) -> None:
    first = register(daemon)
    do_wrong(first)
    first.remove()
    second = register(daemon, vm_uuid=first.uuid)
    assert not is_out(second)
    second.remove()


def test_quarantine_is_off_with_a_threshold_of_zero() -> None:
    with running_vgpud({"faults": {"threshold": 0}}) as daemon:
        guest = register(daemon)
        do_wrong(guest, 300)
        assert not is_out(guest)
        assert guest.live().faults == 300


# --- Limits of a submission itself ----------------------------------------------------------------


def timed_out(ring: RingClient, cookie: int) -> int:
    """Wait for the TIMEOUT of a submission; 0 = it waited too long, 1 = it ran too long."""
    done = ring.wait()
    assert (done.cookie, done.status) == (cookie, Status.TIMEOUT)
    return done.native


def test_a_submission_waits_no_longer_than_it_says_also_across_a_death(vm: Guest) -> None:
    with vm.ring() as ring:
        assert ring.run(op_nop()).status == Status.OK
        with stopped(vm.worker()):
            # The first one keeps the device.
            ring.submit(Submission(1, kind=Kind.COMMAND, cmd_len=8))
            vm.when(lambda live: live.running == 1, "it runs")
            waiting = [
                Submission(10 + i, kind=Kind.COMMAND, cmd_len=8, stream=i, timeout_ms=1500)
                for i in range(20)
            ]
            ring.submit(*waiting)
            live = vm.when(lambda live: live.running + live.queued == 21, "all are accepted")
            vm.daemon.end(signal.SIGKILL)
            vm.daemon.start()
            late = [ring.wait() for _ in range(live.queued)]
            assert {done.cookie for done in late} <= {entry.cookie for entry in waiting}
            assert {(done.status, done.native) for done in late} == {(Status.TIMEOUT, 0)}
            assert vm.live().queued == 0


def test_a_submission_runs_no_longer_than_it_says(vm: Guest, other: Guest) -> None:
    with vm.ring() as ring, other.ring() as neighbour:
        assert neighbour.run(op_nop()).status == Status.OK
        assert ring.run(op_nop()).status == Status.OK
        worker = vm.worker()
        with stopped(worker):
            ring.submit(Submission(7, kind=Kind.COMMAND, cmd_len=8, timeout_ms=100))
            assert timed_out(ring, 7) == 1
        wait_ended(worker)
        assert ring.run(op_nop()).status == Status.OK
        assert neighbour.run(op_nop()).status == Status.OK
    vm.logged("fault: its work ran longer than")
