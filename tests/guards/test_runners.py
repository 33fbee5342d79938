"""The test and benchmark runners themselves: nothing that tested or measured nothing passes."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.bench.__main__ import as_json, bench_names, main, table
from tests.bench.result import BenchResult, Row
from tests.c.run import failure_of, sanitizers_of
from tests.fuzz.run import UsageError, finding_of, parse, target_names
from tests.fuzz.run import main as fuzz_main
from tests.guards.sources import ROOT, files

ROWS = (
    Row("no-op, p50", 12.0, "us", "bare ping-pong, p50", 8.0),
    Row("idle wakeups", 0.0, "1/s"),
)


def test_every_c_test_names_known_sanitizers() -> None:
    sources = files(".c", under="tests/c")
    assert sources
    for path in sources:
        assert sanitizers_of(path.read_text())


def test_a_c_test_runs_under_address_unless_it_says_otherwise() -> None:
    assert sanitizers_of("/* test_x.c */\n") == ("address",)
    assert sanitizers_of("/* t */\n/* sanitizers: address thread */\n") == ("address", "thread")
    with pytest.raises(ValueError, match="unknown sanitizer"):
        sanitizers_of("/* sanitizers: memory */\n")


@pytest.mark.parametrize(
    ("returncode", "output", "failure"),
    [
        (0, "ok - a claim\n", ""),
        (0, "hello\n", "no claim was made"),
        (0, "ok - a\nnot ok - b\n", "exit 0 with a failed claim"),
        (1, "ok - a\n", "exit 1"),
        (-11, "ok - a\n", "killed by signal 11"),
    ],
)
def test_a_c_test_passes_only_by_claims_that_held(
    returncode: int, output: str, failure: str
) -> None:
    assert failure_of(returncode, output) == failure


def test_seconds_come_first_then_from_the_environment_then_from_the_default() -> None:
    known = ("ring", "wire")
    assert parse(["5", "wire"], {"FUZZ_SECONDS": "9"}, known) == (5, ["wire"])
    assert parse(["wire"], {"FUZZ_SECONDS": "9"}, known) == (9, ["wire"])
    assert parse([], {}, known) == (60, ["ring", "wire"])


@pytest.mark.parametrize("text", ["0", "-3", "1.5", "00", "99999999"])
def test_what_is_no_number_of_seconds_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="not a number of seconds"):
        parse([text], {}, ("ring",))
    with pytest.raises(UsageError, match="not a number of seconds"):
        parse([], {"FUZZ_SECONDS": text}, ("ring",))


def test_an_unknown_fuzz_target_is_refused_with_the_list(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert fuzz_main(["3", "nonsense"]) == 2
    message = capsys.readouterr().err
    assert "nonsense" in message and all(name in message for name in target_names())


@pytest.mark.parametrize(
    ("returncode", "output", "failure"),
    [
        (0, "stat::number_of_executed_units: 12\n", ""),
        (0, "INFO: seed corpus\n", "no input was run"),
        (77, "Test unit written to /x/ring-crash-1\n", "exit 77, by /x/ring-crash-1"),
        (-13, "", "killed by signal 13, by no input that could be kept"),
    ],
)
def test_a_fuzz_target_is_clean_only_if_it_ran_and_found_nothing(
    returncode: int, output: str, failure: str
) -> None:
    assert finding_of("ring", returncode, output).failure == failure


def test_a_row_is_compared_with_its_baseline() -> None:
    assert [row.ratio for row in ROWS] == [1.5, None]
    with pytest.raises(ValueError, match="or neither"):
        Row("half a baseline", 1.0, "us", "bare")


def test_a_bench_line_is_one_json_object_of_the_agreed_form() -> None:
    line = as_json("roundtrip", BenchResult(ROWS))
    assert "\n" not in line
    assert json.loads(line) == {
        "bench": "roundtrip",
        "results": [
            {
                "name": "no-op, p50",
                "value": 12.0,
                "unit": "us",
                "baseline": "bare ping-pong, p50",
                "baseline_value": 8.0,
                "ratio": 1.5,
            },
            {
                "name": "idle wakeups",
                "value": 0.0,
                "unit": "1/s",
                "baseline": None,
                "baseline_value": None,
                "ratio": None,
            },
        ],
    }


def test_the_table_keeps_its_columns_aligned() -> None:
    lines = table(ROWS).splitlines()
    assert len(lines) == 3
    assert {line.index(unit) for line, unit in zip(lines, ("unit", "us", "1/s"), strict=True)} == {
        lines[0].index("unit")
    }


def test_an_unknown_bench_is_refused_with_the_list(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["nonsense"]) == 2
    message = capsys.readouterr().err
    assert all(name in message for name in bench_names(ROOT / "tests" / "bench"))


def test_every_bench_module_has_its_entrance() -> None:
    modules = list((ROOT / "tests" / "bench").glob("bench_*.py"))
    assert modules
    without = [
        path.name
        for path in modules
        if not re.search(r"^def run\(\) -> BenchResult:$", path.read_text(), re.MULTILINE)
    ]
    assert without == []


def test_bench_names_come_from_file_names(tmp_path: Path) -> None:
    for name in ("bench_b.py", "bench_a.py", "result.py"):
        (tmp_path / name).touch()
    assert bench_names(tmp_path) == ["a", "b"]
