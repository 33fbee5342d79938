"""A version 1 client in plain Python, for tests that send right and wrong bytes to a stub socket.

Written from the wire format's description, not from wire_format.h: that both agree is part of what
the tests show. Everything blocks, for at most the client's timeout.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from types import TracebackType

MAGIC = 0x56475055
VERSION = 0x00010000
REQUEST_MAX = 1024
CUDA_DATA_MAX = 8 * 1024 * 1024
CUDA_NOT_SUPPORTED = 801

# magic, type, vm_id, request_id, pool_id, priority, pad, payload_len
HEADER = struct.Struct("<IIIIBBHI")
# version, opcode, flags, param_count, data_offset, data_length, reserved[2]
REQUEST = struct.Struct("<IIIIIIII")
# version, status, result_count, data_offset, data_length, exec_time_us, reserved[2]
RESPONSE = struct.Struct("<IIIIIIII")
# magic, call_id, seq_num, vm_id, num_args, data_len, args[16]
CUDA_CALL = struct.Struct("<6I16I")
# magic, seq_num, status, num_results, data_len, reserved, results[8]
CUDA_RESULT = struct.Struct("<6I8Q")


class MessageType(IntEnum):
    REQUEST = 0x01
    RESPONSE = 0x02
    PING = 0x03
    PONG = 0x04
    BUSY = 0x05
    QUARANTINED = 0x06
    CUDA_CALL = 0x10
    CUDA_RESULT = 0x11


class Opcode(IntEnum):
    NOP = 0x0000
    VECTOR_ADD = 0x0001
    GET_DEVICE_INFO = 0x0005


class WireStatus(IntEnum):
    OK = 0x00
    INVALID_REQUEST = 0x01
    TOO_LARGE = 0x02
    UNAVAILABLE = 0x03
    TIMEOUT = 0x04
    DEVICE_ERROR = 0x05
    INVALID_POOL = 0x06
    QUEUE_FULL = 0x07
    UNSUPPORTED = 0x08
    INVALID_LENGTH = 0x09
    RATE_LIMITED = 0x0A
    VM_QUARANTINED = 0x0B
    DEVICE_LOST = 0x0C
    CANCELLED = 0x0D


class Closed(AssertionError):
    """The other side closed the connection; `got` is what had come of a message before."""

    def __init__(self, got: bytes) -> None:
        super().__init__(f"connection closed after {len(got)} bytes of a message")
        self.got = got


@dataclass(frozen=True)
class Message:
    """One message as it was received. `type` stays a number: it may be one that nobody knows."""

    type: int
    vm_id: int
    request_id: int
    pool_id: bytes
    priority: int
    payload: bytes


@dataclass(frozen=True)
class Response:
    """The payload of a RESPONSE."""

    status: int
    results: tuple[int, ...]
    data: bytes
    exec_time_us: int


@dataclass(frozen=True)
class CudaResult:
    """The payload of a CUDA_RESULT."""

    seq_num: int
    status: int
    results: tuple[int, ...]
    data: bytes


def header(
    type_: int,
    request_id: int = 0,
    payload_len: int = 0,
    *,
    vm_id: int = 0,
    pool_id: bytes = b"\0",
    priority: int = 0,
    magic: int = MAGIC,
    pad: int = 0,
) -> bytes:
    """The 24 bytes of a header; every field may be wrong."""
    return HEADER.pack(magic, type_, vm_id, request_id, pool_id[0], priority, pad, payload_len)


def request_payload(opcode: int, params: Sequence[int] = (), data: bytes = b"") -> bytes:
    """The payload of a REQUEST; params may be negative 32-bit integers."""
    offset = REQUEST.size + 4 * len(params)
    head = REQUEST.pack(VERSION, opcode, 0, len(params), offset, len(data), 0, 0)
    return head + b"".join(struct.pack("<I", p & 0xFFFFFFFF) for p in params) + data


def parse_response(payload: bytes) -> Response:
    """Read a RESPONSE's payload; raises AssertionError when its lengths contradict each other."""
    assert len(payload) >= RESPONSE.size, f"a response of {len(payload)} bytes"
    version, status, count, offset, length, exec_time_us, *_ = RESPONSE.unpack_from(payload)
    assert version == VERSION, f"response version {version:#x}"
    assert RESPONSE.size + 4 * count <= len(payload), f"{count} results in {len(payload)} bytes"
    if length:
        assert RESPONSE.size <= offset <= len(payload) - length, f"data at {offset}, {length} bytes"
    results = struct.unpack_from(f"<{count}I", payload, RESPONSE.size)
    return Response(status, results, payload[offset : offset + length], exec_time_us)


