"""Weights, limits and quarantines: what the rules allow, commands print and the engine hears."""

from __future__ import annotations

import json
import os
import re
import shlex
from pathlib import Path

import pytest

from tests.unit.admin_under_test import Admin, Ran
from tests.unit.control_under_test import UUID_1, UUID_2, RunningControl, running_control
from vgpud.cli import limits as cli_limits
from vgpud.cli.admin import build_parser
from vgpud.control.authz import RolePolicy
from vgpud.model.engine import VmStatus
from vgpud.model.pool import WEIGHT_MAX, WEIGHT_MIN
from vgpud.model.priority import Priority
from vgpud.model.vm import DEPTH_MAX, RATE_MAX, Quarantine, Vm
from vgpud.refusals import InvalidArgument
from vgpud.vms import lifted, limited, quarantined, weighted

VM = Vm(UUID_1, 1, "one", "A", Priority.HIGH, 50, 10, 20, 30)
FOUND = Quarantine(4, True, "100 fault points, the last fault: crash", "2026-01-11 10:00:00")
THIS = f"--vm-uuid={UUID_1}"


@pytest.fixture
def control(control: RunningControl, admin: Admin) -> RunningControl:
    """A control server with two VMs."""
    admin("register-vm", THIS, "--vm-name=trainer")
    admin("register-vm", f"--vm-uuid={UUID_2}", "--pool=B")
    return control


# --- Rules ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("weight", [1, 50, 100])
def test_a_weight_is_from_1_to_100(weight: int) -> None:
    assert weighted(VM, weight).weight == weight


@pytest.mark.parametrize("weight", [0, -1, 101, 2**63 - 1])
def test_other_weights_are_refused(weight: int) -> None:
    with pytest.raises(InvalidArgument, match=r"weight is .*, expected a number from 1 to 100"):
        weighted(VM, weight)


def test_a_limit_that_is_left_out_stays() -> None:
    def of(vm: Vm) -> tuple[int, int, int]:
        return vm.max_jobs_per_sec, vm.max_burst, vm.max_queue_depth

    assert of(limited(VM, 5, None, None)) == (5, 20, 30)
    assert of(limited(VM, None, 6, None)) == (10, 6, 30)
    assert of(limited(VM, None, None, 7)) == (10, 20, 7)
    assert of(limited(VM, 0, 0, 0)) == (0, 0, 0)
    assert of(limited(VM, 1_000_000, 1_000_000, 32_768)) == (1_000_000, 1_000_000, 32_768)


@pytest.mark.parametrize(
    ("limits", "said"),
    [
        ((-1, None, None), "rate is '-1', expected a number from 0 to 1000000"),
        ((1_000_001, None, None), "rate"),
        ((None, 1_000_001, None), "burst is '1000001', expected a number from 0 to 1000000"),
        ((1, 1, 32_769), "queue_depth is '32769', expected a number from 0 to 32768"),
        ((None, None, None), "at least one of the three"),
    ],
)
def test_limits_out_of_range_or_none_at_all_are_refused(
    limits: tuple[int | None, int | None, int | None], said: str
) -> None:
    with pytest.raises(InvalidArgument, match=said):
        limited(VM, *limits)


def test_limits_are_the_same_here_and_there() -> None:
    assert (cli_limits.WEIGHT_MIN, cli_limits.WEIGHT_MAX) == (WEIGHT_MIN, WEIGHT_MAX)
    assert (cli_limits.RATE_MAX, cli_limits.DEPTH_MAX) == (RATE_MAX, DEPTH_MAX)


def test_a_quarantine_has_the_next_number_and_the_reason_given() -> None:
    assert quarantined(Quarantine(), "floods") == Quarantine(1, True, "floods")
    assert quarantined(Quarantine(7, False, "x"), None) == Quarantine(
        8, True, "an administrator's decision"
    )


def test_one_that_holds_stays_as_it_is() -> None:
    assert quarantined(FOUND, "floods") is FOUND


