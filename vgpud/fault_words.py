"""What faults and quarantines are called, for the log and for administrators."""

from __future__ import annotations

import time

from vgpud.mediator import Event, Fault
from vgpud.model.mediation import EngineQuarantine
from vgpud.model.vm import Quarantine
from vgpud.spawner import signal_name

EXIT_DEVICE_LOST = 5
"""Exit status of a worker whose device serves it no more, such as after a kernel's wild write."""


def fault_sentence(event: Event) -> str:
    """What a VM did wrong, from an event of type FAULT, for the log."""
    match Fault(event.a):
        case Fault.FRAME:
            return f"malformed frame (status {event.b:#04x})"
        case Fault.FOREIGN_ID:
            return f"a message claims to be VM {event.b}"
        case Fault.RING:
            return f"impossible ring indices on queue pair {event.b}"
        case Fault.ENTRY:
            return f"malformed submission on queue pair {event.b}"
        case Fault.WORKER:
            return f"its worker {event.b} broke the rules of its channel"
        case Fault.RUN_TIMEOUT:
            return f"its work ran longer than run_timeout_ms (worker {event.b})"
        case Fault.BUILD_TIMEOUT:
            return f"its build ran longer than build_timeout_ms (worker {event.b})"
        case Fault.CRASH:
            return f"its worker ended: {_how(event.b)}"


def _how(detail: int) -> str:
    """A signal, or 256 + an exit status."""
    if detail < 256:
        return f"signal {signal_name(detail)}"
    lost = ", the device was lost to it" if detail - 256 == EXIT_DEVICE_LOST else ""
    return f"exit status {detail - 256}{lost}"


def as_quarantine(found: EngineQuarantine) -> Quarantine:
    """The engine's last quarantine of a VM in words, with its time in UTC."""
    if found.number == 0:
        return Quarantine()
    if found.fault:
        kind = Fault(found.fault).name.lower()
        reason = f"{found.points} fault points, the last fault: {kind}"
    else:
        reason = "an administrator's decision"
    since = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(found.since_s))
    return Quarantine(found.number, found.active, reason, since)
