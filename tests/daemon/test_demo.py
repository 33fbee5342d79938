"""The demonstration, as a newcomer runs it, twice at the same time."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.daemon_under_test import ROOT

DEMO_TIMEOUT_S = 240


@pytest.mark.timeout(DEMO_TIMEOUT_S + 30)
def test_two_demos_at_once_succeed_and_leave_nothing() -> None:
    demos = [
        subprocess.Popen(
            [sys.executable, "-m", "vgpud.demo"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=ROOT,
        )
        for _ in range(2)
    ]
    outputs = [demo.communicate(timeout=DEMO_TIMEOUT_S)[0] for demo in demos]
    assert [demo.returncode for demo in demos] == [0, 0], "\n".join(outputs)
    for output in outputs:
        for vm in ("vm-one", "vm-two"):
            assert re.search(rf"{vm} .*: 20 \+ 22 = 42", output)
            assert re.search(rf"{vm} .*all 1,048,576 results are right", output)
        assert "BUILD_FAILED" in output
        place = re.search(r"state in (/\S+)/state", output)
        assert place is not None, output
        assert not Path(place[1]).exists()
        left = [
            process
            for process in psutil.process_iter(["cmdline"])
            if place[1] in " ".join(process.info["cmdline"] or ())
        ]
        assert left == []
