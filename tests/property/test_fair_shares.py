"""The bound of start-time fair queueing, for VMs and for pools, whatever their jobs are like."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.property.machine import HIGH, LOW, MEDIUM, MS, Machine, Picked
from tests.property.saturation import (
    RUNS,
    FairnessWatch,
    Length,
    Run,
    fill,
    heavy_tailed,
    run_mixed,
)
from vgpud.model.mediation import PriorityScope

weights = st.integers(1, 100)
depths = st.integers(1, 8)
seeds = st.integers(0, 2**32)
every_run = pytest.mark.parametrize("run", RUNS)
UNITS = 600
PLACES = [(pool, priority) for pool in "AB" for priority in (LOW, MEDIUM, HIGH)]


def lengths(seed: int) -> Length:
    """Heavy-tailed lengths, the same for the same seed."""
    rng = random.Random(seed)
    return lambda picked: heavy_tailed(rng)


@every_run
@given(seed=seeds, vm_weights=st.lists(weights, min_size=2, max_size=6), depth=depths)
def test_vms_of_a_class_keep_the_bound(
    run: Run, seed: int, vm_weights: list[int], depth: int
) -> None:
    machine, watch = Machine(), FairnessWatch(depth)
    machine.add_pool("A")
    for vm, weight in enumerate(vm_weights):
        machine.add_vm(vm, "A", weight=weight)
    fill(machine, range(len(vm_weights)), depth)
    watch.begin(dict(enumerate(vm_weights)))
    run(machine, depth, UNITS, lengths(seed), lambda p, cost_ns: watch.served(p.vm, cost_ns))


@every_run
@pytest.mark.parametrize("scope", PriorityScope)
@given(seed=seeds, pool_weights=st.lists(weights, min_size=2, max_size=4), depth=depths)
def test_pools_keep_the_bound_whatever_is_in_them(
    run: Run, scope: PriorityScope, seed: int, pool_weights: list[int], depth: int
) -> None:
    rng = random.Random(seed)
    machine, watch = Machine(scope=scope), FairnessWatch(depth)
    pool_of: dict[int, str] = {}
    for pool, weight in zip("ABCD", pool_weights, strict=False):
        machine.add_pool(pool, weight)
        for _ in range(rng.randint(1, 3)):
            pool_of[len(pool_of)] = pool
            machine.add_vm(len(pool_of) - 1, pool, weight=rng.randint(1, 100))
    fill(machine, pool_of, depth)
    watch.begin(dict(zip("ABCD", pool_weights, strict=False)))
    run(
        machine,
        depth,
        UNITS,
        lengths(seed),
        lambda picked, cost_ns: watch.served(pool_of[picked.vm], cost_ns),
    )


@every_run
@given(seed=seeds, depth=depths, changes=st.lists(st.tuples(st.booleans(), weights), max_size=6))
def test_weights_that_change_under_load_keep_the_bound_from_then_on(
    run: Run, seed: int, depth: int, changes: list[tuple[bool, int]]
) -> None:
    rng = random.Random(seed)
    machine, vms, pools = Machine(), FairnessWatch(depth), FairnessWatch(depth)
    of_pool, of_vm = {"A": 50, "B": 50}, dict.fromkeys(range(6), 50)
    for pool, weight in of_pool.items():
        machine.add_pool(pool, weight)
    for vm in of_vm:
        machine.add_vm(vm, "AB"[vm % 2], weight=50)
    fill(machine, of_vm, depth)

    def served(picked: Picked, cost_ns: int) -> None:
        vms.served(picked.vm, cost_ns)
        pools.served("AB"[picked.vm % 2], cost_ns)

    length = lengths(seed)
    for pool_changes, weight in [(True, 50), *changes]:
        if pool_changes:
            pool = rng.choice("AB")
            of_pool[pool] = weight
            machine.set_pool(pool, weight)
        else:
            vm = rng.randrange(6)
            of_vm[vm] = weight
            machine.set_vm(vm, "AB"[vm % 2], weight=weight)
        vms.begin({vm: of_vm[vm] for vm in (0, 2, 4)})
        pools.begin(of_pool)
        run(machine, depth, UNITS // 3, length, served)


@every_run
@given(seed=seeds, depth=depths, moves=st.integers(1, 6))
def test_vms_that_change_pool_and_class_under_load_keep_the_bound_where_they_are(
    run: Run, seed: int, depth: int, moves: int
) -> None:
    rng = random.Random(seed)
    machine, watch = Machine(), FairnessWatch(depth)
    where = {vm: ("AB"[vm % 2], MEDIUM) for vm in range(6)}
    weight_of = {vm: rng.randint(1, 100) for vm in where}
    for pool in "AB":
        machine.add_pool(pool)
    for vm, (pool, priority) in where.items():
        machine.add_vm(vm, pool, priority, weight_of[vm])
    fill(machine, where, depth)

    length = lengths(seed)
    for _ in range(moves):
        vm = rng.randrange(6)
        where[vm] = rng.choice([place for place in PLACES if place != where[vm]])
        weight_of[vm] = rng.randint(1, 100)
        machine.set_vm(vm, *where[vm], weight_of[vm])
        beside: dict[int, int] = {
            other: weight_of[other] for other in where if where[other] == where[vm]
        }
        watch.begin(beside)
        run(machine, depth, UNITS // 3, length, lambda p, cost_ns: watch.served(p.vm, cost_ns))


@pytest.mark.parametrize("of_pool", [False, True], ids=["class", "pool"])
@given(seed=seeds, vm_weights=st.lists(weights, min_size=2, max_size=5))
def test_vms_that_change_class_or_pool_under_load_keep_their_debt(
    of_pool: bool, seed: int, vm_weights: list[int]
) -> None:
    # All of them move, some by way of a place where nobody serves them, so that they go on being
    # compared: one interval over all moves. One in flight: with more, a tag may lie behind the
    # virtual time, and that is not taken along.
    rng = random.Random(seed)
    machine, watch = Machine(), FairnessWatch(1)
    places = [("A", MEDIUM), ("B", MEDIUM)] if of_pool else [("A", c) for c in (LOW, MEDIUM, HIGH)]
    for pool in "AB":
        machine.add_pool(pool)
    for vm, weight in enumerate(vm_weights):
        machine.add_vm(vm, "A", weight=weight)
    vms = list(range(len(vm_weights)))
    fill(machine, vms, 1)
    watch.begin(dict(enumerate(vm_weights)))
    length = lengths(seed)
    for _ in range(UNITS // 6):
        run_mixed(machine, 1, 2, length, lambda p, cost_ns: watch.served(p.vm, cost_ns))
        goal = rng.choice(places)
        rng.shuffle(vms)
        for vm in vms:
            for place in [*rng.sample(places, rng.randrange(2)), goal]:
                machine.set_vm(vm, *place, vm_weights[vm])


@every_run
@given(seed=seeds, depth=depths)
def test_a_vm_that_comes_and_goes_keeps_the_bound_and_saves_nothing_up(
    run: Run, seed: int, depth: int
) -> None:
    rng = random.Random(seed)
    machine, watch = Machine(), FairnessWatch(depth)
    weight_of: dict[int, int] = {vm: rng.randint(1, 100) for vm in range(4)}
    machine.add_pool("A")
    for vm in range(4):
        machine.add_vm(vm, "A", weight=weight_of[vm])
    fill(machine, range(3), depth)
    length = lengths(seed)
    visit = 0

    def served(picked: Picked, cost_ns: int) -> None:
        nonlocal visit
        watch.served(picked.vm, cost_ns)
        visit -= picked.vm == 3

    def go_on(units: int) -> None:
        run(machine, depth, units, length, served, refilled=lambda vm: vm < 3)

    for _ in range(4):
        watch.begin({vm: weight_of[vm] for vm in range(3)})
        while visit:
            go_on(1)
        go_on(rng.randint(1, 80))
        visit = rng.randint(depth + 1, 80)
        for _ in range(visit):
            machine.push(3)
        watch.begin(weight_of)
        while visit > depth:  # so that something of it is queued at every pick
            go_on(1)


@given(seed=seeds, vm_weights=st.lists(weights, min_size=2, max_size=6))
def test_with_one_unit_in_flight_every_estimate_is_corrected_before_it_matters(
    seed: int, vm_weights: list[int]
) -> None:
    # The picks are those of SFQ with exact costs: this model has no estimates.
    rng = random.Random(seed)
    machine = Machine()
    machine.add_pool("A")
    for vm, weight in enumerate(vm_weights):
        machine.add_vm(vm, "A", weight=weight)
    fill(machine, range(len(vm_weights)), 1)
    tags = [0] * len(vm_weights)
    for _ in range(400):
        picked = machine.pick()
        assert picked and picked.vm == min(range(len(tags)), key=lambda vm: (tags[vm], vm))
        cost_ns = heavy_tailed(rng)
        tags[picked.vm] += (cost_ns << 8) // vm_weights[picked.vm]
        machine.complete(picked.vm, picked.unit, cost_ns)
        machine.push(picked.vm)


@every_run
@given(seed=seeds, depth=depths, often=st.integers(2, 20))
def test_timeouts_are_charged_in_full_and_cancels_nothing(
    run: Run, seed: int, depth: int, often: int
) -> None:
    # VM 0 times out every now and then, at three seconds; VM 1 cancels as much as it is served.
    rng = random.Random(seed)
    machine, watch = Machine(), FairnessWatch(depth)
    machine.add_pool("A")
    for vm in range(3):
        machine.add_vm(vm, "A", weight=20 + 30 * vm)
    fill(machine, range(3), depth)
    watch.begin({0: 20, 1: 50, 2: 80})

    def length(picked: Picked) -> int:
        times_out = picked.vm == 0 and rng.randrange(often) == 0
        return 3000 * MS if times_out else heavy_tailed(rng)

    def served(picked: Picked, cost_ns: int) -> None:
        watch.served(picked.vm, cost_ns)
        machine.cancel(1, machine.push(1))

    run(machine, depth, UNITS, length, served)
