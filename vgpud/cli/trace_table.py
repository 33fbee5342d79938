"""Finished requests as a table for people: one line each, its columns as wide as they need be."""

from __future__ import annotations

import time

from vgpud.cli.render import duration
from vgpud.protocol.states import RequestTrace

NS_PER_S = 1_000_000_000

# Heading, width; numbers and times to the right.
_COLUMNS = (
    ("TIME", -12),
    ("VM", 6),
    ("REQUEST", 8),
    ("POOL", -4),
    ("CLASS", -6),
    ("VIA", -4),
    ("KIND", -11),
    ("WAIT", 8),
    ("RUN", 8),
    ("TOTAL", 8),
    ("UNITS", 5),
    ("STATUS", -1),
)


def _row(cells: tuple[str, ...]) -> str:
    return "  ".join(
        cell.ljust(-width) if width < 0 else cell.rjust(width)
        for cell, (_, width) in zip(cells, _COLUMNS, strict=True)
    ).rstrip()


HEADINGS = _row(tuple(heading for heading, _ in _COLUMNS))


def trace_line(request: RequestTrace, epoch_ns: int) -> str:
    """One request: when it was finished, whose and what it was, and how long what took.

    Args:
        request: as the daemon has it.
        epoch_ns: what to add to its monotonic times to have the time of day.
    """
    waited = "-"
    if request.picked_ns is not None:
        waited = duration(request.picked_ns - request.received_ns)
    return _row(
        (
            _clock(request.answered_ns + epoch_ns),
            str(request.vm_id),
            str(request.request) if request.request is not None else "-",
            request.pool_id or "-",
            request.priority.label,
            request.transport,
            request.kind,
            waited,
            duration(request.gpu_time_ns) if request.dispatches else "-",
            duration(request.answered_ns - request.received_ns),
            str(request.dispatches),
            _status(request),
        )
    )


def missed_line(count: int) -> str:
    """In the place of requests that could not be told of."""
    return f"... {count} {'request' if count == 1 else 'requests'} missed"


def _clock(time_ns: int) -> str:
    seconds, ns = divmod(time_ns, NS_PER_S)
    return f"{time.strftime('%H:%M:%S', time.localtime(seconds))}.{ns // 1_000_000:03}"


def _status(request: RequestTrace) -> str:
    """The status, and what else there is to know if it is not a plain success."""
    words = [request.status]
    if request.outcome != "answered":
        words.append(f"({request.outcome})")
    if request.outcome == "answered" and request.status != "ok" and request.dispatches:
        words.append(f"at op {request.op_index}")
    if request.native:
        words.append(f"(native {request.native})")
    if request.retry_after_us:
        words.append(f"retry after {duration(request.retry_after_us * 1000)}")
    return " ".join(words)
