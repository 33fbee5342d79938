"""A no-op's way to vgpud and back, for one VM, against the kernel's own cost for the same bytes.

Over the stub socket it is compared with a bare Unix-socket ping-pong of as many bytes; over the
ring with a bare eventfd ping-pong that copies a 64-byte entry through shared memory each way. All
of them run in one process, in rounds that take turns (roundtrip_main.c). The backend is the null
one: nothing of a device is measured.

Both are measured: vgpud and the other ends of the baselines on the guest's CPU, and on another one.
"""

from __future__ import annotations

import os
import uuid
from pathlib import Path

from tests.bench.driver import Series, drive, staying_on
from tests.bench.result import BenchResult, Row
from tests.daemon_under_test import RunningDaemon, running_vgpud

ROUNDS = 40
TURNS = 250  # of each series in a round


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
    return drive(
        "roundtrip_main",
        *("--stub", sockets / "stub.sock", "--ring", sockets / "ring.sock"),
        *("--rounds", ROUNDS, "--count", TURNS),
        guest_cpu=guest_cpu,
    )


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
