"""The engine's trace for those who look at it, once or for as long as they like.

The trace is a ring in the engine, and a follower has nothing but a place in it: whoever does not
come back in time is told how many requests it missed, and holds up nobody. While nobody follows,
nothing is read and nothing wakes the daemon. A follower that has seen everything is woken by the
engine's next entry, but not before PAUSE_S have passed since it last looked, however many requests
there are; and all followers together are given READ_MAX requests at a time, or a few each.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

from vgpud.mediator import Mediator
from vgpud.model.trace import TraceBatch, TracedRequest, TraceEntry

PAUSE_S = 0.1
READ_MAX = 512
READ_MIN = 16


class TraceFeed:
    """Lives in the event loop. Told which VMs there are, as the engine gives a handle twice."""

    def __init__(self, mediator: Mediator) -> None:
        self._mediator = mediator
        self._handles: dict[str, int] = {}
        # By handle: the VM that has it, and the first number of an entry that can be of that VM.
        self._owners: dict[int, tuple[str, int]] = {}
        self._followers: set[asyncio.Event] = set()

    def add_vm(self, vm_uuid: str, handle: int) -> None:
        """The engine has this VM from now on."""
        self._handles[vm_uuid] = handle
        self._owners[handle] = (vm_uuid, self._mediator.seek_trace(None, 0))

    def remove_vm(self, vm_uuid: str) -> None:
        """The engine has it no more; who follows it comes to an end."""
        handle = self._handles.pop(vm_uuid, None)
        if handle is not None:
            del self._owners[handle]
        self.wake()

    def wake(self) -> None:
        """The engine has an entry that is waited for."""
        for news in self._followers:
            news.set()

    def latest(self, vm_uuid: str | None, count: int) -> TraceBatch:
        """The last `count` requests, at most, of a VM or, with None, of all."""
        handle = self._handles.get(vm_uuid) if vm_uuid is not None else None
        if vm_uuid is not None and handle is None:
            return TraceBatch([], 0)
        position = self._start(handle, count)
        reading = self._mediator.read_trace(handle, position, count, follow=False)
        return self._batch(reading.entries, 0)

    async def follow(self, vm_uuid: str | None, count: int) -> AsyncGenerator[TraceBatch, None]:
        """The last `count` requests, at once even if there are none, and then those that come.

        Ends when the VM is removed. Requests of a batch that the follower does not take in time are
        missed, and counted in the next one.
        """
        handle = self._handles.get(vm_uuid) if vm_uuid is not None else None
        if vm_uuid is not None and handle is None:
            return
        news = asyncio.Event()
        self._followers.add(news)
        try:
            position = self._start(handle, count)
            first = True
            while vm_uuid is None or self._handles.get(vm_uuid) == handle:
                news.clear()
                most = max(READ_MIN, READ_MAX // len(self._followers))
                reading = self._mediator.read_trace(handle, position, most, follow=True)
                position = reading.position
                if reading.entries or reading.missed or first:
                    yield self._batch(reading.entries, reading.missed)
                first = False
                await asyncio.sleep(PAUSE_S)
                if reading.left == 0:
                    await news.wait()
        finally:
            self._followers.discard(news)

    def _start(self, handle: int | None, count: int) -> int:
        position = self._mediator.seek_trace(handle, count)
        return position if handle is None else max(position, self._owners[handle][1])

    def _batch(self, entries: list[TraceEntry], missed: int) -> TraceBatch:
        return TraceBatch([TracedRequest(entry, self._uuid_of(entry)) for entry in entries], missed)

    def _uuid_of(self, entry: TraceEntry) -> str | None:
        vm_uuid, first = self._owners.get(entry.handle, (None, 0))
        return vm_uuid if entry.seq >= first else None
