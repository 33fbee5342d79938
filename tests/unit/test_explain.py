"""What the engine says of a waiting request, as Python has it; the rules are tested in C."""

from __future__ import annotations

import os
import select
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.stub_client import Opcode, StubClient
from vgpud.config import Config
from vgpud.engine_limits import limits_of
from vgpud.errors import EngineError
from vgpud.mediator import EventType, Mediator, format_journal, journal_bytes, ring_bytes
from vgpud.model.explanation import Explanation, Hold
from vgpud.model.mediation import VmFds, VmIdentity
from vgpud.vm_files import doorbell, seal, sealed_memfd

UUID = "00000000-0000-4000-8000-000000000001"
SLOTS, PAIRS, ENTRIES, DATA_BYTES = 16, 1, 16, 65536


@pytest.fixture
def mediator() -> Iterator[Mediator]:
    """An engine that runs, with pool A and nobody in it."""
    engine = Mediator(limits_of(Config()))
    engine.set_pool("A", 50, True)
    engine.start()
    yield engine
    engine.close()


def listen(path: Path) -> int:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.setblocking(False)
    listener.bind(str(path))
    listener.listen()
    return listener.detach()


def add_vm(mediator: Mediator, directory: Path) -> int:
    """A VM of this process's uid, reached at stub.sock; returns its handle."""
    journal = os.memfd_create("journal", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.ftruncate(journal, journal_bytes(SLOTS))
    format_journal(journal, SLOTS, PAIRS, ENTRIES, DATA_BYTES)
    seal(journal)
    fds = VmFds(
        journal=journal,
        ring=sealed_memfd("ring", ring_bytes(PAIRS, ENTRIES, DATA_BYTES)),
        stub_listener=listen(directory / "stub.sock"),
        ring_listener=listen(directory / "ring.sock"),
        host_doorbells=[doorbell()],
        guest_doorbells=[doorbell()],
    )
    identity = VmIdentity(
        uuid=UUID,
        vm_id=1,
        peer_uid=os.getuid(),
        weight=50,
        max_queued=0,
        max_rate=0,
        max_burst=0,
        quarantine_number=0,
        quarantined=False,
        pool_id="A",
        priority=1,
    )
    return mediator.add_vm(identity, fds)


def wait_for_work(mediator: Mediator) -> None:
    """Until the engine wants a worker: then it has a request."""
    seen: list[EventType] = []
    while EventType.WORKERS not in seen:
        assert select.select([mediator.event_fd()], [], [], 10)[0], "no request arrived"
        seen += [event.type for event in mediator.events()]


def test_a_request_that_waits_for_a_worker_is_explained(
    mediator: Mediator, short_dir: Path
) -> None:
    handle = add_vm(mediator, short_dir)
    assert mediator.explain(handle) is None
    with StubClient(short_dir / "stub.sock") as client:
        client.send_request(Opcode.VECTOR_ADD, (1, 2))
        wait_for_work(mediator)
        said = mediator.explain(handle)
        assert said is not None and said.waited_ns > 0
        assert said == Explanation(
            Hold.NO_WORKER, said.seq, said.waited_ns, None, 0, 0, 0, 0, running=0
        )
        by_number = mediator.explain(handle, said.seq)
        assert by_number is not None and by_number.seq == said.seq
        assert mediator.explain(handle, said.seq + 1) is None

        mediator.set_pool("A", 50, False)
        said = mediator.explain(handle)
        assert said is not None and said.hold is Hold.POOL_DISABLED


def test_a_vm_that_is_not_there_is_an_error(mediator: Mediator) -> None:
    with pytest.raises(EngineError, match="explain what VM 7 waits for"):
        mediator.explain(7)
