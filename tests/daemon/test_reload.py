"""SIGHUP: what changes at once, what waits for the next start, and what changes nothing."""

from __future__ import annotations

import os
import re
import signal
import uuid
from collections.abc import Iterator

import pytest

from tests.daemon.guests import register, reload, stopped
from tests.daemon_under_test import ROOT, RunningDaemon
from tests.ring_abi import DEVICE_INFO, Kind, Status, Submission, op_alloc, op_nop
from tests.stub_client import Opcode
from vgpud.config import RESTART_KEYS

ONLY_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")


@pytest.fixture
def config(vgpud_of_its_own: RunningDaemon) -> Iterator[str]:
    """The configuration the daemon was started with, and has again after the test."""
    config = vgpud_of_its_own.config.read_text()
    yield config
    assert "reload: done" in reload(vgpud_of_its_own, config)


def test_a_good_file_is_taken_over_without_a_warning(
    vgpud_of_its_own: RunningDaemon, config: str
) -> None:
    said = reload(vgpud_of_its_own, config)
    assert "reload: done" in said
    assert "WARNING" not in said and "ERROR" not in said


def test_vgpu_admin_reloads_as_the_signal_does_and_says_what_waits_for_the_next_start(
    vgpud_of_its_own: RunningDaemon, config: str
) -> None:
    daemon = vgpud_of_its_own
    daemon.config.write_text(config + "[trace]\nentries = 32\n")
    done = daemon.admin("reload-config")
    assert done.returncode == 0, done.stderr
    assert done.stdout == (
        "Configuration reloaded.\nTakes effect at the next start: trace.entries\n"
    )
    daemon.config.write_text(config + "[trace]\nentries = 33\n")
    done = daemon.admin("reload-config")
    assert done.returncode == 2
    assert "expected 0 or a power of two, is 33" in done.stderr
    assert str(daemon.config) in done.stderr and "The old configuration stays." in done.stderr
    assert daemon.admin("wait-ready").returncode == 0


def test_a_drop_in_is_taken_over_at_a_reload_and_is_gone_with_its_file(
    vgpud_of_its_own: RunningDaemon, config: str
) -> None:
    drop_in = vgpud_of_its_own.config.with_name(f"{vgpud_of_its_own.config.name}.d") / "a.toml"
    drop_in.parent.mkdir()
    drop_in.write_text("[trace]\nentries = 32\n")
    said = reload(vgpud_of_its_own, config)
    assert f"reload: done: {vgpud_of_its_own.config}, {drop_in}" in said
    assert "trace.entries has changed" in said
    drop_in.write_text("[trace]\nentries = 33\n")
    assert f"{drop_in}: trace.entries: expected 0 or" in reload(vgpud_of_its_own, config)
    drop_in.unlink()
    assert "WARNING" not in reload(vgpud_of_its_own, config)


BAD = {
    "unknown key": ("[vms]\nqueue = 5\n", "vms.queue"),
    "wrong type": ('[scheduler]\nrun_timeout_ms = "1"\n', "scheduler.run_timeout_ms"),
    "not TOML": ("[vms\n", "is not valid TOML"),
}


@pytest.mark.parametrize(("more", "reason"), BAD.values(), ids=BAD.keys())
def test_a_bad_file_changes_nothing_and_the_reason_is_logged(
    vgpud_of_its_own: RunningDaemon, config: str, more: str, reason: str
) -> None:
    guest = register(vgpud_of_its_own)
    worker = guest.warm_up()
    said = reload(vgpud_of_its_own, config + more)
    assert "keeping the old configuration" in said
    assert str(vgpud_of_its_own.config) in said and reason in said
    assert guest.warm_up() == worker


def test_a_shorter_time_limit_holds_also_for_what_runs_already(
    vgpud_of_its_own: RunningDaemon, config: str
) -> None:
    guest = register(vgpud_of_its_own)
    with guest.ring() as ring:
        assert ring.run(op_nop()).status == Status.OK
        with stopped(guest.worker()):
            ring.submit(Submission(1, kind=Kind.COMMAND, cmd_len=8))
            guest.when(lambda live: live.running == 1, "it runs")
            reload(vgpud_of_its_own, config + "[scheduler]\nrun_timeout_ms = 100\n")
            assert ring.wait().status == Status.TIMEOUT


