"""What a VM may do to its ring, its eventfds and its shared memory."""

from __future__ import annotations

import contextlib
import fcntl
import functools
import mmap
import os
import random
import struct
from collections.abc import Iterator

from tests import ring_abi
from tests.daemon.guests import Guest, eventually
from tests.daemon.storms import Context, storm
from tests.ring_abi import GUEST_STATUS, PAGE_BYTES, PAIR_SQ_TAIL, Kind, Status, Submission
from tests.ring_client import Refused, RingClient

SEED = 20250117


@contextlib.contextmanager
def breaks_indices(guest: Guest, victim: Guest) -> Iterator[None]:
    with guest.ring() as ring:
        ring.poke_u32(ring.pair_guest() + PAIR_SQ_TAIL, 0x80000000)
        ring.ring()
        eventually(lambda: ring.pair_state() == ring_abi.PairState.ERROR, "the pair is given up")
        yield


def scribble(ring: RingClient, chaos: random.Random) -> None:
    """Write a few bytes somewhere: what the engine reads, or what it is said to have written."""
    page = ring.page
    places = (
        (0, 128),
        (PAGE_BYTES, 24),
        (ring.pair_host(), 16),
        (ring.pair_guest(), 16),
        (ring.submission_at(0), 64 * page.sq_entries),
        (ring.completion_at(0), 64 * page.cq_entries),
        (ring.data_at(), 4096),
    )
    start, size = chaos.choice(places)
    data = chaos.choice(
        (
            chaos.randbytes(chaos.choice((1, 4, 8, 64))),
            struct.pack("<I", chaos.choice((0, 1, 8, 255, 256, 257, 0x7FFFFFFF, 0xFFFFFFFF))),
            Submission(chaos.getrandbits(64), kind=chaos.randrange(8), cmd_len=64).pack(),
        )
    )
    ring.poke(start + chaos.randrange(0, size, 4), data)


def scribbles(guest: Guest, victim: Guest) -> Context:
    """Attach, use the ring rightly and wrongly, and again, as the pair may have given up."""
    chaos = random.Random(SEED)

    def step() -> None:
        with contextlib.suppress(Refused), RingClient(guest.ring_socket) as ring:
            ring.negotiate()
            for _ in range(30):
                for _ in range(chaos.randrange(8)):
                    scribble(ring, chaos)
                at = 8 * chaos.randrange(64)
                kind = chaos.choice((Kind.NOP, Kind.COMMAND))
                ring.submit(Submission(1, kind=kind, cmd_len=64, cmd_off=at))

    return storm(step)


@contextlib.contextmanager
def overwrites_entries(guest: Guest, victim: Guest) -> Iterator[None]:
    """Right indices, and entries that change all the time, also while they are read."""
    with guest.ring() as ring:
        entries = ring.page.sq_entries
        generation = ring.page.generation  # entries of another one are nobody's
        good = Submission(1, generation=generation).pack()
        bad = Submission(2**64 - 1, kind=99, reserved1=1, generation=generation).pack()

        def flip() -> None:
            for content in (bad, good):
                for index in range(entries):
                    ring.poke(ring.submission_at(index), content)

        tail = 0

        def submit() -> None:
            nonlocal tail
            while ring.take() is not None:
                pass
            tail += 16
            ring.poke_u32(ring.pair_guest() + PAIR_SQ_TAIL, tail)
            ring.ring()
            for _ in range(16):
                ring.wait()

        with storm(flip), storm(submit):
            yield


@contextlib.contextmanager
def consumes_nothing(guest: Guest, victim: Guest) -> Iterator[None]:
    with guest.ring() as ring:
        entries = ring.page.sq_entries  # the other half of the completions is for what is urgent
        ring.submit(*map(Submission, range(entries)))
        guest.when(lambda live: live.completed >= entries, "its completion ring is full")
        ring.submit(*map(Submission, range(entries)))
        with storm(ring.ring):
            yield


@contextlib.contextmanager
def rings_for_nothing(guest: Guest, victim: Guest) -> Iterator[None]:
    with guest.ring() as ring, storm(ring.ring):
        yield


@contextlib.contextmanager
def submits_nonsense(guest: Guest, victim: Guest) -> Iterator[None]:
    with guest.ring() as ring:

        def step() -> None:
            ring.submit(*(Submission(i, kind=99) for i in range(64)))
            for _ in range(64):
                assert ring.wait().status == Status.INVALID

        with storm(step):
            yield


@contextlib.contextmanager
def resets(guest: Guest, victim: Guest) -> Iterator[None]:
    with guest.ring() as ring:

        def step() -> None:
            ring.submit(*map(Submission, range(16)), ring=False)
            ring.poke_u32(PAGE_BYTES + GUEST_STATUS, ring_abi.GUEST_RESET)
            ring.ring()

        with storm(step):
            yield


def attaches_and_leaves(guest: Guest, victim: Guest) -> Context:
    def step() -> None:
        with contextlib.suppress(Refused), RingClient(guest.ring_socket):
            pass

    return storm(step)


def filled(eventfd: int) -> bool:
    """Have a non-blocking eventfd count as far as it can; False if somebody wrote meanwhile."""
    with contextlib.suppress(BlockingIOError):
        os.read(eventfd, 8)
    try:
        os.write(eventfd, struct.pack("<Q", 2**64 - 2))
    except BlockingIOError:
        return False
    return True


@contextlib.contextmanager
def fills_eventfds(guest: Guest, victim: Guest) -> Iterator[None]:
    """Whoever writes these eventfds now, waits until somebody reads them."""
    with guest.ring() as ring:
        for fd in (*ring.vectors, *ring.doorbells):
            eventually(functools.partial(filled, fd), "an eventfd is full")
            fcntl.fcntl(fd, fcntl.F_SETFL, fcntl.fcntl(fd, fcntl.F_GETFL) & ~os.O_NONBLOCK)

        def step() -> None:
            os.read(ring.doorbells[0], 8)
            ring.submit(Submission(1))
            eventually(lambda: ring.take() is not None, "it is answered all the same")

        with storm(step):
            yield


@contextlib.contextmanager
def shrinks_memory(guest: Guest, victim: Guest) -> Iterator[None]:
    """Try to take the memory away from under the engine, and punch holes into it where one can."""
    with guest.ring() as ring:
        size = ring.region_bytes
        for attempt in (
            lambda: os.ftruncate(ring.memory_fd, 0),
            lambda: os.ftruncate(ring.memory_fd, size + PAGE_BYTES),
            lambda: fcntl.fcntl(ring.memory_fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE),
            lambda: os.open(f"/proc/self/fd/{ring.memory_fd}", os.O_RDWR | os.O_TRUNC),
        ):
            try:
                attempt()
            except PermissionError:
                continue
            raise AssertionError("the shared memory could be changed")

        def step() -> None:
            ring.memory.madvise(mmap.MADV_REMOVE)
            ring.submit(Submission(1))

        with storm(step):
            yield
        assert os.fstat(ring.memory_fd).st_size == size
