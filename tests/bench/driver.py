"""Running the load generators, C programs of this directory, against a vgpud under test."""

from __future__ import annotations

import json
import subprocess
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


def drive(name: str, *arguments: str | int | Path) -> dict[str, Series]:
    """Run a load generator to its end and return what it prints; raises RuntimeError."""
    run = subprocess.run(
        [program(name), *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    if run.returncode != 0:
        raise RuntimeError(f"{name} failed: {run.stderr}")
    series: dict[str, Series] = json.loads(run.stdout)
    return series