@pytest.mark.parametrize("reason", ["", " x", "a\nb", "x" * 256, "\x1b[31m"])
def test_a_reason_that_would_garble_a_terminal_is_refused(reason: str) -> None:
    with pytest.raises(InvalidArgument, match="reason"):
        quarantined(Quarantine(), reason)


def test_lifting_keeps_the_number_of_the_one_that_holds_and_else_takes_the_next() -> None:
    assert (lifted(FOUND).number, lifted(FOUND).active) == (4, False)
    assert (lifted(Quarantine()).number, lifted(Quarantine()).active) == (1, False)
    assert lifted(lifted(FOUND)).number == 5


# --- Commands -------------------------------------------------------------------------------------


def test_a_weight_is_set_and_shown(control: RunningControl, admin: Admin) -> None:
    ran = admin("set-weight", "--vm-name=trainer", "--weight=80")
    assert ran == Ran(0, f"Scheduler weight for VM {UUID_1} set to 80\n", "")
    assert control.engine.vms[UUID_1].weight == 80
    assert admin("show-weights").out.startswith(
        "VM ID    UUID                                 Name                 Pool   Weight\n"
        f"1        {UUID_1} trainer              A      80\n"
        f"2        {UUID_2} VM-2                 B      50\n\n"
    )
    assert "  Scheduler Weight: 80\n" in admin("show-vm", THIS).out


def test_limits_are_set_and_shown(control: RunningControl, admin: Admin) -> None:
    ran = admin("set-rate-limit", THIS, "--rate", "50", "--burst=100")
    said = f"Rate limit for VM {UUID_1}: 50 jobs/sec, burst: 100, max queue depth: default\n"
    assert ran == Ran(0, said, "")
    assert admin("set-rate-limit", THIS, "--queue-depth=7", "--burst=0").out == (
        f"Rate limit for VM {UUID_1}: 50 jobs/sec, burst: 50, max queue depth: 7\n"
    )
    vm = control.engine.vms[UUID_1]
    assert (vm.max_jobs_per_sec, vm.max_burst, vm.max_queue_depth) == (50, 0, 7)
    head, one, other = admin("show-rate-limits").out.splitlines()
    assert re.split(r"  +", head[46:]) == ["Name", "Rate (j/s)", "Queue Max", "Quarantine", "Burst"]
    assert one[46:].split() == ["trainer", "50", "7", "no", "50"]
    assert other[46:].split() == ["VM-2", "unlimited", "default", "no", "-"]
    block = admin("show-vm", THIS).out
    assert "  Rate Limit: 50 jobs/sec\n  Rate Burst: 50\n  Max Queue Depth: 7\n" in block
    assert admin("set-rate-limit", THIS, "--rate=0", "--queue-depth=0").out == (
        f"Rate limit for VM {UUID_1}: unlimited, max queue depth: default\n"
    )


def test_a_vm_is_quarantined_and_cleared(control: RunningControl, admin: Admin) -> None:
    ran = admin("quarantine-vm", "--vm-name=trainer", "--reason=floods the queue")
    assert ran.out == (f"VM {UUID_1} has been quarantined. New GPU submissions will be rejected.\n")
    assert control.engine.quarantines[UUID_1] == Quarantine(1, True, "floods the queue")
    block = admin("show-vm", THIS).out
    assert "  Quarantine: YES (error count: 0)\n" in block
    assert "  Quarantine Reason: floods the queue\n" in block
    assert re.search(r"^  Quarantined Since: \d{4}-\d\d-\d\d \d\d:\d\d:\d\d$", block, re.MULTILINE)
    assert admin("show-rate-limits").out.count(" YES") == 1
    again = admin("quarantine-vm", THIS, "--reason=once more")
    assert again.code == 0 and "is already quarantined, since 20" in again.out
    assert again.out.endswith(": floods the queue\n")
    cleared = f"Quarantine cleared for VM {UUID_1}. Error count reset.\n"
    assert admin("clear-quarantine", THIS) == Ran(0, cleared, "")
    assert control.engine.quarantines[UUID_1] == Quarantine(1, False, "floods the queue")
    assert "  Quarantine: no (error count: 0)\n" in admin("show-vm", THIS).out
    assert "Quarantine Reason" not in admin("show-vm", THIS).out


