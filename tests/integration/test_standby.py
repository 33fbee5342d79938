"""The worker that waits for a VM: whose it becomes, and what it is not in the way of."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator

import pytest

from tests.integration.host_under_test import WORKER, Host, host_config, running_host, until
from tests.integration.spawner_under_test import Service, needs_root, running_spawner, wait_gone
from vgpud import standby
from vgpud.spawner import WorkerEntry
from vgpud.standby import LABEL, Readiness

ONE = "6f1c2f8e-0d5b-4a53-9a55-1d3c7c0a0001"
OTHER = "6f1c2f8e-0d5b-4a53-9a55-1d3c7c0a0002"
WITH_STANDBY = {"standby": 1}


@pytest.fixture
def service() -> Iterator[Service]:
    with running_spawner(worker=WORKER) as running:
        yield running


def the_standby(host: Host) -> WorkerEntry | None:
    """The process that is nobody's."""
    vms = host.engine.snapshot().vms.values()
    bound = {vm.worker_pid for vm in vms}
    idle = [w for w in host.spawner.workers() if w.label == LABEL and w.pid and w.pid not in bound]
    assert len(idle) <= 1
    return idle[0] if idle else None


async def ready(host: Host, other_than: int = 0) -> WorkerEntry:
    """Waits until a standby, of another pid, waits to be bound."""

    def there() -> bool:
        found = the_standby(host)
        return (
            found is not None
            and found.pid != other_than
            and host.engine.workforce.standby is Readiness.READY
        )

    await until(there, "a standby is ready")
    found = the_standby(host)
    assert found is not None
    return found


def test_a_vm_that_needs_a_worker_has_the_standby_and_another_one_takes_its_place(
    service: Service,
) -> None:
    async def run() -> None:
        async with running_host(service, {ONE: 1, OTHER: 2}, spawner_keys=WITH_STANDBY) as host:
            first = await ready(host)
            await host.add(ONE)
            assert host.worker_pid(ONE) == first.pid
            second = await ready(host, first.pid)
            assert second.slot != first.slot
            if os.geteuid() == 0:
                assert second.uid != first.uid
            await host.add(OTHER)
            assert host.worker_pid(OTHER) == second.pid
            assert host.worker_pid(ONE) == first.pid

    asyncio.run(run())


@needs_root
def test_a_standby_is_isolated_before_it_is_anybodys(service: Service) -> None:
    async def run() -> None:
        async with running_host(service, {ONE: 1}, spawner_keys=WITH_STANDBY) as host:
            waiting = await ready(host)
            before = os.stat(f"/proc/{waiting.pid}/ns/net").st_ino
            assert before != os.stat("/proc/self/ns/net").st_ino
            assert os.stat(f"/proc/{waiting.pid}").st_uid in (0, waiting.uid)
            await host.add(ONE)
            assert host.worker_pid(ONE) == waiting.pid

    asyncio.run(run())


def test_a_standby_that_is_killed_is_replaced_and_is_nobodys_fault(service: Service) -> None:
    async def run() -> None:
        async with running_host(service, {ONE: 1}, spawner_keys=WITH_STANDBY) as host:
            first = await ready(host)
            os.kill(first.pid, signal.SIGKILL)
            second = await ready(host, first.pid)
            await host.add(ONE)
            assert host.worker_pid(ONE) == second.pid
            vm = host.engine.snapshot().vms[ONE]
            assert (vm.faults, vm.failed) == (0, 0)

    asyncio.run(run())


@pytest.mark.parametrize("max_workers", [1, 2])
def test_a_vm_that_reaches_for_a_dead_standby_is_served_all_the_same(
    service: Service, max_workers: int
) -> None:
    async def run() -> None:
        keys = WITH_STANDBY | {"max_workers": max_workers}
        async with running_host(service, {ONE: 1}, spawner_keys=keys) as host:
            first = await ready(host)
            host.spawner.silence()  # so that its end is not heard of before it is needed
            os.kill(first.pid, signal.SIGKILL)
            wait_gone(first.pid)
            adding = asyncio.create_task(host.add(ONE))
            await until(lambda: host.engine.snapshot().vms[ONE].submitted > 0, "it asks")
            await until(lambda: host.engine.workforce.standby is Readiness.ENDING, "it was reached")
            host.spawner.listen()
            await adding
            assert host.worker_pid(ONE) not in (0, first.pid)
            assert host.engine.snapshot().vms[ONE].faults == 0

    asyncio.run(run())


def test_a_standby_that_dies_while_it_is_bound_is_nobodys_failure(service: Service) -> None:
    async def run() -> None:
        async with running_host(service, {ONE: 1}, spawner_keys=WITH_STANDBY) as host:
            first = await ready(host)
            os.kill(first.pid, signal.SIGSTOP)
            adding = asyncio.create_task(host.add(ONE))
            await until(lambda: host.engine.workforce.standby is None, "it is taken")
            host.spawner.silence()  # so that its socket tells first
            os.kill(first.pid, signal.SIGKILL)
            wait_gone(first.pid)
            await asyncio.sleep(0)
            host.spawner.listen()
            await adding
            assert host.worker_pid(ONE) not in (0, first.pid)
            vm = host.engine.snapshot().vms[ONE]
            assert (vm.faults, vm.failed, vm.refused) == (0, 0, 0)

    asyncio.run(run())


