"""vgpu-admin export, diff and apply: pools and VMs as a file declares them."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from tests.unit.admin_under_test import Admin
from tests.unit.control_under_test import UUID_1, UUID_2, UUID_3, RunningControl
from vgpud.client import Priority, Vgpud

DECLARED = f"""
[[pools]]
pool_id = "A"
pool_name = "Interactive"
description = "people wait for it"
weight = 80

[[pools]]
pool_id = "C"
pool_name = "Batch"
enabled = false

[[vms]]
vm_uuid = "{UUID_1.upper()}"
vm_name = "trainer"
vm_id = 7
pool_id = "C"
priority = "high"
weight = 90
rate = 50
burst = 100
queue_depth = 64
peer = "uid:0"

[[vms]]
vm_uuid = "{UUID_2}"
"""

MADE = f"""\
pool A: pool_name Pool A -> Interactive, description people wait for it
pool A: weight 50 -> 80
pool C: create
VM {UUID_1}: register, vm_name trainer, vm_id 7, pool_id C, priority high
VM {UUID_1}: weight 90
VM {UUID_1}: rate 50, burst 100, queue_depth 64
VM {UUID_2}: register
pool C: disable
"""


@pytest.fixture
def file(short_dir: Path) -> Path:
    path = short_dir / "pools.toml"
    path.write_text(DECLARED)
    return path


def test_what_a_file_declares_is_made_and_then_nothing_differs(
    control: RunningControl, admin: Admin, file: Path
) -> None:
    ran = admin("apply", "-f", str(file))
    assert (ran.code, ran.out) == (0, MADE + "8 changes made.\n")
    vm = Vgpud().show_vm(UUID_1)
    assert (vm.vm_name, vm.vm_id, vm.pool_id, vm.priority) == ("trainer", 7, "C", Priority.HIGH)
    assert (vm.weight, vm.max_jobs_per_sec, vm.max_burst, vm.max_queue_depth) == (90, 50, 100, 64)
    assert (vm.peer, vm.pool_enabled) == ("uid:0", False)
    again = admin("apply", "-f", str(file))
    assert again.out == "0 changes made.\n"
    differs = admin("diff", "-f", str(file))
    assert (differs.code, differs.out) == (0, "Nothing differs.\n")


def test_diff_says_what_apply_would_do_does_nothing_and_exits_1(
    control: RunningControl, admin: Admin, file: Path
) -> None:
    differs = admin("diff", "-f", str(file))
    assert (differs.code, differs.out) == (1, MADE)
    dry = admin("apply", "-f", str(file), "--dry-run")
    assert (dry.code, dry.out) == (0, MADE + "8 changes to be made.\n")
    assert Vgpud().list_vms() == []
    assert [pool.pool_id for pool in Vgpud().list_pools()] == ["A", "B"]


def test_what_is_exported_differs_in_nothing_and_is_the_same_again(
    control: RunningControl, admin: Admin, file: Path, short_dir: Path
) -> None:
    admin("apply", "-f", str(file))
    exported = admin("export").out
    copy = short_dir / "copy.toml"
    copy.write_text(exported)
    assert admin("diff", "-f", str(copy), "--prune").out == "Nothing differs.\n"
    assert admin("export").out == exported
    assert json.loads(admin("export", "--json").out)["vms"][0]["vm_uuid"] == UUID_2


def test_an_export_makes_the_same_on_a_host_that_has_nothing(
    control: RunningControl, admin: Admin, file: Path, short_dir: Path
) -> None:
    admin("apply", "-f", str(file))
    exported = admin("export").out
    copy = short_dir / "copy.toml"
    copy.write_text(exported)
    for uuid in (UUID_1, UUID_2):
        admin("remove-vm", f"--vm-uuid={uuid}")
    for pool_id in "ABC":
        admin("delete-pool", f"--pool-id={pool_id}", "--yes")
    assert admin("apply", "-f", str(copy)).code == 0
    assert admin("export").out == exported


def test_what_is_left_out_stays_as_it_is(control: RunningControl, admin: Admin, file: Path) -> None:
    admin("register-vm", f"--vm-uuid={UUID_1}", "--priority=high", "--vm-name=trainer")
    admin("register-vm", f"--vm-uuid={UUID_3}")
    file.write_text(f'[[vms]]\nvm_uuid = "{UUID_1}"\npool_id = "B"\nweight = 60\n')
    ran = admin("apply", "-f", str(file))
    assert ran.out == (
        f"VM {UUID_1}: pool_id A -> B\nVM {UUID_1}: weight 50 -> 60\n2 changes made.\n"
    )
    vm = Vgpud().show_vm(UUID_1)
    assert (vm.priority, vm.vm_name, vm.pool_id) == (Priority.HIGH, "trainer", "B")
    assert len(Vgpud().list_vms()) == 2


def test_with_prune_what_is_left_out_goes_once_somebody_says_yes(
    control: RunningControl, admin: Admin, file: Path
) -> None:
    admin("register-vm", f"--vm-uuid={UUID_3}", "--vm-id=7", "--pool=B")
    asked = admin("apply", "-f", str(file), "--prune")
    assert asked.code == 2 and "Add --yes." in asked.err
    assert Vgpud().list_vms()[0].vm_uuid == UUID_3
    ran = admin("apply", "-f", str(file), "--prune", "--yes")
    # First, since a VM that comes has its number.
    assert ran.out == f"VM {UUID_3}: remove\n{MADE}pool B: delete\n10 changes made.\n"
    assert admin("diff", "-f", str(file), "--prune").code == 0


def test_a_vm_moves_out_of_a_pool_before_that_is_deleted(
    control: RunningControl, admin: Admin, file: Path
) -> None:
    admin("register-vm", f"--vm-uuid={UUID_1}", "--pool=B")
    file.write_text(f'[[pools]]\npool_id = "A"\n[[vms]]\nvm_uuid = "{UUID_1}"\npool_id = "A"\n')
    ran = admin("apply", "-f", str(file), "--prune", "--yes")
    assert ran.out == f"VM {UUID_1}: pool_id B -> A\npool B: delete\n2 changes made.\n"


def test_a_vm_without_a_pool_is_exported_as_one(
    control: RunningControl, admin: Admin, file: Path
) -> None:
    admin("register-vm", f"--vm-uuid={UUID_1}", "--pool=B")
    admin("delete-pool", "--pool-id=B", "--force", "--yes")
    exported = admin("export").out
    assert exported.startswith('[[pools]]\npool_id = "A"\npool_name = "Pool A"\nenabled = true\n')
    assert 'pool_id = ""\n' in exported
    file.write_text(exported)
    assert admin("diff", "-f", str(file), "--prune").code == 0


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ('vm_name = "other"', "vm_name trainer -> other: that cannot be changed"),
        ('peer = "uid:7"', "peer qemu -> uid:7: that cannot be changed"),
        ('pool_id = ""', "it belongs to pool A"),
    ],
)
def test_what_no_call_can_change_is_refused_before_anything_is_changed(
    control: RunningControl, admin: Admin, file: Path, key: str, said: str
) -> None:
    admin("register-vm", f"--vm-uuid={UUID_1}", "--vm-name=trainer")
    file.write_text(f'[[pools]]\npool_id="D"\n[[vms]]\nvm_uuid = "{UUID_1}"\n{key}\n')
    ran = admin("apply", "-f", str(file))
    assert ran.code == 6
    assert f"VM {UUID_1}: {said}" in ran.err
    assert len(Vgpud().list_pools()) == 2


def test_a_pool_can_be_named_only_while_it_is_as_installed(
    control: RunningControl, admin: Admin, file: Path
) -> None:
    admin("set-weight", "--pool-id=A", "--weight=60")
    ran = admin("diff", "-f", str(file))
    assert ran.code == 6 and "pool A: pool_name Pool A -> Interactive" in ran.err


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[[pools]\n", "is not valid TOML"),
        (f"x = {'9' * 5000}\n", "is not valid TOML"),
        (f"x = {'[' * 3000}\n", "is not valid TOML"),
        ("[[pools]]\nweight = 5\n", "missing required field `pool_id` - at `$.pools[0]`"),
        ('[[pools]]\npool_id = "A"\nwieght = 5\n', "unknown field `wieght` - at `$.pools[0]`"),
        ('[[pools]]\npool_id = "A"\nweight = 0\n', "Expected `int` >= 1 - at `$.pools[0].weight`"),
        ('[[pools]]\npool_id = "AB"\n', "at `$.pools[0].pool_id`"),
        ('[[vms]]\nvm_uuid = "x"\n', "vm_uuid: 'x' is no UUID"),
        (f'[[vms]]\nvm_uuid = "{UUID_1}"\npriority = "urgent"\n', "'^(high|medium|low)$'"),
        (f'[[vms]]\nvm_uuid = "{UUID_1}"\npool_id = ""\n', "a new VM belongs to a pool"),
        (f'[[vms]]\nvm_uuid = "{UUID_1}"\n' * 2, f"VM {UUID_1} is declared twice"),
        ('[[pools]]\npool_id = "A"\n' * 2, "pool A is declared twice"),
        (
            f'[[vms]]\nvm_uuid="{UUID_1}"\nvm_id=1\n[[vms]]\nvm_uuid="{UUID_2}"\nvm_id=1\n',
            "vm_id 1 is declared twice",
        ),
    ],
)
def test_a_file_that_cannot_be_understood_is_refused_with_the_place(
    control: RunningControl, admin: Admin, file: Path, text: str, said: str
) -> None:
    file.write_text(text)
    ran = admin("apply", "-f", str(file))
    assert ran.code in (2, 6) and ran.out == ""
    assert said in ran.err and ran.err.count("\n") == 1
    assert Vgpud().list_vms() == []


def test_a_file_that_is_not_there_is_named(control: RunningControl, admin: Admin) -> None:
    ran = admin("diff", "-f", "/nowhere/pools.toml")
    assert ran.code == 2 and "/nowhere/pools.toml cannot be read: " in ran.err


def test_the_file_can_come_from_standard_input(
    control: RunningControl, admin: Admin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO('[[pools]]\npool_id = "D"\n'))
    assert admin("apply", "-f", "-").out == "pool D: create\n1 change made.\n"


def test_after_an_error_one_sees_how_far_it_came(
    control: RunningControl, admin: Admin, file: Path
) -> None:
    admin("register-vm", f"--vm-uuid={UUID_3}", "--vm-id=7")
    ran = admin("apply", "-f", str(file))
    assert ran.code == 6
    assert ran.out.splitlines()[-1] == "pool C: create"
    assert f"VM ID 7 belongs to VM {UUID_3}" in ran.err
    admin("remove-vm", f"--vm-uuid={UUID_3}")
    assert admin("apply", "-f", str(file)).out.endswith("5 changes made.\n")


def test_each_change_is_a_line_of_json(control: RunningControl, admin: Admin, file: Path) -> None:
    lines = [
        json.loads(line) for line in admin("apply", "-f", str(file), "--json").out.splitlines()
    ]
    assert lines[2] == {"subject": "pool C", "what": "create"} and lines[-1] == {"made": 8}
