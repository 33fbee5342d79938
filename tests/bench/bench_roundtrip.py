"""A no-op's way to vgpud and back, for one VM, against the kernel's own cost for the same bytes.

Over the stub socket it is compared with a bare Unix-socket ping-pong of as many bytes; over the
ring with a bare eventfd ping-pong that copies a 64-byte entry through shared memory each way. All
of them run in one process, in rounds that take turns (roundtrip_main.c). The backend is the null
one: nothing of a device is measured.
"""

from __future__ import annotations

import json
import os
import subprocess
import uuid

from tests.bench.result import BenchResult, Row
from tests.daemon_under_test import ROOT, RunningDaemon, running_vgpud

DRIVER = ROOT / "build" / "release" / "bench" / "roundtrip_main"
ROUNDS = 40
TURNS = 250  # of each series in a round
TIMEOUT_S = 240.0

Series = dict[str, float]


def measured(daemon: RunningDaemon) -> dict[str, Series]:
    """Register a VM and run the driver on its sockets; raises RuntimeError when either fails."""
    if not DRIVER.exists():
        raise RuntimeError(f"{DRIVER} is not built: make -C mediator_ext bench")
    vm_uuid = str(uuid.uuid4())
    registered = daemon.admin(
        "register-vm",
        f"--vm-uuid={vm_uuid}",
        "--vm-name=bench",
        "--pool=A",
        "--priority=high",
        f"--peer=uid:{os.getuid()}",
    )
    if registered.returncode != 0:
        raise RuntimeError(f"vgpu-admin register-vm: {registered.stderr}{registered.stdout}")
    sockets = daemon.run_dir / "vms" / vm_uuid
    run = subprocess.run(
        [
            DRIVER,
            *("--stub", sockets / "stub.sock", "--ring", sockets / "ring.sock"),
            *("--rounds", str(ROUNDS), "--count", str(TURNS)),
        ],
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    if run.returncode != 0:
        raise RuntimeError(f"{DRIVER.name} failed: {run.stderr}")
    series: dict[str, Series] = json.loads(run.stdout)
    return series


def rows(series: dict[str, Series]) -> tuple[Row, ...]:
    """The table: times against their baselines, then rates."""
    compared = (
        ("stub_nop", "no-op over the stub socket", "socket", "bare Unix socket"),
        ("ring_nop", "no-op over the ring", "eventfd", "bare eventfd"),
        ("ring_worker_nop", "no-op through the worker", "eventfd", "bare eventfd"),
        (
            "ring_worker_nop_spinning",
            "no-op through the worker, guest spins",
            "eventfd",
            "bare eventfd",
        ),
    )
    found = [
        Row(f"{what}, {label}", series[name][key], unit, f"{against}, {label}", series[base][key])
        for name, what, base, against in compared
        for key, label, unit in (
            ("p50_us", "p50", "us"),
            ("p99_us", "p99", "us"),
            ("per_second", "rate", "requests/s"),
        )
    ]
    found += [
        Row(what, series[name]["per_second"], "requests/s")
        for name, what in (
            ("ring_nop_batch_64", "no-ops over the ring, 64 at a time"),
            ("ring_worker_nop_batch_64", "no-ops through the worker, 64 at a time"),
        )
    ]
    return tuple(found)


def run() -> BenchResult:
    """Start a vgpud on the null backend and measure; blocks for some ten seconds."""
    with running_vgpud() as daemon:
        series = measured(daemon)
    return BenchResult(
        rows=rows(series),
        notes=(
            f"{ROUNDS} rounds of {TURNS} turns each, all series taking turns in one process",
            "bars: stub p50 <= 1.5x its baseline; through the worker >= 1 M/s 64 at a time, "
            ">= 100 k/s one at a time",
        ),
    )
