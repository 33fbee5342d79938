"""The host's side of one VM's two sockets, in plain Python: what vgpu-client is tested against.

A small device that knows one kernel (saxpy over floats) stands behind the ring, a table of answers
behind the stub socket. Each connection is served on a thread of its own until the peer closes.
"""

from __future__ import annotations

import array
import contextlib
import fcntl
import mmap
import os
import select
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from tests import ring_abi, stub_client
from tests.ring_abi import Completion, HostPage, Kind, Lane, Op, Status, Submission
from tests.shared_words import load_u32, store_u32

F_ADD_SEALS = 1033
F_SEAL_SHRINK = 2
GENERATION = 11
CLIENT_ID = 1
ENTRIES = 64
DATA_BYTES = 256 * 1024
BUILD_LOG = b"program.cl:3:1: expected ';'"


@dataclass
class Device:
    """Buffers and one kernel. `answers` are given first, one for each submission.

    `kind` is an enum vgpu_device_type: 1 is a CPU.
    """

    kind: int = 1
    buffers: dict[int, bytearray] = field(default_factory=dict)
    modules: set[int] = field(default_factory=set)
    answers: list[Completion] = field(default_factory=list)
    silent: bool = False
    taken: int = 0
    wrong_element: int | None = None  # spoil this one when the kernel runs

    def run(self, command: bytes, data: memoryview) -> Completion:
        """Run a command's ops in order, up to the first that fails."""
        done = Completion(0)
        at = ops = 0
        while at < len(command):
            code, _, size = struct.unpack_from("<HHI", command, at)
            done = self._op(Op(code), command[at + 8 : at + size], data)
            if done.status != Status.OK:
                return replace(done, op_index=ops)
            at, ops = at + size, ops + 1
        return replace(done, op_index=ops)

    def _op(self, code: Op, body: bytes, data: memoryview) -> Completion:
        status, out_len, result = Status.OK, 0, 0
        match code:
            case Op.DEVICE_INFO:
                (offset,) = struct.unpack_from("<8xQ", body)
                data[offset : offset + ring_abi.DEVICE_INFO.size] = device_info(self.kind)
                out_len = ring_abi.DEVICE_INFO.size
            case Op.ALLOC:
                id_, _, length = struct.unpack("<IIQ", body)
                self.buffers[id_] = bytearray(length)
            case Op.FREE:
                (id_,) = struct.unpack_from("<I", body)
                status = Status.OK if self.buffers.pop(id_, None) else Status.NO_OBJECT
            case Op.WRITE:
                obj, at, offset, length = struct.unpack("<I4xQ8xQQ", body)
                self.buffers[obj][at : at + length] = data[offset : offset + length]
            case Op.READ:
                obj, at, offset, length = struct.unpack("<I4xQ8xQQ", body)
                data[offset : offset + length] = self.buffers[obj][at : at + length]
                out_len = length
            case Op.MODULE_LOAD:
                return self._build(body, data)
            case Op.MODULE_UNLOAD:
                (id_,) = struct.unpack_from("<I", body)
                self.modules.discard(id_)
            case Op.KERNEL_CREATE:
                status = Status.OK if body[16:21] == b"saxpy" else Status.NO_OBJECT
                result = 3
            case Op.LAUNCH:
                self._saxpy(body)
        return Completion(0, status, out_len=out_len, result0=result)

    def _build(self, body: bytes, data: memoryview) -> Completion:
        id_, _ = struct.unpack_from("<II", body)
        code_at, code_len = struct.unpack_from("<QQ", body, 16)
        log_at, log_len = struct.unpack_from("<QQ", body, 64)
        if b"__kernel" in bytes(data[code_at : code_at + code_len]):
            self.modules.add(id_)
            return Completion(0)
        log = BUILD_LOG[:log_len]
        data[log_at : log_at + len(log)] = log
        return Completion(0, Status.BUILD_FAILED, out_len=len(log))

    def _saxpy(self, body: bytes) -> None:
        (count,) = struct.unpack_from("<Q", body, 32)
        (factor,) = struct.unpack_from("<f", body, 88 + 8)
        (x_id,) = struct.unpack_from("<I", body, 88 + 16 + 8)
        (y_id,) = struct.unpack_from("<I", body, 88 + 16 + 24 + 8)
        x, y = (array.array("f", bytes(self.buffers[id_])) for id_ in (x_id, y_id))
        assert len(x) == len(y) == count
        result = array.array("f", [factor * a + b for a, b in zip(x, y, strict=True)])
        if self.wrong_element is not None:
            result[self.wrong_element] += 1
        self.buffers[y_id][:] = result.tobytes()


