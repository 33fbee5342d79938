"""What the control socket answers, records and applies, and to whom."""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from tests.unit.control_under_test import UUID_1, UUID_2, RunningControl, running_control
from vgpud.control.authz import RolePolicy
from vgpud.errors import EngineError
from vgpud.model.engine import PoolStatus
from vgpud.model.mediation import Times
from vgpud.store.store import AuditOutcome

NOBODY = RolePolicy(frozenset())
ADMIN = "org.vgpud.admin"


# --- Answers --------------------------------------------------------------------------------------


def test_a_change_is_stored_applied_recorded_and_answered(control: RunningControl) -> None:
    reply = control.call("CreatePool", pool_id="C", pool_name="Night")
    assert reply["parameters"]["pool"]["enabled"] is True
    assert control.engine.pools["C"].pool_name == "Night"
    (entry,) = control.audit()
    assert (entry.uid, entry.pid) == (os.geteuid(), os.getpid())
    assert (entry.method, entry.outcome) == (f"{ADMIN}.CreatePool", AuditOutcome.STORED)
    assert json.loads(entry.parameters) == {"pool_id": "C", "pool_name": "Night"}


def test_a_refusal_is_answered_typed_recorded_and_changes_nothing(control: RunningControl) -> None:
    reply = control.call("CreatePool", pool_id="A")
    assert reply == {"error": f"{ADMIN}.PoolExists", "parameters": {"pool_id": "A"}}
    (entry,) = control.audit()
    assert entry.outcome is AuditOutcome.REFUSED
    assert entry.error == "PoolExists: there already is a pool A"


def test_looking_is_not_recorded(control: RunningControl) -> None:
    control.call("ListPools")
    control.call("ShowPool", pool_id="Z")
    assert control.audit() == []


def test_a_vm_is_registered_with_defaults_in_every_spelling(control: RunningControl) -> None:
    reply = control.call("RegisterVm", vm_uuid=f"{{{UUID_1.upper()}}}")
    vm = reply["parameters"]["vm"]
    assert (vm["vm_uuid"], vm["vm_id"], vm["pool_id"]) == (UUID_1, 1, "A")
    assert (vm["priority"], vm["peer"]) == ("medium", "qemu")
    assert control.engine.vms[UUID_1].vm_id == 1


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"vm_uuid": UUID_1.upper()}, "VmExists"),
        ({"vm_id": 1}, "VmIdInUse"),
        ({"pool_id": "Z"}, "PoolNotFound"),
        ({"pool_id": "B"}, "PoolDisabled"),
        ({"pool_id": "AB"}, "InvalidArgument"),
        ({"vm_id": 0}, "InvalidArgument"),
        ({"vm_name": "\x1b"}, "InvalidArgument"),
        ({"vm_name": "\ud800"}, "InvalidArgument"),
        ({"peer": "anyone"}, "InvalidArgument"),
    ],
)
def test_a_vm_that_does_not_fit_is_refused(
    control: RunningControl, changes: dict[str, Any], error: str
) -> None:
    control.call("RegisterVm", vm_uuid=UUID_1)
    control.call("DisablePool", pool_id="B")
    reply = control.call("RegisterVm", **{"vm_uuid": UUID_2, **changes})
    assert reply["error"] == f"{ADMIN}.{error}"
    assert set(control.engine.vms) == {UUID_1}


def test_a_disabled_pool_keeps_its_vms(control: RunningControl) -> None:
    control.call("RegisterVm", vm_uuid=UUID_1)
    reply = control.call("DisablePool", pool_id="A")
    assert reply["parameters"]["changed"] is True
    assert control.call("DisablePool", pool_id="A")["parameters"]["changed"] is False
    page = control.call("ShowPool", pool_id="A")["parameters"]
    assert [vm["vm_uuid"] for vm in page["vms"]] == [UUID_1]
    assert page["vms"][0]["pool_enabled"] is False
    assert not control.engine.pools["A"].enabled


def test_vms_are_found_by_uuid_or_by_a_name_that_is_unique(control: RunningControl) -> None:
    control.call("RegisterVm", vm_uuid=UUID_1, vm_name="twin")
    found = control.call("ShowVm", vm_name="twin")
    assert found["parameters"]["vm"]["vm_uuid"] == UUID_1
    control.call("RegisterVm", vm_uuid=UUID_2, vm_name="twin")
    assert control.call("ShowVm", vm_name="twin") == {
        "error": f"{ADMIN}.AmbiguousVm",
        "parameters": {"vm_name": "twin", "vm_uuids": [UUID_1, UUID_2]},
    }
    assert control.call("ShowVm", vm_uuid=UUID_2)["parameters"]["vm"]["vm_id"] == 2


