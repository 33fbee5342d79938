"""The abuse table: what a VM's client, or an administrator's, may do to the daemon.

Each abuse is a context: entered, it is in full swing, and it goes on until it is left. What it has
to leave behind, so that an administrator sees whose it was, is its `evidence`. Storms are processes
of their own, so that those who look for others' answers do not share an interpreter with them.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass

from tests import ring_abi
from tests.daemon.abuse_ring import (
    attaches_and_leaves,
    breaks_indices,
    consumes_nothing,
    fills_eventfds,
    overwrites_entries,
    resets,
    rings_for_nothing,
    scribbles,
    shrinks_memory,
    submits_nonsense,
)
from tests.daemon.abuse_stub import (
    EIGHT_MIB,
    connects_and_closes,
    forges_ids,
    idles_as_admin,
    leaves_answers_unread,
    nops,
    pings_and_closes,
    queues_more_than_it_may,
    says,
    sends_nonsense,
    sends_second_clients,
)
from tests.daemon.guests import Guest
from tests.daemon.storms import Context
from tests.stub_client import (
    CUDA_CALL,
    MAGIC,
    MessageType,
    header,
)

THREE_GIB = 3 << 30
PIPELINED_CALLS = 349


@dataclass(frozen=True)
class Abuse:
    """`begin(guest, victim)` is done by `guest`; `evidence(guest, victim)` is there meanwhile."""

    name: str
    begin: Callable[[Guest, Guest], Context]
    evidence: Callable[[Guest, Guest], None]


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
