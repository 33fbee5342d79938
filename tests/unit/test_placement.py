"""Pools that are weighed and deleted, VMs that move: rules, commands, what the engine hears."""

from __future__ import annotations

import io
import json

import pytest

from tests.unit.admin_under_test import Admin, Ran
from tests.unit.control_under_test import UUID_1, UUID_2, RunningControl
from vgpud.model.pool import Pool
from vgpud.model.priority import Priority
from vgpud.model.vm import VM_ID_MAX, Vm
from vgpud.pools import deletable, pool_for_vm, weighted_pool
from vgpud.refusals import InvalidArgument, PoolDisabled, PoolNotEmpty, VmIdInUse
from vgpud.store.store import AuditOutcome
from vgpud.vms import placed

VM = Vm(UUID_1, 1, "trainer", "A", Priority.HIGH)
OTHER = Vm(UUID_2, 2, None, "B", Priority.LOW)
THIS = f"--vm-uuid={UUID_1}"


@pytest.fixture
def control(control: RunningControl, admin: Admin) -> RunningControl:
    """A control server with a VM in pool A, one in pool B, and an empty pool C."""
    admin("create-pool", "--pool-id=C")
    admin("register-vm", THIS, "--vm-name=trainer")
    admin("register-vm", f"--vm-uuid={UUID_2}", "--pool=B")
    return control


def answering(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    """Have somebody at the terminal who answers this."""
    terminal = io.StringIO(text)
    monkeypatch.setattr(terminal, "isatty", lambda: True)
    monkeypatch.setattr("sys.stdin", terminal)


# --- Rules ----------------------------------------------------------------------------------------


def test_what_is_not_given_stays_as_it_is() -> None:
    assert placed(VM, Pool("C"), None, None, None) == Vm(UUID_1, 1, "trainer", "C", Priority.HIGH)
    assert placed(VM, None, Priority.LOW, None, None).priority is Priority.LOW
    assert placed(VM, None, None, 7, None).vm_id == 7


def test_an_id_belongs_to_one_vm_and_may_be_given_to_it_again() -> None:
    with pytest.raises(VmIdInUse):
        placed(VM, None, None, 2, OTHER)
    assert placed(VM, None, None, 1, VM) == VM


@pytest.mark.parametrize("vm_id", [0, -1, VM_ID_MAX + 1])
def test_an_id_out_of_range_and_no_change_at_all_are_refused(vm_id: int) -> None:
    with pytest.raises(InvalidArgument):
        placed(VM, None, None, vm_id, None)
    with pytest.raises(InvalidArgument, match="at least one"):
        placed(VM, None, None, None, None)


def test_a_vm_may_stay_in_its_disabled_pool_but_enter_no_other() -> None:
    disabled = Pool("C", enabled=False)
    assert pool_for_vm(disabled, "C", present="C") is disabled
    with pytest.raises(PoolDisabled):
        pool_for_vm(disabled, "C", present="A")


def test_a_pool_with_vms_is_deleted_by_force_only() -> None:
    assert deletable(Pool("A"), [], False) == deletable(Pool("A"), [VM], True) == Pool("A")
    with pytest.raises(PoolNotEmpty, match=f"pool A has 2 VMs: trainer, {UUID_2}"):
        deletable(Pool("A"), [VM, OTHER], False)


@pytest.mark.parametrize("weight", [0, 101, -5])
def test_a_pools_weight_is_from_1_to_100(weight: int) -> None:
    assert weighted_pool(Pool("A"), 100).weight == 100
    with pytest.raises(InvalidArgument):
        weighted_pool(Pool("A"), weight)


# --- Moving a VM ----------------------------------------------------------------------------------


def test_a_vm_is_moved_and_what_changed_is_told(control: RunningControl, admin: Admin) -> None:
    assert admin("set-pool", "--vm-name=trainer", "--pool=C") == Ran(
        0, f"VM {UUID_1}: pool: A -> C\n", ""
    )
    assert admin("set-priority", THIS, "--priority=high").out == (
        f"VM {UUID_1}: priority: medium -> high\n"
    )
    assert admin("set-vm-id", THIS, "--vm-id=77").out == f"VM {UUID_1}: VM ID: 1 -> 77\n"
    vm = control.engine.vms[UUID_1]
    assert (vm.pool_id, vm.priority, vm.vm_id) == ("C", Priority.HIGH, 77)
    ran = admin("update-vm", THIS, "--pool=A", "--priority=low", "--vm-id=1")
    told = f"VM {UUID_1}: pool: C -> A; priority: high -> low; VM ID: 77 -> 1\n"
    assert ran.code == 0 and ran.out.startswith(f"{told}VM Configuration:\n")
    assert "  Pool: A " in ran.out and "  VM ID: 1\n" in ran.out


def test_moving_a_vm_to_where_it_is_is_no_failure(control: RunningControl, admin: Admin) -> None:
    before = admin("show-vm", THIS, "--json").out
    ran = admin("set-pool", THIS, "--pool=A")
    assert ran == Ran(0, f"VM {UUID_1}: it is so already, nothing was changed\n", "")
    assert admin("show-vm", THIS, "--json").out == before


def test_in_a_disabled_pool_all_but_the_pool_can_be_changed(
    control: RunningControl, admin: Admin
) -> None:
    for pool in "AC":
        admin("disable-pool", f"--pool-id={pool}")
    assert admin("set-priority", THIS, "--priority=low").code == 0
    assert admin("update-vm", THIS, "--pool=A", "--vm-id=5").code == 0
    assert admin("set-pool", THIS, "--pool=C").code == 6
    assert control.engine.vms[UUID_1].pool_id == "A"


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("set-pool", THIS), 2, "required: --pool"),
        (("set-pool", THIS, "--pool=Z"), 5, "there is no pool Z"),
        (("set-pool", THIS, "--pool="), 2, "pool_id is ''"),
        (("set-pool", "--vm-name=nobody", "--pool=B"), 5, "moving VM 'nobody' to pool B: no VM"),
        (("set-priority", THIS, "--priority=urgent"), 2, "invalid choice: 'urgent'"),
        (("set-vm-id", THIS, "--vm-id=2"), 6, f"VM ID 2 belongs to VM {UUID_2}"),
        (("set-vm-id", THIS, "--vm-id=abc"), 2, "'abc' is not a number"),
        (("set-vm-id", THIS, "--vm-id=-1"), 2, "'-1' is not a number"),
        (("update-vm", THIS), 2, "is 'none', expected at least one of the three"),
        (("update-vm", THIS, "--pool=C", "--vm-id=2"), 6, "VM ID 2 belongs to"),
        (("set-weight", "--pool-id=A", "--weight=101"), 2, "argument --weight"),
        (("set-weight", "--pool-id=Z", "--weight=1"), 5, "setting the weight of pool Z: there is"),
        (("set-weight", THIS, "--pool-id=A", "--weight=1"), 2, "not allowed with"),
        (("delete-pool",), 2, "required: --pool-id"),
        (("delete-pool", "--pool-id=Z"), 5, "deleting pool Z: there is no pool Z"),
        (("delete-pool", "--pool-id=A"), 6, "pool A has 1 VM: trainer. Move them with"),
        (("delete-pool", "--pool-id=A", "--force"), 2, "this is no terminal. Add --yes."),
    ],
)
def test_wrong_input_is_one_line_with_its_exit_code_and_changes_nothing(
    control: RunningControl,
    admin: Admin,
    monkeypatch: pytest.MonkeyPatch,
    words: tuple[str, ...],
    code: int,
    said: str,
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO())
    before = dict(control.engine.vms), dict(control.engine.pools)
    ran = admin(*words)
    assert (ran.code, ran.out) == (code, "") and said in ran.err
    assert len(ran.err.splitlines()) == 1
    assert (control.engine.vms, control.engine.pools) == before


