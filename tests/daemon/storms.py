"""Storms: what another process does to a daemon again and again while a test looks on."""

from __future__ import annotations

import contextlib
import mmap
import multiprocessing
import struct
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

from tests.daemon.guests import eventually
from tests.shared_words import store_u64

Context = AbstractContextManager[None]
STEPS = 200
"""So often a storm has blown before it counts as one."""

_fork = multiprocessing.get_context("fork")


@contextlib.contextmanager
def storm(step: Callable[[], None]) -> Iterator[None]:
    """Another process takes this step again and again; it has often, and still does at the end."""
    count = mmap.mmap(-1, mmap.PAGESIZE)

    def so_far() -> int:
        return int(struct.unpack_from("<Q", count)[0])

    def blow() -> None:
        while True:
            step()
            store_u64(count, 0, so_far() + 1)

    process = _fork.Process(target=blow, daemon=True)
    process.start()

    def blown(so_often: int) -> bool:
        assert process.is_alive(), "the storm has ended by itself"
        return so_far() >= so_often

    try:
        eventually(lambda: blown(STEPS), "the storm blows")
        yield
        before = so_far()
        eventually(lambda: blown(before + 1), "the storm still blows")
    finally:
        process.kill()
        process.join()
