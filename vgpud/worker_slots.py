"""The slots of workers: a VM with workers has one, which decides the uids that they run as."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from vgpud.errors import EngineError


class NoSlotError(EngineError):
    """All slots are taken."""


class WorkerSlots:
    """Which of a number of slots are taken, by VMs and by workers that no VM has.

    A slot is free once the spawner has reported the end of all that ran in it, not before: a new
    worker would be refused its uid.
    """

    def __init__(self, count: int) -> None:
        self._count = count
        self._taken: set[int] = set()
        self._of_orphans: dict[int, int] = {}

    @property
    def count(self) -> int:
        """How many there are, taken or not."""
        return self._count

    def free(self) -> Iterator[int]:
        """Those that can be had, the lowest first."""
        taken = self._taken.union(self._of_orphans.values())
        return (slot for slot in range(self._count) if slot not in taken)

    def take(self, slot: int) -> None:
        """A VM has it from now on."""
        self._taken.add(slot)

    def release(self, slot: int) -> None:
        """The VM that had it has no worker any more."""
        self._taken.discard(slot)

    def leave_to(self, orphans: Iterable[tuple[int, int]]) -> None:
        """Worker ids and slots of workers that are ending and belong to no VM."""
        self._of_orphans.update(orphans)

    def orphan_ended(self, worker_id: int) -> None:
        """It has ended; one that is not known is none."""
        self._of_orphans.pop(worker_id, None)
