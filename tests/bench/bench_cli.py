"""How long an administrator waits for `vgpu-admin list-pools`, against an empty Python start.

Both are started alternately, so that what else runs on the machine hits them alike.
"""

from __future__ import annotations

import statistics
import subprocess
import time
from collections.abc import Sequence

from tests.bench.result import BenchResult, Row
from tests.daemon_under_test import BIN, running_vgpud

ROUNDS = 30
WARM_UP = 3


def wall_ms(argv: Sequence[str]) -> float:
    """Run a command to its end and return its wall time in ms; raises when it fails."""
    start = time.perf_counter()
    subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, check=True)
    return (time.perf_counter() - start) * 1e3


def run() -> BenchResult:
    """Start a vgpud on the null backend and measure; blocks for about ten seconds."""
    empty = [str(BIN / "python"), "-c", "pass"]
    with running_vgpud() as daemon:
        command = daemon.admin_argv("list-pools")
        pairs = [(wall_ms(command), wall_ms(empty)) for _ in range(WARM_UP + ROUNDS)][WARM_UP:]
    measured, baseline = ([pair[i] for pair in pairs] for i in (0, 1))
    return BenchResult(
        rows=(
            Row(
                "vgpu-admin list-pools, median",
                statistics.median(measured),
                "ms",
                "python -c pass, median",
                statistics.median(baseline),
            ),
            Row(
                "vgpu-admin list-pools, p90",
                statistics.quantiles(measured, n=10)[-1],
                "ms",
                "python -c pass, p90",
                statistics.quantiles(baseline, n=10)[-1],
            ),
        ),
        notes=(f"{ROUNDS} alternating starts each; the bar for list-pools is 100 ms",),
    )
