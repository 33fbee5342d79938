"""The scheduler's own object code on a virtual clock, driven from Python through the simulator.

A Machine has no opinion of its own: it numbers units and counts time. Times are nanoseconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from vgpud.mediator import ffi, lib
from vgpud.model.mediation import PriorityScope

MS = 1_000_000
FIRST_GUESS_NS = 50_000

EXEC, BUILD, INSTANT = 0, 1, 2
LOW, MEDIUM, HIGH = 0, 1, 2


@dataclass(frozen=True)
class Picked:
    """A unit that is in flight: whose it is, and what its pick has charged."""

    vm: int
    stream: int
    unit: int
    seq: int
    aged: bool
    charged_ns: int


class Machine:
    """A device, or several, that a scheduler decides about. `now_ns` moves only by completions."""

    def __init__(
        self,
        *,
        scope: PriorityScope = PriorityScope.POOL,
        aging_after_ns: int = 0,
        aging_share: int = 0,
    ) -> None:
        self._sim = ffi.gc(lib.mediator_simulator_new(), lib.mediator_simulator_free)
        self._record = ffi.new("struct mediator_record *")
        self._empty = ffi.new("struct mediator_record *")
        self._applied = ffi.new("uint32_t *")
        self._units = 0
        self.now_ns = 1000 * MS
        self.configure(scope=scope, aging_after_ns=aging_after_ns, aging_share=aging_share)

    def _blank(self, type_: int) -> Any:
        record = self._record
        record[0] = self._empty[0]
        record.type = type_
        return record

    def _apply(self) -> None:
        rc = lib.mediator_simulator_apply(self._sim, self._record, 1, 0, self._applied)
        assert rc == 0, f"a record of type {self._record.type} was refused: {rc}"

    def _decide(self) -> Picked | None:
        self._apply()
        r = self._record
        if not r.flags & lib.MEDIATOR_RECORD_DECIDED:
            return None
        aged = bool(r.flags & lib.MEDIATOR_RECORD_AGED)
        return Picked(r.vm, r.stream, r.unit, r.seq, aged, r.cost_ns)

    # --- set-up -------------------------------------------------------------------------------

    def configure(self, *, scope: PriorityScope, aging_after_ns: int, aging_share: int) -> None:
        record = self._blank(lib.MEDIATOR_RECORD_CONFIG)
        record.slot, record.weight, record.value[0] = scope, aging_share, aging_after_ns
        self._apply()

    def _pool(self, type_: int, pool: str, weight: int, enabled: bool) -> None:
        record = self._blank(type_)
        record.pool, record.weight, record.flags = ord(pool), weight, int(enabled)
        self._apply()

    def add_pool(self, pool: str, weight: int = 50, *, enabled: bool = True) -> None:
        self._pool(lib.MEDIATOR_RECORD_POOL_ADD, pool, weight, enabled)

    def set_pool(self, pool: str, weight: int = 50, *, enabled: bool = True) -> None:
        self._pool(lib.MEDIATOR_RECORD_POOL_SET, pool, weight, enabled)

    def add_vm(self, vm: int, pool: str | None, priority: int = MEDIUM, weight: int = 50) -> None:
        self._blank(lib.MEDIATOR_RECORD_VM_INIT).vm = vm
        self._apply()
        self.set_vm(vm, pool, priority, weight)

    def set_vm(self, vm: int, pool: str | None, priority: int = MEDIUM, weight: int = 50) -> None:
        record = self._blank(lib.MEDIATOR_RECORD_VM_SET)
        record.vm, record.pool = vm, ord(pool) if pool else 0
        record.priority, record.weight = priority, weight
        self._apply()

    def block(self, vm: int, lane: int, blocked: bool) -> None:
        record = self._blank(lib.MEDIATOR_RECORD_VM_BLOCK)
        record.vm, record.lane, record.flags = vm, lane, int(blocked)
        self._apply()

    # --- the data path ------------------------------------------------------------------------

    def push(self, vm: int, stream: int = 0, *, lane: int = EXEC, waits: int = 0) -> int:
        """Queue a new unit; returns its number, which no other unit ever has."""
        record = self._blank(lib.MEDIATOR_RECORD_PUSH)
        self._units += 1
        record.vm, record.stream, record.lane, record.waits = vm, stream, lane, waits
        record.unit, record.seq, record.arrival_ns = self._units, self._units, self.now_ns
        self._apply()
        return self._units

    def pick(self, lane: int = EXEC) -> Picked | None:
        record = self._blank(lib.MEDIATOR_RECORD_PICK)
        record.lane, record.now_ns = lane, self.now_ns
        return self._decide()

    def pick_more(self, vm: int, lane: int = EXEC) -> Picked | None:
        record = self._blank(lib.MEDIATOR_RECORD_PICK_MORE)
        record.vm, record.lane, record.now_ns = vm, lane, self.now_ns
        return self._decide()

    def take_instant(self, vm: int, stream: int) -> Picked | None:
        record = self._blank(lib.MEDIATOR_RECORD_TAKE_INSTANT)
        record.vm, record.stream = vm, stream
        return self._decide()

    def _about(self, type_: int, vm: int, unit: int) -> Any:
        record = self._blank(type_)
        record.vm, record.unit = vm, unit
        return record

    def complete(self, vm: int, unit: int, cost_ns: int, *, takes_ns: int | None = None) -> None:
        """A unit is finished; the clock moves by `takes_ns`, by default its cost."""
        self.now_ns += cost_ns if takes_ns is None else takes_ns
        record = self._about(lib.MEDIATOR_RECORD_COMPLETE, vm, unit)
        record.cost_ns, record.now_ns = cost_ns, self.now_ns
        self._apply()

    def put_back(self, vm: int, unit: int, cost_ns: int, lane: int = EXEC) -> None:
        """A unit is not finished and goes back to its place, in a lane."""
        self.now_ns += cost_ns
        record = self._about(lib.MEDIATOR_RECORD_RETURN, vm, unit)
        record.cost_ns, record.now_ns, record.lane = cost_ns, self.now_ns, lane
        self._apply()

    def cancel(self, vm: int, unit: int) -> None:
        self._about(lib.MEDIATOR_RECORD_CANCEL, vm, unit)
        self._apply()

    def satisfy(self, vm: int, unit: int, lane: int = EXEC) -> None:
        """One wait of a queued unit of a lane is over."""
        self._about(lib.MEDIATOR_RECORD_SATISFIED, vm, unit).lane = lane
        self._apply()

    def settle(self, vm: int, unit: int) -> None:
        """A queued unit is not to run, but keeps its place."""
        self._about(lib.MEDIATOR_RECORD_SETTLE, vm, unit)
        self._apply()
