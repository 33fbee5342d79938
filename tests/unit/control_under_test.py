"""The real control path in a thread: real socket, real database; only the engine is a double."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import threading
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from vgpud.config import ControlConfig
from vgpud.control.authz import RolePolicy
from vgpud.control.dispatch import Dispatch
from vgpud.control.handlers.context import Context
from vgpud.control.listener import ControlListener
from vgpud.control.policy import role_policy
from vgpud.control.server import ControlServer
from vgpud.errors import EngineError, VgpudError
from vgpud.model.engine import DeviceStatus, EngineSnapshot, PoolStatus, VmStatus
from vgpud.model.explanation import Explanation
from vgpud.model.pool import Pool
from vgpud.model.priority import Priority
from vgpud.model.trace import (
    RequestKind,
    RequestOutcome,
    RequestStatus,
    TraceBatch,
    TracedRequest,
    TraceEntry,
    Transport,
)
from vgpud.model.vm import NEVER_QUARANTINED, Quarantine, Vm
from vgpud.reconcile import Reconciler
from vgpud.store.store import AuditEntry, Store

Result = TypeVar("Result")

UUID_1 = "5b0a4c6e-2f6d-4a55-9a51-0a6f2d1c7e01"
UUID_2 = "5b0a4c6e-2f6d-4a55-9a51-0a6f2d1c7e02"
UUID_3 = "5b0a4c6e-2f6d-4a55-9a51-0a6f2d1c7e03"

# Nobody on this machine but for those a test lets in: the tests may run as root or not.
CONFIG = ControlConfig(admin_group="", view_group="")


class TraceDouble:
    """Gives what it was given: `kept` at once, and to followers what is added later."""

    def __init__(self) -> None:
        self.kept: list[TracedRequest] = []
        self.asked: list[tuple[str | None, int]] = []
        self.left = threading.Event()
        self._queues: set[asyncio.Queue[TraceBatch | None]] = set()

    def latest(self, vm_uuid: str | None, count: int) -> TraceBatch:
        self.asked.append((vm_uuid, count))
        return TraceBatch(self.kept[-count:], 0)

    async def follow(self, vm_uuid: str | None, count: int) -> AsyncGenerator[TraceBatch, None]:
        queue: asyncio.Queue[TraceBatch | None] = asyncio.Queue()
        self._queues.add(queue)
        try:
            yield self.latest(vm_uuid, count)
            while (batch := await queue.get()) is not None:
                yield batch
        finally:
            self._queues.discard(queue)
            self.left.set()

    def add(self, batch: TraceBatch | None) -> None:
        """To be called in the loop; None ends all followers."""
        for queue in self._queues:
            queue.put_nowait(batch)


def traced(seq: int, vm_uuid: str | None = UUID_1, **changes: Any) -> TracedRequest:
    """A finished request that waited 100 us, ran 20 us, and was answered after 150 us."""
    entry = TraceEntry(
        seq=seq,
        request=seq,
        cookie=0xFFFF_FFFF_FFFF_FFFF,
        received_ns=1_000_000,
        queued_ns=1_000_000,
        picked_ns=1_100_000,
        started_ns=1_110_000,
        ended_ns=1_130_000,
        answered_ns=1_150_000,
        device_ns=20_000,
        build_ns=0,
        handle=0,
        vm_id=1,
        stream=2,
        dispatches=1,
        op_index=1,
        native=0,
        retry_after_us=0,
        status=RequestStatus.OK,
        queue_pair=0,
        pool_id="A",
        priority=Priority.HIGH,
        transport=Transport.RING,
        kind=RequestKind.COMMAND,
        outcome=RequestOutcome.ANSWERED,
    )
    return TracedRequest(replace(entry, **changes), vm_uuid)


@dataclass
class EngineDouble:
    """Remembers what it was told; fails for the names in `broken`.

    `found` are the quarantines that it has begun by itself.
    """

    pools: dict[str, Pool] = field(default_factory=dict)
    vms: dict[str, Vm] = field(default_factory=dict)
    quarantines: dict[str, Quarantine] = field(default_factory=dict)
    found: dict[str, Quarantine] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)
    broken: dict[str, OSError | EngineError] = field(default_factory=dict)
    live: dict[str, VmStatus] = field(default_factory=dict)
    explanations: dict[str, list[Explanation]] = field(default_factory=dict)
    device_reason: str = ""
    draining: bool = False
    isolation_gaps: tuple[str, ...] = ()
    live_pools: dict[str, PoolStatus] = field(default_factory=dict)
    trace: TraceDouble = field(default_factory=TraceDouble)

    def set_pool(self, pool: Pool) -> None:
        self._note("set_pool", pool.pool_id)
        self.pools[pool.pool_id] = pool

    def remove_pool(self, pool_id: str) -> None:
        self._note("remove_pool", pool_id)
        self.pools.pop(pool_id, None)

    def set_vm(self, vm: Vm, quarantine: Quarantine) -> None:
        self._note("set_vm", vm.vm_uuid)
        self.vms[vm.vm_uuid] = vm
        self.quarantines[vm.vm_uuid] = quarantine

    def remove_vm(self, vm_uuid: str) -> None:
        self._note("remove_vm", vm_uuid)
        self.vms.pop(vm_uuid, None)

    def quarantine_of(self, vm_uuid: str) -> Quarantine:
        return self.found.get(vm_uuid, NEVER_QUARANTINED)

    def snapshot(self) -> EngineSnapshot:
        device = DeviceStatus(
            "Test Device", "null", 8 << 30, 2, not self.device_reason, self.device_reason
        )
        vms = {vm_uuid: self.live.get(vm_uuid, VmStatus()) for vm_uuid in self.vms}
        return EngineSnapshot(
            running=True,
            draining=self.draining,
            device=device,
            vms=vms,
            pools=self.live_pools,
            events_dropped=0,
            requests_total=7,
            isolation_gaps=self.isolation_gaps,
        )

    def explain(self, vm_uuid: str, seq: int | None) -> Explanation | None:
        queued = self.explanations.get(vm_uuid, [])
        return next((why for why in queued if seq in (None, why.seq)), None)

    def vm_status(self, vm_uuid: str) -> VmStatus | None:
        return self.live.get(vm_uuid, VmStatus()) if vm_uuid in self.vms else None

    def _note(self, call: str, name: str) -> None:
        self.calls.append(f"{call} {name}")
        if name in self.broken:
            raise self.broken[name]


class RunningControl:
    """A control server in a loop of its own thread, and the parts behind it."""

    def __init__(
        self,
        directory: Path,
        config: ControlConfig = CONFIG,
        policy: RolePolicy | None = None,
        favoured_uid: int | None = None,
    ) -> None:
        self.socket = directory / "control.sock"
        self.store_path = directory / "vgpud.db"
        self.engine = EngineDouble()
        self.shutdowns: list[bool] = []
        self.reloaded: Sequence[str] | VgpudError = ()
        self.faults: list[dict[str, Any]] = []
        self._directory = directory
        self._config = config
        self._favoured_uid = favoured_uid
        self._policy = policy or role_policy(config)

    def start(self) -> None:
        """Binds the socket, which may raise, and starts the thread and the server in it."""
        self._listener = ControlListener.bind(
            self.socket, self._config.socket_mode, self._config.view_group
        )
        self._loop = asyncio.new_event_loop()
        self._loop.set_exception_handler(lambda _, context: self.faults.append(context))
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        self.in_loop(self._build)
        asyncio.run_coroutine_threadsafe(self._server.start(), self._loop).result(10)

    def stop(self) -> None:
        """Ends server and thread."""
        asyncio.run_coroutine_threadsafe(self._server.stop(), self._loop).result(10)
        self.in_loop(self._store.close)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def in_loop(self, action: Callable[[], Result]) -> Result:
        """Runs something in the loop's thread, where the store may be used."""

        async def run() -> Result:
            return action()

        return asyncio.run_coroutine_threadsafe(run(), self._loop).result(10)

    def _reload(self) -> Sequence[str]:
        if isinstance(self.reloaded, VgpudError):
            raise self.reloaded
        return self.reloaded

    def audit(self) -> list[AuditEntry]:
        """All audit rows, oldest first."""
        return self.in_loop(lambda: self._store.list_audit(1000))[::-1]

    def connect(self) -> socket.socket:
        client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        client.settimeout(10)
        client.connect(str(self.socket))
        return client

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """One call on a connection of its own; the whole reply."""
        with self.connect() as client:
            client.sendall(as_call(method, **parameters))
            return receive(client)

    def _build(self) -> None:
        self._store = Store.open(self.store_path)
        reconciler = Reconciler(self._store, self.engine)
        reconciler.apply()
        context = Context(
            store=self._store,
            engine=self.engine,
            reconciler=reconciler,
            state_dir=self._directory,
            uptime_s=lambda: 3725.0,
            request_shutdown=self.shutdowns.append,
            reload=self._reload,
        )
        self._server = ControlServer(
            self._listener,
            self._config,
            Dispatch(context, self._policy),
            favoured_uid=self._favoured_uid,
        )