def test_a_standby_that_has_not_opened_its_device_yet_is_taken_too(service: Service) -> None:
    async def run() -> None:
        async with running_host(service, {ONE: 1}, spawner_keys=WITH_STANDBY) as host:
            starting = the_standby(host)
            assert starting is not None
            os.kill(starting.pid, signal.SIGSTOP)
            assert host.engine.workforce.standby is Readiness.STARTING
            adding = asyncio.create_task(host.add(ONE))
            await until(lambda: host.engine.workforce.standby is None, "it is taken")
            os.kill(starting.pid, signal.SIGCONT)
            await adding
            assert host.worker_pid(ONE) == starting.pid

    asyncio.run(run())


def test_two_vms_at_once_are_both_served_and_one_of_them_by_the_standby(service: Service) -> None:
    async def run() -> None:
        async with running_host(service, {ONE: 1, OTHER: 2}, spawner_keys=WITH_STANDBY) as host:
            waiting = await ready(host)
            await asyncio.gather(host.add(ONE), host.add(OTHER))
            pids = [host.worker_pid(ONE), host.worker_pid(OTHER)]
            assert waiting.pid in pids and pids[0] != pids[1]
            await ready(host)

    asyncio.run(run())


def test_a_standby_counts_among_the_workers_and_gives_way(service: Service) -> None:
    async def run() -> None:
        keys = WITH_STANDBY | {"max_workers": 1}
        async with running_host(service, {ONE: 1, OTHER: 2}, spawner_keys=keys) as host:
            waiting = await ready(host)
            await host.add(ONE)
            assert host.worker_pid(ONE) == waiting.pid
            assert host.engine.workforce.standby is None
            assert [worker.pid for worker in host.spawner.workers()] != []
            assert len({worker.slot for worker in host.spawner.workers()}) == 1
            host.engine.remove_vm(ONE)
            following = await ready(host, waiting.pid)
            await host.add(OTHER)
            assert host.worker_pid(OTHER) == following.pid

    asyncio.run(run())


def test_the_next_vgpud_has_one_standby_and_its_predecessors_is_gone(service: Service) -> None:
    async def run() -> None:
        async with running_host(service, {ONE: 1}, spawner_keys=WITH_STANDBY) as host:
            await host.add(ONE)
            theirs = host.worker_pid(ONE)
            former = await ready(host, theirs)
        async with running_host(service, {ONE: 1}, spawner_keys=WITH_STANDBY) as host:
            assert host.worker_pid(ONE) == theirs
            present = await ready(host, former.pid)
            wait_gone(former.pid)
            living = {worker.pid for worker in host.spawner.workers() if worker.pid}
            assert present.pid in living and theirs in living
            await until(
                lambda: len({w.slot for w in host.spawner.workers()}) == 2, "no slot is lost"
            )

    asyncio.run(run())


def test_a_standby_can_be_done_without_and_back_again(service: Service) -> None:
    async def run() -> None:
        async with running_host(service, {ONE: 1}, spawner_keys={"standby": 0}) as host:
            assert host.engine.workforce.standby is None
            host.engine.reload(host_config(service, {"standby": 1}))
            waiting = await ready(host)
            host.engine.reload(host_config(service, {"standby": 0}))
            wait_gone(waiting.pid)
            await until(lambda: host.engine.workforce.standby is None, "its end is known")
            assert the_standby(host) is None

    asyncio.run(run())


def test_none_is_started_on_a_host_that_is_short_of_memory(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(standby, "LEAVE_FREE_BYTES", standby.spare_memory_bytes() * 16)

    async def run() -> None:
        async with running_host(service, {ONE: 1}, spawner_keys=WITH_STANDBY) as host:
            assert the_standby(host) is None
            await host.add(ONE)
            assert the_standby(host) is None
            monkeypatch.setattr(standby, "LEAVE_FREE_BYTES", 0)
            await ready(host)  # after the pause

    asyncio.run(run())


def test_a_standby_with_another_device_open_is_replaced(service: Service) -> None:
    async def run() -> None:
        async with running_host(service, {ONE: 1}, spawner_keys=WITH_STANDBY) as host:
            former = await ready(host)
            settings = {"VGPU_BACKEND": "null", "VGPU_CPU_THREADS": "1"}
            host.engine.workforce.use_device(settings)
            present = await ready(host, former.pid)
            wait_gone(former.pid)
            with open(f"/proc/{present.pid}/environ", "rb") as environment:
                assert b"VGPU_CPU_THREADS=1" in environment.read().split(b"\0")
            host.engine.workforce.use_device({})  # there is none any more
            wait_gone(present.pid)
            await until(lambda: host.engine.workforce.standby is None, "its end is known")
            assert the_standby(host) is None

    asyncio.run(run())
