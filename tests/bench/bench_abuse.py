"""What others notice of an abuse: their p99 while it goes on, against their own without it.

The others are two VMs: one asks no-ops over its stub socket, one has commands of one no-op run by
its worker over its ring. Beside each runs its rival, which has nothing to do with vgpud: what
becomes slower for the rival too is the machine's doing, since an abuser takes a CPU as well.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tests.bench.driver import Series, drive
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


def measured(stub: Guest, ring: Guest) -> Others:
    over_stub = drive("load_stub_main", ROUNDS, ROUND_MS, 1, stub.stub_socket)
    over_ring = drive("load_ring_main", "nop", ROUNDS, ROUND_MS, 1, ring.ring_socket)

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
    with running_vgpud() as daemon:
        stub, ring = register(daemon, pool="A"), register(daemon, pool="B")
        ring.warm_up()
        for abuse in ABUSES:
            abuser, victim = register(daemon), register(daemon)
            quiet = measured(stub, ring)
            with abuse.begin(abuser, victim):
                during = measured(stub, ring)
            rows += rows_of(abuse.name, during, quiet)
            abuser.remove()
            victim.remove()
    return BenchResult(
        rows=tuple(rows),
        notes=(
            f"medians over {ROUNDS} rounds of {ROUND_MS} ms, each abuse after a quiet measurement",
            "aim: p99 <= 2x its quiet value, where that of the rival beside it allows for it",
        ),
    )
