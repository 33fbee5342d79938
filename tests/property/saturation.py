"""A device that never pauses, shared by VMs whose jobs are of very different lengths.

The bound of start-time fair queueing with D units in flight (Goyal, Vin, Cheng 1996; Jin, Chase,
Kaur 2004): over any interval in which parties i and j are both backlogged
|W_i / w_i - W_j / w_j| <= (D + 1) (L_i / w_i + L_j / w_j), with W the service received and L the
longest unit: of all that the party ever had, as what it was served of last still stands in its tag
when the interval begins. With one in flight the server is serial, and the factor is 1.
"""

from __future__ import annotations

import itertools
import random
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from tests.property.machine import Machine, Picked

SHORTEST_NS = 20_000
LONGEST_NS = 100_000_000

# Tags are whole 256ths of a nanosecond over the weight: so much is lost with each unit.
ROUNDING = 1 / 256


Party = int | str
"""A VM by its number, or a pool by its name."""


def heavy_tailed(rng: random.Random) -> int:
    """20 us to 100 ms: a Pareto tail of index 0.7, whose mean is made by its rare long ones."""
    return min(LONGEST_NS, int(SHORTEST_NS * rng.paretovariate(0.7)))


@dataclass
class Share:
    """What a party has got since an interval began, and its longest unit ever."""

    weight: int
    served_ns: int = 0
    longest_ns: int = 0
    units: int = 0


@dataclass
class FairnessWatch:
    """Checks the bound for every pair of parties over every interval up to now.

    A pair's lag is W_i / w_i - W_j / w_j; what it has moved between any two moments is at most
    what lies between its least and its greatest value.
    """

    depth: int
    shares: dict[Party, Share] = field(default_factory=dict)
    _longest_ns: dict[Party, int] = field(default_factory=dict)
    _lags: dict[tuple[Party, Party], tuple[float, float]] = field(default_factory=dict)

    def begin(self, weights: Mapping[int, int] | Mapping[str, int]) -> None:
        """A new interval: all these are backlogged from now on."""
        for party, share in self.shares.items():
            self._longest_ns[party] = share.longest_ns
        self.shares = {
            party: Share(weight, longest_ns=self._longest_ns.get(party, 0))
            for party, weight in weights.items()
        }
        self._lags = dict.fromkeys(itertools.combinations(self.shares, 2), (0.0, 0.0))

    def served(self, party: Party, cost_ns: int) -> None:
        """A party got so much; AssertionError when that breaks the bound.

        Of one that does not take part in this interval, only the length is noted.
        """
        if party not in self.shares:
            self._longest_ns[party] = max(self._longest_ns.get(party, 0), cost_ns)
            return
        share = self.shares[party]
        share.served_ns += cost_ns
        share.units += 1
        share.longest_ns = max(share.longest_ns, cost_ns)
        for pair, (least, most) in self._lags.items():
            if party not in pair:
                continue
            i, j = (self.shares[p] for p in pair)
            lag = i.served_ns / i.weight - j.served_ns / j.weight
            least, most = min(least, lag), max(most, lag)
            self._lags[pair] = least, most
            unit = i.longest_ns / i.weight + j.longest_ns / j.weight
            slack = (i.units + j.units) * ROUNDING
            bound = (self.depth + 1 if self.depth > 1 else 1) * unit + slack
            assert most - least <= bound, (
                f"{pair}: lag {most - least:.0f} of at most {bound:.0f} ns with {self.depth} in "
                f"flight after {i.units} and {j.units} units, weights {i.weight} and {j.weight}"
            )


Length = Callable[[Picked], int]
Served = Callable[[Picked, int], None]
"""Told of each unit that is done, with its cost, before another takes its place."""


def everybody(_: int) -> bool:
    """Every VM stays backlogged."""
    return True


class Run(Protocol):
    """A way to keep a device busy with so many units; each one done is replaced by a new one."""

    def __call__(
        self,
        machine: Machine,
        depth: int,
        units: int,
        length: Length,
        served: Served,
        *,
        refilled: Callable[[int], bool] = everybody,
    ) -> None: ...


def run_mixed(
    machine: Machine,
    depth: int,
    units: int,
    length: Length,
    served: Served,
    *,
    refilled: Callable[[int], bool] = everybody,
) -> None:
    """`depth` units of any VMs in flight, done one after another in the order of their picks."""
    flying: deque[Picked] = deque()
    done = 0
    while flying or done < units:
        while done < units and len(flying) < depth and (picked := machine.pick()):
            flying.append(picked)
        _finish(machine, flying.popleft(), length, served, refilled)
        done += 1


def run_batches(
    machine: Machine,
    depth: int,
    units: int,
    length: Length,
    served: Served,
    *,
    refilled: Callable[[int], bool] = everybody,
) -> None:
    """As the engine does: one VM has the device, with up to `depth` of its units, then the next."""
    done = 0
    while done < units:
        first = machine.pick()
        assert first, "nothing is picked though all are backlogged"
        batch = [first]
        while len(batch) < depth and (more := machine.pick_more(first.vm)):
            batch.append(more)
        for picked in batch:
            _finish(machine, picked, length, served, refilled)
        done += len(batch)


def _finish(
    machine: Machine,
    picked: Picked,
    length: Length,
    served: Served,
    refilled: Callable[[int], bool],
) -> None:
    cost_ns = length(picked)
    machine.complete(picked.vm, picked.unit, cost_ns)
    served(picked, cost_ns)
    if refilled(picked.vm):
        machine.push(picked.vm, picked.stream)


RUNS: tuple[Run, ...] = (run_mixed, run_batches)


def fill(machine: Machine, vms: Iterable[int], depth: int) -> None:
    """Enough queued of each VM that it is backlogged whatever is in flight."""
    for vm in vms:
        for _ in range(depth + 1):
            machine.push(vm)
