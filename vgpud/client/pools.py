"""Calls about pools."""

from __future__ import annotations

from vgpud.client.connection import Client
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
from vgpud.protocol.states import PoolState, VmState
from vgpud.refusals import PoolDisabled


class PoolCalls:
    """All that can be asked of pools. A pool's id is one letter or digit; case counts."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def create_pool(
        self, pool_id: str, pool_name: str | None = None, description: str | None = None
    ) -> PoolState:
        """A new pool, enabled. Raises PoolExists, InvalidArgument."""
        call = CreatePool(pool_id, pool_name, description)
        return self._client.call(call, CreatePoolReply)[0].pool

    def list_pools(self, *, enabled_only: bool = False) -> list[PoolState]:
        """All pools, or those that are enabled, by id."""
        return self._client.call(ListPools(enabled_only), ListPoolsReply)[0].pools

    def show_pool(self, pool_id: str) -> tuple[PoolState, list[VmState]]:
        """A pool and its VMs, with live numbers. Raises PoolNotFound."""
        reply, _ = self._client.call(ShowPool(pool_id), ShowPoolReply)
        return reply.pool, reply.vms

    def enable_pool(self, pool_id: str) -> bool:
        """Have its VMs served. Returns whether it was disabled. Raises PoolNotFound."""
        return self._client.call(EnablePool(pool_id), EnablePoolReply)[0].changed

    def disable_pool(self, pool_id: str) -> bool:
        """Serve its VMs no more; they stay assigned. Returns whether it was enabled.

        Raises PoolNotFound.
        """
        return self._client.call(DisablePool(pool_id), DisablePoolReply)[0].changed

    def delete_pool(self, pool_id: str, *, force: bool = False) -> list[VmState]:
        """Delete a pool, with `force` also one that has VMs.

        Returns the VMs that belong to no pool now; their requests are refused. Raises
        PoolNotFound, and PoolNotEmpty without `force`.
        """
        return self._client.call(DeletePool(pool_id, force), DeletePoolReply)[0].vms

    def set_pool_weight(self, pool_id: str, weight: int) -> PoolState:
        """Its share among pools, 1 to 100. Raises PoolNotFound, InvalidArgument."""
        return self._client.call(SetPoolWeight(pool_id, weight), SetPoolWeightReply)[0].pool

    def validate_pool(self, pool_id: str) -> PoolState:
        """A pool that takes VMs. Raises PoolNotFound, and PoolDisabled if it is disabled."""
        pool, _ = self.show_pool(pool_id)
        if not pool.enabled:
            raise PoolDisabled(pool_id)
        return pool