# --- Weighing and deleting a pool -----------------------------------------------------------------


def test_a_pools_weight_is_set_and_shown(control: RunningControl, admin: Admin) -> None:
    ran = admin("set-weight", "--pool-id=B", "--weight=80")
    assert ran == Ran(0, "Scheduler weight for pool B set to 80\n", "")
    assert control.engine.pools["B"].weight == 80
    assert admin("show-weights").out.endswith(
        "\n\nPool   Name                 Weight\n"
        "A      Pool A               50\n"
        "B      Pool B               80\n"
        "C      -                    50\n"
    )
    answer = json.loads(admin("show-weights", "--json").out)
    assert [pool["weight"] for pool in answer["pools"]] == [50, 80, 50] and len(answer["vms"]) == 2


def test_an_empty_pool_is_deleted(control: RunningControl, admin: Admin) -> None:
    assert admin("delete-pool", "--pool-id=C") == Ran(0, "Pool C deleted.\n", "")
    assert "C" not in control.engine.pools
    assert admin("delete-pool", "--pool-id=C").code == 5


def test_by_force_its_vms_belong_to_no_pool_until_they_are_moved(
    control: RunningControl, admin: Admin
) -> None:
    ran = admin("delete-pool", "--pool-id=A", "--force", "--yes")
    assert ran.code == 0
    assert ran.out == (
        "Pool A deleted.\n"
        "VMs that belong to no pool now (1):\n"
        f"  trainer (UUID: {UUID_1}) | Priority: medium | VM ID: 1\n"
        "Move them with `vgpu-admin set-pool`; until then their requests are refused.\n"
    )
    assert "A" not in control.engine.pools and control.engine.vms[UUID_1].pool_id is None
    assert "=== VMs without a pool (1) ===" in admin("status").out
    assert admin("set-priority", THIS, "--priority=high").code == 0
    assert admin("set-pool", THIS, "--pool=B").out == f"VM {UUID_1}: pool: none -> B\n"
    assert control.engine.vms[UUID_1].pool_id == "B"


@pytest.mark.parametrize(("said", "deleted"), [("yes\n", True), ("Y\n", True), ("ja\n", False)])
def test_it_is_asked_before_vms_lose_their_pool(
    control: RunningControl,
    admin: Admin,
    monkeypatch: pytest.MonkeyPatch,
    said: str,
    deleted: bool,
) -> None:
    answering(monkeypatch, said)
    ran = admin("delete-pool", "--pool-id=A", "--force")
    assert "Pool A has VMs (1): trainer.\n" in ran.err and "(yes/no): " in ran.err
    assert ("A" not in control.engine.pools) is deleted and ran.code == (0 if deleted else 1)
    assert deleted or "pool A was not deleted" in ran.err


def test_who_may_not_is_refused_and_it_is_recorded(control: RunningControl, admin: Admin) -> None:
    admin("delete-pool", "--pool-id=B")
    admin("set-pool", THIS, "--pool=C")
    refused, moved = control.audit()[-2:]
    assert (moved.method, moved.outcome) == ("org.vgpud.admin.MoveVm", AuditOutcome.STORED)
    assert refused.outcome is AuditOutcome.REFUSED and "pool B has 1 VM" in str(refused.error)
