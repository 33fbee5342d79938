"""Who gets how much of a device, and who waits how long, beside the ideal.

The scheduler's own code on a virtual clock (fairness_main.c): nothing of the machine is measured,
and every run gives the same numbers. A baseline is what a perfect divider of time would give.
"""

from __future__ import annotations

from typing import Any

from tests.bench.driver import drive
from tests.bench.result import BenchResult, Row

SECONDS = 600  # of virtual time

SHARES = {
    "weights_10_30_60": "weights 10/30/60",
    "weights_80_20": "weights 80/20",
    "lengths_10_to_1": "jobs 10:1, equal weights",
    "lengths_100_to_1": "jobs 100:1, equal weights",
    "flooder": "10,000 deep beside 16 deep",
    "equals_64": "64 equal VMs",
}

# A job of mean length 1 takes 0.5 to 1.5: the rest of one that runs already, as it is distributed.
RESIDUAL = {"p50": 0.5, "p99": 1.359}

AGING_AFTER = 100  # in lengths of a job
AGING_SHARE = 0.2


def share_rows(found: dict[str, Any]) -> list[Row]:
    """The share that was farthest from its ideal, in short and in long windows; Jain's index."""
    rows = []
    for name, what in SHARES.items():
        second, long = found[name]["second"], found[name]["long"]
        rows.append(
            Row(f"{what}: worst share in 1 s", second["share"], "%", "by weight", second["ideal"])
        )
        window = f"{long['seconds']:g} s"
        if long["seconds"] > 1:
            rows.append(
                Row(
                    f"{what}: worst share in {window}",
                    long["share"],
                    "%",
                    "by weight",
                    long["ideal"],
                )
            )
        rows.append(
            Row(f"{what}: least Jain index in {window}", found[name]["jain"], "1", "all equal", 1.0)
        )
    return rows


def wait_rows(found: dict[str, Any]) -> list[Row]:
    """Waits for the device in lengths of a job."""
    rows = [
        Row(
            f"high under low saturation, {depth} in flight: wait {key}",
            found[f"high_wait_depth_{depth}"][key],
            "jobs",
            f"rest of one job, {key}",
            RESIDUAL[key],
        )
        for depth in (1, 8)
        for key in RESIDUAL
    ]
    rows += [
        Row(
            f"{count} low under high saturation: longest wait",
            found[f"low_wait_{count}"]["max"],
            "jobs",
            "aging, then each once at their share",
            AGING_AFTER + count / AGING_SHARE,
        )
        for count in (10, 100)
    ]
    return rows


def run() -> BenchResult:
    """Simulate all scenarios; blocks for some seconds."""
    found: dict[str, Any] = dict(drive("fairness_main", SECONDS))
    return BenchResult(
        rows=(*share_rows(found), *wait_rows(found)),
        notes=(
            f"{SECONDS} s of virtual time each; jobs of 1 ms (10 ms, 100 ms where said) +- 50 %; "
            "up to 8 units of one VM in flight, quantum 2 ms",
            "bars: within 2 percentage points over windows >= max(1 s, 100 n L), Jain >= 0.99",
            f"aging after {AGING_AFTER} jobs with a share of {AGING_SHARE:.0%} at most",
        ),
    )
