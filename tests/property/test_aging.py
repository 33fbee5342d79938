"""Aged work: bounded by its share, never starved, and depth buys nothing."""

from __future__ import annotations

import random
from collections.abc import Callable

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.property.machine import HIGH, LOW, MEDIUM, MS, Machine, Picked
from tests.property.saturation import RUNS, Run, fill, heavy_tailed, run_mixed
from vgpud.model.mediation import PriorityScope


class ShareWatch:
    """Checks that aged work has at most its share of any interval, and what is in flight more.

    Aged time minus the share of all time may rise by no more than that between any two moments:
    so many aged units, and the share of as many units of anybody, which were out when it was due.
    """

    def __init__(self, share: float, units: int) -> None:
        self._share, self._units = share, units
        self._excess = self._least = 0.0
        self._longest_ns = self._longest_aged_ns = 0
        self.aged_ns = self.all_ns = 0

    def served(self, picked: Picked, cost_ns: int) -> None:
        """AssertionError when aged work got more than it may."""
        self.all_ns += cost_ns
        self._excess -= self._share * cost_ns
        self._longest_ns = max(self._longest_ns, cost_ns)
        if picked.aged:
            self.aged_ns += cost_ns
            self._excess += cost_ns
            self._longest_aged_ns = max(self._longest_aged_ns, cost_ns)
        rounding = self.all_ns * 1e-9 + 100
        bound = self._units * (self._longest_aged_ns + self._share * self._longest_ns)
        assert self._excess - self._least <= bound + rounding, (
            f"aged work has {(self._excess - self._least) / 1e6:.1f} ms more than its share, "
            f"its longest unit is {self._longest_aged_ns / 1e6:.1f} ms"
        )
        self._least = min(self._least, self._excess)


def under_a_saturated_class(
    run: Run,
    depth: int,
    share: int,
    scope: PriorityScope,
    length: Callable[[Picked], int],
    units: int,
) -> ShareWatch:
    """Two pools with a high class that never pauses, and many below it that never pause either."""
    machine = Machine(scope=scope, aging_after_ns=5 * MS, aging_share=share)
    watches = {pool: ShareWatch(share / 100, depth) for pool in "AB"}
    whole = ShareWatch(share / 100, depth)
    machine.add_pool("A", 30)
    machine.add_pool("B", 70)
    for vm in range(10):
        machine.add_vm(vm, "AB"[vm % 2], HIGH if vm < 2 else (LOW, MEDIUM)[vm // 2 % 2])
    fill(machine, range(10), depth)

    def served(picked: Picked, cost_ns: int) -> None:
        whole.all_ns += cost_ns
        whole.aged_ns += cost_ns if picked.aged else 0
        if scope is PriorityScope.POOL:
            watches["AB"[picked.vm % 2]].served(picked, cost_ns)
        else:
            watches["A"].served(picked, cost_ns)

    run(machine, depth, units, length, served)
    return whole


@settings(max_examples=60)
@given(
    run=st.sampled_from(RUNS),
    depth=st.integers(1, 8),
    share=st.integers(1, 100),
    scope=st.sampled_from(PriorityScope),
    seed=st.integers(0, 2**32),
)
def test_aged_work_has_at_most_its_share_of_any_time_and_what_is_in_flight(
    run: Run, depth: int, share: int, scope: PriorityScope, seed: int
) -> None:
    rng = random.Random(seed)
    under_a_saturated_class(run, depth, share, scope, lambda _: heavy_tailed(rng), 500)


@settings(max_examples=20)
@given(
    run=st.sampled_from(RUNS),
    depth=st.integers(1, 8),
    share=st.integers(5, 40),
    scope=st.sampled_from(PriorityScope),
)
def test_aged_work_that_never_pauses_gets_all_of_its_share(
    run: Run, depth: int, share: int, scope: PriorityScope
) -> None:
    # Also when a stretch without a pick withholds it.
    whole = under_a_saturated_class(run, depth, share, scope, lambda _: MS, 4000)
    assert abs(whole.aged_ns / whole.all_ns - share / 100) <= 0.01


def test_beside_a_saturated_high_class_a_deep_low_vm_gets_no_more_than_one_with_one_request() -> (
    None
):
    machine = Machine(aging_after_ns=100 * MS, aging_share=20)
    machine.add_pool("A")
    machine.add_vm(0, "A", HIGH)
    machine.add_vm(1, "A", LOW)  # 10,000 deep
    machine.add_vm(2, "A", LOW)  # one outstanding: the next one comes when it is answered
    for _ in range(10_000):
        machine.push(1)
    machine.push(0)
    machine.push(2)
    served_ns = [0, 0, 0]
    for _ in range(60_000):
        picked = machine.pick()
        assert picked
        machine.complete(picked.vm, picked.unit, MS)
        served_ns[picked.vm] += MS
        machine.push(picked.vm)
    high_ns, deep_ns, shallow_ns = served_ns
    assert abs(deep_ns - shallow_ns) <= MS
    assert shallow_ns >= 500 * MS and high_ns >= 0.8 * sum(served_ns)


@settings(max_examples=20)
@given(seed=st.integers(0, 2**32), depth=st.integers(1, 4))
def test_without_a_share_nothing_below_a_saturated_class_is_served(seed: int, depth: int) -> None:
    rng = random.Random(seed)
    whole = under_a_saturated_class(
        run_mixed, depth, 0, PriorityScope.POOL, lambda p: heavy_tailed(rng) if p.vm < 2 else 0, 200
    )
    assert whole.aged_ns == 0
