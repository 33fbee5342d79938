"""Pools and VMs that change while VMs are connected and their requests wait."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.daemon.guests import Guest, client_of, disabled, register, stopped, wait_ended
from tests.daemon_under_test import RunningDaemon
from tests.ring_abi import Kind, Status, Submission, op_alloc, op_nop
from tests.ring_client import RingClient
from tests.stub_client import MessageType, Opcode, StubClient, WireStatus, parse_response
from vgpud.model.priority import Priority
from vgpud.protocol.messages import CreatePool, CreatePoolReply

BACKLOG = 20


@pytest.fixture
def pool_c(vgpud: RunningDaemon) -> str:
    """A pool of this test's file alone, so that disabling it disturbs nobody."""
    reply = vgpud.admin("show-pool", "--pool-id=C")
    if reply.returncode:
        client_of(vgpud).call(CreatePool("C"), CreatePoolReply)
    return "C"


@pytest.fixture
def pooled(vgpud: RunningDaemon, pool_c: str) -> Iterator[Guest]:
    """A VM in pool C."""
    guest = register(vgpud, pool=pool_c)
    yield guest
    guest.remove()


@contextmanager
def backlog(guest: Guest, client: StubClient) -> Iterator[list[int]]:
    """Within the block the VM's worker stands still, with requests before it; gives their ids.

    There are more than a worker gets at a time, so that some run and some wait.
    """
    with stopped(guest.warm_up_over(client)):
        ids = [client.send_request(Opcode.VECTOR_ADD, (0, i)) for i in range(BACKLOG)]
        guest.when(lambda live: live.running + live.queued == BACKLOG, "all are accepted")
        yield ids


def test_a_disabled_pool_takes_nothing_new_and_keeps_what_waits(
    vgpud: RunningDaemon, pooled: Guest, neighbour: Guest, pool_c: str
) -> None:
    with pooled.stub() as client:
        with backlog(pooled, client) as ids:
            running = pooled.live().running
            assert 0 < running < BACKLOG
            assert vgpud.admin("disable-pool", f"--pool-id={pool_c}").returncode == 0
            refused = client.send_request(Opcode.VECTOR_ADD, (0, 9))
            answer = client.receive()
            assert answer.request_id == refused
            assert parse_response(answer.payload).status == WireStatus.INVALID_POOL
        # What ran when the pool was disabled finishes.
        assert [client.receive().request_id for _ in range(running)] == ids[:running]
        with neighbour.stub() as other:
            assert other.vector_add(1, 1) == 2
        live = pooled.live()
        assert (live.queued, live.running) == (BACKLOG - running, 0)
        assert client.request(Opcode.NOP).status == WireStatus.INVALID_POOL
        assert vgpud.admin("enable-pool", f"--pool-id={pool_c}").returncode == 0
        rest = ids[running:]
        assert [client.receive().request_id for _ in rest] == rest
        assert client.vector_add(1, 1) == 2


def test_a_disabled_pool_is_told_to_a_ring_and_the_ring_is_kept(
    vgpud: RunningDaemon, pooled: Guest, neighbour: Guest, pool_c: str
) -> None:
    with pooled.ring() as ring, neighbour.ring() as other:
        with disabled(vgpud, pool_c):
            assert ring.run(op_nop()).status == Status.POOL_DISABLED
            assert ring.nop().status == Status.POOL_DISABLED
            assert other.run(op_nop()).status == Status.OK
        assert ring.run(op_nop()).status == Status.OK


def test_what_waits_on_a_ring_is_served_when_its_pool_is_enabled_again(
    vgpud: RunningDaemon, pooled: Guest, pool_c: str
) -> None:
    with pooled.ring() as ring:
        assert ring.run(op_nop()).status == Status.OK
        cookies = list(range(500, 500 + BACKLOG))
        with stopped(pooled.worker()):
            ring.submit(*(Submission(c, kind=Kind.COMMAND, cmd_len=8) for c in cookies))
            live = pooled.when(lambda live: live.running + live.queued == BACKLOG, "all wait")
            assert live.queued > 0
            with disabled(vgpud, pool_c):
                pooled.when(lambda live: live.queued > 0, "they go on waiting")
        assert [ring.wait().cookie for _ in cookies] == cookies


def test_a_vm_is_served_as_soon_as_it_is_registered(vgpud: RunningDaemon) -> None:
    guest = register(vgpud, pool="B", priority=Priority.HIGH)
    with guest.stub() as stub, guest.ring() as ring:
        assert stub.vector_add(1, 1) == 2
        assert ring.run(op_alloc(1, 64)).status == Status.OK
        assert (ring.page.pool_id, ring.page.priority) == (b"B", Priority.HIGH)
    guest.remove()


