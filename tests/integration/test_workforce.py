"""Workers between engine and spawner: whose they are, and what is done when something is amiss."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator

import pytest

from tests.integration.host_under_test import WORKER, running_host, until
from tests.integration.spawner_under_test import STRANGER_UID, Service, running_spawner, wait_gone
from tests.stub_client import Opcode, WireStatus, parse_response
from vgpud.errors import EngineError
from vgpud.spawner import Role

ONE = "6f1c2f8e-0d5b-4a53-9a55-1d3c7c0a0001"
NULL = {"VGPU_BACKEND": "null"}
OTHER = "6f1c2f8e-0d5b-4a53-9a55-1d3c7c0a0002"


@pytest.fixture
def service() -> Iterator[Service]:
    with running_spawner(worker=WORKER) as running:
        yield running


def test_the_end_of_a_removed_vms_worker_takes_nothing_from_its_successor(
    service: Service,
) -> None:
    async def run() -> None:
        async with running_host(service, {ONE: 1}) as host:
            await host.add(ONE)
            host.spawner.silence()
            host.engine.remove_vm(ONE)
            host.set_vm(ONE, 2)
            await host.add(ONE)
            (held,) = set(host.held_workers(ONE)) - {f"vm/{ONE}/worker/0/2"}
            host.spawner.listen()
            await until(lambda: len(host.spawner.workers()) == 1, "the first has ended")
            assert host.held_workers(ONE) == [held]
            # And its own end is noticed.
            pid = host.worker_pid(ONE)
            os.kill(pid, signal.SIGKILL)
            await until(lambda: host.worker_pid(ONE) == 0, "the end of the second is known")
            await host.add(ONE)

    asyncio.run(run())


def test_what_was_held_for_a_worker_that_came_to_nothing_is_let_go_of(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def run() -> None:
        async with running_host(service, {ONE: 1}) as host:

            def refuse(*args: object) -> None:
                raise EngineError("the engine is out of sorts")

            monkeypatch.setattr(host.mediator, "attach_worker", refuse)
            with host.stub(ONE) as stub:
                answer = await asyncio.to_thread(stub.request, Opcode.VECTOR_ADD, (1, 2))
            assert answer.status == WireStatus.UNAVAILABLE
            await until(lambda: not host.spawner.workers(), "it has ended")
            assert host.held_workers(ONE) == []

    asyncio.run(run())


def test_a_slot_in_which_something_still_ends_is_passed_over(service: Service) -> None:
    async def run() -> None:
        orphan = service.spawn(service.connect(), Role.LAUNCH, 0, NULL)
        async with running_host(service, {}) as host:
            host.spawner.silence()  # so that the end of the orphan is not heard of
            service.spawn(service.connect(), Role.LAUNCH, 1, NULL)  # and of this one nothing at all
            host.set_vm(ONE, 1)
            await host.add(ONE)
            slots = {worker.pid: worker.slot for worker in host.spawner.workers()}
            assert slots[host.worker_pid(ONE)] == 2
            orphan.wait_ended()

    asyncio.run(run())


def test_nobody_is_given_a_slot_before_all_that_are_taken_are_known(service: Service) -> None:
    async def run() -> None:
        async with running_host(service, {ONE: 1, OTHER: 2}) as host:
            await host.add(OTHER)
            others = host.worker_pid(OTHER)
            stub = host.stub(ONE)
            number = stub.send_request(Opcode.VECTOR_ADD, (20, 22))
            while host.engine.snapshot().vms[ONE].queued == 0:
                pass  # the event loop stands still, so that nobody starts a worker
        async with running_host(service, {ONE: 1, OTHER: 2}) as host:
            answer = await asyncio.to_thread(stub.receive)
            assert answer.request_id == number
            assert parse_response(answer.payload).status == WireStatus.OK
            assert host.worker_pid(OTHER) == others
            stub.close()

    asyncio.run(run())


def test_a_request_that_is_not_answered_is_the_loss_of_the_spawner(service: Service) -> None:
    async def run() -> None:
        async with running_host(service, {ONE: 1, OTHER: 2}, timeout_s=0.2) as host:
            service.process.send_signal(signal.SIGSTOP)
            with host.stub(ONE) as stub:
                stub.send_request(Opcode.VECTOR_ADD, (1, 2))
                await until(lambda: bool(host.lost), "it is told of")
                assert host.spawner.fileno() == -1
                # What waits is not refused: the next vgpud can go on with it.
                assert host.engine.snapshot().vms[ONE].queued == 1
            assert len(host.lost) == 1 and "timed out" in str(host.lost[0])

    asyncio.run(run())


def test_a_worker_that_ends_is_settled_with_its_vm_whatever_the_spawner_does(
    service: Service,
) -> None:
    async def run() -> None:
        async with running_host(service, {ONE: 1}, timeout_s=0.5) as host:
            await host.add(ONE)
            pid = host.worker_pid(ONE)
            host.spawner.silence()
            os.kill(pid, signal.SIGSTOP)
            with host.stub(ONE) as stub:
                stub.send_request(Opcode.VECTOR_ADD, (1, 2))
                await until(lambda: host.engine.snapshot().vms[ONE].running == 1, "it runs")
                os.kill(pid, signal.SIGKILL)
                wait_gone(pid)
                # The report is on the way, and it is the last thing that the spawner says.
                await until(lambda: host.spawner.workers()[0].pid == 0, "it was reaped")
                service.process.send_signal(signal.SIGSTOP)
                host.spawner.listen()
                answer = await asyncio.to_thread(stub.receive)
                assert parse_response(answer.payload).status == WireStatus.DEVICE_LOST
            await until(lambda: bool(host.lost), "the loss is told of")

    asyncio.run(run())


def test_a_spawner_that_cannot_keep_workers_apart_is_told_of() -> None:
    user = STRANGER_UID if os.geteuid() == 0 else None

    async def gaps(service: Service) -> tuple[str, ...]:
        async with running_host(service, {}) as host:
            return host.engine.snapshot().isolation_gaps

    with running_spawner(f"--allow-uid={os.geteuid()}", worker=WORKER, user=user) as unprivileged:
        first, *_ = asyncio.run(gaps(unprivileged))
        assert "workers have no account of their own" in first
    if os.geteuid() == 0:
        with running_spawner(worker=WORKER) as service:
            assert not [gap for gap in asyncio.run(gaps(service)) if "account" in gap]
