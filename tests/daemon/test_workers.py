"""The processes behind the VMs: whose children they are, as whom they run, what their end means."""

from __future__ import annotations

import contextlib
import os
import pwd
import signal
from collections.abc import Iterator

import psutil
import pytest

from tests.daemon.guests import Guest, both_workers, eventually, hold, register, stopped, wait_ended
from tests.daemon_under_test import RunningDaemon, running_vgpud
from tests.ring_abi import Kind, Status, Submission, op_alloc, op_free, op_nop
from tests.stub_client import Opcode, WireStatus, parse_response

RUN_TIMEOUT_MS = 500

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become other accounts")


def test_no_worker_is_a_child_of_vgpud(vgpud: RunningDaemon, guest: Guest) -> None:
    assert vgpud.process is not None
    workers = both_workers(guest)
    descendants = psutil.Process(vgpud.process.pid).children(recursive=True)
    assert not {worker.pid for worker in workers} & {process.pid for process in descendants}
    assert {worker.parent() for worker in workers} == {spawner_of(workers[0])}


def spawner_of(worker: psutil.Process) -> psutil.Process:
    parent = worker.parent()
    assert parent is not None and parent.name() == "vgpu-spawn"
    return parent


@as_root
def test_every_worker_runs_under_an_account_of_its_own(
    vgpud: RunningDaemon, guest: Guest, neighbour: Guest
) -> None:
    assert vgpud.process is not None
    workers = both_workers(guest) + both_workers(neighbour)
    uids = [uid for worker in workers for uid in {*worker.uids()}]
    assert len(set(uids)) == len(workers) == 4
    assert psutil.Process(vgpud.process.pid).uids().real not in uids
    assert all(worker.gids().real != 0 for worker in workers)


@as_root
def test_vgpud_gives_root_up_and_serves_all_the_same() -> None:
    nobody = pwd.getpwnam("nobody")
    with running_vgpud({"daemon": {"user": "nobody"}}) as daemon:
        guest = register(daemon, peer="uid:0")
        for _ in range(2):
            assert daemon.process is not None
            process = psutil.Process(daemon.process.pid)
            assert (set(process.uids()), set(process.gids())) == ({nobody.pw_uid}, {nobody.pw_gid})
            assert both_workers(guest)[0].uids().real not in (0, nobody.pw_uid)
            guest.warm_up()
            daemon.end(signal.SIGKILL)
            daemon.start()


def test_what_a_killed_worker_had_is_answered_device_lost_and_the_next_one_goes_on(
    guest: Guest, neighbour: Guest
) -> None:
    worker, others = guest.warm_up(), neighbour.warm_up()
    count = 20
    with guest.stub() as client, neighbour.stub() as other:
        with stopped(worker):
            ids = [client.send_request(Opcode.VECTOR_ADD, (0, i)) for i in range(count)]
            guest.when(lambda live: live.running + live.queued == count, "all are accepted")
            running = guest.live().running
            worker.kill()
        answers = [client.receive() for _ in ids]
        assert other.vector_add(1, 1) == 2
        assert client.vector_add(1, 1) == 2
    assert [answer.request_id for answer in answers] == ids
    statuses = [parse_response(answer.payload).status for answer in answers]
    lost = [WireStatus.DEVICE_LOST] * running
    assert statuses == lost + [WireStatus.OK] * (count - running)
    guest.logged(rf"launch worker \d+ \(pid {worker.pid}\) ended: killed by signal SIGKILL")
    assert guest.live().worker_pid not in (0, worker.pid)
    assert neighbour.live().worker_pid == others.pid
    assert (neighbour.live().faults, neighbour.live().failed) == (0, 0)


