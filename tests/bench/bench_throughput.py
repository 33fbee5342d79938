"""How many no-ops many VMs get through together, against what the kernel alone can do.

Version 1: one connection to each VM and one no-op outstanding on each, against a bare epoll echo
server that gets and sends the same bytes from the same code. The ring: commands of one no-op
through scheduler and worker, against a process that only copies the entries. All in rounds that
take turns.
"""

from __future__ import annotations

from tests.bench.driver import Series, drive
from tests.bench.result import BenchResult, Row
from tests.daemon.guests import register
from tests.daemon_under_test import running_vgpud

VMS = (1, 8, 64)
RINGS = (1, 8)
BATCHES = (1, 64)
DEPTHS = (8, 64)
ROUNDS = 21
ROUND_MS = 150


def stub_rows(series: dict[str, Series]) -> list[Row]:
    """Rate, p50 and p99 for each number of VMs beside the echo server's; answers that got lost."""
    found = []
    for vms in VMS:
        ours, rival = series[f"vgpud_{vms}"], series[f"echo_{vms}"]
        found += [
            Row(f"stub, VMs {vms}, {label}", ours[key], unit, f"epoll echo, {label}", rival[key])
            for key, label, unit in (
                ("per_second", "rate", "requests/s"),
                ("p50_us", "p50", "us"),
                ("p99_us", "p99", "us"),
            )
        ]
        found.append(Row(f"stub, VMs {vms}, lost", ours["lost"], "requests"))
    return found


def batch_rows(rings: int, series: dict[str, Series]) -> list[Row]:
    """Rates of batches beside those of the copying process."""
    return [
        Row(
            f"rings {rings}, through workers, {batch} at a time",
            series[f"vgpud_{batch}"]["per_second"],
            "requests/s",
            "a process that copies",
            series[f"copy_{batch}"]["per_second"],
        )
        for batch in BATCHES
    ]


def bar_rows(batched: Series, streams: dict[int, dict[str, Series]]) -> list[Row]:
    """The rates that have a bar, beside it."""
    found = [Row("rings 1, 64 at a time", batched["per_second"], "requests/s", "the bar", 1e6)]
    for depth, series in streams.items():
        for key, rings in (("alone", 1), ("together", RINGS[-1])):
            rate = series[key]["per_second"]
            name = f"rings {rings}, published singly, {depth} outstanding"
            found.append(Row(name, rate, "requests/s", "the bar", 1e5))
    return found


def run() -> BenchResult:
    """Start a vgpud on the null backend and measure; blocks for about a minute."""
    with running_vgpud() as daemon:
        guests = [register(daemon) for _ in range(max(VMS))]
        counts = ",".join(map(str, VMS))
        stub = drive(
            "load_stub_main", ROUNDS, ROUND_MS, counts, *(guest.stub_socket for guest in guests)
        )
        paths = [guest.ring_socket for guest in guests[: max(RINGS)]]
        batches = ",".join(map(str, BATCHES))
        batched = {
            rings: drive("load_ring_main", "nop", ROUNDS, ROUND_MS, batches, *paths[:rings])
            for rings in RINGS
        }
        streams = {
            depth: drive("load_ring_main", "stream", ROUNDS, ROUND_MS, depth, *paths)
            for depth in DEPTHS
        }
    return BenchResult(
        rows=(
            *stub_rows(stub),
            *(row for rings in RINGS for row in batch_rows(rings, batched[rings])),
            *bar_rows(batched[1]["vgpud_64"], streams),
        ),
        notes=(
            f"medians of {ROUNDS} rounds of {ROUND_MS} ms, vgpud and its rival taking turns",
            "bars: stub rate >= 0.6x and, with 64 VMs, p99 <= 2x its rival's, none lost; through "
            "the worker >= 1 M/s 64 at a time, >= 100 k/s published singly",
            "one at a time, the next when it is answered: four processes that wake one another",
        ),
    )
