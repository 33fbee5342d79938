"""The version 2 ring interface as tests see it: layouts, numbers, and the bytes of commands.

Written out a second time, from the description and not from ring_abi.h: a change on either side
shows up as a failing test.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

MAGIC = 0x32475056
PAGE_BYTES = 4096
PART_ALIGN = 65536
ALL_FEATURES = (1 << 7) - 1
GUEST_ACK = 1
GUEST_FEATURES_OK = 2
GUEST_RESET = 4

# Offsets of fields, for tests that scribble.
HOST_DEVICE_STATUS = 104  # in the host page
HOST_VM_ID = 108
GUEST_ACCEPTED = 0  # in the guest page
GUEST_STATUS = 16
PAIR_SQ_HEAD = 0  # in a pair's host page
PAIR_SQ_NEED_DOORBELL = 4
PAIR_CQ_TAIL = 8
PAIR_STATE = 12
PAIR_SQ_TAIL = 0  # in a pair's guest page
PAIR_CQ_HEAD = 4
PAIR_CQ_EVENT = 8

HOST_PAGE = struct.Struct("<IHHIIQQQHHIQQIIQQQQIIcB14x")
SUBMISSION = struct.Struct("<QBBHIIIIIQIHHQII")
COMPLETION = struct.Struct("<QHHIiIIIQQQQ")
ARG_INFO = struct.Struct("<II60s60s")
DEVICE_INFO = struct.Struct("<II96s48s48s16sQQQQQIIII")


class Status(IntEnum):
    OK = 0
    INVALID = 1
    UNSUPPORTED = 2
    BUSY = 3
    RATE = 4
    QUOTA = 5
    TIMEOUT = 6
    CANCELLED = 7
    DEVICE_LOST = 8
    NO_CONTEXT = 9
    QUARANTINED = 10
    POOL_DISABLED = 11
    ABORTED = 12
    BUILD_FAILED = 13
    NO_OBJECT = 14
    EXISTS = 15
    NO_MEMORY = 16
    FAILED = 17


class DeviceStatus(IntEnum):
    WAITING = 0
    OK = 1
    FAILED = 2


class PairState(IntEnum):
    OK = 0
    ERROR = 1


class Kind(IntEnum):
    COMMAND = 1
    NOP = 2
    SIGNAL = 3
    CANCEL = 4
    RESET_CTX = 5
    QUERY = 6


class TimelineKind(IntEnum):
    USER = 0
    STREAM = 1


class Lane(IntEnum):
    EXEC = 0
    BUILD = 1
    COPY = 2


class Op(IntEnum):
    NOP = 0x01
    DEVICE_INFO = 0x02
    QUERY = 0x03
    ALLOC = 0x10
    FREE = 0x11
    WRITE = 0x12
    READ = 0x13
    COPY = 0x14
    FILL = 0x15
    MODULE_LOAD = 0x20
    MODULE_UNLOAD = 0x21
    KERNEL_CREATE = 0x22
    LAUNCH = 0x30
    SYNC = 0x40


class Fact(IntEnum):
    KERNEL_ARGS = 1
    BUILD_LOG = 2
    BINARY = 3


@dataclass(frozen=True)
class HostPage:
    """The host page, read once. Bytes and offsets as they stand there, unchecked."""

    magic: int
    major: int
    minor: int
    page_bytes: int
    generation: int
    features_low: int
    features_high: int
    region_bytes: int
    qp_count: int
    device_count: int
    segment_count: int
    qp_base: int
    qp_stride: int
    sq_entries: int
    cq_entries: int
    sq_offset: int
    cq_offset: int
    data_offset: int
    data_bytes: int
    device_status: int
    vm_id: int
    pool_id: bytes
    priority: int

    @classmethod
    def unpack(cls, page: bytes) -> HostPage:
        """Read the first 128 bytes of the shared memory."""
        return cls(*HOST_PAGE.unpack_from(page))

    def pack(self) -> bytes:
        """The 128 bytes."""
        return HOST_PAGE.pack(*(getattr(self, name) for name in self.__dataclass_fields__))


@dataclass(frozen=True)
class Submission:
    """A submission entry; the defaults are a NOP that the engine answers."""

    cookie: int
    kind: int = Kind.NOP
    lane: int = Lane.EXEC
    flags: int = 0
    ctx: int = 0
    stream: int = 0
    timeout_ms: int = 0
    cmd_seg: int = 0
    cmd_len: int = 0
    cmd_off: int = 0
    wait_off: int = 0
    wait_count: int = 0
    reserved0: int = 0
    signal: int = 0
    generation: int = 0
    """0: of the client's attachment, filled in when it is submitted."""
    reserved1: int = 0

    def pack(self) -> bytes:
        """The 64 bytes of the entry."""
        return SUBMISSION.pack(*(getattr(self, name) for name in self.__dataclass_fields__))

    @classmethod
    def unpack(cls, entry: bytes) -> Submission:
        return cls(*SUBMISSION.unpack(entry))