def test_clearing_what_is_not_quarantined_still_resets_its_faults(
    control: RunningControl, admin: Admin
) -> None:
    ran = admin("clear-quarantine", THIS)
    assert ran == Ran(0, f"VM {UUID_1} was not quarantined. Error count reset.\n", "")
    assert control.engine.quarantines[UUID_1].number == 1


def test_a_quarantine_that_is_not_stored_yet_is_shown_and_can_be_cleared(
    control: RunningControl, admin: Admin
) -> None:
    control.engine.found[UUID_1] = FOUND
    control.engine.live[UUID_1] = VmStatus(
        quarantine=FOUND, fault_points=97, refused_by={"rate": 3}
    )
    block = admin("show-vm", THIS).out
    assert "  Quarantine: YES (error count: 97)\n" in block
    assert f"  Quarantine Reason: {FOUND.reason}\n" in block and "  Refused: rate 3\n" in block
    assert f"since {FOUND.since}: {FOUND.reason}" in admin("quarantine-vm", THIS).out
    assert admin("clear-quarantine", THIS).out.startswith("Quarantine cleared")
    assert control.engine.quarantines[UUID_1] == Quarantine(4, False, FOUND.reason)
    # What the clearing itself answers is what will be, not what the engine has not forgotten yet.
    assert json.loads(admin("show-vm", THIS, "--json").out)["vm"]["fault_count"] == 0
    assert "  Quarantine: no" in admin("show-vm", THIS).out


def test_status_marks_who_is_quarantined(control: RunningControl, admin: Admin) -> None:
    admin("quarantine-vm", THIS)
    assert (
        f"trainer (UUID: {UUID_1}) | Priority: medium | VM ID: 1 | QUARANTINED\n"
        in admin("status").out
    )


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("set-weight", THIS, "--weight=0"), 2, "'0' is not a number from 1 to 100"),
        (("set-weight", THIS, "--weight=101"), 2, "1 to 100"),
        (("set-weight", THIS, "--weight=many"), 2, "argument --weight"),
        (("set-weight", THIS), 2, "required: --weight"),
        (("set-weight", "--weight=5"), 2, "--vm-uuid --vm-name"),
        (("set-weight", "--vm-name=nobody", "--weight=5"), 5, "no VM 'nobody' is registered"),
        (("set-rate-limit", THIS), 2, "at least one of the three"),
        (("set-rate-limit", THIS, "--rate=-1"), 2, "'-1' is not a number from 0 to 1000000"),
        (("set-rate-limit", THIS, "--rate=1000001"), 2, "from 0 to 1000000"),
        (("set-rate-limit", THIS, "--rate=99999999999999999999"), 2, "rate"),
        (("set-rate-limit", THIS, "--rate=1.5"), 2, "argument --rate"),
        (("set-rate-limit", THIS, "--queue-depth=32769"), 2, "from 0 to 32768"),
        (("quarantine-vm", "--vm-name=nobody"), 5, "no VM 'nobody' is registered"),
        (("quarantine-vm", THIS, "--reason="), 2, "reason is '', expected 1 to 255"),
        (("clear-quarantine", "--vm-uuid=zz"), 2, "expected a UUID"),
        (("clear-quarantine", THIS, "--reason=x"), 2, "unrecognized arguments"),
        (("show-weights", "--pool=A"), 2, "unrecognized arguments"),
        (("set-wieght", THIS), 2, "Did you mean set-weight?"),
    ],
)
def test_wrong_input_is_one_line_with_its_exit_code_and_changes_nothing(
    control: RunningControl, admin: Admin, words: tuple[str, ...], code: int, said: str
) -> None:
    before = control.engine.vms[UUID_1], control.engine.quarantines[UUID_1]
    ran = admin(*words)
    assert (ran.code, ran.out) == (code, "") and said in ran.err
    assert ran.err.startswith("vgpu-admin: ") and ran.err.count("\n") == 1
    assert (control.engine.vms[UUID_1], control.engine.quarantines[UUID_1]) == before


