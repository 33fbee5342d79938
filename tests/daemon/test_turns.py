"""Whose turn it is on a real vgpud's device, as its trace tells afterwards."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.daemon.guests import Guest, build, register, stopped, traced
from tests.daemon_under_test import RunningDaemon, running_vgpud
from tests.ring_abi import Kind, Status, Submission, op_kernel_create, op_launch, op_nop
from tests.ring_client import RingClient
from vgpud.model.priority import Priority

LAUNCHES = 40
CHAIN_AT = 0x1000
LOW, HIGH = Priority.LOW, Priority.HIGH


def kernel(ring: RingClient, busy_us: int) -> None:
    """Kernel 1, which keeps the null device busy for so long at each launch."""
    build(ring)
    assert ring.run(op_kernel_create(1, 1, b"busy_%dus" % busy_us)).status == Status.OK


def test_another_vm_is_served_between_the_parts_of_a_long_chain(
    guest: Guest, neighbour: Guest
) -> None:
    with guest.ring() as ring, neighbour.ring() as other:
        assert other.run(op_nop()).status == Status.OK
        kernel(ring, 5000)  # longer than quantum_us: there is a part for every launch
        chain = op_launch(1, [1]) * LAUNCHES
        ring.poke(ring.data_at(CHAIN_AT), chain)
        with stopped(guest.worker()):
            ring.submit(Submission(7, kind=Kind.COMMAND, cmd_len=len(chain), cmd_off=CHAIN_AT))
            guest.when(lambda live: live.running == 1, "it has the device")
            other.submit(Submission(8, kind=Kind.COMMAND, cmd_len=8))
            neighbour.when(lambda live: live.queued == 1, "the other one waits")
        assert (other.wait().status, ring.wait().status) == (Status.OK, Status.OK)
    long, short = traced(guest)[-1], traced(neighbour)[-1]
    assert (long.dispatches, short.dispatches) == (LAUNCHES, 1)
    order = [long.picked_ns or 0, short.picked_ns or 0, short.ended_ns or 0, long.ended_ns or 0]
    assert all(order) and order == sorted(order)


@pytest.fixture(params=["pool", "global"])
def scoped_vgpud(request: pytest.FixtureRequest) -> Iterator[tuple[RunningDaemon, str]]:
    """A daemon whose priorities have a scope, and the scope; nothing ages in it."""
    scheduler = {"priority_scope": request.param, "aging_share_percent": 0}
    with running_vgpud({"scheduler": scheduler}) as daemon:
        yield daemon, request.param


def admin(daemon: RunningDaemon, *words: str) -> None:
    done = daemon.admin(*words)
    assert done.returncode == 0, done.stderr


def test_low_work_waits_behind_high_work_of_another_pool_only_with_priority_scope_global(
    scoped_vgpud: tuple[RunningDaemon, str],
) -> None:
    daemon, scope = scoped_vgpud
    admin(daemon, "create-pool", "--pool-id=C")
    # By weight and by what it has had, the pool of the high one is far behind that of the low one.
    admin(daemon, "set-weight", "--pool-id=A", "--weight=100")
    admin(daemon, "set-weight", "--pool-id=B", "--weight=1")
    low, high = register(daemon, priority=LOW), register(daemon, pool="B", priority=HIGH)
    holder = register(daemon, pool="C")
    with low.ring() as of_low, high.ring() as of_high, holder.ring() as holding:
        for ring in (of_low, holding):
            assert ring.run(op_nop()).status == Status.OK
        kernel(of_high, 200_000)
        assert of_high.run(op_launch(1, [1])).status == Status.OK
        for ring in (of_low, of_high, holding):
            ring.poke(ring.data_at(), op_nop())
        with stopped(holder.worker()):
            holding.submit(Submission(7, kind=Kind.COMMAND, cmd_len=8))
            holder.when(lambda live: live.running == 1, "the device is held")
            for vm, ring in ((low, of_low), (high, of_high)):
                ring.submit(Submission(8, kind=Kind.COMMAND, cmd_len=8))
                vm.when(lambda live: live.queued == 1, "it waits")
        for ring in (holding, of_low, of_high):
            assert ring.wait().status == Status.OK
    picked_low, picked_high = (traced(vm)[-1].picked_ns for vm in (low, high))
    assert picked_low and picked_high
    assert (picked_high < picked_low) == (scope == "global")
