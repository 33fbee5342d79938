"""vgpu-admin audit, reload-config and wait-ready."""

from __future__ import annotations

import json
import os
import pwd
from pathlib import Path

import pytest

from tests.unit.admin_under_test import Admin, Ran
from tests.unit.control_under_test import UUID_1, RunningControl, running_control
from vgpud.control.authz import RolePolicy
from vgpud.errors import ConfigError

# --- audit ----------------------------------------------------------------------------------------


def test_changes_and_refusals_are_shown_newest_last(control: RunningControl, admin: Admin) -> None:
    assert admin("audit") == Ran(0, "Nothing is on record\n", "")
    admin("create-pool", "--pool-id=C")
    admin("create-pool", "--pool-id=C")
    admin("list-pools")
    made, refused = admin("audit").out.splitlines()
    who = f"{pwd.getpwuid(os.geteuid()).pw_name} (pid {os.getpid()})"
    assert made.endswith(f'  {who}  CreatePool {{"pool_id": "C"}}  stored')
    assert refused.endswith("  refused: PoolExists: there already is a pool C")
    assert admin("audit", "--limit=1").out.splitlines() == [refused]
    admin("disable-pool", "--pool-id=C")
    assert admin("audit", "--refused").out.splitlines() == [refused]
    (entry,) = json.loads(admin("audit", "--refused", "--json").out)["entries"]
    assert (entry["outcome"], entry["uid"]) == ("refused", os.geteuid())


def test_a_change_that_was_not_applied_counts_as_not_carried_out(
    control: RunningControl, admin: Admin
) -> None:
    control.engine.broken[UUID_1] = OSError("the disk is full")
    admin("register-vm", f"--vm-uuid={UUID_1}")
    stored, not_applied = admin("audit").out.splitlines()
    assert stored.endswith("  stored") and "  not applied: StoredNotApplied: " in not_applied
    assert admin("audit", "--refused").out.splitlines() == [not_applied]


def test_the_audit_is_for_administrators(
    short_dir: Path, monkeypatch: pytest.MonkeyPatch, admin: Admin
) -> None:
    viewer = RolePolicy(frozenset(), view_gid=os.getegid())
    with running_control(short_dir, policy=viewer) as running:
        monkeypatch.setenv("VGPUD_SOCKET", str(running.socket))
        ran = admin("audit")
        assert ran.code == 4 and "needs the role admin" in ran.err
        assert admin("reload-config").code == 4


@pytest.mark.parametrize("limit", ["0", "1001", "x"])
def test_other_limits_are_refused(control: RunningControl, admin: Admin, limit: str) -> None:
    ran = admin("audit", f"--limit={limit}")
    assert ran.code == 2 and "is not a number from 1 to 1000" in ran.err
    answer = control.call("ListAudit", limit=1001)
    assert answer["error"] == "org.vgpud.admin.InvalidArgument"


# --- reload-config --------------------------------------------------------------------------------


def test_a_reload_says_what_needs_a_restart(control: RunningControl, admin: Admin) -> None:
    assert admin("reload-config") == Ran(0, "Configuration reloaded.\n", "")
    control.reloaded = ["daemon.state_dir", "trace.entries"]
    assert admin("reload-config").out == (
        "Configuration reloaded.\nTakes effect at the next start: daemon.state_dir, trace.entries\n"
    )
    assert [entry.method for entry in control.audit()] == ["org.vgpud.admin.ReloadConfig"] * 2


def test_a_file_that_cannot_be_used_is_refused_with_the_reason(
    control: RunningControl, admin: Admin
) -> None:
    control.reloaded = ConfigError("x.toml: [vms] max_queued: expected a number", "See the manual.")
    ran = admin("reload-config")
    assert ran.code == 2 and ran.out == ""
    assert ran.err == (
        "vgpu-admin: reloading the configuration: the configuration is refused: x.toml: [vms] "
        "max_queued: expected a number. See the manual. The old configuration stays. "
        "[ConfigRefused]\n"
    )
    (entry,) = control.audit()
    assert entry.outcome.value == "refused"


# --- wait-ready -----------------------------------------------------------------------------------


def test_a_daemon_that_serves_is_ready_at_once(control: RunningControl, admin: Admin) -> None:
    assert admin("wait-ready") == Ran(0, "vgpud is ready: Test Device\n", "")


def test_without_a_daemon_or_a_device_it_says_what_was_missing(
    control: RunningControl, short_dir: Path, admin: Admin
) -> None:
    ran = admin("wait-ready", f"--socket={short_dir}/nobody.sock", "--timeout=0.3")
    assert ran.code == 7 and "waiting for the daemon: not ready within 0.3 s: " in ran.err
    control.engine.device_reason = "no GPU was found"
    ran = admin("wait-ready", "--timeout=0.3")
    assert ran.code == 7 and "not ready within 0.3 s: no device: no GPU was found" in ran.err
    assert admin("wait-ready", "--without-device").out == "vgpud is ready: without a device\n"
