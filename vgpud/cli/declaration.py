"""Pools and VMs as a TOML file declares them: what may stand in it, reading it, writing it."""

from __future__ import annotations

import sys
import uuid
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Annotated, Any, TypeAlias

import msgspec
import tomli
import tomli_w
from msgspec import UNSET, Meta, Struct, UnsetType

from vgpud.cli.limits import DEPTH_MAX, RATE_MAX, WEIGHT_MAX, WEIGHT_MIN
from vgpud.cli.vms import VM_ID_MAX
from vgpud.errors import UsageError
from vgpud.protocol.states import PoolState, VmState

NO_POOL = ""
"""The pool of a VM that belongs to none, since its pool was deleted."""

Weight: TypeAlias = Annotated[int, Meta(ge=WEIGHT_MIN, le=WEIGHT_MAX)]
Rate: TypeAlias = Annotated[int, Meta(ge=0, le=RATE_MAX)]


class DeclaredPool(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A pool; what is UNSET is not declared, and stays as it is."""

    pool_id: Annotated[str, Meta(pattern="^[A-Za-z0-9]$")]
    pool_name: str | UnsetType = UNSET
    description: str | UnsetType = UNSET
    enabled: bool | UnsetType = UNSET
    weight: Weight | UnsetType = UNSET


class DeclaredVm(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A VM; what is UNSET is not declared, and stays as it is. The limits are those of
    set-rate-limit."""

    vm_uuid: str
    vm_name: str | UnsetType = UNSET
    vm_id: Annotated[int, Meta(ge=1, le=VM_ID_MAX)] | UnsetType = UNSET
    pool_id: Annotated[str, Meta(pattern="^[A-Za-z0-9]?$")] | UnsetType = UNSET
    priority: Annotated[str, Meta(pattern="^(high|medium|low)$")] | UnsetType = UNSET
    weight: Weight | UnsetType = UNSET
    rate: Rate | UnsetType = UNSET
    burst: Rate | UnsetType = UNSET
    queue_depth: Annotated[int, Meta(ge=0, le=DEPTH_MAX)] | UnsetType = UNSET
    peer: str | UnsetType = UNSET


class Declaration(Struct, frozen=True, forbid_unknown_fields=True):
    """The whole file."""

    pools: Sequence[DeclaredPool] = ()
    vms: Sequence[DeclaredVm] = ()

    def as_toml(self) -> str:
        """The file that says this, a block of lines for each object."""
        return "\n".join(
            f"[[{name}]]\n{tomli_w.dumps(table)}"
            for name, tables in self.as_document().items()
            for table in tables
        )

    def as_document(self) -> dict[str, Any]:
        """The same in plain dictionaries."""
        document: dict[str, Any] = msgspec.to_builtins(self)
        return document


def declaration_of(pools: Iterable[PoolState], vms: Iterable[VmState]) -> Declaration:
    """What would make these pools and VMs."""
    return Declaration([declared_pool(pool) for pool in pools], [declared_vm(vm) for vm in vms])


def declared_pool(pool: PoolState) -> DeclaredPool:
    """All that can be declared of a pool."""
    return DeclaredPool(
        pool.pool_id,
        _or_unset(pool.pool_name),
        _or_unset(pool.description),
        pool.enabled,
        pool.weight,
    )


def declared_vm(vm: VmState) -> DeclaredVm:
    """All that can be declared of a VM. Quarantine is not: the daemon decides on that, too."""
    return DeclaredVm(
        vm.vm_uuid,
        vm_name=_or_unset(vm.vm_name),
        vm_id=vm.vm_id,
        pool_id=NO_POOL if vm.pool_id is None else vm.pool_id,
        priority=vm.priority.label,
        weight=vm.weight,
        rate=vm.max_jobs_per_sec,
        burst=vm.max_burst,
        queue_depth=vm.max_queue_depth,
        peer=vm.peer,
    )


def _or_unset(text: str | None) -> str | UnsetType:
    return UNSET if text is None else text


def read_declaration(path: str) -> Declaration:
    """Reads a file, or standard input for "-". Raises UsageError, which says what is wrong."""
    name = "standard input" if path == "-" else path
    try:
        if path == "-":
            text = sys.stdin.read()
        else:
            with open(path, encoding="utf-8") as file:
                text = file.read()
        declared = msgspec.convert(tomli.loads(text), Declaration)
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{name} cannot be read: {error}") from error
    except msgspec.ValidationError as error:
        raise UsageError(f"{name}: {error}", _WHAT_IT_LOOKS_LIKE) from error
    except (ValueError, RecursionError) as error:  # too long a number, too deep a nesting
        raise UsageError(f"{name} is not valid TOML: {error}") from error
    declared = msgspec.structs.replace(declared, vms=[_normalised(vm, name) for vm in declared.vms])
    _refuse_twice(name, "pool", [pool.pool_id for pool in declared.pools])
    _refuse_twice(name, "VM", [vm.vm_uuid for vm in declared.vms])
    _refuse_twice(name, "vm_id", [vm.vm_id for vm in declared.vms if vm.vm_id is not UNSET])
    return declared


_WHAT_IT_LOOKS_LIKE = "`vgpu-admin export` prints a file as it should be."


def _normalised(vm: DeclaredVm, name: str) -> DeclaredVm:
    try:
        return msgspec.structs.replace(vm, vm_uuid=str(uuid.UUID(vm.vm_uuid)))
    except ValueError as error:
        raise UsageError(
            f"{name}: vm_uuid: {vm.vm_uuid!r} is no UUID", _WHAT_IT_LOOKS_LIKE
        ) from error


def _refuse_twice(name: str, what: str, values: Sequence[object]) -> None:
    twice = [value for value, count in Counter(values).items() if count > 1]
    if twice:
        raise UsageError(f"{name}: {what} {twice[0]} is declared twice", "Leave one of them.")