def test_removing_a_vm_closes_its_connections_and_ends_its_worker(
    vgpud: RunningDaemon, neighbour: Guest
) -> None:
    guest = register(vgpud)
    worker = guest.warm_up()
    with guest.stub() as stub, guest.ring() as ring:
        assert stub.vector_add(1, 1) == 2
        removed = vgpud.admin("remove-vm", f"--vm-uuid={guest.uuid}")
        assert removed.returncode == 0, removed.stderr
        assert stub.wait_closed() == b""
        ring.wait_closed()
    wait_ended(worker)
    assert not guest.directory.exists()
    with neighbour.stub() as other:
        assert other.vector_add(1, 1) == 2


def test_a_vm_can_be_removed_in_the_middle_of_its_work(
    vgpud: RunningDaemon, neighbour: Guest
) -> None:
    guest = register(vgpud)
    client = guest.stub()
    with client, backlog(guest, client):
        worker = guest.worker()
        guest.remove()
        assert client.wait_closed() == b""
        with neighbour.stub() as other:
            assert other.vector_add(1, 1) == 2
        wait_ended(worker)


def test_a_removed_vm_can_be_registered_again_and_starts_anew(vgpud: RunningDaemon) -> None:
    first = register(vgpud)
    with first.ring() as ring:
        assert ring.run(op_alloc(1, 64)).status == Status.OK
        ring.poke(ring.data_at(4096), b"what the former VM had")
    first.remove()
    second = register(vgpud, vm_uuid=first.uuid)
    assert second.live().completed == 0
    with second.ring() as ring, second.stub() as stub:
        assert ring.page.generation == 1
        assert ring.peek(ring.data_at(4096), 22) == bytes(22)
        assert ring.run(op_alloc(1, 64)).status == Status.OK
        assert stub.vector_add(1, 1) == 2
    second.remove()


def pump(ring: RingClient, count: int) -> None:
    """So many commands through the worker, each with its own answer."""
    for _ in range(count):
        assert ring.run(op_nop()).status == Status.OK


def test_vms_can_come_and_go_while_another_one_is_at_work(
    vgpud: RunningDaemon, neighbour: Guest
) -> None:
    with neighbour.ring() as ring:
        worker = neighbour.warm_up()
        for _ in range(5):
            guest = register(vgpud)
            pump(ring, 20)
            guest.warm_up()
            guest.remove()
            pump(ring, 20)
        assert worker.is_running()


def test_vgpu_admin_shows_live_numbers(vgpud: RunningDaemon, guest: Guest) -> None:
    with guest.stub() as stub, guest.ring() as ring:
        for _ in range(3):
            assert stub.vector_add(1, 1) == 2
        stub.send(MessageType.REQUEST, 9, b"")
        assert parse_response(stub.receive().payload).status == WireStatus.INVALID_LENGTH
        assert ring.run(op_nop(), op_alloc(0, 1)).status == Status.INVALID
        listed = vgpud.admin("list-vms", "--json")
        assert listed.returncode == 0, listed.stderr
        vms = {vm["vm_uuid"]: vm["live"] for vm in json.loads(listed.stdout)["vms"]}
        live = vms[guest.uuid]
        assert live["connected_stub"] and live["connected_ring"]
        assert (live["completed"], live["failed"], live["faults"]) == (3, 1, 1)
        assert live["worker_pid"] == guest.worker().pid
        assert live["gpu_time_ns"] > 0 and live["wait_ns_total"] >= live["wait_ns_max"] > 0
        status = vgpud.admin("status").stdout
    assert "Completed: 3 | Failed: 1" in status[status.index(guest.uuid) :]


def test_the_varlink_client_of_others_understands_the_daemon(vgpud: RunningDaemon) -> None:
    python = vgpud.admin_argv()[0].replace("vgpu-admin", "python")
    address = f"unix:{vgpud.control_socket}"
    info = subprocess.run(
        [python, "-m", "varlink.cli", "info", address],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert info.returncode == 0, info.stderr
    assert "org.vgpud.admin" in info.stdout
    call = subprocess.run(
        [python, "-m", "varlink.cli", "call", f"{address}/org.vgpud.admin.ListPools", "{}"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert call.returncode == 0, call.stderr
    assert {pool["pool_id"] for pool in json.loads(call.stdout)["pools"]} >= {"A", "B"}
