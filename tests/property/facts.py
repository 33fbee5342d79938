"""What is queued, running and forbidden, kept beside a Machine by the plainest of means.

Facts knows no tags and no turns: only which units may be picked at all, which is what order,
classes and work conservation are about.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from tests.property.machine import EXEC, Machine, Picked


@dataclass
class Waiting:
    """A queued unit."""

    unit: int
    lane: int
    waits: int
    settled: bool = False


@dataclass
class Stream:
    queue: list[Waiting] = field(default_factory=list)
    in_flight: int = 0
    held: bool = False

    def head(self, lane: int) -> Waiting | None:
        """The unit that may be picked in a lane, as far as its stream is concerned."""
        if not self.queue or self.queue[0].lane != lane or self.queue[0].waits:
            return None
        if self.in_flight and (self.held or lane != EXEC):
            return None
        return self.queue[0]


@dataclass
class Vm:
    pool: str | None
    priority: int
    streams: dict[int, Stream] = field(default_factory=dict)
    blocked: set[int] = field(default_factory=set)


@dataclass
class Facts:
    """Pools by name, whether they are enabled; VMs by number; what is in flight."""

    machine: Machine
    pools: dict[str, bool] = field(default_factory=dict)
    vms: dict[int, Vm] = field(default_factory=dict)
    flying: list[tuple[Picked, int]] = field(default_factory=list)

    def candidates(self, lane: int) -> Iterator[tuple[int, Vm, Waiting]]:
        """Every unit that may be picked in a lane: whose it is, and itself."""
        for number, vm in self.vms.items():
            if vm.pool is None or not self.pools[vm.pool] or lane in vm.blocked:
                continue
            for stream in vm.streams.values():
                if head := stream.head(lane):
                    yield number, vm, head

    def push(self, vm: int, stream: int, lane: int, waits: int) -> None:
        unit = self.machine.push(vm, stream, lane=lane, waits=waits)
        queue = self.vms[vm].streams.setdefault(stream, Stream()).queue
        queue.append(Waiting(unit, lane, waits))

    def took(self, picked: Picked, lane: int) -> None:
        """A pick was made: it must be the head of its stream. AssertionError when it is not."""
        stream = self.vms[picked.vm].streams[picked.stream]
        head = stream.head(lane)
        assert head and head.unit == picked.unit, "not the first of its stream, or not ready"
        stream.queue.pop(0)
        stream.in_flight += 1
        stream.held = stream.held or lane != EXEC
        self.flying.append((picked, lane))

    def complete(self, which: int, cost_ns: int) -> None:
        picked, _ = self.flying.pop(which)
        self.machine.complete(picked.vm, picked.unit, cost_ns)
        stream = self.vms[picked.vm].streams[picked.stream]
        stream.in_flight -= 1
        stream.held = stream.held and stream.in_flight > 0

    def put_back(self, which: int, cost_ns: int, lane: int) -> None:
        picked, _ = self.flying.pop(which)
        self.machine.put_back(picked.vm, picked.unit, cost_ns, lane)
        stream = self.vms[picked.vm].streams[picked.stream]
        stream.in_flight -= 1
        stream.held = stream.in_flight > 0
        stream.queue.append(Waiting(picked.unit, lane, 0))
        stream.queue.sort(key=lambda waiting: waiting.unit)

    def queued(self) -> list[tuple[int, Stream, Waiting]]:
        """Everything that is queued, with its VM and its stream."""
        return [
            (number, stream, waiting)
            for number, vm in self.vms.items()
            for stream in vm.streams.values()
            for waiting in stream.queue
        ]
