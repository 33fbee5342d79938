"""Requests that are finished, as the trace of the engine has them.

Times are CLOCK_MONOTONIC in nanoseconds; 0 is one that never happened.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from vgpud.model.priority import Priority


class Transport(IntEnum):
    """How a client is connected; enum mediator_transport."""

    STUB = 0
    RING = 1
    LOOP = 2


class RequestKind(IntEnum):
    """What a request asks for; enum mediator_kind."""

    NOP = 1
    DEVICE_INFO = 2
    VECTOR_ADD = 3
    COMMAND = 4
    SIGNAL = 5
    CANCEL = 6
    QUERY = 7


class RequestOutcome(IntEnum):
    """How a request left the engine; enum mediator_outcome.

    Refused is one that was answered without having been accepted; the client of a dropped one was
    gone before its answer.
    """

    ANSWERED = 1
    REFUSED = 2
    DROPPED = 3


class RequestStatus(IntEnum):
    """What a client is answered; enum vgpu_status."""

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


@dataclass(frozen=True)
class TraceEntry:
    """One request; struct mediator_trace has the meaning of each field. `handle` is the VM's."""

    seq: int
    request: int
    cookie: int
    received_ns: int
    queued_ns: int
    picked_ns: int
    started_ns: int
    ended_ns: int
    answered_ns: int
    device_ns: int
    build_ns: int
    handle: int
    vm_id: int
    stream: int
    dispatches: int
    op_index: int
    native: int
    retry_after_us: int
    status: RequestStatus
    queue_pair: int
    pool_id: str
    priority: Priority
    transport: Transport
    kind: RequestKind
    outcome: RequestOutcome


@dataclass(frozen=True)
class TraceReading:
    """What one look at the trace has found, oldest first.

    `position` is where the next look begins, `left` how many entries it would have to look at, and
    `missed` how many, of any VM, were overwritten before they could be looked at.
    """

    entries: list[TraceEntry]
    position: int
    left: int
    missed: int


@dataclass(frozen=True)
class TracedRequest:
    """An entry and the VM it was of; None for a VM that is not there any more."""

    entry: TraceEntry
    vm_uuid: str | None


@dataclass(frozen=True)
class TraceBatch:
    """Some finished requests, oldest first, and how many before them were missed."""

    requests: list[TracedRequest]
    missed: int
