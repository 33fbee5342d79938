"""Why a request of a VM waits."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum


class Hold(IntEnum):
    """The first rule that keeps a queued request from being served now."""

    NOTHING = 0
    """It is next."""
    NO_POOL = 1
    """Its VM belongs to no pool."""
    POOL_DISABLED = 2
    NO_WORKER = 3
    """Nobody is there yet, or any more, to do its VM's work."""
    WAITS = 4
    """For something besides its turn."""
    STREAM = 5
    """Requests of its own stream stand before it."""
    IN_FLIGHT = 6
    """What its stream has out must come back first."""
    CLASS = 7
    """A higher priority is served first."""
    POOLS = 8
    """Other pools are ahead."""
    VMS = 9
    """Other VMs of its priority are ahead."""
    AGED = 10
    """A lower priority has waited too long, and is served first."""
    STREAMS = 11
    """Other streams of its VM have their turn before it."""
    DRAINING = 12
    """The engine serves nothing any more."""


@dataclass(frozen=True)
class Explanation:
    """Why one queued request waits, and what is ahead of it at this moment.

    `seq` is its order of acceptance within its VM. `units_ahead` counts requests of whomever that
    are to be served before it, `stream_ahead` those of its own stream among them; `vms_ahead` and
    `pools_ahead` are theirs, `running` is what is out now.

    `wait_ns` is an estimate of the time until its turn, None where that is not the engine's to
    tell. It takes every request to cost the moving average of its VM's, one after another, and
    nothing new to come or to be changed: so it is too short where higher priorities go on
    submitting, and too long for what will have waited too long.
    """

    hold: Hold
    seq: int
    waited_ns: int
    wait_ns: int | None
    units_ahead: int
    stream_ahead: int
    vms_ahead: int
    pools_ahead: int
    running: int
