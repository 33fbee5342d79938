"""The slots of workers: each decides the uids that its launch and its build worker run as."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from vgpud.errors import EngineError


class NoSlotError(EngineError):
    """All slots are taken."""


class WorkerSlots:
    """Which of a number of slots are taken, and by how many workers each.

    A slot is free once the spawner has reported the end of all that ran in it, not before: a new
    worker would be refused its uid.
    """

    def __init__(self, count: int) -> None:
        self._count = count
        self._taken: Counter[int] = Counter()
        self._of_orphans: dict[int, int] = {}

    @property
    def count(self) -> int:
        """How many there are, taken or not."""
        return self._count

    def free(self) -> Iterator[int]:
        """Those that can be had, the lowest first."""
        taken = self._taken.keys() | self._of_orphans.values()
        return (slot for slot in range(self._count) if slot not in taken)

    @property
    def any_orphans(self) -> bool:
        """Whether a slot will be free soon, without anybody's doing."""
        return bool(self._of_orphans)

    def take(self, slot: int) -> None:
        """One more worker has it from now on."""
        self._taken[slot] += 1

    def release(self, slot: int) -> None:
        """A worker that had it has ended."""
        self._taken[slot] -= 1
        if self._taken[slot] <= 0:
            del self._taken[slot]

    def leave_to(self, orphans: Iterable[tuple[int, int]]) -> None:
        """Worker ids and slots of workers that are ending and belong to no VM."""
        self._of_orphans.update(orphans)

    def orphan_ended(self, worker_id: int) -> None:
        """It has ended; one that is not known is none."""
        self._of_orphans.pop(worker_id, None)
