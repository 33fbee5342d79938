"""What a benchmark hands back: rows of a value and, where there is one, its baseline.

A benchmark is a module tests/bench/bench_<name>.py with `def run() -> BenchResult`. It measures
its baseline in the same run, interleaved with what it measures: two runs on a shared machine
cannot be compared.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """One measured value.

    `name` says what was measured and which statistic it is ("no-op over the ring, p50"), `unit`
    is of `value` and of `baseline_value` alike ("us", "ms", "ns", "requests/s"). `baseline` names
    what it is compared with, None where nothing comparable was run.
    """

    name: str
    value: float
    unit: str
    baseline: str | None = None
    baseline_value: float | None = None

    def __post_init__(self) -> None:
        if (self.baseline is None) != (self.baseline_value is None):
            raise ValueError(f"row {self.name!r}: a baseline has a name and a value, or neither")

    @property
    def ratio(self) -> float | None:
        """Value divided by its baseline, dimensionless; None without a baseline above zero."""
        if not self.baseline_value:
            return None
        return self.value / self.baseline_value


@dataclass(frozen=True)
class BenchResult:
    """Everything one benchmark measured, and in `notes` what a reader must know to judge it."""

    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()
