"""A VM's sockets over a restart: what is gone is made anew, what failed is tried again."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.host_under_test import WORKER, Host, running_host
from tests.integration.spawner_under_test import Service, running_spawner
from vgpud.errors import EngineError
from vgpud.vm_files import VmFiles

VM = "6f1c2f8e-0d5b-4a53-9a55-1d3c7c0a0001"


@pytest.fixture
def service() -> Iterator[Service]:
    with running_spawner(worker=WORKER) as running:
        yield running


def sockets(service: Service) -> Path:
    return service.directory / "vms" / VM


def test_sockets_that_are_gone_at_a_restart_are_made_anew_and_the_worker_stays(
    service: Service,
) -> None:
    async def run() -> None:
        async with running_host(service, {VM: 1}) as host:
            await host.add(VM)
            worker = host.worker_pid(VM)
        shutil.rmtree(sockets(service))
        for _ in range(2):  # what is held leads to the new ones
            async with running_host(service, {VM: 1}) as host:
                await host.add(VM)
                assert host.worker_pid(VM) == worker

    asyncio.run(run())


def test_sockets_that_could_not_be_opened_to_their_account_are_opened_later(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[int] = []

    def fails(self: VmFiles, vm_uuid: str, peer_uid: int) -> None:
        raise EngineError("there is no setfacl")

    def works(self: VmFiles, vm_uuid: str, peer_uid: int) -> None:
        opened.append(peer_uid)

    async def run() -> None:
        async with running_host(service, {VM: 1}):
            pass
        # The reconciler sets the VM, is told that it failed, and sets it again.
        async with running_host(service, {}, begun=set_twice):
            pass

    def set_twice(host: Host) -> None:
        monkeypatch.setattr(VmFiles, "open_to", fails)
        with pytest.raises(EngineError, match="setfacl"):
            host.set_vm(VM, 1)
        monkeypatch.setattr(VmFiles, "open_to", works)
        for _ in range(2):
            host.set_vm(VM, 1)

    asyncio.run(run())
    assert opened == [os.geteuid()]
