"""Build and run the C tests under the sanitizers that each asks for.

A test names them in a line `/* sanitizers: address thread */`; without one it runs under address
(which stands for AddressSanitizer, LeakSanitizer and UndefinedBehaviorSanitizer together).
`python tests/c/run.py [NAME…]` runs all tests, or those of tests/c/test_<NAME>.c.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
SANITIZERS = ("address", "thread")
TEST_TIMEOUT_S = 120.0
# gcc 12's ThreadSanitizer cannot place its shadow where the kernel randomizes more bits than this.
TSAN_MMAP_RND_BITS = 28

OPTIONS = {
    "ASAN_OPTIONS": "detect_stack_use_after_return=1:strict_string_checks=1",
    "UBSAN_OPTIONS": "print_stacktrace=1",
    "TSAN_OPTIONS": "halt_on_error=1:second_deadlock_stack=1",
}


@dataclass(frozen=True)
class Outcome:
    """How one test program ended under one sanitizer."""

    name: str
    sanitizer: str
    failure: str  # empty when it passed
    output: str
    seconds: float


def sanitizers_of(source: str) -> tuple[str, ...]:
    """The sanitizers that a test's source asks for; raises ValueError for an unknown one."""
    found = re.search(r"^/\* sanitizers: ([a-z ]+) \*/$", source, re.MULTILINE)
    asked = tuple(found.group(1).split()) if found else ("address",)
    unknown = set(asked) - set(SANITIZERS)
    if unknown:
        raise ValueError(f"unknown sanitizer {sorted(unknown)}; there are {SANITIZERS}")
    return asked


def failure_of(returncode: int, output: str) -> str:
    """Why a test program failed, empty if it did not.

    A program that exits 0 without having made one claim has tested nothing: that is a failure.
    """
    if returncode < 0:
        return f"killed by signal {-returncode}"
    if returncode > 0:
        return f"exit {returncode}"
    if re.search(r"^not ok - ", output, re.MULTILINE):
        return "exit 0 with a failed claim"
    if not re.search(r"^ok - ", output, re.MULTILINE):
        return "no claim was made"
    return ""


def build(sanitizer: str, names: Sequence[str]) -> None:
    """Compile the named tests; exits with the compiler's messages when that fails."""
    log = ROOT / "build" / "log" / f"ctests-{sanitizer}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    argv = ["make", "-C", str(ROOT / "mediator_ext"), f"-j{os.cpu_count() or 1}"]
    argv += [f"SAN={sanitizer}", f"TESTS={' '.join(names)}", "tests"]
    with log.open("w") as out:
        done = subprocess.run(argv, stdout=out, stderr=subprocess.STDOUT, check=False)
    if done.returncode != 0:
        tail = "\n".join(log.read_text(errors="replace").splitlines()[-40:])
        sys.exit(f"{tail}\nthe C tests do not build under {sanitizer}: see {log.relative_to(ROOT)}")


def prefix_for(sanitizer: str) -> list[str]:
    """What to run a test program under on this kernel."""
    bits = int(Path("/proc/sys/vm/mmap_rnd_bits").read_text())
    if sanitizer == "thread" and bits > TSAN_MMAP_RND_BITS:
        return ["setarch", "-R"]
    return []


def run_test(sanitizer: str, name: str) -> Outcome:
    """Run one built test program to its end, at most TEST_TIMEOUT_S."""
    program = ROOT / "build" / sanitizer / "tests" / name
    environment = {**os.environ, **OPTIONS, "VGPUD_BIN": str(ROOT / "vgpud" / "bin")}
    start = time.monotonic()
    try:
        done = subprocess.run(
            [*prefix_for(sanitizer), str(program)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=environment,
            timeout=TEST_TIMEOUT_S,
            check=False,
        )
        output = done.stdout.decode(errors="replace")
        failure = failure_of(done.returncode, output)
    except subprocess.TimeoutExpired as late:
        output = (late.stdout or b"").decode(errors="replace")
        failure = f"no end within {TEST_TIMEOUT_S:.0f} s"
    return Outcome(name, sanitizer, failure, output, time.monotonic() - start)


def main(argv: Sequence[str]) -> int:
    """Run the tests named in `argv`, all without; 0 when every claim held."""
    sources = {p.stem.removeprefix("test_"): p for p in Path(__file__).parent.glob("test_*.c")}
    unknown = sorted(set(argv) - set(sources))
    if unknown:
        print(f"no such C test: {unknown}; there are {sorted(sources)}", file=sys.stderr)
        return 2
    if not sources:
        print("there is no C test: none of tests/c/test_*.c exists", file=sys.stderr)
        return 1
    asked = {name: sanitizers_of(sources[name].read_text()) for name in sorted(argv or sources)}
    outcomes: list[Outcome] = []
    for sanitizer in SANITIZERS:
        names = [name for name, wanted in asked.items() if sanitizer in wanted]
        if names:
            build(sanitizer, names)
        for name in names:
            outcome = run_test(sanitizer, name)
            outcomes.append(outcome)
            claims = len(re.findall(r"^ok - ", outcome.output, re.MULTILINE))
            verdict = f"FAILED: {outcome.failure}" if outcome.failure else "ok"
            took = f"{claims:>4} claims {outcome.seconds:6.2f} s"
            print(f"  {name:<28} {sanitizer:<8} {took}  {verdict}")
            if outcome.failure:
                print(outcome.output, flush=True)
    failed = sum(1 for outcome in outcomes if outcome.failure)
    print(f"C tests: {len(outcomes) - failed} passed, {failed} failed", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
