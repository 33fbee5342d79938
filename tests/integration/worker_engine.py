"""An engine in Python, just large enough to drive one vgpu-worker over its real channel."""

from __future__ import annotations

import ctypes
import fcntl
import mmap
import os
import select
import socket
import struct
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

from tests.shared_words import load_u32, store_u32

PAGE = 4096
RING_ENTRIES = 64
UNIT = struct.Struct("<Q BBH III II II Q 8I II 5Q")
REPLY = struct.Struct("<Q BBH I i I QQ QQ Q")
BIND = struct.Struct("<4I 5Q")
READY_HEAD = struct.Struct("<IIiI256s")
ARG_INFO = struct.Struct("<II60s60s")
DEVICE_INFO = struct.Struct("<II 96s 48s 48s 16s 5Q 4I")
CHANNEL_BYTES = 2 * PAGE + RING_ENTRIES * (UNIT.size + REPLY.size)
MAGIC = 0x4B525756

UNIT_COMMAND, UNIT_VECTOR_ADD = 1, 2
KERNEL_ARGS, BUILD_LOG, BINARY = 1, 2, 3
LANE_EXEC, LANE_BUILD, LANE_COPY = 0, 1, 2
BUILT = 1
DONE, CONTINUE, NEED_BUILD, BOUNCED = 1, 2, 3, 4

OK, INVALID, UNSUPPORTED, QUOTA, BUILD_FAILED, NO_OBJECT, EXISTS = 0, 1, 2, 5, 13, 14, 15
NO_MEMORY = 16
OPENCL_C, SPIRV, PTX, CUBIN = 1, 2, 3, 4

QP_BASE, QP_STRIDE, DATA_OFFSET, DATA_BYTES, QP_COUNT = 1 << 16, 17 << 20, 1 << 16, 16 << 20, 2
SYS_FUTEX, FUTEX_WAKE = 202, 1
LONGEST_WAIT_S = 60.0

_libc = ctypes.CDLL(None, use_errno=True)


def sealed_memfd(name: str, size: int) -> int:
    """A memfd of `size` bytes that nobody can resize any more."""
    fd = os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.ftruncate(fd, size)
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL)
    return fd


@dataclass(frozen=True)
class Unit:
    """struct worker_unit; the command's bytes are the caller's to put into the data area."""

    token: int = 1
    kind: int = UNIT_COMMAND
    lane: int = LANE_EXEC
    flags: int = 0
    qp: int = 0
    ctx: int = 1
    stream: int = 1
    first_op: int = 0
    budget_us: int = 10_000_000
    cmd_len: int = 0
    cmd_off: int = 0
    cmd_seg: int = 0
    args: tuple[int, ...] = (0,) * 8
    generation: int = 1
    reply_head: int | None = None
    """Replies that the engine had dealt with when it sent this; None: all that it has taken."""

    def pack(self, taken: int) -> bytes:
        """As it lies in the ring of an engine that has taken so many replies."""
        known = taken if self.reply_head is None else self.reply_head
        return UNIT.pack(
            self.token, self.kind, self.lane, self.flags, self.qp, self.ctx, self.stream,
            self.first_op, self.budget_us, self.cmd_seg, self.cmd_len, self.cmd_off,
            *self.args, self.generation, known & 0xFFFFFFFF, *(0,) * 5,
        )  # fmt: skip


@dataclass(frozen=True)
class Reply:
    """struct worker_reply without its reserved fields."""

    token: int
    outcome: int
    status: int
    op_index: int
    native: int
    out_len: int
    result: tuple[int, int]
    start_ns: int
    end_ns: int

    @classmethod
    def unpack(cls, data: bytes) -> Reply:
        """From the bytes of a ring entry."""
        (token, outcome, _, status, op_index, native, out_len, *rest) = REPLY.unpack(data)
        return cls(
            token, outcome, status, op_index, native, out_len,
            (rest[0], rest[1]), rest[2], rest[3],
        )  # fmt: skip


class Ring:
    """The shared memory of one VM: two pairs with a data slice each."""

    def __init__(self) -> None:
        size = QP_BASE + QP_COUNT * QP_STRIDE
        self.fd = sealed_memfd("ring", size)
        self.memory = mmap.mmap(self.fd, size)

    def put(self, off: int, data: bytes, qp: int = 0) -> None:
        """Write into a slice, as the guest would."""
        at = QP_BASE + qp * QP_STRIDE + DATA_OFFSET + off
        self.memory[at : at + len(data)] = data

    def get(self, off: int, size: int, qp: int = 0) -> bytes:
        """Read from a slice."""
        at = QP_BASE + qp * QP_STRIDE + DATA_OFFSET + off
        return self.memory[at : at + size]

    def close(self) -> None:
        """Let go of the memory."""
        self.memory.close()
        os.close(self.fd)


