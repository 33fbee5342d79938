"""The abuse table: what a VM's client, or an administrator's, may do to the daemon.

Each abuse is a context: entered, it is in full swing, and it goes on until it is left. What it has
to leave behind, so that an administrator sees whose it was, is its `evidence`. Storms are processes
of their own, so that those who look for others' answers do not share an interpreter with them.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import mmap
import multiprocessing
import os
import random
import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass

from tests import ring_abi
from tests.daemon.guests import Guest, eventually, register, wait_taken
from tests.ring_abi import GUEST_STATUS, PAGE_BYTES, PAIR_SQ_TAIL, Kind, Status, Submission
from tests.ring_client import Refused, RingClient
from tests.stub_client import (
    CUDA_CALL,
    MAGIC,
    MessageType,
    Opcode,
    WireStatus,
    header,
    parse_response,
    request_payload,
)

THREE_GIB = 3 << 30
EIGHT_MIB = 8 << 20
PIPELINED_CALLS = 349
QUEUED = 1_100
SEED = 20250117
STEPS = 200
"""So often a storm has blown before it counts as one."""

Context = AbstractContextManager[None]


@dataclass(frozen=True)
class Abuse:
    """`begin(guest, victim)` is done by `guest`; `evidence(guest, victim)` is there meanwhile."""

    name: str
    begin: Callable[[Guest, Guest], Context]
    evidence: Callable[[Guest, Guest], None]


# ---- storms --------------------------------------------------------------------------------------

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
            struct.pack_into("<Q", count, 0, so_far() + 1)

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


# ---- over the stub socket ------------------------------------------------------------------------


@contextlib.contextmanager
def says(guest: Guest, *pieces: bytes) -> Iterator[None]:
    """A client that says something, perhaps nothing, and then holds on without reading."""
    with guest.stub() as client:
        for piece in pieces:
            client.send_raw(piece)
        wait_taken(client)
        guest.when(lambda live: live.connected_stub, "its client is there")
        yield


def nops(count: int) -> bytes:
    payload = request_payload(Opcode.NOP)
    return b"".join(
        header(MessageType.REQUEST, i, len(payload)) + payload for i in range(1, count + 1)
    )


@contextlib.contextmanager
def leaves_answers_unread(guest: Guest, victim: Guest) -> Iterator[None]:
    """Ask for 8 MiB of answers, as far as anybody listens, and read none of them."""
    payload = request_payload(Opcode.GET_DEVICE_INFO)
    frame = header(MessageType.REQUEST, 1, len(payload)) + payload
    wanted = EIGHT_MIB // ring_abi.DEVICE_INFO.size * len(frame)
    sent = refused = 0
    with guest.stub() as client:
        client.socket.setblocking(False)
        while sent < wanted and refused < 20:
            try:
                sent += client.socket.send((frame * 64)[sent % len(frame) :])
                refused = 0
            except BlockingIOError:
                guest.live()  # vgpud has looked at everybody since
                refused += 1
        assert sent < wanted, "8 MiB of answers have gone somewhere"
        yield


@contextlib.contextmanager
def queues_more_than_it_may(guest: Guest, victim: Guest) -> Iterator[None]:
    """1,100 vector adds while somebody else has the device: all are answered, some BUSY."""
    payload = request_payload(Opcode.VECTOR_ADD, (1, 2))
    adds = b"".join(header(MessageType.REQUEST, i, len(payload)) + payload for i in range(QUEUED))
    guest.warm_up()
    with ExitStack() as device, guest.stub() as client:
        device.enter_context(busy_device(guest))
        client.send_raw(adds)
        guest.when(lambda live: live.refused > 0, "more is queued than it may have")
        yield
        device.close()
        answers = [client.receive() for _ in range(QUEUED)]
    assert sorted(answer.request_id for answer in answers) == [*range(QUEUED)]
    busy = [answer for answer in answers if answer.type == MessageType.BUSY]
    assert len(busy) == guest.live().refused > 0
    sums = [parse_response(a.payload) for a in answers if a.type != MessageType.BUSY]
    assert {(sum_.status, sum_.results) for sum_ in sums} == {(WireStatus.OK, (3,))}


@contextlib.contextmanager
def busy_device(guest: Guest) -> Iterator[None]:
    """A third VM has kernels of 20 ms, one after the other."""
    worker = register(guest.daemon)
    source = b"kernel void busy() {}\n"
    with worker.ring() as ring:
        ring.poke(ring.data_at(0x10000), source)
        code, log = ring_abi.ref(0x10000, len(source)), ring_abi.ref(0x20000, 0x10000)
        load = ring_abi.op_module_load(1, code, log)
        assert ring.run(load, lane=ring_abi.Lane.BUILD).status == Status.OK
        assert ring.run(ring_abi.op_kernel_create(2, 1, b"busy_20000us")).status == Status.OK
        launch = ring_abi.op_launch(2, [1])
        ring.poke(ring.data_at(0), launch)
        ring.submit(*(Submission(i, kind=Kind.COMMAND, cmd_len=len(launch)) for i in range(200)))
        worker.when(lambda live: live.running > 0, "its kernels run")
        yield
    worker.remove()


def connects_and_closes(guest: Guest, victim: Guest) -> Context:
    path = str(guest.stub_socket)

    def step() -> None:
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(path)

    return storm(step)


def pings_and_closes(guest: Guest, victim: Guest) -> Context:
    path, pings = str(guest.stub_socket), header(MessageType.PING) * 50

    def step() -> None:
        with contextlib.suppress(ConnectionError), socket.socket(socket.AF_UNIX) as client:
            client.connect(path)
            client.send(pings)

    return storm(step)


@contextlib.contextmanager
def sends_second_clients(guest: Guest, victim: Guest) -> Iterator[None]:
    with guest.stub() as first:
        first.ping()
        with connects_and_closes(guest, victim):
            yield
        assert first.request(Opcode.NOP).status == WireStatus.OK


@contextlib.contextmanager
def repeats(guest: Guest, frames: bytes, answers: int) -> Iterator[None]:
    """Send the same again and again, as fast as the answers come."""
    with guest.stub() as client:

        def step() -> None:
            client.send_raw(frames)
            for _ in range(answers):
                client.receive()

        with storm(step):
            yield


def forges_ids(guest: Guest, victim: Guest) -> Context:
    payload = request_payload(Opcode.VECTOR_ADD, (1, 2))
    frame = header(MessageType.REQUEST, 7, len(payload), vm_id=victim.vm_id) + payload
    return repeats(guest, frame * 32, 32)


def sends_nonsense(guest: Guest, victim: Guest) -> Context:
    return repeats(guest, (header(0x77, 1, 8) + bytes(8)) * 32, 32)


# ---- over the control socket ---------------------------------------------------------------------


@contextlib.contextmanager
def idles_as_admin(guest: Guest, victim: Guest) -> Iterator[None]:
    """Three administrators: one says nothing, one half of something, one reads no answer."""
    call = b'{"method":"org.vgpud.admin.ListVms","parameters":{}}\0'
    with ExitStack() as stack:
        silent, halfway, deaf = (
            stack.enter_context(socket.socket(socket.AF_UNIX)) for _ in range(3)
        )
        for client in (silent, halfway, deaf):
            client.connect(str(guest.daemon.control_socket))
        halfway.send(call[: len(call) // 2])
        deaf.send(call * 500)
        yield


# ---- over the ring -------------------------------------------------------------------------------


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
        good, bad = Submission(1).pack(), b"\xff" * 64

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
        entries = ring.page.cq_entries
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


# ---- the table -----------------------------------------------------------------------------------


def connected(guest: Guest, victim: Guest) -> None:
    assert guest.live().connected_stub
    assert guest.live().faults == 0
    guest.logged(rf"connected over stub \(pid {os.getpid()}\)")


def attached(guest: Guest, victim: Guest) -> None:
    assert guest.live().connected_ring
    assert guest.live().faults == 0
    guest.logged(rf"connected over ring \(pid {os.getpid()}\)")


def logged(pattern: str) -> Callable[[Guest, Guest], None]:
    def evidence(guest: Guest, victim: Guest) -> None:
        guest.logged(pattern.format(victim=victim.vm_id))

    return evidence


def fault(pattern: str) -> Callable[[Guest, Guest], None]:
    def evidence(guest: Guest, victim: Guest) -> None:
        guest.logged("fault: " + pattern.format(victim=victim.vm_id))
        assert guest.live().faults > 0

    return evidence


def answered_in_part(guest: Guest, victim: Guest) -> None:
    connected(guest, victim)
    assert 0 < guest.live().completed < EIGHT_MIB // ring_abi.DEVICE_INFO.size


def refused(guest: Guest, victim: Guest) -> None:
    assert guest.live().refused > 0


def nobody(guest: Guest, victim: Guest) -> None:
    """No VM did it; an administrator is no VM."""
    assert guest.live().faults == 0


def _call(data_len: int) -> bytes:
    return CUDA_CALL.pack(MAGIC, 1, 1, 0, 0, data_len, *(16 * [0]))


_HEAD = header(MessageType.REQUEST, 1, 32)

ABUSES = (
    Abuse("an idle connection", lambda g, v: says(g), connected),
    Abuse("half a header, held", lambda g, v: says(g, _HEAD[:12]), connected),
    Abuse("half a payload, held", lambda g, v: says(g, _HEAD + bytes(16)), connected),
    Abuse(
        "a request of 3 GiB on a kept connection",
        lambda g, v: says(g, nops(1), header(MessageType.REQUEST, 2, THREE_GIB) + bytes(4096)),
        fault(r"malformed frame \(status 0x02\)"),
    ),
    Abuse(
        "a call of 3 GiB on a kept connection",
        lambda g, v: says(g, nops(1), header(MessageType.CUDA_CALL, 2, THREE_GIB) + _call(1)),
        connected,
    ),
    Abuse("8 MiB of answers, unread", leaves_answers_unread, answered_in_part),
    Abuse(
        "hundreds of calls pipelined, unread",
        lambda g, v: says(g, (header(MessageType.CUDA_CALL, 2, 88) + _call(0)) * PIPELINED_CALLS),
        connected,
    ),
    Abuse("connections that come and go", connects_and_closes, logged("connected over stub")),
    Abuse("pings closed before their answer", pings_and_closes, logged("connected over stub")),
    Abuse(
        "second clients without end",
        sends_second_clients,
        logged(r"refused a second client on stub \(pid \d+\)"),
    ),
    Abuse("1,100 queued", queues_more_than_it_may, refused),
    Abuse("another VM's id", forges_ids, fault(r"a message claims to be VM {victim}\b")),
    Abuse("frames that make no sense", sends_nonsense, fault(r"malformed frame \(status 0x08\)")),
    Abuse("idle administrators", idles_as_admin, nobody),
    Abuse("indices out of range", breaks_indices, fault("impossible ring indices on queue pair 0")),
    Abuse("a ring scribbled over", scribbles, logged("fault: .* on queue pair 0")),
    Abuse(
        "entries overwritten while they are read",
        overwrites_entries,
        fault("malformed submission on queue pair 0"),
    ),
    Abuse("completions that nobody consumes", consumes_nothing, attached),
    Abuse("doorbells rung for nothing", rings_for_nothing, attached),
    Abuse(
        "submissions that make no sense",
        submits_nonsense,
        fault("malformed submission on queue pair 0"),
    ),
    Abuse("resets without end", resets, attached),
    Abuse("attachments that come and go", attaches_and_leaves, logged("connected over ring")),
    Abuse("eventfds made to block, and filled", fills_eventfds, attached),
    Abuse(
        "memory taken away",
        shrinks_memory,
        fault("(malformed submission|impossible ring indices) on queue pair 0"),
    ),
)
