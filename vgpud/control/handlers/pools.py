"""The methods of pools."""

from __future__ import annotations

from vgpud.control.handlers.context import Context
from vgpud.control.handlers.views import pool_state, vm_states
from vgpud.pools import deletable, existing_pool, new_pool, parse_pool_id, weighted_pool
from vgpud.protocol.messages import (
    CreatePool,
    CreatePoolReply,
    DeletePool,
    DeletePoolReply,
    DisablePool,
    DisablePoolReply,
    EnablePool,
    EnablePoolReply,
    ListPools,
    ListPoolsReply,
    SetPoolWeight,
    SetPoolWeightReply,
    ShowPool,
    ShowPoolReply,
)
from vgpud.protocol.states import PoolState


def list_pools(context: Context, call: ListPools) -> ListPoolsReply:
    """All pools, or the enabled ones."""
    vms = context.store.list_vms()
    return ListPoolsReply(
        [
            pool_state(pool, vms)
            for pool in context.store.list_pools()
            if pool.enabled or not call.enabled_only
        ]
    )


def show_pool(context: Context, call: ShowPool) -> ShowPoolReply:
    """One pool with its VMs."""
    pool_id = parse_pool_id(call.pool_id)
    pool = existing_pool(context.store.get_pool(pool_id), pool_id)
    vms = [vm for vm in context.store.list_vms() if vm.pool_id == pool_id]
    engine = context.engine.snapshot()
    return ShowPoolReply(pool_state(pool, vms, engine), vm_states(context, vms, engine))


def create_pool(context: Context, call: CreatePool) -> CreatePoolReply:
    """Adds a pool, or names one of those that are there from the start."""
    pool_id = parse_pool_id(call.pool_id)
    held = context.store.get_pool(pool_id)
    pool = new_pool(held, pool_id, call.pool_name, call.description)
    if held is None:
        context.store.insert_pool(pool)
    else:
        context.store.describe_pool(pool)
    return CreatePoolReply(_stored(context, pool_id))


def enable_pool(context: Context, call: EnablePool) -> EnablePoolReply:
    """Lets a pool be served; asking twice is no mistake."""
    changed = _set_enabled(context, call.pool_id, True)
    return EnablePoolReply(_stored(context, call.pool_id), changed)


def disable_pool(context: Context, call: DisablePool) -> DisablePoolReply:
    """Stops serving a pool; asking twice is no mistake."""
    changed = _set_enabled(context, call.pool_id, False)
    return DisablePoolReply(_stored(context, call.pool_id), changed)


def set_pool_weight(context: Context, call: SetPoolWeight) -> SetPoolWeightReply:
    """Changes a pool's share among pools."""
    pool_id = parse_pool_id(call.pool_id)
    pool = weighted_pool(existing_pool(context.store.get_pool(pool_id), pool_id), call.weight)
    context.store.set_pool_weight(pool_id, pool.weight)
    return SetPoolWeightReply(_stored(context, pool_id))


def delete_pool(context: Context, call: DeletePool) -> DeletePoolReply:
    """Forgets a pool; by force also one with VMs, which then belong to none."""
    store = context.store
    pool_id = parse_pool_id(call.pool_id)
    vms = [vm for vm in store.list_vms() if vm.pool_id == pool_id]
    pool = deletable(existing_pool(store.get_pool(pool_id), pool_id), vms, bool(call.force))
    before = pool_state(pool, vms)
    store.unassign_vms(pool_id)
    store.delete_pool(pool_id)
    uuids = {vm.vm_uuid for vm in vms}
    stranded = [vm for vm in store.list_vms() if vm.vm_uuid in uuids]
    return DeletePoolReply(before, vm_states(context, stranded, context.engine.snapshot()))


def _set_enabled(context: Context, pool_id: str, enabled: bool) -> bool:
    pool = existing_pool(context.store.get_pool(parse_pool_id(pool_id)), pool_id)
    if pool.enabled == enabled:
        return False
    context.store.set_pool_enabled(pool_id, enabled)
    return True


def _stored(context: Context, pool_id: str) -> PoolState:
    pool = existing_pool(context.store.get_pool(pool_id), pool_id)
    return pool_state(pool, context.store.list_vms())
