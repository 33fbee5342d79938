"""A control server, and vgpu-admin beside it in the process of the test.

A test file that needs VMs, or anything else to begin with, has a `control` of its own,
made of this one.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.admin_under_test import Admin, admin_of
from tests.unit.control_under_test import RunningControl, running_control


@pytest.fixture
def admin(capsys: pytest.CaptureFixture[str]) -> Admin:
    """Runs vgpu-admin in this process."""
    return admin_of(capsys)


@pytest.fixture
def control(short_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RunningControl]:
    """A control server that vgpu-admin finds."""
    with running_control(short_dir) as running:
        monkeypatch.setenv("VGPUD_SOCKET", str(running.socket))
        yield running