def test_a_vm_without_a_name_is_found_by_what_it_is_shown_as(control: RunningControl) -> None:
    control.call("RegisterVm", vm_uuid=UUID_1, vm_id=9)
    assert control.call("ShowVm", vm_name="VM-9")["parameters"]["vm"]["vm_uuid"] == UUID_1
    assert control.call("ShowVm", vm_name="VM-09")["error"] == f"{ADMIN}.VmNotFound"
    control.call("RegisterVm", vm_uuid=UUID_2, vm_id=2, vm_name="VM-9")
    assert control.call("ShowVm", vm_name="VM-9")["parameters"]["vm"]["vm_uuid"] == UUID_2
    assert control.call("ShowVm", vm_name="VM-2")["error"] == f"{ADMIN}.VmNotFound"


@pytest.mark.parametrize("method", ["ShowVm", "RemoveVm"])
@pytest.mark.parametrize("name", ["\ud800", "x\nCRITICAL vgpud: forged", "\x1b[31m", ""])
def test_a_name_that_no_vm_can_have_is_an_invalid_argument(
    control: RunningControl, method: str, name: str
) -> None:
    refused = control.call(method, vm_name=name)
    assert refused["error"] == f"{ADMIN}.InvalidArgument"
    assert (refused["parameters"]["parameter"], refused["parameters"]["value"]) == ("vm_name", name)
    assert all((entry.error or "").isprintable() for entry in control.audit())


def test_the_first_pools_are_named_once(control: RunningControl) -> None:
    named = control.call("CreatePool", pool_id="A", pool_name="Production Pool")
    assert named["parameters"]["pool"]["pool_name"] == "Production Pool"
    assert control.engine.pools["A"].pool_name == "Production Pool"
    described = control.call("CreatePool", pool_id="B", description="for the night")
    assert described["parameters"]["pool"]["pool_name"] == "Pool B"
    for pool_id in ("A", "B"):
        again = control.call("CreatePool", pool_id=pool_id, pool_name="Other")
        assert again["error"] == f"{ADMIN}.PoolExists"


def test_a_first_pool_that_somebody_has_changed_is_not_named(control: RunningControl) -> None:
    control.call("DisablePool", pool_id="A")
    refused = control.call("CreatePool", pool_id="A", pool_name="Production Pool")
    assert refused["error"] == f"{ADMIN}.PoolExists"


@pytest.mark.parametrize("both", [{}, {"vm_uuid": UUID_1, "vm_name": "x"}])
def test_a_vm_is_named_by_exactly_one_thing(control: RunningControl, both: dict[str, str]) -> None:
    assert control.call("RemoveVm", **both)["error"] == f"{ADMIN}.InvalidArgument"


def test_vms_are_listed_by_pool_and_priority(control: RunningControl) -> None:
    control.call("RegisterVm", vm_uuid=UUID_1, priority="high")
    control.call("RegisterVm", vm_uuid=UUID_2, pool_id="B", priority="high")

    def listed(**only: str) -> list[str]:
        reply = control.call("ListVms", **only)
        return [vm["vm_uuid"] for vm in reply["parameters"]["vms"]]

    assert listed() == [UUID_1, UUID_2]
    assert listed(pool_id="B", priority="high") == [UUID_2]
    assert listed(priority="low") == []
    assert control.call("ListVms", pool_id="Z")["error"] == f"{ADMIN}.PoolNotFound"


def test_live_numbers_of_pools_come_with_show_pool_and_status(control: RunningControl) -> None:
    control.engine.live_pools["A"] = PoolStatus(queued=3, wait=Times(count=1, p99_ns=5))
    shown = control.call("ShowPool", pool_id="A")["parameters"]["pool"]["live"]
    assert (shown["queued"], shown["wait"]["p99_ns"]) == (3, 5)
    pools = control.call("Status")["parameters"]["pools"]
    assert [pool.get("live") for pool in pools] == [shown, None]
    listed = control.call("ListPools")["parameters"]["pools"]
    assert [pool.get("live") for pool in listed] == [None, None]


def test_a_removed_vm_is_gone_from_store_and_engine(control: RunningControl) -> None:
    control.call("RegisterVm", vm_uuid=UUID_1, vm_name="one")
    reply = control.call("RemoveVm", vm_name="one")
    assert reply["parameters"]["vm"]["vm_uuid"] == UUID_1
    assert control.engine.vms == {}
    assert control.call("ShowVm", vm_uuid=UUID_1) == {
        "error": f"{ADMIN}.VmNotFound",
        "parameters": {"vm": UUID_1},
    }


def test_a_change_the_engine_refuses_is_stored_not_applied(control: RunningControl) -> None:
    control.engine.broken[UUID_1] = OSError(28, "No space left on device")
    reply = control.call("RegisterVm", vm_uuid=UUID_1)
    assert reply["error"] == f"{ADMIN}.StoredNotApplied"
    assert "No space left on device" in reply["parameters"]["reason"]
    assert control.call("ShowVm", vm_uuid=UUID_1)["parameters"]["vm"]["vm_id"] == 1
    status = control.call("Status")["parameters"]["daemon"]
    assert status["pending"] == [f"VM {UUID_1}: No space left on device"]
    assert [entry.outcome.value for entry in control.audit()] == ["stored", "not_applied"]


