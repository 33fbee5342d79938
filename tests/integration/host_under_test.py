"""A HostEngine with a real engine, a real spawner and real workers, in the process of the test.

A daemon without its control socket: here a test decides when the news of the spawner is read.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.integration.spawner_under_test import ROOT, WAIT_S, Service
from tests.stub_client import StubClient
from vgpud.config import Config
from vgpud.config_file import config_from_document
from vgpud.descriptors import DescriptorBudget, raise_file_limit
from vgpud.engine import HostEngine
from vgpud.engine_limits import limits_of
from vgpud.mediator import Mediator
from vgpud.model.pool import Pool
from vgpud.model.priority import Priority
from vgpud.model.vm import NEVER_QUARANTINED, PeerRule, Vm
from vgpud.probe import find_device
from vgpud.spawner import Spawner, SpawnerLostError, close_fds, open_hold_channel

WORKER = Path(os.environ.get("VGPUD_BIN", ROOT / "vgpud" / "bin")) / "vgpu-worker"
POLL_S = 0.005


@dataclass
class Host:
    """An engine on a spawner, and how a test sees and moves it."""

    engine: HostEngine
    mediator: Mediator
    spawner: Spawner
    run_dir: Path
    lost: list[SpawnerLostError] = field(default_factory=list)

    def set_vm(self, vm_uuid: str, vm_id: int) -> None:
        """Register a VM whose clients run as this process does."""
        peer = PeerRule(os.geteuid())
        vm = Vm(vm_uuid, vm_id, None, "A", Priority.MEDIUM, peer=peer)
        self.engine.set_vm(vm, NEVER_QUARANTINED)

    def stub(self, vm_uuid: str) -> StubClient:
        """A version 1 connection, not to be waited for in the event loop."""
        return StubClient(self.run_dir / "vms" / vm_uuid / "stub.sock", WAIT_S)

    async def add(self, vm_uuid: str) -> None:
        """Have a VM compute something, which needs a worker."""

        def ask() -> int:
            with self.stub(vm_uuid) as stub:
                return stub.vector_add(20, 22)

        assert await asyncio.to_thread(ask) == 42
        await until(lambda: not self.engine.snapshot().vms[vm_uuid].connected_stub, "it has left")

    def worker_pid(self, vm_uuid: str) -> int:
        """Of the worker that the engine has for a VM; 0 for none."""
        return self.engine.snapshot().vms[vm_uuid].worker_pid

    def held_workers(self, vm_uuid: str) -> list[str]:
        """The keys under which workers of a VM are held."""
        entries = self.spawner.fetch(f"vm/{vm_uuid}/worker")
        for entry in entries:
            close_fds(entry.fds)
        return [entry.key for entry in entries]


async def until(condition: Callable[[], bool], what: str) -> None:
    """Let the event loop run until something is so."""
    loop = asyncio.get_running_loop()
    end = loop.time() + WAIT_S
    while not condition():
        assert loop.time() < end, f"not within {WAIT_S:g} s: {what}"
        await asyncio.sleep(POLL_S)


def host_config(service: Service, spawner: Mapping[str, int]) -> Config:
    """A configuration with the null device, and directories of the service.

    There is no standby unless `spawner`, keys of that section, says so.
    """
    directories = {"run_dir": str(service.directory), "state_dir": str(service.directory)}
    return config_from_document(
        {
            "daemon": directories,
            "device": {"backend": "null"},
            "spawner": {"standby": 0, **spawner},
        },
        "test",
    )


@asynccontextmanager
async def running_host(
    service: Service,
    vms: dict[str, int],
    timeout_s: float = WAIT_S,
    begun: Callable[[Host], None] = lambda host: None,
    spawner_keys: Mapping[str, int] | None = None,
) -> AsyncIterator[Host]:
    """An engine with pool A and these VMs, by UUID and id. It ends, the spawner does not.

    A request to the spawner may take `timeout_s`. `begun` is called before workers are adopted.
    """
    config = host_config(service, spawner_keys or {})
    spawner = Spawner.connect(service.socket_path, timeout_s)
    service.clients.append(spawner)
    device = await find_device(spawner, config.device, WAIT_S)
    mediator = Mediator(limits_of(config))
    mediator.set_hold_fd(open_hold_channel(service.socket_path).detach())
    descriptors = DescriptorBudget.of(config, raise_file_limit())
    engine = HostEngine(config, spawner, mediator, device, descriptors)
    host = Host(engine, mediator, spawner, service.directory)
    spawner.watch(engine.workforce.exited, host.lost.append)
    engine.begin()
    engine.set_pool(Pool("A"))
    for vm_uuid, vm_id in vms.items():
        host.set_vm(vm_uuid, vm_id)
    begun(host)
    engine.start()
    try:
        yield host
    finally:
        engine.stop()
