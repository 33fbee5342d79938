"""A no-op's way to vgpud and back, for one VM, against the kernel's own cost for the same bytes.

Over the stub socket it is compared with a bare Unix-socket ping-pong of as many bytes; over the
ring with a bare eventfd ping-pong that copies a 64-byte entry through shared memory each way. All
of them run in one process, in rounds that take turns (roundtrip_main.c). The backend is the null
one: nothing of a device is measured.

Whether both ends are on one CPU or on two decides more than anything else: waking a CPU that idles
can cost twenty times the rest, in a virtual machine above all. So both are measured, with vgpud and
the other ends of the baselines on the same CPU, and never left to the kernel's choice.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

from tests.bench.result import BenchResult, Row
from tests.daemon_under_test import ROOT, RunningDaemon, running_vgpud

DRIVER = ROOT / "build" / "release" / "bench" / "roundtrip_main"
ROUNDS = 40
TURNS = 250  # of each series in a round
TIMEOUT_S = 240.0

Series = dict[str, float]


@contextlib.contextmanager
def staying_on(cpu: int) -> Iterator[None]:
    """What is started in the `with` block runs on one CPU."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {cpu})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def registered(daemon: RunningDaemon) -> Path:
    """Register a VM; the directory of its sockets. Raises RuntimeError when that fails."""
    vm_uuid = str(uuid.uuid4())
    done = daemon.admin(
        "register-vm",
        f"--vm-uuid={vm_uuid}",
        "--vm-name=bench",
        "--pool=A",
        "--priority=high",
        f"--peer=uid:{os.getuid()}",
    )
    if done.returncode != 0:
        raise RuntimeError(f"vgpu-admin register-vm: {done.stderr}{done.stdout}")
    return daemon.run_dir / "vms" / vm_uuid


def measured(sockets: Path, guest_cpu: int) -> dict[str, Series]:
    """Run the driver, its guest's end on a CPU; raises RuntimeError when it fails."""
    run = subprocess.run(
        [
            DRIVER,
            *("--stub", sockets / "stub.sock", "--ring", sockets / "ring.sock"),
            *("--rounds", str(ROUNDS), "--count", str(TURNS), "--guest-cpu", str(guest_cpu)),
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


def rows(series: dict[str, Series], where: str) -> list[Row]:
    """The table: times against their baselines, then rates; `where` says which CPUs."""
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
        Row(
            f"{what}, {where}, {label}",
            series[name][key],
            unit,
            f"{against}, {where}, {label}",
            series[base][key],
        )
        for name, what, base, against in compared
        for key, label, unit in (
            ("p50_us", "p50", "us"),
            ("p99_us", "p99", "us"),
            ("per_second", "rate", "requests/s"),
        )
    ]
    found += [
        Row(f"{what}, {where}", series[name]["per_second"], "requests/s")
        for name, what in (
            ("ring_nop_batch_64", "no-ops over the ring, 64 at a time"),
            ("ring_worker_nop_batch_64", "no-ops through the worker, 64 at a time"),
        )
    ]
    return found


def run() -> BenchResult:
    """Start a vgpud on the null backend and measure; blocks for some ten seconds."""
    if not DRIVER.exists():
        raise RuntimeError(f"{DRIVER} is not built: make -C mediator_ext bench")
    host_cpu, *others = sorted(os.sched_getaffinity(0))
    found: list[Row] = []
    with staying_on(host_cpu), running_vgpud() as daemon:
        sockets = registered(daemon)
        found += rows(measured(sockets, host_cpu), "one CPU")
        if others:
            found += rows(measured(sockets, others[0]), "two CPUs")
    return BenchResult(
        rows=tuple(found),
        notes=(
            f"{ROUNDS} rounds of {TURNS} turns each, all series taking turns in one process",
            "bars: stub p50 <= 1.5x its baseline; through the worker >= 1 M/s 64 at a time, "
            ">= 100 k/s one at a time",
        ),
    )