def test_a_ring_outlives_its_worker_but_the_objects_do_not(guest: Guest, neighbour: Guest) -> None:
    with guest.ring() as ring, neighbour.ring() as other:
        assert other.run(op_alloc(1, 64)).status == Status.OK
        assert ring.run(op_alloc(1, 64)).status == Status.OK
        worker = guest.worker()
        with stopped(worker):
            ring.submit(Submission(99, kind=Kind.COMMAND, cmd_len=8))
            guest.when(lambda live: live.running == 1, "it runs")
            worker.kill()
        done = ring.wait()
        assert (done.cookie, done.status) == (99, Status.DEVICE_LOST)
        # The same id is free again: the fresh worker has nothing of the old one's.
        assert ring.run(op_alloc(1, 64)).status == Status.OK
        assert other.run(op_alloc(1, 64)).status == Status.EXISTS


def kill_idle_worker(guest: Guest) -> None:
    worker = guest.warm_up()
    worker.kill()
    guest.when(lambda live: live.worker_pid != worker.pid, "its end is known")


def test_a_worker_killed_while_idle_is_replaced_for_the_next_request(guest: Guest) -> None:
    for _ in range(3):
        kill_idle_worker(guest)
    guest.warm_up()


@contextlib.contextmanager
def impatient() -> Iterator[RunningDaemon]:
    """A daemon that lets no unit run for longer than RUN_TIMEOUT_MS."""
    with running_vgpud({"scheduler": {"run_timeout_ms": RUN_TIMEOUT_MS}}) as daemon:
        yield daemon


def test_work_that_runs_too_long_is_a_timeout_of_that_vm_only() -> None:
    with impatient() as daemon:
        guest, neighbour = register(daemon), register(daemon, pool="B")
        worker, others = guest.warm_up(), neighbour.warm_up()
        with guest.ring() as ring, neighbour.ring() as other, stopped(worker):
            ring.submit(*(Submission(c, kind=Kind.COMMAND, cmd_len=8) for c in (1, 2)))
            # The neighbour waits for the device; it is not its fault, and not its timeout.
            assert other.run(op_nop()).status == Status.OK
            first, _ = ring.wait(), ring.wait()
            assert first.status == Status.TIMEOUT
            assert ring.run(op_nop()).status == Status.OK
        guest.logged(r"fault: its work ran longer than run_timeout_ms")
        wait_ended(worker)
        assert neighbour.live().worker_pid == others.pid
        assert (neighbour.live().faults, neighbour.live().failed) == (0, 0)
        assert guest.live().faults == 1


def test_a_host_without_room_for_another_worker_says_so() -> None:
    with running_vgpud({"spawner": {"max_workers": 2}}) as daemon:
        first, second = register(daemon), register(daemon)
        # The slots are for two VMs; a third one has to wait for one of them to be removed.
        workers = [hold(first), hold(second)]
        third = register(daemon)
        with third.stub() as client:
            assert client.request(Opcode.VECTOR_ADD, (1, 1)).status == WireStatus.UNAVAILABLE
            third.logged("no launch worker: all 2 slots for workers are taken")
            first.remove()
            wait_ended(workers[0])
            eventually(
                lambda: client.request(Opcode.VECTOR_ADD, (1, 1)).status == WireStatus.OK,
                "the third one is served",
            )


def test_a_vm_with_a_buffer_keeps_its_worker_while_others_take_turns() -> None:
    with running_vgpud({"spawner": {"max_workers": 2}}) as daemon:
        keeper, others = register(daemon), [register(daemon), register(daemon)]
        with keeper.ring() as ring:
            assert ring.run(op_alloc(1, 64)).status == Status.OK
            worker = keeper.worker()
            for _ in range(3):
                for other in others:
                    other.warm_up()
            assert keeper.live().worker_pid == worker.pid
            # It is the same buffer still.
            assert ring.run(op_alloc(1, 64)).status == Status.EXISTS
            # Without it, the worker may go, and the VM is served by another one.
            assert ring.run(op_free(1)).status == Status.OK
            for other in others:
                other.warm_up()
            wait_ended(worker)
            assert ring.run(op_alloc(1, 64)).status == Status.OK
        assert (keeper.live().failed, keeper.live().faults) == (1, 0)
