"""Build the fuzz targets with libFuzzer and run them, as many at a time as there are processors.

`python -m tests.fuzz.run [SECONDS] [NAME…]` runs all targets, or tests/fuzz/fuzz_<NAME>.c, SECONDS
each (FUZZ_SECONDS, else 60). A target starts from its corpus (tests/fuzz/corpus/<NAME>/) and from
what earlier runs here found to reach new code (build/fuzz/found/<NAME>/). An input that breaks
something is written to build/fuzz/broken/ and named.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
HERE = ROOT / "tests" / "fuzz"
BUILD = ROOT / "build" / "fuzz"
DEFAULT_SECONDS = 60
# libFuzzer's own limits: one input may take so long, also on a machine that is busy with others.
INPUT_TIMEOUT_S = 25
MEMORY_LIMIT_MB = 1024
INPUT_BYTES_MAX = 4096
# Past its time a target finishes its input; one that does not is hung in a way libFuzzer misses.
GRACE_S = 60
LAST_LINES = 40


class UsageError(ValueError):
    """The command line names what is not there."""


@dataclass(frozen=True)
class Finding:
    """How one target ended: `failure` is empty when nothing was found."""

    name: str
    failure: str
    output: str
    runs: int
    edges: int
    inputs: int


def target_names(directory: Path = HERE) -> list[str]:
    """The targets, by file name."""
    return sorted(path.stem.removeprefix("fuzz_") for path in directory.glob("fuzz_*.c"))


def parse(
    arguments: Sequence[str], environment: Mapping[str, str], known: Sequence[str]
) -> tuple[int, list[str]]:
    """Seconds for each target, and the targets; raises UsageError for what is unknown."""
    names = list(arguments)
    text = environment.get("FUZZ_SECONDS") or str(DEFAULT_SECONDS)
    if names and re.fullmatch(r"[0-9.+-]+", names[0]):
        text = names.pop(0)
    if not re.fullmatch(r"[1-9][0-9]{0,6}", text):
        raise UsageError(f"{text} is not a number of seconds (1 to 9999999)")
    unknown = sorted(set(names) - set(known))
    if unknown:
        raise UsageError(f"no fuzz target {', '.join(unknown)}; there are: {' '.join(known)}")
    return int(text), names or list(known)


def number_of(pattern: str, output: str) -> int:
    """The last number that libFuzzer printed in a place, 0 if it never did."""
    found = re.findall(pattern, output)
    return int(found[-1]) if found else 0


def finding_of(name: str, returncode: int, output: str) -> Finding:
    """What a target's exit status and output say.

    A run that executed nothing beyond its corpus has fuzzed nothing: that is a failure, too.
    """
    runs = number_of(r"stat::number_of_executed_units: *(\d+)", output)
    inputs = number_of(r"corp: (\d+)/", output)
    failure = ""
    if returncode:
        broken = re.findall(r"Test unit written to (\S+)", output)
        failure = f"exit {returncode}" if returncode > 0 else f"killed by signal {-returncode}"
        failure += f", by {broken[-1]}" if broken else ", by no input that could be kept"
    elif not runs:
        failure = "no input was run"
    return Finding(name, failure, output, runs, number_of(r"cov: (\d+)", output), inputs)


def build(names: Sequence[str]) -> None:
    """Compile the targets; exits with the compiler's messages when that fails."""
    log = ROOT / "build" / "log" / "fuzz.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    argv = ["make", "-C", str(ROOT / "mediator_ext"), f"-j{os.cpu_count() or 1}"]
    argv += ["SAN=fuzz", "CC=clang", f"TARGETS={' '.join(names)}", "fuzz"]
    with log.open("w") as out:
        done = subprocess.run(argv, stdout=out, stderr=subprocess.STDOUT, check=False)
    if done.returncode:
        tail = "\n".join(log.read_text(errors="replace").splitlines()[-LAST_LINES:])
        sys.exit(f"{tail}\nthe fuzz targets do not build: see {log.relative_to(ROOT)}")


def command_of(name: str, seconds: int) -> list[str]:
    """The libFuzzer command line of a target; makes the directories that it needs."""
    found, broken, corpus = BUILD / "found" / name, BUILD / "broken", HERE / "corpus" / name
    found.mkdir(parents=True, exist_ok=True)
    broken.mkdir(parents=True, exist_ok=True)
    argv = [str(BUILD / "fuzz" / name), f"-max_total_time={seconds}", f"-timeout={INPUT_TIMEOUT_S}"]
    argv += [f"-rss_limit_mb={MEMORY_LIMIT_MB}", f"-max_len={INPUT_BYTES_MAX}"]
    argv += [f"-artifact_prefix={broken}/{name}-", "-print_final_stats=1", str(found)]
    return [*argv, str(corpus)] if corpus.is_dir() else argv


def run_target(name: str, seconds: int) -> Finding:
    """Fuzz one target for its time, its output going to build/log/fuzz-<name>.log too."""
    options = {"UBSAN_OPTIONS": "print_stacktrace=1", "ASAN_OPTIONS": "detect_leaks=1"}
    try:
        done = subprocess.run(
            command_of(name, seconds),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**os.environ, **options},
            timeout=seconds + GRACE_S,
            check=False,
        )
        finding = finding_of(name, done.returncode, done.stdout.decode(errors="replace"))
    except subprocess.TimeoutExpired as late:
        output = (late.stdout or b"").decode(errors="replace")
        finding = Finding(name, f"no end {GRACE_S} s past its time", output, 0, 0, 0)
    log = ROOT / "build" / "log" / f"fuzz-{name}.log"
    log.write_text(finding.output)
    return finding


def main(argv: Sequence[str]) -> int:
    """Run the targets named in `argv`, all without; 0 when nothing was found, 2 for bad usage."""
    known = target_names()
    try:
        seconds, names = parse(argv, os.environ, known)
    except UsageError as error:
        print(f"fuzz: {error}", file=sys.stderr)
        return 2
    build(names)
    start, jobs = time.monotonic(), min(len(names), os.cpu_count() or 1)
    print(f"  {len(names)} targets, {seconds} s each, {jobs} at a time", flush=True)
    failed = 0
    with ThreadPoolExecutor(jobs) as pool:
        for finding in pool.map(lambda name: run_target(name, seconds), names):
            counts = f"{finding.runs:>9} runs {finding.edges:>6} edges {finding.inputs:>5} inputs"
            verdict = f"FAILED: {finding.failure}" if finding.failure else "ok"
            print(f"  {finding.name:<20}{counts}  {verdict}", flush=True)
            if finding.failure:
                failed += 1
                print("\n".join(finding.output.splitlines()[-LAST_LINES:]), flush=True)
    took = time.monotonic() - start
    print(f"fuzz targets: {len(names) - failed} clean, {failed} failed, {took:.0f} s", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
