"""As many VMs as a host may have, all at once, on one daemon."""

from __future__ import annotations

import contextlib
import random
import resource
import signal
from collections.abc import Iterator

import pytest

from tests.daemon.guests import Guest, client_of, register, registered, spawner_of, vgpud_of
from tests.daemon_under_test import RunningDaemon, running_vgpud
from tests.ring_abi import Kind, Status, Submission, op_nop
from tests.stub_client import MessageType, Opcode, StubClient, WireStatus, parse_response
from vgpud.descriptors import HELD_PER_VM, PER_PAIR, PLANNED_VMS, SPAWNER_OTHERS
from vgpud.protocol.messages import ShowPool, ShowPoolReply
from vgpud.refusals import StoredNotApplied

RINGS = 64
PAIRS = 4
SEED = 20250117
# What one VM may add to vgpud, connected and served once, besides its ring.
VM_BYTES = 64 << 10


@pytest.fixture(scope="module")
def descriptors() -> Iterator[None]:
    """This process may have a connection to each VM and all that comes with some rings."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 12_000:
        pytest.skip(f"the limit of open files is {hard}, and 12,000 are needed (ulimit -Hn)")
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.fixture
def host(descriptors: None) -> Iterator[RunningDaemon]:
    """A daemon whose VMs have small rings."""
    with running_vgpud(
        {"vms": {"ring_queue_pairs": PAIRS, "ring_entries": 64, "ring_data_bytes": 65536}}
    ) as daemon:
        yield daemon


def all_answered(clients: list[StubClient]) -> None:
    """Everybody asks before anybody looks, in no order; each gets its own answer, and no other."""
    order = random.Random(SEED).sample(range(len(clients)), len(clients))
    asked = {i: clients[i].send_request(Opcode.NOP) for i in order}
    for i, client in enumerate(clients):
        answer = client.receive()
        assert (answer.type, answer.request_id) == (MessageType.RESPONSE, asked[i])
        assert parse_response(answer.payload).status == WireStatus.OK


def test_1024_vms_are_connected_and_served_at_once_also_by_the_next_vgpud(
    host: RunningDaemon,
) -> None:
    before = vgpud_of(host).memory_info().rss
    guests = [register(host) for _ in range(PLANNED_VMS)]
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(guest.stub()) for guest in guests]
        all_answered(clients)
        daemon, spawner = vgpud_of(host), spawner_of(host)
        assert daemon.memory_info().rss - before <= PLANNED_VMS * VM_BYTES
        assert daemon.num_fds() <= PLANNED_VMS * (6 + PER_PAIR * PAIRS) + 64
        assert spawner.num_fds() <= PLANNED_VMS * (HELD_PER_VM + PER_PAIR * PAIRS) + SPAWNER_OTHERS
        # The engine has turned: none is killed between an answer and the note that it was sent.
        assert guests[-1].live().completed == 1
        assert host.end(signal.SIGKILL) == -signal.SIGKILL
        host.start()
        all_answered(clients)
        pool, _ = client_of(host).call(ShowPool("A"), ShowPoolReply)
        live = [vm.live for vm in pool.vms if vm.live is not None]
        assert len(live) == PLANNED_VMS
        assert {(vm.connected_stub, vm.completed, vm.faults) for vm in live} == {(True, 1, 0)}


def test_64_vms_with_four_pairs_each_are_served_over_all_of_them_at_once(
    host: RunningDaemon,
) -> None:
    guests = [register(host, pool=random.Random(i).choice("AB")) for i in range(RINGS)]
    with contextlib.ExitStack() as stack:
        rings = [stack.enter_context(guest.ring()) for guest in guests]
        command = op_nop()
        for cookie, ring in enumerate(rings):
            for pair in range(PAIRS):
                ring.poke(ring.data_at(0, pair), command)
                ring.submit(
                    Submission(cookie, kind=Kind.COMMAND, cmd_len=len(command)),
                    Submission(RINGS + cookie, kind=Kind.NOP, stream=1),
                    pair=pair,
                )
        for cookie, ring in enumerate(rings):
            for pair in range(PAIRS):
                answers = [ring.wait(pair, timeout_s=30) for _ in range(2)]
                assert {(answer.cookie, answer.status) for answer in answers} == {
                    (cookie, Status.OK),
                    (RINGS + cookie, Status.OK),
                }
        assert len({guest.live().worker_pid for guest in guests}) == RINGS


def test_a_vm_that_the_limit_of_open_files_has_no_room_for_is_refused_and_the_others_are_served(
    descriptors: None,
) -> None:
    # 576 and 2 x 4 for the daemon, 8 for each VM and 9 more for each of the two with workers.
    with running_vgpud(
        {"control": {"max_connections": 4}, "spawner": {"max_workers": 2}},
        limit_nofile=800,
    ) as daemon:
        guests: list[Guest] = []
        with pytest.raises(StoredNotApplied, match="need 802 descriptors, and the limit is 800"):
            while True:
                guests.append(register(daemon))
        assert len(guests) == (800 - 584 - 18) // 8
        with contextlib.ExitStack() as stack:
            clients = [stack.enter_context(guest.stub()) for guest in guests]
            rings = [stack.enter_context(guest.ring()) for guest in guests]
            all_answered(clients)
            assert {ring.nop().status for ring in rings} == {Status.OK}
            assert clients[0].vector_add(1, 1) == 2
        # It stays registered, and has its turn once there is room.
        (refused,) = set(registered(daemon)) - {guest.uuid for guest in guests}
        guests[0].remove()
        with Guest(daemon, refused, 0).stub() as client:
            assert client.request(Opcode.NOP).status == WireStatus.OK
