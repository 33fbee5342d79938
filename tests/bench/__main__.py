"""The benchmark runner: `python -m tests.bench [NAME]`, which `./build.sh bench` calls.

Every module tests/bench/bench_<name>.py is a benchmark. For each it prints an aligned table and,
as the last line, one JSON object, which it also writes to build/bench/<name>.json.
"""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.bench.result import BenchResult, Row

ROOT = Path(__file__).resolve().parent.parent.parent
HEADINGS = ("what", "value", "unit", "baseline", "baseline value", "ratio")


def bench_names(directory: Path) -> list[str]:
    """The benchmarks in a directory, by name, sorted."""
    return sorted(path.stem.removeprefix("bench_") for path in directory.glob("bench_*.py"))


def number(value: float | None) -> str:
    """A measured number with about four significant digits; a dash for none."""
    if value is None:
        return "-"
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.4g}"


def table(rows: Sequence[Row]) -> str:
    """The rows as aligned columns under their headings, numbers to the right."""
    cells = [HEADINGS] + [
        (
            row.name,
            number(row.value),
            row.unit,
            row.baseline or "-",
            number(row.baseline_value),
            number(row.ratio),
        )
        for row in rows
    ]
    widths = [max(len(line[column]) for line in cells) for column in range(len(HEADINGS))]
    right = (False, True, False, False, True, True)
    return "\n".join(
        "  ".join(
            cell.rjust(width) if to_right else cell.ljust(width)
            for cell, width, to_right in zip(line, widths, right, strict=True)
        ).rstrip()
        for line in cells
    )


def as_json(name: str, result: BenchResult) -> str:
    """The result as one line of JSON; a missing baseline is null."""
    results = [
        {
            "name": row.name,
            "value": row.value,
            "unit": row.unit,
            "baseline": row.baseline,
            "baseline_value": row.baseline_value,
            "ratio": row.ratio,
        }
        for row in result.rows
    ]
    return json.dumps({"bench": name, "results": results}, allow_nan=False)


def run_bench(name: str) -> None:
    """Run one benchmark, print it and write its JSON; raises RuntimeError if it has no row."""
    run: Callable[[], BenchResult] = importlib.import_module(f"tests.bench.bench_{name}").run
    print(f"=== {name} ===", flush=True)
    result = run()
    if not result.rows:
        raise RuntimeError(f"benchmark {name} measured nothing")
    print(table(result.rows))
    for note in result.notes:
        print(f"  {note}")
    line = as_json(name, result)
    target = ROOT / "build" / "bench" / f"{name}.json"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(line + "\n")
    print(line, flush=True)


def main(argv: Sequence[str]) -> int:
    """Run the benchmark named in `argv`, all without; 2 for an unknown name."""
    names = bench_names(Path(__file__).parent)
    unknown = [name for name in argv if name not in names]
    if unknown:
        print(f"no benchmark {' '.join(unknown)}; there are: {' '.join(names)}", file=sys.stderr)
        return 2
    for name in argv or names:
        run_bench(name)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
