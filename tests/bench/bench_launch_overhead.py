"""What vgpud adds to a kernel, against the same backend called directly.

Empty kernels, of 100 us and of 1 ms: one at a time, each waited for, and 8 outstanding. The rival
is the backend of the worker inside the load generator, without worker, scheduler or ring, in rounds
that take turns with vgpud's, and on the worker's CPU. The guest asks from there, and from another
one.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from unittest.mock import patch

from tests.bench.driver import Series, drive, staying_on
from tests.bench.result import BenchResult, Row
from tests.daemon.guests import register
from tests.daemon_under_test import ConfigValue, running_vgpud
from vgpud.pocl import find_bundled_pocl

KERNELS = {"empty": "empty kernel", "100": "kernel of 100 us", "1000": "kernel of 1 ms"}
DEPTH = 8
MANY = ("vgpud", "spinning", "direct")
THREADS = 1
ROUNDS = 15
ROUND_MS = 100


def rows(what: str, series: dict[str, Series], spinning: bool) -> list[Row]:
    """What a launch takes, by medians: one alone, and each of many that are in flight."""

    def row(text: str, ours: float, direct: float) -> Row:
        return Row(f"{what}: {text}", ours, "us", "direct", direct)

    found = []
    for kernel, label in KERNELS.items():
        p50_us = {name: series[f"{name}_{kernel}_{DEPTH}"]["p50_us"] for name in MANY}
        found += [
            row(
                f"{label}, synchronous",
                series[f"vgpud_{kernel}_1"]["p50_us"],
                series[f"direct_{kernel}_1"]["p50_us"],
            ),
            row(f"{label}, {DEPTH} in flight, each", p50_us["vgpud"] / DEPTH, p50_us["direct"]),
        ]
        if spinning:
            each_us = p50_us["spinning"] / DEPTH
            found.append(row(f"{label}, {DEPTH} in flight, guest spins", each_us, p50_us["direct"]))
    return found


def measured(backend: str, scratch: Path) -> list[Row]:
    """Both ways to one backend; raises RuntimeError when the load generator fails."""
    host_cpu, *others = sorted(os.sched_getaffinity(0))
    library = find_bundled_pocl()
    env = {"TMPDIR": str(scratch), "VGPU_CPU_THREADS": str(THREADS)}
    if library is not None:
        env["VGPU_OPENCL_LIBRARY"] = str(library)
    overrides: dict[str, dict[str, ConfigValue]] = {
        "device": {"backend": backend, "cpu_threads": THREADS}
    }
    found: list[Row] = []
    with staying_on(host_cpu), running_vgpud(overrides) as daemon, patch.dict(os.environ, env):
        ring = register(daemon).ring_socket
        for guest_cpu in (host_cpu, *others[:1]):
            series = drive(
                "launch_overhead_main",
                *(backend, ROUNDS, ROUND_MS, DEPTH),
                ring,
                *KERNELS,
                guest_cpu=guest_cpu,
            )
            where = "one CPU" if guest_cpu == host_cpu else "two CPUs"
            found += rows(f"{backend}, {where}", series, guest_cpu != host_cpu)
    return found


def run() -> BenchResult:
    """Start a vgpud on either backend and measure; blocks for two minutes."""
    found: list[Row] = []
    for backend in ("null", "opencl"):
        with tempfile.TemporaryDirectory() as scratch:
            found += measured(backend, Path(scratch))
    return BenchResult(
        rows=tuple(found),
        notes=(
            f"medians of {ROUNDS} rounds of {ROUND_MS} ms each, all series taking turns",
            "of launches in flight: the median time from submission to completion, divided; of "
            "direct ones, of the calls, which wait for the launch before the last",
            f"bars: {DEPTH} in flight <= 1.05x at 100 us and <= 1.01x at 1 ms; synchronous, "
            "p50, <= 25 us more",
        ),
    )
