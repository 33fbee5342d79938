"""The abuse table against a real vgpud: the abuser goes on while every other VM is served.

Every row says the same three things. The others are answered, over connections from before and over
new ones, by the engine and by their workers, and administrators are heard. Memory and descriptors
are bounded by the numbers below. And what was done can be seen on the VM that did it, in a log that
it has not filled.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import psutil
import pytest

from tests.daemon.abuse import ABUSES, Abuse
from tests.daemon.guests import Guest, register, spawner_of, vgpud_of
from tests.daemon_under_test import RunningDaemon, running_vgpud
from tests.ring_abi import Status, op_nop
from tests.ring_client import RingClient
from tests.stub_client import Opcode, StubClient, WireStatus

ROUNDS = 10
# What one VM may have vgpud take: its slots and unread answers, the pages of its queues, and what
# the interpreter asks for besides; two connections, a worker, and those that look on.
VGPUD_BYTES = 4 << 20
SPAWNER_BYTES = 1 << 20
DESCRIPTORS = 24
# Events of one VM that are told in ten seconds, and lines about its workers.
LOG_LINES = 150


@pytest.fixture(scope="module")
def abused_vgpud() -> Iterator[RunningDaemon]:
    """A daemon that has served somebody, so that it is as large as it gets in peace.

    It quarantines nobody: an abuse goes on until it is left.
    """
    with running_vgpud({"faults": {"threshold": 0}}) as daemon:
        guest = register(daemon)
        guest.warm_up()
        with guest.ring() as ring:
            assert ring.run(op_nop()).status == Status.OK
        guest.remove()
        yield daemon


@dataclass(frozen=True)
class Size:
    """How much a process has: resident bytes, open descriptors."""

    rss: int
    fds: int

    @classmethod
    def of(cls, process: psutil.Process) -> Size:
        return cls(process.memory_info().rss, process.num_fds())


@dataclass(frozen=True)
class Bystander:
    """A VM that is connected both ways since before."""

    guest: Guest
    stub: StubClient
    ring: RingClient

    def is_served(self) -> None:
        assert self.stub.request(Opcode.NOP).status == WireStatus.OK
        assert self.stub.vector_add(20, 22) == 42
        assert self.ring.nop().status == Status.OK
        assert self.ring.run(op_nop()).status == Status.OK


def newcomer_is_served(guest: Guest) -> None:
    with guest.stub() as stub, guest.ring() as ring:
        Bystander(guest, stub, ring).is_served()


@pytest.mark.parametrize("abuse", ABUSES, ids=lambda abuse: abuse.name)
def test_others_are_served_memory_is_bounded_and_the_abuser_is_named(
    abused_vgpud: RunningDaemon, abuse: Abuse
) -> None:
    daemon, spawner = vgpud_of(abused_vgpud), spawner_of(abused_vgpud)
    abuser, old, new = (register(abused_vgpud, pool=pool) for pool in "ABA")
    for guest in (abuser, new):
        guest.warm_up()
    with ExitStack() as stack:
        bystander = Bystander(old, stack.enter_context(old.stub()), stack.enter_context(old.ring()))
        bystander.is_served()
        before, spawner_before = Size.of(daemon), Size.of(spawner)
        with abuse.begin(abuser, old):
            for _ in range(ROUNDS):
                bystander.is_served()
                newcomer_is_served(new)
                assert old.live().faults == new.live().faults == 0
            now, spawner_now = Size.of(daemon), Size.of(spawner)
            abuse.evidence(abuser, old)
        bystander.is_served()
    assert now.rss <= before.rss + VGPUD_BYTES
    assert spawner_now.rss <= spawner_before.rss + SPAWNER_BYTES
    assert now.fds <= before.fds + DESCRIPTORS
    assert spawner_now.fds <= spawner_before.fds + DESCRIPTORS
    log = abused_vgpud.log.read_text(errors="replace")
    assert len(re.findall(abuser.uuid, log)) <= LOG_LINES
    assert old.live().failed == new.live().failed == 0
    for guest in (abuser, old, new):
        guest.remove()
