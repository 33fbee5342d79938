"""What two VMs get out of the device together, against one of them alone.

Each keeps a few kernels of 20 us outstanding. The device is the null one, which is busy for as long
as a kernel says; what is lost is what it costs to change from one VM to the other and back.
"""

from __future__ import annotations

from tests.bench.driver import drive
from tests.bench.result import BenchResult, Row
from tests.daemon.guests import register
from tests.daemon_under_test import running_vgpud

KERNEL = "busy_20us"
DEPTHS = (1, 8, 32)
ROUNDS = 21
ROUND_MS = 200


def run() -> BenchResult:
    """Start a vgpud on the null backend and measure; blocks for half a minute."""
    found = []
    with running_vgpud() as daemon:
        paths = [register(daemon).ring_socket for _ in range(2)]
        for depth in DEPTHS:
            series = drive("load_ring_main", "kernel", ROUNDS, ROUND_MS, KERNEL, depth, *paths)
            alone, parts = series["alone"]["per_second"], [series[f"ring_{i}"] for i in (0, 1)]
            found += [
                Row(
                    f"two VMs, {depth} outstanding each",
                    series["together"]["per_second"],
                    "kernels/s",
                    "one VM alone",
                    alone,
                ),
                Row(
                    f"the VM that gets less, {depth} outstanding",
                    min(part["per_second"] for part in parts),
                    "kernels/s",
                    "the other one",
                    max(part["per_second"] for part in parts),
                ),
                Row(
                    f"one VM alone, {depth} outstanding",
                    alone,
                    "kernels/s",
                    "back to back, without anything between",
                    50_000.0,
                ),
            ]
    return BenchResult(
        rows=tuple(found),
        notes=(
            f"medians of {ROUNDS} rounds of {ROUND_MS} ms each, alone and together taking turns",
            "bar: two VMs together >= 0.8x of one alone",
        ),
    )