@dataclass(frozen=True)
class Completion:
    """A completion entry as the host wrote it. Times are CLOCK_MONOTONIC of the host, in ns."""

    cookie: int
    status: int = Status.OK
    flags: int = 0
    op_index: int = 0
    native: int = 0
    retry_after_us: int = 0
    generation: int = 0
    out_len: int = 0
    result0: int = 0
    result1: int = 0
    start_ns: int = 0
    end_ns: int = 0

    def pack(self) -> bytes:
        """The 64 bytes of the entry."""
        return COMPLETION.pack(*(getattr(self, name) for name in self.__dataclass_fields__))

    @classmethod
    def unpack(cls, entry: bytes) -> Completion:
        return cls(*COMPLETION.unpack(entry))


def pack_wait(timeline: int, kind: TimelineKind, value: int) -> bytes:
    """One struct vgpu_wait."""
    return struct.pack("<IIQ", timeline, kind, value)


# ---- the bytes of ops; offsets and lengths in bytes, data in the pair's own slice --------------


def op(code: int, body: bytes = b"", *, flags: int = 0, size: int | None = None) -> bytes:
    """One op; `size` may lie."""
    return struct.pack("<HHI", code, flags, 8 + len(body) if size is None else size) + body


def ref(offset: int, length: int, *, seg: int = 0, flags: int = 0) -> bytes:
    """A data reference."""
    return struct.pack("<IIQQ", seg, flags, offset, length)


def address(obj: int, offset: int = 0, *, mode: int = 0) -> bytes:
    """An address: a buffer and an offset in it."""
    return struct.pack("<IIQ", obj, mode, offset)


def op_nop() -> bytes:
    return op(Op.NOP)


def op_sync() -> bytes:
    return op(Op.SYNC)


def op_device_info(offset: int, length: int = DEVICE_INFO.size) -> bytes:
    return op(Op.DEVICE_INFO, ref(offset, length))


def op_query(what: Fact, id_: int, offset: int, length: int) -> bytes:
    return op(Op.QUERY, struct.pack("<II", what, id_) + ref(offset, length))


def op_alloc(id_: int, length: int) -> bytes:
    return op(Op.ALLOC, struct.pack("<IIQ", id_, 0, length))


def op_free(id_: int) -> bytes:
    return op(Op.FREE, struct.pack("<II", id_, 0))


def op_write(obj: int, obj_offset: int, offset: int, length: int) -> bytes:
    return op(Op.WRITE, address(obj, obj_offset) + ref(offset, length))


def op_read(obj: int, obj_offset: int, offset: int, length: int) -> bytes:
    return op(Op.READ, address(obj, obj_offset) + ref(offset, length))


def op_copy(obj: int, obj_offset: int, from_obj: int, from_offset: int, length: int) -> bytes:
    body = address(obj, obj_offset) + address(from_obj, from_offset)
    return op(Op.COPY, body + struct.pack("<Q", length))


def op_fill(obj: int, obj_offset: int, length: int, pattern: bytes) -> bytes:
    head = struct.pack("<QII", length, len(pattern), 0)
    return op(Op.FILL, address(obj, obj_offset) + head + pattern.ljust(16, b"\0"))


def op_module_load(
    id_: int, code: bytes, log: bytes, *, options: bytes | None = None, kind: int = 1
) -> bytes:
    """`code`, `log` and `options` are data references; kind 1 is OpenCL C."""
    return op(Op.MODULE_LOAD, struct.pack("<II", id_, kind) + code + (options or ref(0, 0)) + log)


def op_module_unload(id_: int) -> bytes:
    return op(Op.MODULE_UNLOAD, struct.pack("<II", id_, 0))


def op_kernel_create(id_: int, module: int, name: bytes) -> bytes:
    return op(Op.KERNEL_CREATE, struct.pack("<IIII", id_, module, len(name), 0) + _padded(name))


def arg_value(value: bytes) -> bytes:
    return struct.pack("<II", 0, len(value)) + _padded(value)


def arg_buffer(obj: int) -> bytes:
    return struct.pack("<II", 1, 16) + address(obj)


def arg_local(length: int) -> bytes:
    return struct.pack("<II", 2, length)


def op_launch(
    kernel: int,
    global_size: Sequence[int],
    args: Sequence[bytes] = (),
    *,
    local_size: Sequence[int] = (0, 0, 0),
    offset: Sequence[int] = (0, 0, 0),
) -> bytes:
    """LAUNCH with as many dimensions as `global_size` has."""
    dims = len(global_size)
    sizes = [*offset, *global_size, *([1] * (3 - dims)), *local_size]
    body = struct.pack("<II9QII", kernel, dims, *sizes, 0, len(args))
    return op(Op.LAUNCH, body + b"".join(args))


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 8)
