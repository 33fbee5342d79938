"""The C engine in Python: typed calls, values instead of pointers, errors instead of codes.

The only importer of the extension; simulate.py has it from here. Every method takes effect between
two events of the engine's reactor and returns within a turn of it, far below a millisecond, so it
may be called in the event loop. Errors are EngineError with what was attempted.
"""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from vgpud import _mediator
from vgpud.errors import EngineError
from vgpud.mediator_values import pool_counters_of, trace_entry_of, vm_counters_of
from vgpud.model.explanation import Explanation, Hold
from vgpud.model.mediation import (
    EngineCounters,
    EngineLimits,
    PoolCounters,
    RingLayout,
    VmCounters,
    VmFds,
    VmIdentity,
)
from vgpud.model.trace import TraceReading

ffi: Any = _mediator.ffi
lib: Any = _mediator.lib

MAX_PAIRS = 64
MAX_POOLS = 256
EVENTS_AT_ONCE = 512
UNKNOWN = 2**64 - 1


class Lane(IntEnum):
    """Which of a VM's two workers."""

    LAUNCH = lib.MEDIATOR_LAUNCH
    BUILD = lib.MEDIATOR_BUILD


class EventType(IntEnum):
    """What an event says; see enum mediator_event_type for its numbers a and b."""

    CONNECTED = lib.MEDIATOR_CONNECTED
    DISCONNECTED = lib.MEDIATOR_DISCONNECTED
    PEER_REFUSED = lib.MEDIATOR_PEER_REFUSED
    SECOND_CLIENT = lib.MEDIATOR_SECOND_CLIENT
    FAULT = lib.MEDIATOR_FAULT
    WORKERS = lib.MEDIATOR_WORKERS
    IDLE = lib.MEDIATOR_IDLE
    QUARANTINED = lib.MEDIATOR_QUARANTINED
    TRACED = lib.MEDIATOR_TRACED


class Fault(IntEnum):
    """What a VM, or its worker, did wrong."""

    FRAME = lib.MEDIATOR_FAULT_FRAME
    FOREIGN_ID = lib.MEDIATOR_FAULT_FOREIGN_ID
    RING = lib.MEDIATOR_FAULT_RING
    ENTRY = lib.MEDIATOR_FAULT_ENTRY
    WORKER = lib.MEDIATOR_FAULT_WORKER
    RUN_TIMEOUT = lib.MEDIATOR_FAULT_RUN_TIMEOUT
    BUILD_TIMEOUT = lib.MEDIATOR_FAULT_BUILD_TIMEOUT
    CRASH = lib.MEDIATOR_FAULT_CRASH


@dataclass(frozen=True)
class Event:
    """One piece of news. `vm` is a handle; `time_ns` is CLOCK_MONOTONIC."""

    type: EventType
    vm: int
    a: int
    b: int
    time_ns: int


def journal_bytes(slots: int) -> int:
    """Size of a journal of so many request slots."""
    return int(lib.mediator_journal_bytes(slots))


def ring_bytes(pairs: int, entries: int, data_bytes: int) -> int:
    """Size of the shared memory of a VM; raises EngineError for a layout that is not allowed."""
    size = int(lib.mediator_ring_bytes(pairs, entries, data_bytes))
    if size == 0:
        raise EngineError(f"{pairs} pairs of {entries} entries and {data_bytes} bytes is no layout")
    return size


def channel_bytes() -> int:
    """Size of a worker's channel."""
    return int(lib.mediator_channel_bytes())


def format_journal(fd: int, slots: int, pairs: int, entries: int, data_bytes: int) -> None:
    """Write an empty journal into a new memfd of journal_bytes()."""
    _check(
        lib.mediator_journal_format(fd, slots, pairs, entries, data_bytes), "format a VM's journal"
    )


class LayoutMismatchError(EngineError):
    """A journal or ring that is held is of another version or layout."""


def _check(rc: int, attempted: str) -> int:
    if rc >= 0:
        return rc
    kind = LayoutMismatchError if rc == -errno.EPROTO else EngineError
    raise kind(f"the engine could not {attempted}: {os.strerror(-rc)}")


