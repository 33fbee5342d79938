"""vgpu-admin explain: what it says of a request that waits, and of a VM that has none."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from tests.unit.admin_under_test import Admin, Ran
from tests.unit.control_under_test import UUID_1, RunningControl
from vgpud.cli.explain import HOLDS
from vgpud.model.engine import VmStatus
from vgpud.model.explanation import Explanation, Hold

THIS = f"--vm-uuid={UUID_1}"
WHY = Explanation(
    hold=Hold.CLASS,
    seq=41,
    waited_ns=12_000_000,
    wait_ns=24_000_000,
    units_ahead=12,
    stream_ahead=1,
    vms_ahead=3,
    pools_ahead=1,
    running=2,
)


@pytest.fixture
def control(control: RunningControl, admin: Admin) -> RunningControl:
    """A control server with a VM that is connected."""
    admin("register-vm", THIS, "--vm-name=trainer")
    control.engine.live[UUID_1] = VmStatus(connected_ring=True)
    return control


def test_it_says_what_holds_a_request_what_is_ahead_and_until_when(
    control: RunningControl, admin: Admin
) -> None:
    control.engine.explanations[UUID_1] = [WHY]
    assert admin("explain", "--vm-name=trainer") == Ran(
        0,
        f"Request 42 of VM {UUID_1} has waited for 12 ms.\n"
        "  Held by: VMs of a higher priority are served first\n"
        "  Ahead: 12 requests, 1 of its own stream; of 3 other VMs and 1 other pool\n"
        "  On the device: 2 requests\n"
        "  Its turn: in about 24 ms\n",
        "",
    )
    answer = json.loads(admin("explain", THIS, "--json").out)
    assert answer["explanation"]["request"] == 42 and answer["vm"]["vm_name"] == "trainer"


def test_requests_have_the_numbers_that_trace_shows(control: RunningControl, admin: Admin) -> None:
    control.engine.explanations[UUID_1] = [WHY, replace(WHY, seq=42, wait_ns=None, units_ahead=1)]
    said = admin("explain", THIS, "--request=43").out
    assert said.startswith("Request 43 ") and "1 request, 1 of" in said
    assert said.endswith("  Its turn: nobody can say\n")
    ran = admin("explain", THIS, "--request=44")
    assert ran.code == 5 and f"VM {UUID_1} has no request 44 queued." in ran.err


def test_every_rule_has_its_words(control: RunningControl, admin: Admin) -> None:
    assert set(HOLDS) == {hold.name.lower() for hold in Hold}
    for hold in Hold:
        control.engine.explanations[UUID_1] = [replace(WHY, hold=hold)]
        assert f"  Held by: {HOLDS[hold.name.lower()]}\n" in admin("explain", THIS).out


def test_with_nothing_queued_it_says_whether_requests_are_taken(
    control: RunningControl, admin: Admin
) -> None:
    nothing = f"VM {UUID_1} has nothing queued.\n"
    assert admin("explain", THIS) == Ran(0, nothing, "")
    control.engine.live[UUID_1] = VmStatus()
    assert admin("explain", THIS).out == f"{nothing}It is not connected.\n"
    admin("disable-pool", "--pool-id=A")
    assert "Its pool A is disabled: its requests are refused." in admin("explain", THIS).out
    admin("delete-pool", "--pool-id=A", "--force", "--yes")
    assert "It belongs to no pool" in admin("explain", THIS).out
    admin("quarantine-vm", THIS)
    assert "It is quarantined" in admin("explain", THIS).out


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("explain",), 2, "--vm-uuid --vm-name is required"),
        (("explain", "--vm-name=x"), 5, "explaining what VM 'x' waits for: no VM 'x'"),
        (("explain", THIS, "--request=0"), 2, "'0' is not a number from 1"),
        (("explain", THIS, f"--request={2**63}"), 2, "is not a number from 1"),
    ],
)
def test_wrong_input_is_one_line_with_its_exit_code(
    control: RunningControl, admin: Admin, words: tuple[str, ...], code: int, said: str
) -> None:
    ran = admin(*words)
    assert (ran.code, ran.out) == (code, "") and said in ran.err
