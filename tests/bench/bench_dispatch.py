"""What it costs to queue a request, pick the next one and complete it, as the queue grows.

4 pools of 1,024 VMs, all classes and weights, aging on: the scheduler's own code, without an engine
around it. In the same rounds run a queue that decides nothing (first in, first out, over as many
units in memory) and, where it ends, a list that is searched from end to end (dispatch_main.c).
"""

from __future__ import annotations

from tests.bench.driver import Series, drive
from tests.bench.result import BenchResult, Row

DEPTHS = (10, 1_000, 10_000, 100_000)
ROUNDS = 4000  # of 64 operations each


def rows(curve: dict[int, dict[str, Series]]) -> tuple[Row, ...]:
    """For each depth the rivals beside it, then how flat the curve is."""
    found: list[Row] = []
    for queued, series in curve.items():
        for key, label in (("p50_ns", "median"), ("p99_ns", "p99")):
            found += [
                Row(
                    f"enqueue + pick + complete, {queued:,} queued, {label}",
                    series["scheduler"][key],
                    "ns",
                    f"{rival_name}, {label}",
                    series[rival][key],
                )
                for rival, rival_name in (("fifo", "plain FIFO"), ("naive", "searched list"))
                if rival in series and not (rival == "naive" and key == "p99_ns")
            ]
    few, many = curve[1_000], curve[100_000]
    grows, fifo_grows = (
        many[name]["p50_ns"] - few[name]["p50_ns"] for name in ("scheduler", "fifo")
    )
    found += [
        Row(
            "100,000 queued, median",
            many["scheduler"]["p50_ns"],
            "ns",
            "1,000 queued, median",
            few["scheduler"]["p50_ns"],
        ),
        Row("growth from 1,000 to 100,000", grows, "ns", "the FIFO's growth", fifo_grows),
    ]
    return tuple(found)


def run() -> BenchResult:
    """Measure at all depths; blocks for some ten seconds."""
    return BenchResult(
        rows=rows({queued: drive("dispatch_main", queued, ROUNDS) for queued in DEPTHS}),
        notes=(
            f"medians of {ROUNDS} batches of 64 operations; the rivals take turns with it",
            "bar: at most 300 ns median, flat from 1,000 to 100,000 queued",
            "what grows is the wait for memory: 100,000 units fit into no cache, nor do the FIFO's",
        ),
    )
