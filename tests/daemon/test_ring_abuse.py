"""A guest that writes anything anywhere into its shared memory, and the VM beside it."""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest

from tests import ring_abi
from tests.daemon.abuse_ring import scribble
from tests.daemon.guests import Guest, register
from tests.daemon_under_test import RunningDaemon, running_vgpud
from tests.ring_abi import Kind, PairState, Status, Submission, op_alloc, op_nop

SCRIBBLE_S = 1.0
SEED = 20250117


def served(neighbour: Guest) -> None:
    """The other VM gets a request through its worker, over both ways in."""
    with neighbour.stub() as stub:
        assert stub.vector_add(20, 22) == 42
    with neighbour.ring() as ring:
        assert ring.run(op_nop()).status == Status.OK


GARBAGE = {
    "more submitted than there are entries": (ring_abi.PAIR_SQ_TAIL, 257),
    "submissions taken back": (ring_abi.PAIR_SQ_TAIL, 0xFFFFFFFF),
    "half the numbers ahead": (ring_abi.PAIR_SQ_TAIL, 0x80000000),
    "completions read that were never there": (ring_abi.PAIR_CQ_HEAD, 1),
    "completions unread": (ring_abi.PAIR_CQ_HEAD, 0x7FFFFFFF),
}


@pytest.mark.parametrize(("field", "value"), GARBAGE.values(), ids=GARBAGE.keys())
def test_impossible_indices_put_the_pair_into_its_error_state_and_nobody_else(
    guest: Guest, neighbour: Guest, field: int, value: int
) -> None:
    with guest.ring() as ring:
        ring.poke_u32(ring.pair_guest() + field, value)
        ring.ring()
        guest.logged("fault: impossible ring indices on queue pair 0")
        assert ring.pair_state() == PairState.ERROR
        served(neighbour)
    assert guest.live().faults == 1
    assert neighbour.live().faults == 0
    with guest.ring() as ring:
        assert ring.pair_state() == PairState.OK
        assert ring.run(op_nop()).status == Status.OK


def test_an_index_of_one_pair_does_not_stop_another(tight_guest: Guest) -> None:
    with tight_guest.ring() as ring:
        ring.poke_u32(ring.pair_guest(1) + ring_abi.PAIR_SQ_TAIL, 1 << 20)
        ring.ring(1)
        tight_guest.logged("fault: impossible ring indices on queue pair 1")
        assert ring.run(op_nop(), pair=0).status == Status.OK


def test_a_destroyed_host_page_misleads_only_the_guest(guest: Guest) -> None:
    with guest.ring() as ring:
        ring.poke(0, os.urandom(ring_abi.PAGE_BYTES))
        for offset in range(0, ring_abi.PAGE_BYTES, 4):
            ring.poke_u32(ring.pair_host() + offset, 0xFFFFFFFF)
        ring.submit(Submission(1, kind=Kind.NOP))
        guest.when(lambda live: live.completed == 1, "its request is answered all the same")
    with guest.ring() as ring:
        assert ring.page.magic == ring_abi.MAGIC
        assert ring.run(op_nop()).status == Status.OK


def test_a_command_that_changes_while_it_is_read_harms_nobody(
    guest: Guest, neighbour: Guest
) -> None:
    end = threading.Event()
    with guest.ring() as ring:
        command = op_alloc(1, 64) * 200

        def scribble() -> None:
            chaos = random.Random(SEED)
            while not end.is_set():
                at = chaos.randrange(0, len(command), 4)
                ring.poke_u32(ring.data_at(at), chaos.choice((0, 8, 0xFFFFFFFF, 0x10)))

        thread = threading.Thread(target=scribble)
        thread.start()
        try:
            answers = [ring.run(command) for _ in range(100)]
        finally:
            end.set()
            thread.join()
        assert all(answer.status < len(Status) for answer in answers)
    served(neighbour)


def scribble_for_a_while(guest: Guest) -> None:
    """Attach, use the ring rightly and wrongly, and again, as the pair may have given up."""
    chaos = random.Random(SEED)
    end = time.monotonic() + SCRIBBLE_S
    while time.monotonic() < end:
        with guest.ring() as ring:
            for _ in range(300):
                for _ in range(chaos.randrange(8)):
                    scribble(ring, chaos)
                kind = chaos.choice((Kind.NOP, Kind.COMMAND))
                at = 8 * chaos.randrange(64)
                ring.submit(Submission(1, kind=kind, cmd_len=64, cmd_off=at))


@pytest.fixture
def lenient_vgpud() -> Iterator[RunningDaemon]:
    """A daemon that quarantines nobody, so that a VM can go on doing wrong."""
    with running_vgpud({"faults": {"threshold": 0}}) as daemon:
        yield daemon


def test_a_vm_is_served_while_its_neighbour_scribbles_over_all_of_its_memory(
    lenient_vgpud: RunningDaemon,
) -> None:
    assert lenient_vgpud.process is not None
    guest, neighbour = register(lenient_vgpud), register(lenient_vgpud, pool="B")
    end = threading.Event()

    def be_served() -> list[float]:
        answered = []
        with neighbour.ring() as ring:
            while not end.is_set():
                began = time.monotonic()
                assert ring.run(op_nop()).status == Status.OK
                answered.append(time.monotonic() - began)
        return answered

    with ThreadPoolExecutor(1) as threads:
        job = threads.submit(be_served)
        try:
            scribble_for_a_while(guest)
        finally:
            end.set()
        answered = job.result()
    # Far more than a VM that had to wait for its neighbour's attachments would get.
    assert len(answered) >= 100
    assert sorted(answered)[len(answered) // 2] < 0.1
    assert neighbour.live().faults == neighbour.live().failed == 0
    assert guest.live().faults > 100
    assert psutil.Process(lenient_vgpud.process.pid).is_running()
    with guest.ring() as ring:
        assert ring.run(op_nop()).status == Status.OK
