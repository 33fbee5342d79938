"""A ring client in plain Python, for tests that use a VM's shared memory rightly and wrongly.

It does the ivshmem handshake, maps the memory, and may then read and write any field. Nothing that
the test writes is checked. Everything that waits does so for at most `timeout_s`.
"""

from __future__ import annotations

import array
import dataclasses
import mmap
import os
import select
import socket
import struct
import time
from pathlib import Path
from types import TracebackType

from tests import ring_abi
from tests.ring_abi import Completion, DeviceStatus, HostPage, Kind, Lane, Submission
from tests.shared_words import load_u32, store_u32

HOST_PEER = 0
STATUS_PAUSE_S = 0.002


class Refused(AssertionError):
    """vgpud closed the connection before the handshake was complete."""


class RingClient:
    """An attachment to a ring socket; use it in a `with` block.

    After the constructor the memory is mapped and features are not yet agreed on: negotiate().
    Raises Refused when the connection is closed first, TimeoutError after `timeout_s`.
    """

    def __init__(self, path: Path | str, timeout_s: float = 5.0) -> None:
        self.timeout_s = timeout_s
        self.connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.connection.settimeout(timeout_s)
        self._fds: list[int] = []
        self._memory: mmap.mmap | None = None
        try:
            self.connection.connect(str(path))
            self._greet()
        except BaseException:
            self.close()
            raise
        self._next_cookie = 1

    def __enter__(self) -> RingClient:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection and everything that came over it; may be called twice."""
        self.connection.close()
        if self._memory is not None:
            self._memory.close()
        while self._fds:
            os.close(self._fds.pop())

    # ---- handshake ----

    def _message(self) -> tuple[int, int | None]:
        """One ivshmem message: its number and its descriptor, if one came."""
        data, fds = b"", array.array("i")
        while len(data) < 8:
            try:
                piece, ancillary, _, _ = self.connection.recvmsg(
                    8 - len(data), socket.CMSG_SPACE(4 * fds.itemsize)
                )
            except ConnectionResetError:
                piece, ancillary = b"", []
            for level, type_, value in ancillary:
                if (level, type_) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                    fds.frombytes(value[: len(value) - len(value) % fds.itemsize])
            self._fds.extend(fds)
            if not piece:
                raise Refused(f"closed after {len(data)} bytes of a message")
            data += piece
        assert len(fds) <= 1, f"{len(fds)} descriptors with one message"
        return struct.unpack("<q", data)[0], fds[0] if fds else None

    def _greet(self) -> None:
        assert self._message() == (0, None), "ivshmem protocol version"
        self.id, fd = self._message()
        assert fd is None and self.id > HOST_PEER, f"client id {self.id}"
        number, self.memory_fd = self._memory_message()
        assert number == -1, f"{number} instead of the shared memory"
        self.region_bytes = os.fstat(self.memory_fd).st_size
        self._memory = mmap.mmap(self.memory_fd, self.region_bytes)
        self.page = HostPage.unpack(self.peek(0, ring_abi.HOST_PAGE.size))
        assert self.page.magic == ring_abi.MAGIC, f"host page magic {self.page.magic:#x}"
        self.doorbells = [self._vector(HOST_PEER) for _ in range(self.page.qp_count)]
        self.vectors = [self._vector(self.id) for _ in range(self.page.qp_count)]
        # Where the host stands; 0 in a host that starts every attachment anew.
        self._sq_tail = [self._pair_host(k, ring_abi.PAIR_SQ_HEAD) for k in self._pairs()]
        self._cq_head = [self._pair_host(k, ring_abi.PAIR_CQ_TAIL) for k in self._pairs()]

    def _memory_message(self) -> tuple[int, int]:
        number, fd = self._message()
        assert fd is not None, "no shared memory came"
        return number, fd

    def _vector(self, peer: int) -> int:
        number, fd = self._message()
        assert number == peer and fd is not None, f"{number} instead of a vector of {peer}"
        return fd

    def _pairs(self) -> range:
        return range(self.page.qp_count)

    def negotiate(
        self,
        accepted: int | None = None,
        *,
        status: int = ring_abi.GUEST_ACK | ring_abi.GUEST_FEATURES_OK,
    ) -> DeviceStatus:
        """Accept features (None: all that are known and offered) and wait for the host's answer.

        Returns what the host made of it, WAITING when it said nothing within the timeout.
        """
        if accepted is None:
            accepted = self.page.features_low & ring_abi.ALL_FEATURES
        for k in self._pairs():
            self.poke_u32(self.pair_guest(k) + ring_abi.PAIR_SQ_TAIL, self._sq_tail[k])
            self.poke_u32(self.pair_guest(k) + ring_abi.PAIR_CQ_HEAD, self._cq_head[k])
        self.poke(ring_abi.PAGE_BYTES + ring_abi.GUEST_ACCEPTED, struct.pack("<QQ", accepted, 0))
        self.poke_u32(ring_abi.PAGE_BYTES + ring_abi.GUEST_STATUS, status)
        self.ring(0)
        deadline = time.monotonic() + self.timeout_s
        while self.device_status() is DeviceStatus.WAITING and time.monotonic() < deadline:
            # The host need not interrupt: the vector shortens the pause, no more.
            select.select([self.vectors[0]], [], [], STATUS_PAUSE_S)
        return self.device_status()

    def device_status(self) -> DeviceStatus:
        return DeviceStatus(self.peek_u32(ring_abi.HOST_DEVICE_STATUS))

    # ---- memory, byte by byte ----

    @property
    def memory(self) -> mmap.mmap:
        assert self._memory is not None, "not attached"
        return self._memory

    def peek(self, offset: int, count: int) -> bytes:
        """Bytes of the shared memory."""
        return self.memory[offset : offset + count]

    def poke(self, offset: int, data: bytes) -> None:
        """Overwrite bytes of the shared memory, whoever they belong to."""
        self.memory[offset : offset + len(data)] = data

    def peek_u32(self, offset: int) -> int:
        return load_u32(self.memory, offset)

    def poke_u32(self, offset: int, value: int) -> None:
        store_u32(self.memory, offset, value)

    def pair_host(self, pair: int = 0) -> int:
        """Offset of the indices that the host writes."""
        return self.page.qp_base + pair * self.page.qp_stride

    def pair_guest(self, pair: int = 0) -> int:
        """Offset of the indices that the guest writes."""
        return self.pair_host(pair) + ring_abi.PAGE_BYTES

    def submission_at(self, index: int, pair: int = 0) -> int:
        """Offset of the submission entry of a free-running index."""
        return self.pair_host(pair) + self.page.sq_offset + index % self.page.sq_entries * 64

    def completion_at(self, index: int, pair: int = 0) -> int:
        """Offset of the completion entry of a free-running index."""
        return self.pair_host(pair) + self.page.cq_offset + index % self.page.cq_entries * 64

    def data_at(self, offset: int = 0, pair: int = 0) -> int:
        """Offset in the shared memory of an offset in the pair's data slice."""
        return self.pair_host(pair) + self.page.data_offset + offset

    def _pair_host(self, pair: int, field: int) -> int:
        return self.peek_u32(self.pair_host(pair) + field)

    def pair_state(self, pair: int = 0) -> int:
        return self._pair_host(pair, ring_abi.PAIR_STATE)

    # ---- submissions and completions ----

    def ring(self, pair: int = 0) -> None:
        """Ring the pair's doorbell, asked for or not."""
        os.write(self.doorbells[pair], struct.pack("<Q", 1))

    def submit(self, *entries: Submission, pair: int = 0, ring: bool = True) -> None:
        """Put entries into the ring and publish them together; does not look for room."""
        for entry in entries:
            generation = entry.generation or self.page.generation
            filled = dataclasses.replace(entry, generation=generation)
            self.poke(self.submission_at(self._sq_tail[pair], pair), filled.pack())
            self._sq_tail[pair] = (self._sq_tail[pair] + 1) & 0xFFFFFFFF
        self.poke_u32(self.pair_guest(pair) + ring_abi.PAIR_SQ_TAIL, self._sq_tail[pair])
        if ring:
            self.ring(pair)

    def take(self, pair: int = 0) -> Completion | None:
        """The next completion, None when there is none now."""
        head = self._cq_head[pair]
        if self._pair_host(pair, ring_abi.PAIR_CQ_TAIL) == head:
            return None
        completion = Completion.unpack(self.peek(self.completion_at(head, pair), 64))
        self._cq_head[pair] = (head + 1) & 0xFFFFFFFF
        self.poke_u32(self.pair_guest(pair) + ring_abi.PAIR_CQ_HEAD, self._cq_head[pair])
        return completion

    def wait(self, pair: int = 0, timeout_s: float | None = None) -> Completion:
        """The next completion, waiting for its interrupt; TimeoutError, or Refused when closed."""
        deadline = time.monotonic() + (self.timeout_s if timeout_s is None else timeout_s)
        while True:
            self.poke_u32(self.pair_guest(pair) + ring_abi.PAIR_CQ_EVENT, self._cq_head[pair])
            completion = self.take(pair)
            if completion is not None:
                return completion
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                raise TimeoutError(f"no completion in pair {pair}, state {self.pair_state(pair)}")
            # Python has no fence between the store and the look: a lost race costs one pause.
            self._sleep(pair, min(left_s, 0.05))

    def _sleep(self, pair: int, seconds: float) -> None:
        vector, connection = self.vectors[pair], self.connection.fileno()
        ready, _, _ = select.select([vector, connection], [], [], seconds)
        if vector in ready:
            os.read(vector, 8)
        if connection in ready and not self._drained():
            raise Refused("vgpud closed the attachment")

    def _drained(self) -> bool:
        """Whether the connection is still open; what it says after the handshake is dropped."""
        try:
            return bool(self.connection.recv(4096))
        except ConnectionResetError:
            return False

    def wait_closed(self) -> None:
        """Wait until vgpud closes the attachment; TimeoutError after the timeout."""
        while self._drained():
            pass

    def nop(self, pair: int = 0) -> Completion:
        """A NOP that the engine answers."""
        cookie = self._cookie()
        self.submit(Submission(cookie), pair=pair)
        return self._answer_to(cookie, pair)

    def run(
        self,
        *ops: bytes,
        lane: Lane = Lane.EXEC,
        at: int = 0,
        pair: int = 0,
        ctx: int = 0,
        stream: int = 0,
        timeout_s: float | None = None,
    ) -> Completion:
        """Run ops as one command, which is put at offset `at` of the data slice."""
        command = b"".join(ops)
        self.poke(self.data_at(at, pair), command)
        cookie = self._cookie()
        self.submit(
            Submission(
                cookie,
                kind=Kind.COMMAND,
                lane=lane,
                ctx=ctx,
                stream=stream,
                cmd_len=len(command),
                cmd_off=at,
            ),
            pair=pair,
        )
        return self._answer_to(cookie, pair, timeout_s)

    def _cookie(self) -> int:
        self._next_cookie += 1
        return self._next_cookie

    def _answer_to(self, cookie: int, pair: int, timeout_s: float | None = None) -> Completion:
        completion = self.wait(pair, timeout_s)
        assert completion.cookie == cookie, f"{completion.cookie} answers {cookie}"
        assert completion.generation == self.page.generation, completion
        return completion
