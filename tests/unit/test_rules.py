"""The rules of pools and VMs, as tables of values."""

from __future__ import annotations

import pytest

from tests.unit.control_under_test import UUID_1, UUID_2
from vgpud.model.pool import Pool
from vgpud.model.priority import Priority
from vgpud.model.vm import PeerRule, Vm
from vgpud.pools import existing_pool, new_pool, parse_pool_id, pool_for_vm
from vgpud.refusals import (
    AmbiguousVm,
    InvalidArgument,
    PoolDisabled,
    PoolExists,
    PoolNotFound,
    VmExists,
    VmIdInUse,
    VmNotFound,
)
from vgpud.vms import new_vm, only_vm, parse_peer, parse_vm_id, parse_vm_uuid

VM = Vm(UUID_1, 1, "one", "A", Priority.HIGH)


@pytest.mark.parametrize("text", ["A", "z", "0"])
def test_pool_id_is_one_letter_or_digit(text: str) -> None:
    assert parse_pool_id(text) == text


@pytest.mark.parametrize("text", ["", "AB", "-", " ", "\u00e4", "\u0661", "\0", "\ud800"])
def test_other_pool_ids_are_refused(text: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        parse_pool_id(text)
    assert refused.value.parameter == "pool_id"


def test_a_new_pool_is_enabled() -> None:
    assert new_pool(None, "C", "Night", None) == Pool("C", "Night", None, enabled=True)


def test_a_pool_id_is_given_once() -> None:
    with pytest.raises(PoolExists):
        new_pool(Pool("C"), "C", None, None)


@pytest.mark.parametrize("name", ["", " x", "a\nb", "\x1b[31m", "x" * 256, "\ud800", "a\u202eb"])
def test_names_that_would_garble_a_terminal_are_refused(name: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        new_pool(None, "C", name, None)
    assert refused.value.parameter == "pool_name"


def test_a_pool_that_is_missing_or_disabled_takes_no_vm() -> None:
    with pytest.raises(PoolNotFound):
        existing_pool(None, "C")
    with pytest.raises(PoolDisabled):
        pool_for_vm(Pool("C", enabled=False), "C")
    assert pool_for_vm(Pool("C"), "C") == Pool("C")


@pytest.mark.parametrize(
    "text",
    [
        UUID_1,
        UUID_1.upper(),
        f"{{{UUID_1}}}",
        UUID_1.replace("-", ""),
        f"{{{UUID_1.upper().replace('-', '')}}}",
    ],
)
def test_every_spelling_of_a_uuid_is_one_vm(text: str) -> None:
    assert parse_vm_uuid(text) == UUID_1


@pytest.mark.parametrize(
    "text",
    [
        "",
        "abc123",
        f"{{{UUID_1}",
        f" {UUID_1}",
        f"{UUID_1}\n",
        UUID_1.replace("-", "", 1),
        UUID_1[:-1] + "g",
        "00000000-0000-0000-0000-000000000000",
        "\u0661" * 32,
    ],
)
def test_what_is_no_uuid_is_refused(text: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        parse_vm_uuid(text)
    assert refused.value.value == text


@pytest.mark.parametrize("vm_id", [0, -1, 2**31, 2**63])
def test_vm_ids_out_of_range_are_refused(vm_id: int) -> None:
    with pytest.raises(InvalidArgument, match="1 to 2147483647"):
        parse_vm_id(vm_id)


@pytest.mark.parametrize("text", ["qemu", "uid:0", "uid:4294967294"])
def test_a_peer_is_written_as_it_is_read(text: str) -> None:
    assert str(parse_peer(text)) == text


@pytest.mark.parametrize(
    "text", ["", "root", "uid:", "uid:-1", "uid:4294967295", "uid:1x", "uid:\u0661", "gid:1"]
)
def test_other_peers_are_refused(text: str) -> None:
    with pytest.raises(InvalidArgument, match="uid:N"):
        parse_peer(text)


def test_leading_zeros_name_the_same_uid() -> None:
    assert parse_peer("uid:007") == PeerRule(7)


def test_a_vm_is_registered_once_and_its_id_given_once() -> None:
    assert new_vm(VM, None, None) == VM
    with pytest.raises(VmExists):
        new_vm(VM, VM, VM)
    other = Vm(UUID_2, 1, None, "A", Priority.LOW)
    with pytest.raises(VmIdInUse) as refused:
        new_vm(VM, None, other)
    assert refused.value.vm_uuid == UUID_2


def test_a_name_must_mean_one_vm() -> None:
    twin = Vm(UUID_2, 2, "one", "B", Priority.LOW)
    assert only_vm([VM], "one") == VM
    with pytest.raises(VmNotFound):
        only_vm([], "one")
    with pytest.raises(AmbiguousVm) as refused:
        only_vm([VM, twin], "one")
    assert refused.value.vm_uuids == [UUID_1, UUID_2]


def test_times_do_not_make_values_differ() -> None:
    assert Pool("A", created_at="2026-01-11 10:00:00") == Pool("A")


def test_priority_words_are_those_of_the_command_line() -> None:
    assert [p.label for p in Priority] == ["low", "medium", "high"]
    assert [int(p) for p in Priority] == [0, 1, 2]
    with pytest.raises(ValueError, match="urgent"):
        Priority.from_label("urgent")