def test_what_another_client_lets_through_is_refused_by_the_daemon(
    control: RunningControl,
) -> None:
    for method, parameter in (("SetWeight", "weight"), ("SetRateLimit", "burst")):
        reply = control.call(method, vm_uuid=UUID_1, **{parameter: -1})
        assert reply["error"] == "org.vgpud.admin.InvalidArgument"
        assert reply["parameters"]["parameter"] == parameter


def test_a_limit_that_is_not_applied_yet_is_a_negative_answer(
    control: RunningControl, admin: Admin
) -> None:
    control.engine.broken[UUID_1] = OSError(28, "No space left on device")
    ran = admin("set-rate-limit", THIS, "--rate=5")
    assert ran.code == 1 and ran.err.endswith("[StoredNotApplied]\n")
    assert "Rate Limit: 5 jobs/sec" in admin("show-vm", THIS).out


def test_every_change_is_audited_with_its_parameters(control: RunningControl, admin: Admin) -> None:
    admin("set-rate-limit", THIS, "--rate=5")
    admin("quarantine-vm", THIS, "--reason=floods")
    control.call("SetWeight", vm_uuid=UUID_1, weight=101)
    done = [(e.method.rpartition(".")[2], e.outcome.value) for e in control.audit()[2:]]
    assert done == [
        ("SetRateLimit", "stored"),
        ("QuarantineVm", "stored"),
        ("SetWeight", "refused"),
    ]
    assert '"reason": "floods"' in control.audit()[3].parameters


def test_an_operator_may_quarantine_but_neither_clear_nor_limit(
    short_dir: Path, admin: Admin, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running_control(short_dir) as control:
        control.call("RegisterVm", vm_uuid=UUID_1)
    operator = RolePolicy(frozenset(), operate_gid=os.getegid())
    with running_control(short_dir, policy=operator) as control:
        monkeypatch.setenv("VGPUD_SOCKET", str(control.socket))
        assert admin("quarantine-vm", THIS).code == 0
        for words in (
            ("clear-quarantine", THIS),
            ("set-weight", THIS, "--weight=1"),
            ("set-rate-limit", THIS, "--rate=1"),
        ):
            ran = admin(*words)
            assert ran.code == 4 and "needs the role admin" in ran.err
        assert control.engine.quarantines[UUID_1].active


def test_limits_and_quarantine_survive_a_restart(short_dir: Path) -> None:
    with running_control(short_dir) as first:
        first.call("RegisterVm", vm_uuid=UUID_1)
        first.call("SetRateLimit", vm_uuid=UUID_1, rate=5, burst=6, queue_depth=7)
        first.call("SetWeight", vm_uuid=UUID_1, weight=8)
        first.call("QuarantineVm", vm_uuid=UUID_1)
    with running_control(short_dir) as second:
        vm = second.engine.vms[UUID_1]
        limits = (vm.max_jobs_per_sec, vm.max_burst, vm.max_queue_depth, vm.weight)
        assert limits == (5, 6, 7, 8)
        assert second.engine.quarantines[UUID_1].active


@pytest.mark.parametrize(
    "command", ["set-weight", "set-rate-limit", "quarantine-vm", "clear-quarantine"]
)
def test_help_shows_an_example(admin: Admin, command: str) -> None:
    (line,) = re.findall(r"^example: vgpu-admin (.*)$", admin(command, "--help").out, re.MULTILINE)
    build_parser().parse_args(shlex.split(line))
    assert line.startswith(command)
