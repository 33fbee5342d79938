"""Running the load generators, C programs of this directory, against a vgpud under test.

Whether both ends are on one CPU or on two decides more than anything else: waking a CPU that idles
can cost twenty times the rest, in a virtual machine above all. So where times are compared, vgpud
and the rivals are started `staying_on` a CPU, and the clients are told theirs.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

from tests.daemon_under_test import ROOT

BUILT = ROOT / "build" / "release" / "bench"
TIMEOUT_S = 240.0

Series = dict[str, float]


def program(name: str) -> Path:
    """Where a load generator is; raises RuntimeError when it is not built."""
    path = BUILT / name
    if not path.exists():
        raise RuntimeError(f"{path} is not built: make -C mediator_ext bench")
    return path


@contextlib.contextmanager
def staying_on(cpu: int) -> Iterator[None]:
    """What is started in the `with` block runs on one CPU."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {cpu})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def drive(
    name: str, *arguments: str | int | Path, guest_cpu: int | None = None
) -> dict[str, Series]:
    """Run a load generator to its end and return what it prints; raises RuntimeError.

    With `guest_cpu` its clients ask from that CPU; its rivals stay where it is started.
    """
    placed = {} if guest_cpu is None else {"GUEST_CPU": str(guest_cpu)}
    run = subprocess.run(
        [program(name), *map(str, arguments)],
        capture_output=True,
        text=True,
        env={**os.environ, **placed},
        timeout=TIMEOUT_S,
        check=False,
    )
    if run.returncode != 0:
        raise RuntimeError(f"{name} failed: {run.stderr}")
    series: dict[str, Series] = json.loads(run.stdout)
    return series