class Mediator:
    """The engine. Made stopped; `start()` runs its reactor in a thread of its own."""

    def __init__(self, limits: EngineLimits) -> None:
        """Raises EngineError when the limits are out of range or the host is short of something."""
        ffi.errno = 0
        self._m = lib.mediator_new(_config(limits))
        if self._m == ffi.NULL:
            raise EngineError(f"the engine could not be made: {os.strerror(ffi.errno)}")
        self._events = ffi.new("struct mediator_event[]", EVENTS_AT_ONCE)

    def start(self) -> None:
        """Start the reactor thread."""
        _check(lib.mediator_start(self._m), "start its thread")

    def stop(self) -> None:
        """End the reactor thread and wait for it. What is held stays held."""
        lib.mediator_stop(self._m)

    def close(self) -> None:
        """Stop, and release everything; this object is of no use any more."""
        lib.mediator_free(self._m)
        self._m = ffi.NULL

    @property
    def pointer(self) -> Any:
        """The engine itself, for a recording of it (simulate.py)."""
        return self._m

    def drain(self, *, cancel: bool) -> None:
        """Take and dispatch nothing more; with `cancel` answer what is queued CANCELLED."""
        _check(lib.mediator_drain(self._m, int(cancel)), "drain")

    def set_limits(self, limits: EngineLimits) -> None:
        """Change the limits, live."""
        _check(lib.mediator_set_config(self._m, _config(limits)), "change its limits")

    def set_hold_fd(self, fd: int) -> None:
        """The engine's own connection to the spawner; taken over."""
        _check(lib.mediator_set_hold_fd(self._m, fd), "take over its connection to the spawner")

    def set_device(self, info: bytes) -> None:
        """What GET_DEVICE_INFO answers: struct vgpu_device_info; empty = there is no device."""
        _check(lib.mediator_set_device(self._m, info, len(info)), "take over the device")

    # --- news ---------------------------------------------------------------------------------

    def event_fd(self) -> int:
        """Readable when `events()` has something; stays the engine's."""
        return int(lib.mediator_event_fd(self._m))

    def events(self) -> list[Event]:
        """What has happened, oldest first, a bounded number; does not block."""
        count = lib.mediator_events(self._m, self._events, EVENTS_AT_ONCE)
        return [
            Event(EventType(e.type), e.vm, e.a, e.b, e.time_ns)
            for e in (self._events[i] for i in range(count))
        ]

    # --- pools and VMs ------------------------------------------------------------------------

    def set_pool(self, pool_id: str, weight: int, enabled: bool) -> None:
        """Add or change a pool."""
        _check(lib.mediator_pool_set(self._m, ord(pool_id), weight, enabled), f"set pool {pool_id}")

    def remove_pool(self, pool_id: str) -> None:
        """Forget a pool without VMs; one that is not known is no error."""
        rc = lib.mediator_pool_remove(self._m, ord(pool_id))
        if rc != -errno.ENOENT:
            _check(rc, f"remove pool {pool_id}")

    def add_vm(self, identity: VmIdentity, fds: VmFds) -> int:
        """Add a VM and take up what its journal says; returns its handle.

        Raises LayoutMismatchError when the journal is of another release; the descriptors are
        closed then, as after any failure.
        """
        table = ffi.new("struct mediator_vm_fds *")
        for name in (
            "journal",
            "ring",
            "stub_listener",
            "ring_listener",
            "stub_connection",
            "ring_connection",
        ):
            setattr(table, name, getattr(fds, name))
        for name in ("host_doorbells", "guest_doorbells"):
            bells = list(getattr(fds, name))
            for i in range(MAX_PAIRS):
                getattr(table, name)[i] = bells[i] if i < len(bells) else -1
        return _check(
            lib.mediator_vm_add(self._m, _identity(identity), table), f"add VM {identity.uuid}"
        )

    def set_vm(self, handle: int, identity: VmIdentity) -> None:
        """Change pool, priority, weight, limits or id of a VM, live."""
        _check(
            lib.mediator_vm_set(self._m, handle, _identity(identity)), f"change VM {identity.uuid}"
        )

    def retire_vm(self, handle: int) -> None:
        """Close a VM's connections and drop what it has queued."""
        _check(lib.mediator_vm_retire(self._m, handle), f"retire VM {handle}")

    def remove_vm(self, handle: int) -> bool:
        """Forget a retired VM; False while a worker of it is still there."""
        rc = lib.mediator_vm_remove(self._m, handle)
        if rc == -errno.EBUSY:
            return False
        _check(rc, f"remove VM {handle}")
        return True

    def vm_layout(self, handle: int) -> RingLayout:
        """Where the data slices of a VM lie."""
        out = ffi.new("uint64_t[5]")
        _check(lib.mediator_vm_layout(self._m, handle, out), f"tell the layout of VM {handle}")
        return RingLayout(*list(out))

    # --- workers ------------------------------------------------------------------------------

    def attach_worker(
        self, handle: int, lane: Lane, worker_id: int, pid: int, channel: int, doorbell: int
    ) -> None:
        """Give a VM its worker; both descriptors are taken over, also when it fails."""
        worker = ffi.new("struct mediator_worker *")
        worker.worker_id = worker_id
        worker.pid = pid
        worker.channel = channel
        worker.doorbell = doorbell
        _check(
            lib.mediator_worker_attach(self._m, handle, lane, worker), f"attach worker {worker_id}"
        )

    def worker_gone(self, handle: int, lane: Lane, *, crashed: bool, detail: int = 0) -> None:
        """A worker has ended: what it had out is answered with an error."""
        _check(
            lib.mediator_worker_gone(self._m, handle, lane, int(crashed), detail),
            f"settle the end of a worker of VM {handle}",
        )

    def dismiss_worker(self, handle: int, lane: Lane) -> bool:
        """Let go of an idle worker, which is then to be ended; False while it is needed."""
        rc = lib.mediator_worker_dismiss(self._m, handle, lane)
        return _check(rc, f"let go of a worker of VM {handle}") == 1

    def refuse_worker(self, handle: int, lane: Lane, retry_s: float) -> None:
        """No worker can be had for so long: what waits for one is answered NO_CONTEXT."""
        _check(
            lib.mediator_worker_refused(self._m, handle, lane, round(retry_s * 1_000_000)),
            f"refuse a worker to VM {handle}",
        )

    # --- why ----------------------------------------------------------------------------------

    def explain(self, handle: int, seq: int | None = None) -> Explanation | None:
        """Why a queued request of a VM waits: that of `seq`, without one the oldest.

        None when nothing, or nothing of that number, is queued.
        """
        e = ffi.new("struct mediator_explanation *")
        rc = lib.mediator_explain(self._m, handle, UNKNOWN if seq is None else seq, e)
        if rc == -errno.ENODATA:
            return None
        _check(rc, f"explain what VM {handle} waits for")
        return Explanation(
            hold=Hold(e.hold),
            seq=e.seq,
            waited_ns=e.waited_ns,
            wait_ns=None if e.wait_ns == UNKNOWN else e.wait_ns,
            units_ahead=e.units_ahead,
            stream_ahead=e.stream_ahead,
            vms_ahead=e.vms_ahead,
            pools_ahead=e.pools_ahead,
            running=e.running,
        )

    # --- numbers ------------------------------------------------------------------------------

    def vm_counters(self, handle: int) -> VmCounters:
        """The counters and the state of one VM."""
        s = ffi.new("struct mediator_vm_stats *")
        _check(lib.mediator_vm_stats(self._m, handle, s), f"read the counters of VM {handle}")
        return vm_counters_of(s)

    def all_vm_counters(self) -> list[VmCounters]:
        """The same of all VMs; takes a few turns of the reactor for each hundred."""
        room = self.counters().vms
        table = ffi.new("struct mediator_vm_stats[]", room)
        count = _check(lib.mediator_vms_stats(self._m, table, room), "read the counters of the VMs")
        return [vm_counters_of(table[i]) for i in range(count)]

    def all_pool_counters(self) -> list[PoolCounters]:
        """The counters of all pools."""
        table = ffi.new("struct mediator_pool_stats[]", MAX_POOLS)
        count = _check(
            lib.mediator_pools_stats(self._m, table, MAX_POOLS), "read the counters of the pools"
        )
        return [pool_counters_of(table[i]) for i in range(count)]

    def counters(self) -> EngineCounters:
        """The counters of the whole engine."""
        s = ffi.new("struct mediator_stats *")
        _check(lib.mediator_stats(self._m, s), "read its counters")
        return EngineCounters(
            accepted=s.accepted,
            answered=s.answered,
            events_dropped=s.events_dropped,
            turns=s.turns,
            outstanding=s.outstanding,
            in_flight=s.in_flight,
            builds=s.builds,
            vms=s.vms,
        )

    # --- the trace ----------------------------------------------------------------------------

    def seek_trace(self, handle: int | None, count: int) -> int:
        """The place in the trace from which its last `count` entries, of a VM or of all, come."""
        cursor = _cursor(handle, 0)
        _check(lib.mediator_trace_seek(self._m, cursor, count), "look through its trace")
        return int(cursor.position)

    def read_trace(
        self, handle: int | None, position: int, most: int, *, follow: bool
    ) -> TraceReading:
        """Up to `most` entries of a VM, or of all, from a place in the trace on.

        With `follow`, an event TRACED comes with the next entry if nothing is left.
        """
        cursor = _cursor(handle, position)
        cursor.follow = follow
        table = ffi.new("struct mediator_trace[]", most)
        count = _check(lib.mediator_trace_read(self._m, cursor, table, most), "read its trace")
        entries = [trace_entry_of(table[i]) for i in range(count)]
        return TraceReading(entries, cursor.position, cursor.left, cursor.missed)


def _cursor(handle: int | None, position: int) -> Any:
    cursor = ffi.new("struct mediator_trace_cursor *")
    cursor.vm = -1 if handle is None else handle
    cursor.position = position
    return cursor


def _config(limits: EngineLimits) -> Any:
    config = ffi.new("struct mediator_config *")
    for name in EngineLimits.__dataclass_fields__:
        setattr(config, name, getattr(limits, name))
    return config


def _identity(identity: VmIdentity) -> Any:
    vm = ffi.new("struct mediator_vm *")
    vm.uuid = identity.uuid.encode()
    vm.vm_id = identity.vm_id
    vm.peer_uid = identity.peer_uid
    vm.weight = identity.weight
    vm.max_queued = identity.max_queued
    vm.max_rate = identity.max_rate
    vm.max_burst = identity.max_burst
    vm.quarantine_number = identity.quarantine_number
    vm.quarantined = identity.quarantined
    vm.pool_id = ord(identity.pool_id) if identity.pool_id else 0
    vm.priority = identity.priority
    return vm
