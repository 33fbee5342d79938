"""The rules of pools: what may be asked, decided from values alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from vgpud.model.pool import WEIGHT_MAX, WEIGHT_MIN, Pool
from vgpud.model.vm import Vm
from vgpud.names import DESCRIPTION_MAX_CHARACTERS, NAME_MAX_CHARACTERS, parse_text
from vgpud.refusals import (
    InvalidArgument,
    PoolDisabled,
    PoolExists,
    PoolNotEmpty,
    PoolNotFound,
)

FIRST_POOLS = (Pool("A", "Pool A"), Pool("B", "Pool B"))
"""What a new installation starts with."""


def parse_pool_id(text: str) -> str:
    """Checks a pool id: one ASCII letter or digit; case counts. Raises InvalidArgument."""
    if len(text) != 1 or not text.isascii() or not text.isalnum():
        raise InvalidArgument("pool_id", text, "one letter or digit, such as A")
    return text


def new_pool(
    held: Pool | None, pool_id: str, pool_name: str | None, description: str | None
) -> Pool:
    """The pool to create, enabled.

    One that the installation made, and that nobody has changed since, may be created once all the
    same: to get a name or a description from somebody.

    Args:
        held: the pool that has this id now, if any.
        pool_id: checked by `parse_pool_id`.
        pool_name: what people call it; optional.
        description: what it is for; optional.

    Raises:
        PoolExists: the id is taken.
        InvalidArgument: a text is empty, too long or not printable.
    """
    names_it = pool_name is not None or description is not None
    if held is not None and not (names_it and held in FIRST_POOLS):
        raise PoolExists(pool_id)
    if pool_name is not None:
        parse_text("pool_name", pool_name, NAME_MAX_CHARACTERS)
    if description is not None:
        parse_text("description", description, DESCRIPTION_MAX_CHARACTERS)
    if pool_name is None and held is not None:
        pool_name = held.pool_name
    return Pool(pool_id=pool_id, pool_name=pool_name, description=description)


def existing_pool(held: Pool | None, pool_id: str) -> Pool:
    """The pool asked for. Raises PoolNotFound."""
    if held is None:
        raise PoolNotFound(pool_id)
    return held


def pool_for_vm(held: Pool | None, pool_id: str, present: str | None = None) -> Pool:
    """The pool a VM may enter, or stay in if it is its present one.

    Raises PoolNotFound, or PoolDisabled.
    """
    pool = existing_pool(held, pool_id)
    if not pool.enabled and pool_id != present:
        raise PoolDisabled(pool_id)
    return pool


def deletable(pool: Pool, vms: Sequence[Vm], force: bool) -> Pool:
    """The pool to delete: one without VMs or, with `force`, any.

    Raises PoolNotEmpty, naming its VMs.
    """
    if vms and not force:
        raise PoolNotEmpty(pool.pool_id, [vm.vm_name or vm.vm_uuid for vm in vms])
    return pool


def weighted_pool(pool: Pool, weight: int) -> Pool:
    """The pool with another weight. Raises InvalidArgument."""
    if not WEIGHT_MIN <= weight <= WEIGHT_MAX:
        raise InvalidArgument("weight", str(weight), f"a number from {WEIGHT_MIN} to {WEIGHT_MAX}")
    return replace(pool, weight=weight)