@contextlib.contextmanager
def running_control(
    directory: Path,
    config: ControlConfig = CONFIG,
    policy: RolePolicy | None = None,
    favoured_uid: int | None = None,
) -> Iterator[RunningControl]:
    """A control server for the length of the block; a fault of its own fails the test."""
    control = RunningControl(directory, config, policy, favoured_uid)
    control.start()
    try:
        yield control
    finally:
        control.stop()
    assert control.faults == []


def limits(**changes: int) -> ControlConfig:
    """CONFIG with other limits."""
    return msgspec.structs.replace(CONFIG, **changes)


def is_closed(client: socket.socket) -> bool:
    """Waits for the server's next byte or for the end of the connection, and says which it was."""
    try:
        return client.recv(1) == b""
    except ConnectionResetError:
        return True


def as_call(method: str, **parameters: Any) -> bytes:
    """A call of org.vgpud.admin as it goes onto the wire; a full name is left as it is."""
    name = method if "." in method else f"org.vgpud.admin.{method}"
    return json.dumps({"method": name, "parameters": parameters}).encode() + b"\0"


def receive(client: socket.socket) -> dict[str, Any]:
    """The next message, read byte by byte so that nothing of the one after it is taken."""
    message = bytearray()
    while (byte := client.recv(1)) != b"\0":
        if not byte:
            raise ConnectionResetError("closed by the server")
        message += byte
    reply: dict[str, Any] = json.loads(message)
    return reply
