"""How many descriptors vgpud may have open, and for how many VMs they suffice.

A daemon that runs out of descriptors fails wherever the next one is needed: a client is not
accepted, an administrator not heard. So what every VM may ever need is set aside when it is taken
over, and a VM for which there is not enough is refused then, with the number that would do.
"""

from __future__ import annotations

import resource
from dataclasses import dataclass, replace

from vgpud.config import Config
from vgpud.errors import EngineError

PER_VM = 6
"""Two listeners, their connections, and the ring's memory twice: for the engine, for workers."""

PER_PAIR = 2
"""A queue pair's doorbells."""

PER_WORKER_SLOT = 9
"""Of a VM that has both workers: control socket, channel and doorbell of each, the pair's exchange,
and the engine's duplicates of both doorbells."""

PER_CONTROL_CONNECTION = 2
"""As many again as max_connections are kept for root."""

CLOSING = 512
"""Connections that have ended and wait to be closed, on kernels where that may take a moment."""

OTHERS = 64 + CLOSING
"""And standard streams, event loops, the store, the spawner's sockets, and what is open for a
moment."""


def raise_file_limit() -> int:
    """Allow this process as many descriptors as the host lets it have; returns how many."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard if hard != resource.RLIM_INFINITY else 2**31 - 1


@dataclass(frozen=True)
class DescriptorBudget:
    """`limit` is RLIMIT_NOFILE; `shared` is set aside for what is not one VM's."""

    limit: int
    shared: int
    max_workers: int

    @classmethod
    def of(cls, config: Config, limit: int) -> DescriptorBudget:
        """The budget of a daemon with this configuration."""
        shared = OTHERS + PER_CONTROL_CONNECTION * config.control.max_connections
        return cls(limit, shared, config.spawner.max_workers)

    def reloaded(self, config: Config) -> DescriptorBudget:
        """The same after a reload, which leaves max_workers as it was."""
        return replace(DescriptorBudget.of(config, self.limit), max_workers=self.max_workers)

    def needed(self, vms: int, pairs: int) -> int:
        """What so many VMs need in all, with so many queue pairs of all of them together."""
        workers = min(vms, self.max_workers)
        return self.shared + PER_VM * vms + PER_PAIR * pairs + PER_WORKER_SLOT * workers

    def check(self, vms: int, pairs: int) -> None:
        """Raises EngineError when there are not enough for so many VMs and queue pairs."""
        needed = self.needed(vms, pairs)
        if needed > self.limit:
            raise EngineError(
                f"{vms} VMs with {pairs} queue pairs need {needed} descriptors, and the limit is "
                f"{self.limit}",
                "Raise LimitNOFILE= of vgpud.service or, without it, `ulimit -Hn`.",
            )


HELD_PER_VM = 6
"""Journal, ring memory, two listeners, two connections."""

HELD_PER_WORKER_SLOT = 7
"""Control socket, channel and doorbell of both workers, and an end of their exchange."""

PLANNED_VMS = 1024
"""For how many VMs a spawner that vgpud starts itself is to have room."""

SPAWNER_HOLDS = 14_336
"""What a spawner holds that is not told how much: `--max-held` in its usage."""

SPAWNER_PER_SLOT = 4
"""Of a VM that has both workers: a pidfd, and the pipe that it writes to, of each."""

SPAWNER_OTHERS = 512
"""More than a spawner has open besides."""


def max_held(config: Config, limit: int) -> int | None:
    """How much a spawner is to be told to hold; None if what it does untold will do, or must.

    `limit` is the RLIMIT_NOFILE that it inherits: it refuses to be told more than that allows.
    """
    per_vm = HELD_PER_VM + PER_PAIR * config.vms.ring_queue_pairs
    wanted = PLANNED_VMS * per_vm + HELD_PER_WORKER_SLOT * config.spawner.max_workers
    room = limit - SPAWNER_OTHERS - SPAWNER_PER_SLOT * config.spawner.max_workers
    return min(wanted, room) if wanted > SPAWNER_HOLDS and room > SPAWNER_HOLDS else None
