"""One VM with its two worker processes, for tests: the engine between them is the test."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from tests.fake_cuda import fake_cuda
from tests.integration import worker_engine as engine
from tests.integration.worker_engine import Reply, Ring, Unit, Worker
from vgpud.pocl import find_bundled_pocl

ROOT = Path(__file__).resolve().parents[2]
BINARY = Path(os.environ.get("VGPUD_TEST_WORKER", ROOT / "vgpud" / "bin" / "vgpu-worker"))
BACKENDS = ["null", "opencl"]

# Where things lie in the slice of a pair.
COMMAND, CODE, OPTIONS, LOG, DATA = 0, 1 << 16, 2 << 16, 3 << 16, 1 << 20


SOURCE = """
__kernel void saxpy(float a, __global const float *x, __global float *y)
{
    size_t i = get_global_id(0);
    y[i] += a * x[i];
}
__kernel void endless(__global volatile int *stop)
{
    while (*stop == 0)
        ;
}
"""


def environment(backend: str, scratch: Path) -> dict[str, str]:
    """What the spawner would set; skips where the machine cannot have that device."""
    if not BINARY.exists():
        pytest.skip(f"{BINARY} is not built: make -C mediator_ext programs")
    env = {"VGPU_BACKEND": backend, "POCL_CACHE_DIR": str(scratch)}
    if backend == "opencl":
        library = find_bundled_pocl()
        if library is None:
            pytest.skip("the package pocl-binary-distribution is not installed")
        if shutil.which("ld") is None:
            pytest.skip("PoCL needs ld (binutils) to build")
        env["VGPU_OPENCL_LIBRARY"] = str(library)
        env["VGPU_CPU_THREADS"] = "1"
    if backend == "cuda":
        env["VGPU_CUDA_LIBRARY"] = fake_cuda()
        env["FAKE_CUDA_ABORT"] = "1"
    return env


@dataclass
class Vm:
    """One VM with its launch worker and its build worker; the engine between them is here."""

    ring: Ring
    launcher: Worker
    builder: Worker

    def unit(self, *ops: bytes, lane: int = engine.LANE_EXEC, at: int = COMMAND) -> Unit:
        """A unit with these ops as its command, written into pair 0."""
        command = b"".join(ops)
        self.ring.put(at, command)
        return Unit(lane=lane, cmd_len=len(command), cmd_off=at)

    def run(self, *ops: bytes) -> Reply:
        """Run a command on the launcher alone."""
        return self.launcher.run(self.unit(*ops))

    def settle(self, unit: Unit) -> Reply:
        """Run a unit to its end, with builds where it asks for them."""
        reply = self.launcher.run(unit)
        while reply.outcome == engine.NEED_BUILD:
            unit = replace(unit, first_op=reply.op_index, flags=0)
            built = self.builder.run(unit)
            assert (built.outcome, built.status) == (engine.DONE, engine.OK)
            unit = replace(unit, flags=engine.BUILT)
            reply = self.launcher.run(unit)
        return reply

    def load(
        self, module: int, source: str | bytes, options: str = "", kind: int = engine.OPENCL_C
    ) -> Reply:
        """MODULE_LOAD, built when needed; the log goes to LOG."""
        code = source.encode() if isinstance(source, str) else source
        self.ring.put(CODE, code)
        self.ring.put(OPTIONS, options.encode())
        op = engine.module_load(
            module, (CODE, len(code)), (OPTIONS, len(options)), (LOG, 4096), kind
        )
        return self.settle(self.unit(op, lane=engine.LANE_BUILD))

    def log(self, reply: Reply) -> str:
        """The build log that a reply speaks of."""
        return self.ring.get(LOG, reply.out_len).decode()


def started(env: dict[str, str], memory_bytes: int = 64 << 20) -> Iterator[Vm]:
    """A launcher and a builder with these settings, bound to one VM and to each other."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    no_tools = {"PATH": "/nonexistent"}  # the launcher must not need a compiler or a linker
    with (
        closing(Ring()) as ring,
        Worker(BINARY, "launch", env | no_tools, ring) as launcher,
        Worker(BINARY, "build", env, ring) as builder,
    ):
        with ours, theirs:
            assert launcher.bind(ours, memory_bytes).status == 0
            assert builder.bind(theirs, memory_bytes).status == 0
        yield Vm(ring, launcher, builder)