def test_what_to_do_about_a_change_that_is_not_applied_comes_with_it(
    control: RunningControl,
) -> None:
    control.engine.broken[UUID_1] = EngineError("there is no account q", "Make it.")
    reply = control.call("RegisterVm", vm_uuid=UUID_1)
    assert reply["parameters"] == {
        "reason": f"VM {UUID_1}: there is no account q",
        "remedy": "Make it.",
    }
    status = control.call("Status")["parameters"]["daemon"]
    assert status["pending"] == [f"VM {UUID_1}: there is no account q. Make it."]


def test_what_is_pending_for_one_is_no_answer_to_another(control: RunningControl) -> None:
    control.engine.broken[UUID_1] = OSError(28, "No space left on device")
    control.call("RegisterVm", vm_uuid=UUID_1)
    assert "error" not in control.call("CreatePool", pool_id="C")


def test_shutdown_is_asked_for_once_it_is_on_record(control: RunningControl) -> None:
    assert control.call("Shutdown") == {"parameters": {}}
    assert control.call("Shutdown", all=True) == {"parameters": {}}
    assert control.shutdowns == [False, True]
    assert len(control.audit()) == 2


def test_a_store_that_fails_is_said_so_and_changes_nothing(control: RunningControl) -> None:
    with contextlib.closing(sqlite3.connect(control.store_path, isolation_level=None)) as raw:
        raw.execute("ALTER TABLE audit RENAME TO lost")
        reply = control.call("CreatePool", pool_id="C")
        assert reply["error"] == f"{ADMIN}.StoreFailed"
        raw.execute("ALTER TABLE lost RENAME TO audit")
    assert control.call("ShowPool", pool_id="C")["error"] == f"{ADMIN}.PoolNotFound"
    assert "C" not in control.engine.pools


def refuse_audit_rows(raw: sqlite3.Connection) -> None:
    """As a disk that is full refuses them."""
    raw.execute("CREATE TRIGGER full BEFORE INSERT ON audit BEGIN SELECT RAISE(ABORT, 'full'); END")


def test_a_shutdown_does_not_need_the_disk(control: RunningControl) -> None:
    with contextlib.closing(sqlite3.connect(control.store_path, isolation_level=None)) as raw:
        refuse_audit_rows(raw)
    assert control.call("CreatePool", pool_id="C")["error"] == f"{ADMIN}.StoreFailed"
    assert control.call("Shutdown") == {"parameters": {}}
    assert control.shutdowns == [False]
    assert control.audit() == []


def test_a_refusal_that_cannot_be_recorded_is_answered_and_logged(
    control: RunningControl, caplog: pytest.LogCaptureFixture
) -> None:
    with contextlib.closing(sqlite3.connect(control.store_path, isolation_level=None)) as raw:
        refuse_audit_rows(raw)
    assert control.call("CreatePool", pool_id="A")["error"] == f"{ADMIN}.PoolExists"
    assert "no audit row for org.vgpud.admin.CreatePool" in caplog.text


def test_what_is_stored_survives_a_restart(short_dir: Path) -> None:
    with running_control(short_dir) as first:
        first.call("RegisterVm", vm_uuid=UUID_1, priority="high")
    with running_control(short_dir) as second:
        assert second.engine.vms[UUID_1].priority.label == "high"


# --- Who may --------------------------------------------------------------------------------------


def test_who_has_no_role_is_refused_and_recorded_even_when_only_looking(short_dir: Path) -> None:
    with running_control(short_dir, policy=NOBODY) as control:
        reply = control.call("ListPools")
        assert reply == {
            "error": f"{ADMIN}.PermissionDenied",
            "parameters": {"method": "ListPools", "role_needed": "view", "roles": []},
        }
        (entry,) = control.audit()
        assert entry.outcome is AuditOutcome.REFUSED


def test_rights_are_judged_before_parameters(short_dir: Path) -> None:
    with running_control(short_dir, policy=NOBODY) as control:
        assert control.call("CreatePool", nonsense=1)["error"] == f"{ADMIN}.PermissionDenied"


def test_a_viewer_by_group_may_look_and_no_more(short_dir: Path) -> None:
    viewer = RolePolicy(frozenset(), view_gid=os.getegid())
    with running_control(short_dir, policy=viewer) as control:
        assert "error" not in control.call("Status")
        refused = control.call("EnablePool", pool_id="A")
        assert refused["parameters"]["roles"] == ["view"]


def test_long_parameters_are_recorded_cut(control: RunningControl) -> None:
    control.call("CreatePool", pool_id="C", description="x" * 10_000)
    (entry,) = control.audit()
    assert set(json.loads(entry.parameters)) == {"truncated"}
    assert len(entry.parameters) < 3000
