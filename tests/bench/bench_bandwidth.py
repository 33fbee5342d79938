"""How fast bulk data goes between the ring's data area and a buffer, against memcpy.

The data area is mapped into the VM's worker, so a WRITE is one copy: from there to the buffer,
whose memory on these two devices is the host's. The rival copies as many bytes with memcpy, in the
same run, in rounds that take turns, and on the same CPU as the worker; the guest asks from another
one.
"""

from __future__ import annotations

import os

from tests.bench.driver import Series, drive, staying_on
from tests.bench.result import BenchResult, Row
from tests.daemon.guests import register
from tests.daemon_under_test import ConfigValue, running_vgpud

SIZES = {"64 KiB": 64 << 10, "1 MiB": 1 << 20, "16 MiB": 16 << 20}
DATA_BYTES = 64 << 20
DEPTH = 8
WAYS = {"1": "1 outstanding", str(DEPTH): f"{DEPTH} outstanding", "chain": "16 in a command"}
ROUNDS = 21
ROUND_MS = 100
GIB = float(1 << 30)


def rows(backend: str, series: dict[str, Series]) -> list[Row]:
    """The table, in GiB/s, by the rates of whole rounds."""

    def rate(name: str, bytes_: int) -> float:
        return series[name]["per_second"] * bytes_ / GIB

    return [
        Row(
            f"{backend}: {what.upper()} of {label}, {text}",
            rate(f"{what}_{bytes_}_{how}", bytes_),
            "GiB/s",
            "memcpy",
            rate(f"memcpy_{bytes_}", bytes_),
        )
        for label, bytes_ in SIZES.items()
        for what in ("write", "read")
        for how, text in WAYS.items()
    ]


def run() -> BenchResult:
    """Start a vgpud on either backend and measure; blocks for about a minute."""
    host_cpu, *others = sorted(os.sched_getaffinity(0))
    guest_cpu = others[0] if others else host_cpu
    found: list[Row] = []
    for backend in ("null", "opencl"):
        overrides: dict[str, dict[str, ConfigValue]] = {
            "device": {"backend": backend, "cpu_threads": 1},
            "vms": {"ring_data_bytes": DATA_BYTES},
        }
        with staying_on(host_cpu), running_vgpud(overrides) as daemon:
            series = drive(
                "bandwidth_main",
                *(ROUNDS, ROUND_MS, DEPTH, register(daemon).ring_socket),
                *SIZES.values(),
                guest_cpu=guest_cpu,
            )
        found += rows(backend, series)
    return BenchResult(
        rows=tuple(found),
        notes=(
            f"medians of {ROUNDS} rounds of {ROUND_MS} ms each, all series taking turns",
            "what is not in one command wakes the other side for each: see the bench roundtrip",
            "bar: WRITE of 1 MiB and more >= 0.9x of memcpy",
        ),
    )
