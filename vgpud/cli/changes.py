"""What has to be done so that pools and VMs are as a file declares them.

The order lets each step find what it needs: VMs that go make their numbers free for those that
come; pools are there, and enabled, before VMs enter them, and are disabled, or deleted, after that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from msgspec import UNSET

from vgpud.cli.declaration import (
    NO_POOL,
    Declaration,
    DeclaredPool,
    DeclaredVm,
    declared_pool,
    declared_vm,
)
from vgpud.client import Vgpud
from vgpud.errors import NotPossibleError
from vgpud.model.pool import WEIGHT_DEFAULT
from vgpud.model.priority import Priority
from vgpud.protocol.states import PoolState, VmState
from vgpud.record import Record


class Change(Record):
    """One step; `make` raises VgpudError. `takes_away`: it loses what cannot be had back."""

    subject: str
    what: str
    make: Callable[[Vgpud], object]
    takes_away: bool = False


def changes_to(
    declared: Declaration, pools: Sequence[PoolState], vms: Sequence[VmState], *, prune: bool
) -> list[Change]:
    """The steps from what is there to what is declared, none if nothing differs.

    With `prune` what is not in the file goes. Raises NotPossibleError for what no step can change.
    """
    pool_of = {pool.pool_id: pool for pool in pools}
    vm_of = {vm.vm_uuid: vm for vm in vms}
    kept_pools = {pool.pool_id for pool in declared.pools}
    kept_vms = {vm.vm_uuid for vm in declared.vms}
    steps: list[Change] = []
    if prune:
        steps += [_removal(vm) for vm in vms if vm.vm_uuid not in kept_vms]
    for pool in declared.pools:
        steps += _pool_steps(pool, pool_of.get(pool.pool_id))
    for vm in declared.vms:
        steps += _vm_steps(vm, vm_of.get(vm.vm_uuid))
    for pool in declared.pools:
        present = pool_of.get(pool.pool_id)
        if pool.enabled is False and (present is None or present.enabled):
            steps.append(_disabling(pool.pool_id))
    if prune:
        steps += [_deletion(pool) for pool in pools if pool.pool_id not in kept_pools]
    return steps


# --- pools ----------------------------------------------------------------------------------------


def _pool_steps(declared: DeclaredPool, present: PoolState | None) -> Iterator[Change]:
    subject = f"pool {declared.pool_id}"
    name, text = declared.pool_name or None, declared.description or None
    if present is None:
        yield Change(subject, "create", lambda v: v.create_pool(declared.pool_id, name, text))
    else:
        now = declared_pool(present)
        if any(_differs(declared, now, key) for key in ("pool_name", "description")):
            if not _is_as_installed(present):
                raise _cannot_change(subject, declared, now, ("pool_name", "description"))
            what = _words(declared, now, ("pool_name", "description"))
            yield Change(subject, what, lambda v: v.create_pool(declared.pool_id, name, text))
        if declared.enabled is True and not present.enabled:
            yield Change(subject, "enable", lambda v: v.enable_pool(declared.pool_id))
    weight = declared.weight
    before = None if present is None else present.weight
    if weight is not UNSET and weight != before:
        yield Change(
            subject,
            f"weight {weight}" if before is None else f"weight {before} -> {weight}",
            lambda v: v.set_pool_weight(declared.pool_id, weight),
        )


def _is_as_installed(pool: PoolState) -> bool:
    """Pools A and B may be named once, while nobody has changed them."""
    return (
        pool.pool_id in ("A", "B")
        and pool.pool_name == f"Pool {pool.pool_id}"
        and pool.description is None
        and pool.enabled
        and pool.weight == WEIGHT_DEFAULT
    )


def _disabling(pool_id: str) -> Change:
    return Change(f"pool {pool_id}", "disable", lambda v: v.disable_pool(pool_id))


def _deletion(pool: PoolState) -> Change:
    return Change(f"pool {pool.pool_id}", "delete", lambda v: v.delete_pool(pool.pool_id), True)


# --- VMs ------------------------------------------------------------------------------------------


def _vm_steps(declared: DeclaredVm, present: VmState | None) -> Iterator[Change]:
    subject = f"VM {declared.vm_uuid}"
    if present is None:
        if declared.pool_id == NO_POOL:
            raise NotPossibleError(
                f"{subject}: a new VM belongs to a pool", "Name one, or leave pool_id out for A."
            )
        yield _registration(subject, declared)
        now = None
    else:
        now = declared_vm(present)
        if any(_differs(declared, now, key) for key in ("vm_name", "peer")):
            raise _cannot_change(subject, declared, now, ("vm_name", "peer"))
        if declared.pool_id == NO_POOL and now.pool_id != NO_POOL:
            raise NotPossibleError(
                f"{subject}: it belongs to pool {now.pool_id}",
                "Only deleting that pool takes it out; name another one, or disable that one.",
            )
        yield from _move(subject, declared, now)
    yield from _limits(subject, declared, now)


def _registration(subject: str, declared: DeclaredVm) -> Change:
    given = {
        key: value
        for key in ("vm_name", "vm_id", "pool_id", "peer")
        if (value := getattr(declared, key)) is not UNSET
    }
    if declared.priority is not UNSET:
        given["priority"] = Priority.from_label(declared.priority)
    said = [
        f"{key} {getattr(declared, key)}"
        for key in ("vm_name", "vm_id", "pool_id", "priority")
        if getattr(declared, key) is not UNSET
    ]
    return Change(
        subject,
        ", ".join(["register", *said]),
        lambda v: v.register_vm(declared.vm_uuid, **given),
    )


def _move(subject: str, declared: DeclaredVm, now: DeclaredVm) -> Iterator[Change]:
    """Pool, priority and number in one step."""
    keys = [key for key in ("pool_id", "priority", "vm_id") if _differs(declared, now, key)]
    if not keys:
        return
    given = {key: getattr(declared, key) for key in keys}
    if "priority" in given:
        given["priority"] = Priority.from_label(given["priority"])
    yield Change(
        subject,
        _words(declared, now, keys),
        lambda v: v.update_vm(declared.vm_uuid, **given),
    )


def _limits(subject: str, declared: DeclaredVm, now: DeclaredVm | None) -> Iterator[Change]:
    weight = declared.weight
    if weight is not UNSET and _differs(declared, now, "weight"):
        yield Change(
            subject,
            _words(declared, now, ["weight"]),
            lambda v: v.set_weight(weight, declared.vm_uuid),
        )
    keys = [key for key in ("rate", "burst", "queue_depth") if _differs(declared, now, key)]
    if keys:
        given = {key: getattr(declared, key) for key in keys}
        yield Change(
            subject,
            _words(declared, now, keys),
            lambda v: v.set_rate_limit(declared.vm_uuid, **given),
        )


def _removal(vm: VmState) -> Change:
    return Change(f"VM {vm.vm_uuid}", "remove", lambda v: v.remove_vm(vm.vm_uuid), True)


# --- differences ----------------------------------------------------------------------------------


def _differs(declared: Any, now: Any, key: str) -> bool:
    value = getattr(declared, key)
    return value is not UNSET and (now is None or value != getattr(now, key))


def _words(declared: Any, now: Any, keys: Iterable[str]) -> str:
    return ", ".join(_change(declared, now, key) for key in keys if _differs(declared, now, key))


def _change(declared: Any, now: Any, key: str) -> str:
    value = getattr(declared, key)
    before = UNSET if now is None else getattr(now, key)
    return f"{key} {value}" if before in (UNSET, "") else f"{key} {before} -> {value or 'none'}"


def _cannot_change(subject: str, declared: Any, now: Any, keys: Iterable[str]) -> NotPossibleError:
    return NotPossibleError(
        f"{subject}: {_words(declared, now, keys)}: that cannot be changed",
        "Leave it out of the file, or delete the object and have it made anew.",
    )
