"""Order, classes, work conservation: what every pick must be, whatever has happened before."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.property.facts import Facts, Stream, Vm
from tests.property.machine import BUILD, EXEC, INSTANT, MS, Machine, Picked
from vgpud.model.mediation import PriorityScope

POOLS, VMS, STREAMS = "ABC", 6, 3

# What happens, and numbers that say to whom; how often each is drawn goes by how often it stands.
ACTS = (
    *["push"] * 8,
    *["pick"] * 8,
    *["complete"] * 6,
    *["pick more"] * 4,
    *["build"] * 3,
    *["put back"] * 3,
    *("cancel", "satisfy", "settle", "take", "set vm", "block", "set pool"),
)
number = st.integers(0, 10**6)
acts = st.lists(st.tuples(st.sampled_from(ACTS), number, number), min_size=20, max_size=200)


def check_pick(facts: Facts, picked: Picked | None, lane: int, scope: PriorityScope) -> None:
    """A pick among all that may be picked: there is one if there can be, of the highest class."""
    candidates = list(facts.candidates(lane))
    assert (picked is None) == (not candidates), "the device idles while something could run"
    if picked is None:
        return
    vm = facts.vms[picked.vm]
    assert vm.pool is not None and facts.pools[vm.pool], "of a disabled pool"
    higher = [
        other.priority
        for _, other, _ in candidates
        if other.priority > vm.priority and (scope is PriorityScope.GLOBAL or other.pool == vm.pool)
    ]
    assert picked.aged or not higher, f"class {vm.priority} before {higher}"
    assert higher or not picked.aged, "aged work that nobody stood before"
    facts.took(picked, lane)


def check_pick_more(facts: Facts, vm: int, scope: PriorityScope) -> None:
    """One more of a VM, if it has one and no higher class waits."""
    own = [n for n, _, _ in facts.candidates(EXEC) if n == vm]
    me = facts.vms[vm]
    higher = [
        other
        for _, other, _ in facts.candidates(EXEC)
        if other.priority > me.priority and (scope is PriorityScope.GLOBAL or other.pool == me.pool)
    ]
    more = facts.machine.pick_more(vm)
    assert (more is not None) == (bool(own) and not higher)
    if more is not None:
        assert more.vm == vm
        facts.took(more, EXEC)


def check_instant(facts: Facts, vm: int, stream_number: int) -> None:
    """What needs nothing but its turn is taken when it has it, and else nothing is."""
    me = facts.vms[vm]
    stream = me.streams.get(stream_number, Stream())
    taken = facts.machine.take_instant(vm, stream_number)
    head = stream.queue[0] if stream.queue else None
    served = me.pool is not None and facts.pools[me.pool]
    due = (
        head is not None
        and head.lane == INSTANT
        and not head.waits
        and not stream.in_flight
        and (served or head.settled)
    )
    assert (taken is not None) == due
    if taken is not None:
        assert head is not None and taken.unit == head.unit
        stream.queue.pop(0)


def act(facts: Facts, what: str, a: int, b: int, scope: PriorityScope) -> None:
    """One thing happens to one of those that it can happen to, if there are any."""
    machine, vm = facts.machine, a % VMS
    cost_ns = 20_000 << b % 13
    queued = facts.queued()
    if what == "push":
        waits = max(0, b % 12 - 9)
        lane = INSTANT if b % 11 == 10 else BUILD if b % 5 == 4 else EXEC
        facts.push(vm, b % STREAMS, lane, waits)
    elif what in ("pick", "build"):
        lane = EXEC if what == "pick" else BUILD
        check_pick(facts, machine.pick(lane), lane, scope)
    elif what == "pick more":
        check_pick_more(facts, vm, scope)
    elif what == "complete" and facts.flying:
        facts.complete(a % len(facts.flying), cost_ns)
    elif what == "put back" and facts.flying:
        facts.put_back(a % len(facts.flying), cost_ns, EXEC if b % 2 else BUILD)
    elif what == "cancel" and queued:
        owner, stream, waiting = queued[a % len(queued)]
        stream.queue.remove(waiting)
        machine.cancel(owner, waiting.unit)
    elif what == "satisfy" and (waiting_for := [q for q in queued if q[2].waits]):
        owner, _, waiting = waiting_for[a % len(waiting_for)]
        waiting.waits -= 1
        machine.satisfy(owner, waiting.unit, waiting.lane)
    elif what == "settle" and queued:
        owner, _, waiting = queued[a % len(queued)]
        waiting.lane, waiting.waits, waiting.settled = INSTANT, 0, True
        machine.settle(owner, waiting.unit)
    elif what == "take":
        check_instant(facts, vm, b % STREAMS)
    elif what == "set vm":
        pool = [*POOLS, None][b % 4]
        facts.vms[vm].pool, facts.vms[vm].priority = pool, b // 4 % 3
        machine.set_vm(vm, pool, b // 4 % 3, 1 + b % 100)
    elif what == "block":
        lane, blocked = b % 2, b % 3 == 0
        (facts.vms[vm].blocked.add if blocked else facts.vms[vm].blocked.discard)(lane)
        machine.block(vm, lane, blocked)
    elif what == "set pool":
        pool = POOLS[a % 3]
        facts.pools[pool] = b % 3 > 0
        machine.set_pool(pool, 1 + b % 100, enabled=facts.pools[pool])


@settings(max_examples=120)
@given(acts=acts, scope=st.sampled_from(PriorityScope), aging_share=st.sampled_from((0, 20, 100)))
def test_every_pick_is_first_of_its_stream_of_the_highest_class_and_made_if_it_can_be(
    acts: list[tuple[str, int, int]], scope: PriorityScope, aging_share: int
) -> None:
    machine = Machine(scope=scope, aging_after_ns=10 * MS, aging_share=aging_share)
    facts = Facts(machine)
    for pool in POOLS:
        machine.add_pool(pool)
        facts.pools[pool] = True
    for vm in range(VMS):
        machine.add_vm(vm, POOLS[vm % 3], vm // 2)
        facts.vms[vm] = Vm(POOLS[vm % 3], vm // 2)
    for what, a, b in acts:
        act(facts, what, a, b, scope)
    # What is left ends in order, if nothing forbids it: nothing was forgotten.
    for pool in POOLS:
        facts.pools[pool] = True
        machine.set_pool(pool)
    for number, vm_facts in facts.vms.items():
        for lane in (EXEC, BUILD):
            vm_facts.blocked.discard(lane)
            machine.block(number, lane, False)
        vm_facts.pool = "A"
        machine.set_vm(number, "A", vm_facts.priority)
    for owner, _, waiting in facts.queued():
        for _ in range(waiting.waits):
            machine.satisfy(owner, waiting.unit, waiting.lane)
        waiting.waits = 0
    while facts.queued() or facts.flying:
        while facts.flying:
            facts.complete(0, 1000)
        left = len(facts.queued())
        for number, vm_facts in facts.vms.items():
            for stream in vm_facts.streams:
                check_instant(facts, number, stream)
        for lane in (EXEC, BUILD):
            check_pick(facts, machine.pick(lane), lane, scope)
        progress = left != len(facts.queued())
        assert progress or not facts.queued(), "what is queued is never picked"


@settings(max_examples=60)
@given(
    data=st.data(),
    units=st.integers(2, 60),
    depth=st.integers(1, 8),
    scope=st.sampled_from(PriorityScope),
)
def test_whatever_waits_for_earlier_units_is_served_in_the_end(
    data: st.DataObject, units: int, depth: int, scope: PriorityScope
) -> None:
    # Each unit waits for up to three of those pushed before it, of any VM and stream: acyclic.
    machine = Machine(scope=scope, aging_after_ns=10 * MS, aging_share=20)
    facts = Facts(machine)
    for pool in POOLS:
        machine.add_pool(pool)
        facts.pools[pool] = True
    for vm in range(VMS):
        machine.add_vm(vm, POOLS[vm % 3], vm // 2)
        facts.vms[vm] = Vm(POOLS[vm % 3], vm // 2)
    followers: dict[int, list[tuple[int, int]]] = {}
    for unit in range(1, units + 1):
        vm, stream = data.draw(st.tuples(st.integers(0, VMS - 1), st.integers(0, STREAMS - 1)))
        earlier = data.draw(st.sets(st.integers(1, unit - 1), max_size=3)) if unit > 1 else set()
        facts.push(vm, stream, EXEC, len(earlier))
        for before in earlier:
            followers.setdefault(before, []).append((vm, unit))
    served = 0
    while served < units:
        while len(facts.flying) < depth and (picked := machine.pick()):
            facts.took(picked, EXEC)
        assert facts.flying, f"deadlock after {served} of {units} units"
        done = facts.flying[0][0].unit
        facts.complete(0, 1 * MS)
        served += 1
        for vm, unit in followers.get(done, []):
            machine.satisfy(vm, unit)
            next(w for _, _, w in facts.queued() if w.unit == unit).waits -= 1
    assert machine.pick() is None
