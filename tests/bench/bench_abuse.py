"""What others notice of an abuse: their p99 while it goes on, against their own without it.

The others are two VMs: one asks no-ops over its stub socket, one has commands of one no-op run by
its worker over its ring. An abuser that is busy itself is given only CPUs that nobody else wants:
that others get less of a CPU is for the host's scheduler to see to, what vgpud makes of it is shown
here. Beside each VM runs its rival, which has nothing to do with vgpud, its ends on the same CPUs:
what becomes slower for the rival too is the machine's doing.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass

from tests.bench.driver import Series, drive, staying_on
from tests.bench.result import BenchResult, Row
from tests.daemon.abuse import ABUSES
from tests.daemon.guests import Guest, register
from tests.daemon_under_test import running_vgpud

ROUNDS = 9
ROUND_MS = 60


@dataclass(frozen=True)
class Others:
    """p99 in us: of a VM over each way in, and of their rivals."""

    stub: float
    echo: float
    ring: float
    copy: float


@contextlib.contextmanager
def on_idle_cpus() -> Iterator[None]:
    """What is started in the `with` block runs where and when nobody else does."""
    os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    try:
        yield
    finally:
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))


def measured(stub: Guest, ring: Guest, host_cpu: int, guest_cpu: int) -> Others:
    how = (ROUNDS, ROUND_MS, 1)
    with staying_on(host_cpu):
        over_stub = drive("load_stub_main", *how, stub.stub_socket, guest_cpu=guest_cpu)
        over_ring = drive("load_ring_main", "nop", *how, ring.ring_socket, guest_cpu=guest_cpu)

    def p99(series: Series) -> float:
        return series["p99_us"]

    return Others(
        p99(over_stub["vgpud_1"]),
        p99(over_stub["echo_1"]),
        p99(over_ring["vgpud_1"]),
        p99(over_ring["copy_1"]),
    )


def rows_of(name: str, during: Others, quiet: Others) -> list[Row]:
    """p99 of both VMs against their quiet ones, and the same of their rivals."""
    of: tuple[tuple[str, Callable[[Others], float]], ...] = (
        ("stub", lambda others: others.stub),
        ("  bare echo beside it", lambda others: others.echo),
        ("ring", lambda others: others.ring),
        ("  bare copy beside it", lambda others: others.copy),
    )
    return [
        Row(f"{name}: {what}, p99", value(during), "us", "without it", value(quiet))
        for what, value in of
    ]


def run() -> BenchResult:
    """Start a vgpud on the null backend and measure; blocks for about two minutes."""
    rows: list[Row] = []
    cpus = os.sched_getaffinity(0)
    where = min(cpus), max(cpus)
    with ExitStack() as stack:
        with staying_on(where[0]):
            daemon = stack.enter_context(running_vgpud())
        stub, ring = register(daemon, pool="A"), register(daemon, pool="B")
        ring.warm_up()
        for abuse in ABUSES:
            abuser, victim = register(daemon), register(daemon)
            quiet = measured(stub, ring, *where)
            with ExitStack() as going_on:
                with on_idle_cpus():
                    going_on.enter_context(abuse.begin(abuser, victim))
                during = measured(stub, ring, *where)
            rows += rows_of(abuse.name, during, quiet)
            abuser.remove()
            victim.remove()
    return BenchResult(
        rows=tuple(rows),
        notes=(
            f"medians over {ROUNDS} rounds of {ROUND_MS} ms, each abuse after a quiet measurement",
            "aim: p99 <= 2x its quiet value, where that of the rival beside it allows for it",
            "1,100 queued: kernels of 20 ms have the device, and the ring's commands wait for one",
        ),
    )
