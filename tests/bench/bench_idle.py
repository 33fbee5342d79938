"""What a vgpud costs that has nothing to do: 1,024 VMs connected, against one.

A thread that sleeps and is woken makes a voluntary context switch, so a daemon that makes none for
ten seconds has not woken up. Memory is counted without the rings, which are their guests'.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests.bench.result import BenchResult, Row
from tests.daemon.guests import register, spawner_of, vgpud_of
from tests.daemon_under_test import running_vgpud
from tests.stub_client import Opcode

MANY = 1024
WATCH_S = 10.0
MIB = 1 << 20


@dataclass(frozen=True)
class Idle:
    """What was seen of a daemon with nothing to do."""

    wakeups_per_s: float
    cpu_ms_per_s: float
    vgpud_mib: float
    spawner_mib: float
    vgpud_fds: int
    spawner_fds: int


def switches(processes: Iterable[psutil.Process]) -> int:
    """Voluntary context switches of all threads so far."""
    status = [
        path.read_text()
        for process in processes
        for path in Path(f"/proc/{process.pid}/task").glob("*/status")
    ]
    return sum(int(n) for text in status for n in re.findall(r"^vol\w+:\s+(\d+)$", text, re.M))


def cpu_s(processes: Iterable[psutil.Process]) -> float:
    return sum(sum(process.cpu_times()[:2]) for process in processes)


def resident_bytes(process: psutil.Process) -> int:
    """Resident memory besides the rings of VMs."""
    rings = sum(
        mapping.rss
        for mapping in process.memory_maps(grouped=False)
        if "vgpud-ring-" in mapping.path
    )
    return int(process.memory_info().rss - rings)


def idle(vms: int) -> Idle:
    """Have that many VMs connected, each served once, and then look on."""
    with running_vgpud() as daemon, ExitStack() as stack:
        clients = [stack.enter_context(register(daemon).stub()) for _ in range(vms)]
        for client in clients:
            client.request(Opcode.NOP)
        vgpud, spawner = both = vgpud_of(daemon), spawner_of(daemon)
        before, used_s = switches(both), cpu_s(both)
        time.sleep(WATCH_S)
        return Idle(
            wakeups_per_s=(switches(both) - before) / WATCH_S,
            cpu_ms_per_s=(cpu_s(both) - used_s) * 1e3 / WATCH_S,
            vgpud_mib=resident_bytes(vgpud) / MIB,
            spawner_mib=resident_bytes(spawner) / MIB,
            vgpud_fds=vgpud.num_fds(),
            spawner_fds=spawner.num_fds(),
        )


def run() -> BenchResult:
    """Start two daemons on the null backend, one after the other; blocks for half a minute."""
    many, one = idle(MANY), idle(1)
    compared = (
        ("wake-ups of vgpud and vgpu-spawn", "wakeups_per_s", "1/s"),
        ("CPU time of both", "cpu_ms_per_s", "ms/s"),
        ("memory of vgpud, without rings", "vgpud_mib", "MiB"),
        ("memory of vgpu-spawn", "spawner_mib", "MiB"),
        ("descriptors of vgpud", "vgpud_fds", "descriptors"),
        ("descriptors of vgpu-spawn", "spawner_fds", "descriptors"),
    )
    rows = [
        Row(f"{what}, {MANY} VMs", getattr(many, key), unit, "the same, 1 VM", getattr(one, key))
        for what, key, unit in compared
    ]
    rows.append(
        Row(f"memory of vgpud, {MANY} VMs", many.vgpud_mib, "MiB", "the bar", 64.0),
    )
    each_kib = (many.vgpud_mib - one.vgpud_mib) * 1024 / (MANY - 1)
    rows.append(Row("memory of vgpud, each further VM", each_kib, "KiB"))
    return BenchResult(
        rows=tuple(rows),
        notes=(
            f"over {WATCH_S:g} s, every VM connected over its stub socket and served once",
            "no service manager, so no watchdog to be told; bars: 0 wake-ups/s, 64 MiB",
        ),
    )
