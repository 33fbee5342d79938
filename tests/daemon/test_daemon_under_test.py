"""The fixture that every daemon test stands on: it tells why a start failed, and leaves nothing."""

from __future__ import annotations

import signal

import psutil
import pytest

from tests.daemon_under_test import DaemonFailed, running_vgpud


def test_a_daemon_that_does_not_start_is_reported_with_its_log() -> None:
    with (
        pytest.raises(DaemonFailed, match="no_such_key"),
        running_vgpud({"vms": {"no_such_key": 1}}),
    ):
        pytest.fail("vgpud started with an unknown key")


def test_nothing_is_left_behind_after_the_daemon_was_killed() -> None:
    with running_vgpud() as daemon:
        base = str(daemon.config.parent)
        assert daemon.end(signal.SIGKILL) == -signal.SIGKILL
    assert not daemon.config.parent.exists()
    assert not [p for p in psutil.process_iter(["cmdline"]) if base in str(p.info["cmdline"])]


def test_a_daemon_that_ended_starts_again_on_the_same_state() -> None:
    with running_vgpud() as daemon:
        daemon.admin("create-pool", "--pool-id=C")
        assert daemon.end(signal.SIGTERM) == 0
        daemon.start()
        assert "Pool C" in daemon.admin("list-pools").stdout
