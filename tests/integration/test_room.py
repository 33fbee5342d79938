"""Room for a VM when all slots are taken: whose worker gives way, and who waits for that."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from tests.integration.host_under_test import WORKER, running_host, until
from tests.integration.spawner_under_test import Service, running_spawner, wait_gone
from tests.stub_client import Closed

UUIDS = [f"6f1c2f8e-0d5b-4a53-9a55-1d3c7c0a000{i}" for i in range(1, 6)]


@pytest.fixture
def service() -> Iterator[Service]:
    with running_spawner(worker=WORKER) as running:
        yield running


def numbered(count: int) -> dict[str, int]:
    return {uuid: i + 1 for i, uuid in enumerate(UUIDS[:count])}


@pytest.mark.parametrize("standby", [0, 1])
def test_vms_without_objects_take_turns_in_fewer_slots_than_they_are(
    service: Service, standby: int
) -> None:
    async def run() -> None:
        keys = {"max_workers": 2, "standby": standby}
        async with running_host(service, numbered(3), spawner_keys=keys) as host:
            for _ in range(3):
                for uuid in UUIDS[:3]:
                    await host.add(uuid)
            for vm in host.engine.snapshot().vms.values():
                assert (vm.failed, vm.refused, vm.faults) == (0, 0, 0)

    asyncio.run(run())


def test_the_worker_that_was_used_least_recently_gives_way(service: Service) -> None:
    async def run() -> None:
        keys = {"max_workers": 2, "standby": 0}
        async with running_host(service, numbered(3), spawner_keys=keys) as host:
            one, two, three = UUIDS[:3]
            for uuid in (one, two, one):
                await host.add(uuid)
            kept, given = host.worker_pid(one), host.worker_pid(two)
            await host.add(three)
            assert host.worker_pid(one) == kept
            assert host.worker_pid(two) == 0
            wait_gone(given)

    asyncio.run(run())


def test_several_that_wait_for_room_at_once_are_all_served(service: Service) -> None:
    async def run() -> None:
        keys = {"max_workers": 2, "standby": 0}
        async with running_host(service, numbered(5), spawner_keys=keys) as host:
            await host.add(UUIDS[0])
            await host.add(UUIDS[1])
            await asyncio.gather(host.add(UUIDS[2]), host.add(UUIDS[3]))
            await host.add(UUIDS[4])

    asyncio.run(run())


def test_one_that_waits_for_room_and_is_removed_leaves_it_to_others(service: Service) -> None:
    async def run() -> None:
        keys = {"max_workers": 1, "standby": 0}
        async with running_host(service, numbered(3), spawner_keys=keys) as host:
            one, two, three = UUIDS[:3]
            await host.add(one)
            given = host.worker_pid(one)
            host.spawner.silence()  # so that the room is not there yet
            asking = asyncio.create_task(host.add(two))
            await until(lambda: host.worker_pid(one) == 0, "it gives way")
            host.engine.remove_vm(two)
            wait_gone(given)
            host.spawner.listen()
            await host.add(three)
            with pytest.raises(Closed):
                await asking

    asyncio.run(run())


def test_a_launch_worker_without_objects_is_ended_when_it_was_idle_for_long(
    service: Service,
) -> None:
    async def run() -> None:
        keys = {"launch_idle_ms": 50, "standby": 0}
        async with running_host(service, numbered(1), spawner_keys=keys) as host:
            (uuid,) = UUIDS[:1]
            await host.add(uuid)
            await until(lambda: not host.spawner.workers(), "both its workers are ended")
            await host.add(uuid)
            vm = host.engine.snapshot().vms[uuid]
            assert (vm.failed, vm.faults) == (0, 0)

    asyncio.run(run())
