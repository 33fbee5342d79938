"""A logical pool: a queue that VMs belong to."""

from __future__ import annotations

from dataclasses import dataclass, field

WEIGHT_MIN = 1
WEIGHT_MAX = 100
WEIGHT_DEFAULT = 50
"""Weights are relative shares: of a pool among pools, of a VM inside its class. No unit."""


@dataclass(frozen=True)
class Pool:
    """A pool as it should be.

    `pool_id` is one ASCII letter or digit, since it is one byte in the v1 stub framing; case
    counts. Times are UTC, "YYYY-MM-DD HH:MM:SS", and are no part of what makes two pools equal:
    the engine is not told of them.
    """

    pool_id: str
    pool_name: str | None = None
    description: str | None = None
    enabled: bool = True
    weight: int = WEIGHT_DEFAULT
    created_at: str = field(default="", compare=False)
    updated_at: str = field(default="", compare=False)