def test_the_memory_quota_holds_for_the_next_worker(
    vgpud_of_its_own: RunningDaemon, config: str
) -> None:
    guest = register(vgpud_of_its_own)
    assert "next start" not in reload(vgpud_of_its_own, config + "vm_memory_bytes = 1048576\n")
    with guest.ring() as ring, guest.stub() as stub:
        info = DEVICE_INFO.unpack(stub.request(Opcode.GET_DEVICE_INFO).data)
        assert info[9] == 1 << 20
        assert ring.run(op_alloc(1, 1 << 21)).status == Status.QUOTA


def test_the_time_for_a_shutdown_changes_at_once(
    vgpud_of_its_own: RunningDaemon, config: str
) -> None:
    guest = register(vgpud_of_its_own)
    short = config.replace("[daemon]\n", "[daemon]\nshutdown_timeout_ms = 50\n")
    assert "next start" not in reload(vgpud_of_its_own, short)
    with guest.stub() as client, stopped(guest.warm_up_over(client)):
        client.send_request(Opcode.VECTOR_ADD, (1, 1))
        guest.when(lambda live: live.running == 1, "it runs")
        assert vgpud_of_its_own.end(signal.SIGTERM) == 0
    vgpud_of_its_own.start()
    assert "still running after 0.05 s" in vgpud_of_its_own.log.read_text()


@ONLY_ROOT
def test_the_account_that_runs_qemu_changes_for_the_vms_there_are(
    vgpud_of_its_own: RunningDaemon, config: str
) -> None:
    uid = uuid.uuid4()
    reload(vgpud_of_its_own, config + '[vms]\nqemu_user = "nobody"\n')
    done = vgpud_of_its_own.admin("register-vm", f"--vm-uuid={uid}")
    assert done.returncode == 0, done.stderr
    socket = vgpud_of_its_own.run_dir / "vms" / str(uid) / "stub.sock"
    assert socket.owner() == "nobody"
    assert "next start" not in reload(vgpud_of_its_own, config + '[vms]\nqemu_user = "daemon"\n')
    assert socket.owner() == "daemon"
    vgpud_of_its_own.admin("remove-vm", f"--vm-uuid={uid}")


@ONLY_ROOT
def test_the_control_socket_goes_to_another_group_and_back(
    vgpud_of_its_own: RunningDaemon, config: str
) -> None:
    before = vgpud_of_its_own.control_socket.group()
    reload(vgpud_of_its_own, config + '[control]\nview_group = "games"\n')
    assert vgpud_of_its_own.control_socket.group() == "games"
    reload(vgpud_of_its_own, config + '[control]\nview_group = ""\n')
    assert vgpud_of_its_own.control_socket.group() == before


MIXED = """
[vms]
max_queued_total = 4096
max_queued_per_vm = 512
[scheduler]
quantum_us = 5000
[spawner]
max_workers = 8
start_timeout_ms = 9000
[control]
socket_mode = 0o600
max_connections = 3
"""


def test_what_needs_a_restart_is_named_and_nothing_else(
    vgpud_of_its_own: RunningDaemon, config: str
) -> None:
    said = reload(vgpud_of_its_own, config + MIXED)
    named = set(re.findall(r"reload: (\S+) has changed and takes effect at the next start", said))
    assert named == {"vms.max_queued_per_vm", "spawner.max_workers", "control.socket_mode"}
    assert vgpud_of_its_own.admin("list-pools").returncode == 0


def test_exactly_the_keys_marked_restart_in_the_distributed_file_need_one() -> None:
    section, comment = "", ""
    marked = set()
    for line in (ROOT / "vgpud.toml").read_text().splitlines():
        if line.startswith("#"):
            comment += line
            continue
        if line.startswith("["):
            section = line.strip("[]")
        elif line and "(restart)" in comment:
            marked.add(f"{section}.{line.split()[0]}")
        comment = ""
    assert marked == set(RESTART_KEYS)
