"""What a VM waits for when its worker dies: to be told, and to be served again.

A worker that has a command in hand is killed. Measured are the time until the VM is answered
DEVICE_LOST, and from then on the time until its next command, which needs a fresh worker, is
answered: with a standby, and without one. What that is compared with is the least that either could
take: a parent that polls the pidfd of a child it has killed, and a worker that is started with
nothing around it, until it says that its device is open.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from tests.bench.result import BenchResult, Row
from tests.daemon.guests import Guest, eventually, register, stopped
from tests.daemon_under_test import ROOT, ConfigOverrides, running_vgpud
from tests.ring_abi import Kind, Status, Submission, op_nop
from tests.ring_client import RingClient
from vgpud.pocl import find_bundled_pocl
from vgpud.worker_messages import READY_BYTES, pack_stand_by, unpack_ready

ROUNDS = {"null": 40, "opencl": 15}
WORKER = ROOT / "vgpud" / "bin" / "vgpu-worker"
BACKEND_NAMES = {"null": "null", "opencl": "PoCL"}


def ms_since(start: float) -> float:
    """Milliseconds since a moment of time.perf_counter()."""
    return (time.perf_counter() - start) * 1e3


def told_of_a_child() -> float:
    """How long a parent waits for the end of a child that it kills, in ms."""
    child = subprocess.Popen(["sleep", "60"])
    pidfd = os.pidfd_open(child.pid)
    try:
        poller = select.poll()
        poller.register(pidfd, select.POLLIN)
        start = time.perf_counter()
        child.kill()
        poller.poll()
        return ms_since(start)
    finally:
        os.close(pidfd)
        child.wait()


def bare_worker(environment: dict[str, str]) -> float:
    """How long a worker takes from being started to its device being open, in ms."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, tempfile.TemporaryDirectory() as scratch:
        with theirs:
            ours.send(pack_stand_by())
            start = time.perf_counter()
            worker = subprocess.Popen(
                [WORKER, "--role=launch", f"--control-fd={theirs.fileno()}"],
                pass_fds=[theirs.fileno()],
                env={**environment, "POCL_CACHE_DIR": scratch, "HOME": scratch},
                stderr=subprocess.DEVNULL,
            )
        ready = unpack_ready(ours.recv(READY_BYTES + 1))
        taken = ms_since(start)
        ours.close()
        worker.wait()
    if ready.error_number:
        raise RuntimeError(f"vgpu-worker: {ready.reason}")
    return taken


@dataclass
class Case:
    """A VM of a running vgpud, and what was measured of it, in ms."""

    guest: Guest
    ring: RingClient
    standby: bool
    told: list[float] = field(default_factory=list)
    served: list[float] = field(default_factory=list)

    def await_standby(self) -> None:
        """Wait until a worker stands by; all that were bound had been ready before."""

        def ready() -> bool:
            text = self.guest.daemon.log.read_text()
            return text.count("waits to be bound") > text.count("it was the standby")

        if self.standby:
            eventually(ready, "a standby is ready")

    def measure(self) -> None:
        """Kill the worker in the middle of a command, and go on."""
        self.await_standby()
        assert self.ring.run(op_nop()).status == Status.OK
        self.await_standby()
        worker = self.guest.worker()
        with stopped(worker):
            self.ring.submit(Submission(1, kind=Kind.COMMAND, cmd_len=8))
            self.guest.when(lambda live: live.running == 1, "it is in hand")
            start = time.perf_counter()
            os.kill(worker.pid, signal.SIGKILL)
            lost = self.ring.wait()
            self.told.append(ms_since(start))
        assert lost.status == Status.DEVICE_LOST, lost
        start = time.perf_counter()
        done = self.ring.run(op_nop())
        self.served.append(ms_since(start))
        assert done.status == Status.OK, done


@contextlib.contextmanager
def running(backend: str, *, standby: bool) -> Iterator[Case]:
    """A vgpud with one VM that is never quarantined for what is done to it here."""
    overrides: ConfigOverrides = {
        "device": {"backend": backend},
        "spawner": {"standby": int(standby)},
        "faults": {"threshold": 0},
    }
    with running_vgpud(overrides) as daemon:
        guest = register(daemon)
        with guest.ring() as ring:
            yield Case(guest, ring, standby)


def environment_of(backend: str) -> dict[str, str]:
    """Of a worker that is started by hand; raises RuntimeError when PoCL is not there."""
    if backend == "null":
        return {"VGPU_BACKEND": "null"}
    library = find_bundled_pocl()
    if library is None:
        raise RuntimeError("the package pocl-binary-distribution is not installed")
    return {"VGPU_BACKEND": "opencl", "VGPU_OPENCL_LIBRARY": str(library)}


def measured(backend: str) -> list[Row]:
    """All rows of a backend; the daemons and the baselines take turns."""
    environment = environment_of(backend)
    told: list[float] = []
    started: list[float] = []
    with running(backend, standby=True) as hot, running(backend, standby=False) as cold:
        for _ in range(ROUNDS[backend]):
            told.append(told_of_a_child())
            hot.measure()
            started.append(bare_worker(environment))
            cold.measure()
    name = BACKEND_NAMES[backend]
    found = []
    for label, statistic in STATISTICS.items():
        found += [
            Row(
                f"{name}: killed to DEVICE_LOST, {label}",
                statistic(hot.told + cold.told),
                "ms",
                f"pidfd of a killed child, {label}",
                statistic(told),
            ),
            *(
                Row(
                    f"{name}: next command answered, {how}, {label}",
                    statistic(case.served),
                    "ms",
                    f"a bare worker until ready, {label}",
                    statistic(started),
                )
                for how, case in (("with a standby", hot), ("without one", cold))
            ),
        ]
    return found


STATISTICS: dict[str, Callable[[list[float]], float]] = {"p50": statistics.median, "max": max}


def run() -> BenchResult:
    """Start vgpuds on the null backend and on PoCL, and measure; blocks for about a minute."""
    backends = ["null", "opencl"] if find_bundled_pocl() else ["null"]
    return BenchResult(
        rows=tuple(row for backend in backends for row in measured(backend)),
        notes=(
            "rounds: "
            + ", ".join(f"{ROUNDS[backend]} on {BACKEND_NAMES[backend]}" for backend in backends),
            "a round kills the worker, is answered, and asks again at once; the standby was ready",
        ),
    )