def device_info(kind: int) -> bytes:
    """A struct vgpu_device_info; its texts have a character that must not reach a terminal."""
    return ring_abi.DEVICE_INFO.pack(
        ring_abi.DEVICE_INFO.size, kind, b"Fake\x1b device", b"Nobody", b"1.0", b"null",
        1 << 30, 1 << 28, 32768, 1 << 29, 256, 4, 1000, 2, 0,
    )  # fmt: skip


class RingHost:
    """One VM's shared memory, served to one attached client."""

    def __init__(self, device: Device) -> None:
        self.device = device
        sq_offset = ring_abi.PART_ALIGN
        data_offset = 3 * ring_abi.PART_ALIGN
        self.page = HostPage(
            ring_abi.MAGIC, 2, 0, ring_abi.HOST_PAGE.size, GENERATION, 4, 0,
            ring_abi.PART_ALIGN + data_offset + DATA_BYTES, 1, 1, 0, ring_abi.PART_ALIGN,
            data_offset + DATA_BYTES, ENTRIES, ENTRIES, sq_offset, 2 * ring_abi.PART_ALIGN,
            data_offset, DATA_BYTES, 0, 5, b"A", 2,
        )  # fmt: skip
        self.fd = os.memfd_create("fake-vm", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        os.ftruncate(self.fd, self.page.region_bytes)
        fcntl.fcntl(self.fd, F_ADD_SEALS, F_SEAL_SHRINK)
        self.memory = mmap.mmap(self.fd, self.page.region_bytes)
        self.memory[: ring_abi.HOST_PAGE.size] = self.page.pack()
        self.doorbell = os.eventfd(0)
        self.vector = os.eventfd(0)
        self._pair = self.page.qp_base
        self._guest = self._pair + ring_abi.PAGE_BYTES
        self._sq_head = self._cq_tail = 0

    def serve(self, connection: socket.socket) -> None:
        """Greet a client and answer it until it closes its connection."""
        for number, fd in (
            (0, None), (CLIENT_ID, None), (-1, self.fd), (0, self.doorbell),
            (CLIENT_ID, self.vector),
        ):  # fmt: skip
            fds = [] if fd is None else [fd]
            socket.send_fds(connection, [struct.pack("<q", number)], fds)
        self._write(self._pair + ring_abi.PAIR_SQ_NEED_DOORBELL, 1)
        while True:
            ready, _, _ = select.select([self.doorbell, connection.fileno()], [], [])
            if connection.fileno() in ready:
                return
            os.eventfd_read(self.doorbell)
            if self._read(ring_abi.PAGE_BYTES + ring_abi.GUEST_STATUS) == 3:
                self._write(ring_abi.HOST_DEVICE_STATUS, 1)
            while self._sq_head != self._read(self._guest + ring_abi.PAIR_SQ_TAIL):
                self._take()

    def _take(self) -> None:
        at = self._pair + self.page.sq_offset + self._sq_head % ENTRIES * 64
        entry = Submission.unpack(self.memory[at : at + 64])
        self._sq_head += 1
        self._write(self._pair + ring_abi.PAIR_SQ_HEAD, self._sq_head)
        self.device.taken += 1
        if self.device.silent:
            return
        start_ns = time.monotonic_ns()
        if self.device.answers:
            answer = self.device.answers.pop(0)
        elif entry.kind == Kind.NOP:
            answer = Completion(0)
        else:
            answer = self._command(entry)
        self._answer(
            replace(
                answer,
                cookie=entry.cookie,
                generation=GENERATION,
                start_ns=start_ns,
                end_ns=time.monotonic_ns(),
            )
        )

    def _command(self, entry: Submission) -> Completion:
        data = self._pair + self.page.data_offset
        command = self.memory[data + entry.cmd_off : data + entry.cmd_off + entry.cmd_len]
        builds = struct.unpack_from("<H", command)[0] == Op.MODULE_LOAD
        assert entry.lane == (Lane.BUILD if builds else Lane.EXEC), "the lane does not match"
        with memoryview(self.memory) as whole, whole[data : data + DATA_BYTES] as slice_:
            return self.device.run(command, slice_)

    def _answer(self, completion: Completion) -> None:
        at = self._pair + self.page.cq_offset + self._cq_tail % ENTRIES * 64
        self.memory[at : at + 64] = completion.pack()
        self._cq_tail += 1
        self._write(self._pair + ring_abi.PAIR_CQ_TAIL, self._cq_tail)
        # Without a fence between Python's store and load, interrupting always is the safe choice.
        os.eventfd_write(self.vector, 1)

    def _read(self, offset: int) -> int:
        return load_u32(self.memory, offset)

    def _write(self, offset: int, value: int) -> None:
        store_u32(self.memory, offset, value)

    def close(self) -> None:
        self.memory.close()
        for fd in (self.fd, self.doorbell, self.vector):
            os.close(fd)


class StubHost:
    """The stub socket. `answers` (type, status) are given first, one for each request."""

    def __init__(self, answers: list[tuple[int, int]]) -> None:
        self.answers = answers

    def serve(self, connection: socket.socket) -> None:
        """Answer a client until it closes its connection."""
        with connection.makefile("rwb") as stream:
            while head := stream.read(stub_client.HEADER.size):
                _, type_, _, request_id, *_, length = stub_client.HEADER.unpack(head)
                payload = stream.read(length)
                type_, payload = self._answer(type_, payload)
                if type_ == stub_client.MessageType.PONG:
                    request_id = 0
                stream.write(stub_client.header(type_, request_id, len(payload)) + payload)
                stream.flush()

    def _answer(self, type_: int, payload: bytes) -> tuple[int, bytes]:
        kinds = stub_client.MessageType
        if type_ == kinds.PING:
            return kinds.PONG, b""
        if type_ == kinds.CUDA_CALL:
            _, _, seq_num, *_ = stub_client.CUDA_CALL.unpack(payload)
            status = stub_client.CUDA_NOT_SUPPORTED
            body = stub_client.CUDA_RESULT.pack(
                stub_client.MAGIC, seq_num, status, 0, 0, 0, *(8 * [0])
            )
            return kinds.CUDA_RESULT, body
        _, opcode, _, count, *_ = stub_client.REQUEST.unpack_from(payload)
        params = struct.unpack_from(f"<{count}I", payload, stub_client.REQUEST.size)
        type_, status = self.answers.pop(0) if self.answers else (kinds.RESPONSE, 0)
        if type_ != kinds.RESPONSE:
            return type_, b""
        data = device_info(1) if opcode == stub_client.Opcode.GET_DEVICE_INFO else b""
        results = [sum(params) & 0xFFFFFFFF] if params else []
        offset = stub_client.RESPONSE.size + 4 * len(results)
        head = (stub_client.VERSION, status, len(results), offset, len(data), 7, 0, 0)
        return type_, stub_client.RESPONSE.pack(*head) + struct.pack(
            f"<{len(results)}I", *results
        ) + data


@contextlib.contextmanager
def listening(path: Path, serve: Callable[[socket.socket], None] | None) -> Iterator[Path]:
    """Accept clients at `path`, one after the other, and serve each; None closes them at once.

    What goes wrong while serving is raised at the end of the `with` block.
    """
    failures: list[BaseException] = []
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(path))
        listener.listen(4)

        def accept() -> None:
            try:
                while True:
                    connection, _ = listener.accept()
                    with connection:
                        if serve is not None:
                            serve(connection)
            except OSError as error:
                if listener.fileno() != -1 and not stopped.is_set():
                    failures.append(error)
            except (AssertionError, LookupError, ValueError, struct.error) as error:
                failures.append(error)

        stopped = threading.Event()
        thread = threading.Thread(target=accept)
        thread.start()
        try:
            yield path
        finally:
            stopped.set()
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(10)
    assert not thread.is_alive(), "a client was not let go"
    if failures:
        raise failures[0]