@dataclass(frozen=True)
class Ready:
    """struct worker_ready."""

    status: int
    reason: str
    name: str
    backend: str
    vm_memory_bytes: int
    module_kinds: int

    @classmethod
    def unpack(cls, data: bytes) -> Ready:
        """From a datagram on the control socket."""
        magic, version, status, _, reason = READY_HEAD.unpack_from(data)
        assert (magic, version) == (MAGIC, 1)
        assert len(data) == READY_HEAD.size + DEVICE_INFO.size
        return cls(status, _text(reason), *device_of(data[READY_HEAD.size :]))


def _text(raw: bytes) -> str:
    return raw.partition(b"\0")[0].decode()


def device_of(data: bytes) -> tuple[str, str, int, int]:
    """name, backend, vm_memory_bytes and module_kinds of struct vgpu_device_info."""
    info = DEVICE_INFO.unpack(data)
    return _text(info[2]), _text(info[5]), info[9], info[13]


@dataclass
class Worker:
    """One vgpu-worker process, started as `role`, and this side of its control socket."""

    binary: Path
    role: str
    env: dict[str, str]
    ring: Ring | None = None
    control: socket.socket = field(init=False)
    process: subprocess.Popen[bytes] = field(init=False)

    def __post_init__(self) -> None:
        self.control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.control.settimeout(LONGEST_WAIT_S)
        with theirs:
            self.process = subprocess.Popen(
                [self.binary, f"--role={self.role}", f"--control-fd={theirs.fileno()}"],
                pass_fds=[theirs.fileno()],
                env={"PATH": os.environ["PATH"], **self.env},
                stderr=subprocess.PIPE,
            )
        self.channel_fd = sealed_memfd("channel", CHANNEL_BYTES)
        self.channel = mmap.mmap(self.channel_fd, CHANNEL_BYTES)
        self.doorbell = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self.tail = 0
        self.head = 0

    def __enter__(self) -> Worker:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.control.close()
        try:
            self.process.wait(LONGEST_WAIT_S)
        finally:
            self.process.kill()
            self.process.wait()
            assert self.process.stderr is not None
            self.process.stderr.close()
            self.channel.close()
            os.close(self.channel_fd)
            os.close(self.doorbell)

    def ready(self) -> Ready:
        """What it says of itself next; waits."""
        return Ready.unpack(self.control.recv(4096))

    def bind(
        self, exchange: socket.socket, memory_bytes: int = 64 << 20, role: int | None = None,
        data_bytes: int = DATA_BYTES, ring_fd: int | None = None,
    ) -> Ready:  # fmt: skip
        """Give it a VM; returns its answer."""
        assert self.ring is not None
        number = {"launch": 0, "build": 1}[self.role] if role is None else role
        message = BIND.pack(
            MAGIC, 1, number, QP_COUNT, QP_BASE, QP_STRIDE, DATA_OFFSET, data_bytes, memory_bytes
        )
        ring = self.ring.fd if ring_fd is None else ring_fd
        fds = [self.channel_fd, self.doorbell, ring, exchange.fileno()]
        socket.send_fds(self.control, [message], fds)
        return self.ready()

    def word(self, at: int) -> int:
        """One u32 of the channel."""
        return load_u32(self.channel, at)

    def set_word(self, at: int, value: int) -> None:
        """Store one u32 of the engine's page."""
        store_u32(self.channel, at, value)

    def send(self, *units: Unit) -> None:
        """Publish units at once, and wake the worker if it sleeps."""
        for unit in units:
            at = 2 * PAGE + self.tail % RING_ENTRIES * UNIT.size
            self.channel[at : at + UNIT.size] = unit.pack(self.head)
            self.tail += 1
        self.set_word(0, self.tail)
        self.wake()

    def wake(self) -> None:
        """FUTEX_WAKE on unit_tail, also when it is not needed."""
        word = ctypes.c_uint32.from_buffer(self.channel, 0)
        _libc.syscall(SYS_FUTEX, ctypes.byref(word), FUTEX_WAKE, 1, None, None, 0)
        del word

    def reply(self, timeout_s: float = LONGEST_WAIT_S) -> Reply:
        """The next reply; waits on the doorbell, and raises TimeoutError without one."""
        deadline = time.monotonic() + timeout_s
        self.set_word(8, 1)
        while self.word(PAGE + 4) == self.head & 0xFFFFFFFF:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self.doorbell], [], [], left)[0]:
                raise TimeoutError(f"no reply; the worker's exit status is {self.process.poll()}")
            os.eventfd_read(self.doorbell)
        self.set_word(8, 0)
        at = 2 * PAGE + RING_ENTRIES * UNIT.size + self.head % RING_ENTRIES * REPLY.size
        reply = Reply.unpack(self.channel[at : at + REPLY.size])
        self.head += 1
        self.set_word(4, self.head)
        return reply

    def run(self, unit: Unit) -> Reply:
        """Send one unit and wait for its reply."""
        self.send(unit)
        return self.reply()