def parse_cuda_result(payload: bytes) -> CudaResult:
    """Read a CUDA_RESULT's payload; raises AssertionError when it contradicts itself."""
    assert len(payload) >= CUDA_RESULT.size, f"a CUDA result of {len(payload)} bytes"
    magic, seq_num, status, count, data_len, _, *results = CUDA_RESULT.unpack_from(payload)
    assert magic == MAGIC and count <= 8 and data_len == len(payload) - CUDA_RESULT.size
    return CudaResult(seq_num, status, tuple(results[:count]), payload[CUDA_RESULT.size :])


class StubClient:
    """A connection to a stub socket; use it in a `with` block.

    `timeout_s` is of each single wait; TimeoutError after it. Closed when the peer closes.
    """

    def __init__(self, path: Path | str, timeout_s: float = 5.0) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.settimeout(timeout_s)
        try:
            self.socket.connect(str(path))
        except OSError:
            self.socket.close()
            raise
        self._next_id = 1

    def __enter__(self) -> StubClient:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        self.socket.close()

    def send_raw(self, data: bytes) -> None:
        """Send bytes as they are: half a message, two, or none that anybody knows."""
        self.socket.sendall(data)

    def send(
        self,
        type_: int,
        request_id: int = 0,
        payload: bytes = b"",
        *,
        vm_id: int = 0,
        pool_id: bytes = b"\0",
        priority: int = 0,
    ) -> None:
        """Send one message whose length is right."""
        head = header(
            type_, request_id, len(payload), vm_id=vm_id, pool_id=pool_id, priority=priority
        )
        self.send_raw(head + payload)

    def send_request(self, opcode: int, params: Sequence[int] = (), *, vm_id: int = 0) -> int:
        """Send a REQUEST without waiting; returns its request_id (1, 2, ...)."""
        request_id = self._next_id
        self._next_id += 1
        self.send(MessageType.REQUEST, request_id, request_payload(opcode, params), vm_id=vm_id)
        return request_id

    def receive(self) -> Message:
        """The next message, whole."""
        magic, type_, vm_id, request_id, pool_id, priority, _, length = HEADER.unpack(
            self._exactly(HEADER.size)
        )
        assert magic == MAGIC, f"magic {magic:#x} from the host"
        assert length <= CUDA_RESULT.size + CUDA_DATA_MAX, f"payload of {length} bytes announced"
        payload = self._exactly(length)
        return Message(type_, vm_id, request_id, bytes([pool_id]), priority, payload)

    def request(self, opcode: int, params: Sequence[int] = ()) -> Response:
        """Send a REQUEST and wait for its RESPONSE; AssertionError for any other answer."""
        request_id = self.send_request(opcode, params)
        answer = self.receive()
        assert answer.type == MessageType.RESPONSE, f"answered by type {answer.type:#x}"
        assert answer.request_id == request_id, f"{answer.request_id} answers {request_id}"
        return parse_response(answer.payload)

    def vector_add(self, a: int, b: int) -> int:
        """Have the device add two 32-bit integers; returns its sum as a signed one."""
        response = self.request(Opcode.VECTOR_ADD, (a, b))
        assert response.status == WireStatus.OK, f"status {response.status:#x}"
        assert len(response.results) == 1, response
        return int(struct.unpack("<i", struct.pack("<I", response.results[0]))[0])

    def ping(self) -> Message:
        """Send a PING and wait for the PONG."""
        self.send(MessageType.PING)
        answer = self.receive()
        assert answer.type == MessageType.PONG, f"answered by type {answer.type:#x}"
        return answer

    def cuda_call(self, call_id: int, data: bytes = b"", *, owner: int = 0) -> CudaResult:
        """Send a CUDA_CALL without arguments and wait for its CUDA_RESULT."""
        request_id = self._next_id
        self._next_id += 1
        call = CUDA_CALL.pack(MAGIC, call_id, request_id, owner, 0, len(data), *(16 * [0]))
        self.send(MessageType.CUDA_CALL, request_id, call + data)
        answer = self.receive()
        assert answer.type == MessageType.CUDA_RESULT, f"answered by type {answer.type:#x}"
        assert answer.request_id == request_id
        return parse_cuda_result(answer.payload)

    def wait_closed(self) -> bytes:
        """Wait until the peer closes; returns what it said before."""
        said = b""
        while piece := self._receive(65536):
            said += piece
        return said

    def _receive(self, at_most: int) -> bytes:
        """As recv(), but a reset counts as closed: the peer closed with bytes of ours unread."""
        try:
            return self.socket.recv(at_most)
        except ConnectionResetError:
            return b""

    def _exactly(self, count: int) -> bytes:
        got = b""
        while len(got) < count:
            piece = self._receive(count - len(got))
            if not piece:
                raise Closed(got)
            got += piece
        return got
