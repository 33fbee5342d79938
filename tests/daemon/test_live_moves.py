"""VMs that change pool, priority and id, or lose their pool, while they are connected and work."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from tests.daemon.guests import Guest, client_of, register, stopped
from tests.daemon_under_test import RunningDaemon
from tests.stub_client import (
    MessageType,
    Opcode,
    StubClient,
    WireStatus,
    header,
    parse_response,
    request_payload,
)
from vgpud.protocol.messages import CreatePool, CreatePoolReply

BACKLOG = 20


@pytest.fixture
def pools(vgpud: RunningDaemon) -> Iterator[tuple[str, str]]:
    """Two pools of this test alone."""
    for pool in "XY":
        client_of(vgpud).call(CreatePool(pool), CreatePoolReply)
    yield "X", "Y"
    for pool in "XY":
        vgpud.admin("delete-pool", f"--pool-id={pool}", "--force", "--yes")


@pytest.fixture
def guest(vgpud: RunningDaemon, pools: tuple[str, str]) -> Iterator[Guest]:
    """A VM in the first of them."""
    guest = register(vgpud, pool=pools[0])
    yield guest
    guest.remove()


def this(guest: Guest) -> str:
    return f"--vm-uuid={guest.uuid}"


def status_of(client: StubClient, *sums: int) -> int:
    client.send_request(Opcode.VECTOR_ADD, (sums[0], sums[1]))
    return parse_response(client.receive().payload).status


def test_what_is_queued_is_served_in_the_pool_that_its_vm_was_moved_to(
    vgpud: RunningDaemon, guest: Guest, pools: tuple[str, str]
) -> None:
    with guest.stub() as client:
        with stopped(guest.warm_up_over(client)):
            ids = [client.send_request(Opcode.VECTOR_ADD, (0, i)) for i in range(BACKLOG)]
            guest.when(lambda live: live.running + live.queued == BACKLOG, "all are accepted")
            done = vgpud.admin("update-vm", this(guest), f"--pool={pools[1]}", "--priority=low")
            assert done.returncode == 0, done.stderr
            assert vgpud.admin("disable-pool", f"--pool-id={pools[0]}").returncode == 0
        answers = [client.receive() for _ in range(BACKLOG)]
        assert [answer.request_id for answer in answers] == ids
        assert {parse_response(a.payload).status for a in answers} == {WireStatus.OK}


def test_a_vm_whose_pool_is_deleted_is_refused_until_it_is_moved(
    vgpud: RunningDaemon, guest: Guest, pools: tuple[str, str]
) -> None:
    with guest.stub() as client:
        assert status_of(client, 1, 2) == WireStatus.OK
        done = vgpud.admin("delete-pool", f"--pool-id={pools[0]}", "--force", "--yes")
        assert done.returncode == 0, done.stderr
        assert status_of(client, 1, 2) == WireStatus.INVALID_POOL
        assert vgpud.admin("set-pool", this(guest), f"--pool={pools[1]}").returncode == 0
        assert status_of(client, 1, 2) == WireStatus.OK
        client.ping()


def test_a_vm_that_lost_its_pool_has_none_after_a_death_of_vgpud_either(
    vgpud: RunningDaemon, guest: Guest, pools: tuple[str, str]
) -> None:
    with guest.stub() as client:
        assert status_of(client, 1, 2) == WireStatus.OK
        vgpud.admin("delete-pool", f"--pool-id={pools[0]}", "--force", "--yes")
        vgpud.end(signal.SIGKILL)
        vgpud.start()
        assert status_of(client, 1, 2) == WireStatus.INVALID_POOL
    assert vgpud.admin("show-pool", f"--pool-id={pools[0]}").returncode == 5


def test_a_client_may_name_the_id_that_its_vm_had_when_it_connected(
    vgpud: RunningDaemon, guest: Guest
) -> None:
    payload = request_payload(Opcode.NOP)
    with guest.stub() as client:
        client.ping()
        new_id = guest.vm_id + 1000
        assert vgpud.admin("set-vm-id", this(guest), f"--vm-id={new_id}").returncode == 0
        for number, vm_id in enumerate((guest.vm_id, new_id)):
            client.send_raw(
                header(MessageType.REQUEST, number, len(payload), vm_id=vm_id) + payload
            )
            assert parse_response(client.receive().payload).status == WireStatus.OK
    assert guest.live().faults == 0
