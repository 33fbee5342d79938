"""Several queue pairs of one ring, each used by a process of its own.

One process attaches; the others are its children and have the memory and the doorbells from it, as
programs in a guest have them from their driver.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator
from multiprocessing.process import BaseProcess

import pytest

from tests.daemon.guests import Guest, register, stopped
from tests.daemon_under_test import RunningDaemon, running_vgpud
from tests.ring_abi import (
    PAIR_SQ_TAIL,
    Kind,
    PairState,
    Status,
    Submission,
    op_alloc,
    op_nop,
    op_read,
    op_write,
)
from tests.ring_client import RingClient

PAIRS = 4
TURNS = 200
SIZE = 4096
FROM, TO = 0x1000, 0x2000
TIMEOUT_S = 60.0

_fork = multiprocessing.get_context("fork")


@pytest.fixture(scope="module")
def paired_vgpud() -> Iterator[RunningDaemon]:
    """A daemon whose VMs have four queue pairs."""
    with running_vgpud(
        {"vms": {"ring_queue_pairs": PAIRS, "ring_entries": 64, "ring_data_bytes": 65536}}
    ) as daemon:
        yield daemon


@pytest.fixture
def paired(paired_vgpud: RunningDaemon) -> Iterator[Guest]:
    guest = register(paired_vgpud)
    yield guest
    guest.remove()


def start(target: Callable[[RingClient, int], None], ring: RingClient, pair: int) -> BaseProcess:
    process = _fork.Process(target=target, args=(ring, pair))
    process.start()
    return process


def ended_well(process: BaseProcess) -> bool:
    process.join(TIMEOUT_S)
    return process.exitcode == 0


def copy_to_and_fro(ring: RingClient, pair: int) -> None:
    """A program in the guest: its own buffer, filled and read back, many times over."""
    assert ring.run(op_alloc(1, SIZE), pair=pair, ctx=pair).status == Status.OK
    for turn in range(TURNS):
        data = bytes([pair, turn % 256]) * (SIZE // 2)
        ring.poke(ring.data_at(FROM, pair), data)
        ops = (op_write(1, 0, FROM, SIZE), op_read(1, 0, TO, SIZE))
        assert ring.run(*ops, pair=pair, ctx=pair, stream=turn).status == Status.OK
        assert ring.peek(ring.data_at(TO, pair), SIZE) == data


def run_for_ever(ring: RingClient, pair: int) -> None:
    while True:
        assert ring.run(op_nop(), pair=pair).status == Status.OK


def test_processes_on_all_pairs_are_served_at_once_and_see_their_own_data(paired: Guest) -> None:
    with paired.ring() as ring:
        assert ring.page.qp_count == PAIRS
        processes = [start(copy_to_and_fro, ring, pair) for pair in range(PAIRS)]
        assert [ended_well(process) for process in processes] == [True] * PAIRS
    assert paired.live().completed == PAIRS * (TURNS + 1)
    assert paired.live().faults == 0


def test_a_process_that_is_killed_stops_its_own_pair_alone(paired: Guest) -> None:
    with paired.ring() as ring:
        victim = start(run_for_ever, ring, 0)
        paired.when(lambda live: live.completed > TURNS, "the first process is at work")
        others = [start(copy_to_and_fro, ring, pair) for pair in range(1, PAIRS)]
        victim.kill()
        victim.join(TIMEOUT_S)
        assert victim.exitcode == -signal.SIGKILL
        assert [ended_well(process) for process in others] == [True] * (PAIRS - 1)
        assert ring.pair_state(0) == PairState.OK


def test_a_process_that_breaks_its_pair_stops_no_other(paired: Guest) -> None:
    with paired.ring() as ring:
        others = [start(copy_to_and_fro, ring, pair) for pair in range(1, PAIRS)]
        ring.poke_u32(ring.pair_guest(0) + PAIR_SQ_TAIL, 1 << 20)
        ring.ring(0)
        paired.logged("fault: impossible ring indices on queue pair 0")
        assert [ended_well(process) for process in others] == [True] * (PAIRS - 1)
        assert ring.pair_state(0) == PairState.ERROR
    assert paired.live().faults == 1


def test_a_pair_whose_completions_nobody_reads_stops_no_other(paired: Guest) -> None:
    with paired.ring() as ring:
        entries = ring.page.sq_entries
        ring.submit(*map(Submission, range(entries)), pair=0)
        paired.when(lambda live: live.completed >= entries, "pair 0 is full of completions")
        ring.submit(*map(Submission, range(entries)), pair=0)
        others = [start(copy_to_and_fro, ring, pair) for pair in range(1, PAIRS)]
        assert [ended_well(process) for process in others] == [True] * (PAIRS - 1)
        assert [ring.wait(0).cookie for _ in range(entries)] == [*range(entries)]
        ring.ring(0)  # more was submitted than there was room to answer
        assert [ring.wait(0).cookie for _ in range(entries)] == [*range(entries)]


def test_pairs_share_one_worker_and_wait_for_it_together(paired: Guest) -> None:
    worker = paired.warm_up()
    with paired.ring() as ring, stopped(worker):
        for pair in range(PAIRS):
            ring.poke(ring.data_at(0, pair), op_nop())
            ring.submit(Submission(pair, kind=Kind.COMMAND, cmd_len=len(op_nop())), pair=pair)
        live = paired.when(lambda live: live.queued + live.running == PAIRS, "all have asked")
        assert live.completed == 1
        os.kill(worker.pid, signal.SIGCONT)
        answers = [ring.wait(pair) for pair in range(PAIRS)]
        assert [(answer.cookie, answer.status) for answer in answers] == [
            (pair, Status.OK) for pair in range(PAIRS)
        ]
    assert paired.live().worker_pid == worker.pid