def op(code: int, body: bytes = b"") -> bytes:
    """One op: header and body, padded to 8."""
    body += b"\0" * (-len(body) % 8)
    return struct.pack("<HHI", code, 0, 8 + len(body)) + body


def ref(off: int, size: int, seg: int = 0) -> bytes:
    """struct vgpu_data_ref."""
    return struct.pack("<IIQQ", seg, 0, off, size)


def address(obj: int, off: int = 0) -> bytes:
    """struct vgpu_address of an object."""
    return struct.pack("<IIQ", obj, 0, off)


def nop() -> bytes:
    """NOP."""
    return op(0x01)


def device_info(off: int, size: int) -> bytes:
    """DEVICE_INFO."""
    return op(0x02, ref(off, size))


def query(what: int, obj: int, off: int, size: int) -> bytes:
    """QUERY; the answer goes to `off` of the slice."""
    return op(0x03, struct.pack("<II", what, obj) + ref(off, size))


def alloc(obj: int, size: int) -> bytes:
    """ALLOC."""
    return op(0x10, struct.pack("<IIQ", obj, 0, size))


def free(obj: int) -> bytes:
    """FREE."""
    return op(0x11, struct.pack("<II", obj, 0))


def write(obj: int, off: int, size: int, at: int = 0) -> bytes:
    """WRITE of `size` bytes at `off` of the slice to `at` of the buffer."""
    return op(0x12, address(obj, at) + ref(off, size))


def read(obj: int, off: int, size: int, at: int = 0) -> bytes:
    """READ of `size` bytes from `at` of the buffer to `off` of the slice."""
    return op(0x13, address(obj, at) + ref(off, size))


def copy(obj: int, source: int, size: int, at: int = 0, source_at: int = 0) -> bytes:
    """COPY of `size` bytes from `source_at` of one buffer to `at` of another."""
    return op(0x14, address(obj, at) + address(source, source_at) + struct.pack("<Q", size))


def fill(obj: int, size: int, pattern: bytes, at: int = 0) -> bytes:
    """FILL of `size` bytes at `at` of the buffer."""
    head = struct.pack("<QII", size, len(pattern), 0)
    return op(0x15, address(obj, at) + head + pattern.ljust(16, b"\0"))


def module_load(
    obj: int, code: tuple[int, int], options: tuple[int, int], log: tuple[int, int], kind: int = 1
) -> bytes:
    """MODULE_LOAD; each pair is offset and size in the slice."""
    return op(0x20, struct.pack("<II", obj, kind) + ref(*code) + ref(*options) + ref(*log))


def module_unload(obj: int) -> bytes:
    """VGPU_OP_MODULE_UNLOAD."""
    return op(0x21, struct.pack("<II", obj, 0))


def kernel_create(obj: int, module: int, name: str) -> bytes:
    """KERNEL_CREATE."""
    return op(0x22, struct.pack("<IIII", obj, module, len(name), 0) + name.encode())


def arg_value(data: bytes) -> bytes:
    """A value argument."""
    return struct.pack("<II", 0, len(data)) + data + b"\0" * (-len(data) % 8)


def arg_buffer(obj: int) -> bytes:
    """A buffer argument."""
    return struct.pack("<II", 1, 16) + address(obj)


def arg_local(size: int) -> bytes:
    """A local memory argument."""
    return struct.pack("<II", 2, size)


def launch(kernel: int, items: int, *args: bytes, local: int = 0) -> bytes:
    """LAUNCH in one dimension."""
    return launch_range(kernel, (items,), *args, local=(local,))


def launch_range(
    kernel: int, items: tuple[int, ...], *args: bytes,
    offset: tuple[int, ...] = (), local: tuple[int, ...] = (),
) -> bytes:  # fmt: skip
    """LAUNCH in as many dimensions as `items` has."""
    sizes = [(*each, 0, 0, 0)[:3] for each in (offset, items, local)]
    head = struct.pack("<II9Q", kernel, len(items), *sizes[0], *sizes[1], *sizes[2])
    return op(0x30, head + struct.pack("<II", 0, len(args)) + b"".join(args))


def sync() -> bytes:
    """SYNC."""
    return op(0x40)
