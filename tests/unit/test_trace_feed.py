"""Who sees which requests of the engine's trace, and when they are woken; the ring is a double."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from typing import cast

import pytest

from tests.unit.control_under_test import UUID_1, UUID_2, traced
from vgpud import trace_feed
from vgpud.mediator import Mediator
from vgpud.model.trace import TraceBatch, TraceEntry, TraceReading
from vgpud.trace_feed import READ_MAX, READ_MIN, TraceFeed


@dataclass
class Ring:
    """The trace as mediator.h describes it: entries numbered from 1, `room` of them kept."""

    entries: list[TraceEntry] = field(default_factory=list)
    room: int = 10_000
    awaited: bool = False
    asked_for: list[int] = field(default_factory=list)

    def add(self, *handles: int) -> None:
        for handle in handles:
            self.entries.append(traced(len(self.entries) + 1, handle=handle).entry)

    def seek_trace(self, handle: int | None, count: int) -> int:
        found = self._of(handle, 1)
        if count == 0 or not found:
            return len(self.entries) + 1
        return found[-count:][0].seq

    def read_trace(
        self, handle: int | None, position: int, most: int, *, follow: bool
    ) -> TraceReading:
        self.asked_for.append(most)
        oldest = max(1, len(self.entries) - self.room + 1)
        missed = max(0, oldest - position)
        found = self._of(handle, max(position, oldest))[:most]
        end = len(self.entries) + 1
        place = found[-1].seq + 1 if found and len(found) == most else end
        self.awaited = self.awaited or (follow and place == end)
        return TraceReading(found, place, end - place, missed)

    def _of(self, handle: int | None, first: int) -> list[TraceEntry]:
        return [e for e in self.entries if e.seq >= first and handle in (None, e.handle)]


@pytest.fixture
def ring(monkeypatch: pytest.MonkeyPatch) -> Ring:
    monkeypatch.setattr(trace_feed, "PAUSE_S", 0)
    return Ring()


def feed_of(ring: Ring) -> TraceFeed:
    return TraceFeed(cast(Mediator, ring))


def seqs(batch: TraceBatch) -> list[int]:
    return [request.entry.seq for request in batch.requests]


def owners(batch: TraceBatch) -> list[str | None]:
    return [request.vm_uuid for request in batch.requests]


async def next_of(batches: AsyncGenerator[TraceBatch, None]) -> TraceBatch:
    return await asyncio.wait_for(anext(batches), 10)


def test_the_latest_are_of_all_vms_or_of_one(ring: Ring) -> None:
    feed = feed_of(ring)
    feed.add_vm(UUID_1, 0)
    feed.add_vm(UUID_2, 1)
    ring.add(0, 1, 1, 0, 1)
    assert seqs(feed.latest(None, 3)) == [3, 4, 5]
    assert seqs(feed.latest(UUID_1, 10)) == [1, 4]
    assert owners(feed.latest(None, 2)) == [UUID_1, UUID_2]
    assert feed.latest("5b0a4c6e-2f6d-4a55-9a51-0a6f2d1c7eff", 5) == TraceBatch([], 0)
    assert feed.latest(None, 0) == TraceBatch([], 0)


def test_requests_of_a_removed_vm_are_not_those_of_the_next_one_with_its_handle(ring: Ring) -> None:
    feed = feed_of(ring)
    feed.add_vm(UUID_1, 0)
    ring.add(0, 0)
    feed.remove_vm(UUID_1)
    assert owners(feed.latest(None, 5)) == [None, None]
    feed.add_vm(UUID_2, 0)
    ring.add(0)
    assert owners(feed.latest(None, 5)) == [None, None, UUID_2]
    assert seqs(feed.latest(UUID_2, 5)) == [3]
    assert seqs(feed.latest(UUID_1, 5)) == []


def test_a_follower_sees_what_is_there_and_then_what_comes(ring: Ring) -> None:
    async def follow() -> None:
        feed = feed_of(ring)
        ring.add(0, 0)
        batches = feed.follow(None, 1)
        assert seqs(await next_of(batches)) == [2]
        coming = asyncio.ensure_future(next_of(batches))
        while not (ring.awaited and len(ring.asked_for) == 1):
            await asyncio.sleep(0)
        ring.add(0)
        feed.wake()
        assert seqs(await coming) == [3]
        await batches.aclose()

    asyncio.run(follow())


def test_one_piece_of_news_wakes_all_followers(ring: Ring) -> None:
    async def follow() -> None:
        feed = feed_of(ring)
        first, second = feed.follow(None, 0), feed.follow(None, 0)
        assert [seqs(await next_of(batches)) for batches in (first, second)] == [[], []]
        both = asyncio.gather(next_of(first), next_of(second))
        await asyncio.sleep(0)
        ring.add(0, 0)
        feed.wake()
        assert [seqs(batch) for batch in await both] == [[1, 2], [1, 2]]
        await first.aclose()
        await second.aclose()

    asyncio.run(follow())


def test_followers_share_what_is_read_at_a_time_and_are_told_what_they_missed(ring: Ring) -> None:
    async def follow() -> None:
        feed = feed_of(ring)
        many = [feed.follow(None, 0) for _ in range(64)]
        for batches in many:
            await next_of(batches)
        assert (ring.asked_for[0], ring.asked_for[1]) == (READ_MAX, READ_MAX // 2)
        assert ring.asked_for[-1] == READ_MIN
        ring.room = 20
        ring.add(*[0] * 50)
        feed.wake()
        batch = await next_of(many[0])
        assert (batch.missed, seqs(batch)) == (30, list(range(31, 31 + READ_MIN)))
        batch = await next_of(many[0])  # the rest, without further news
        assert (batch.missed, seqs(batch)) == (0, list(range(31 + READ_MIN, 51)))
        for batches in many:
            await batches.aclose()

    asyncio.run(follow())


def test_a_follower_of_a_vm_ends_when_it_is_removed(ring: Ring) -> None:
    async def follow() -> None:
        feed = feed_of(ring)
        assert [batch async for batch in feed.follow(UUID_1, 5)] == []
        feed.add_vm(UUID_1, 0)
        batches = feed.follow(UUID_1, 5)
        assert await next_of(batches) == TraceBatch([], 0)
        coming = asyncio.ensure_future(next_of(batches))
        await asyncio.sleep(0)
        feed.remove_vm(UUID_1)
        with pytest.raises(StopAsyncIteration):
            await coming

    asyncio.run(follow())
