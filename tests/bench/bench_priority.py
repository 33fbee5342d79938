"""How long a VM of high priority waits for the device beside one of low priority that never pauses.

Both are in one pool. The high one launches a kernel of 20 us, and the next when that is answered;
the low one keeps eight kernels outstanding. The device is the null one, which is busy for as long
as a kernel says. What the device has begun or been given cannot be taken back, so the high one may
have to wait for that: as many units as are expected to begin within the quantum.
"""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator

from tests.bench.driver import drive, program
from tests.bench.result import BenchResult, Row
from tests.daemon.guests import Guest, register
from tests.daemon_under_test import running_vgpud
from vgpud.model.priority import Priority

HIGH_KERNEL = "busy_20us"
LOW_US = {100: 8, 1000: 2}
"""Length of a low kernel, and how many of them the device has at most: 8, or 2 ms of them."""
LOW_DEPTH = 8
ROUNDS = 21
ROUND_MS = 200
ALLOWED_US = 100.0


@contextlib.contextmanager
def saturating(guest: Guest, kernel_us: int) -> Iterator[None]:
    """The VM keeps its kernels outstanding in the `with` block."""
    how = ("kernel", "1", "60000", f"busy_{kernel_us}us", str(LOW_DEPTH))
    argv = [str(program("load_ring_main")), *how, str(guest.ring_socket)]
    with subprocess.Popen(argv, stdout=subprocess.DEVNULL) as load:
        try:
            guest.when(lambda live: live.completed > LOW_DEPTH, "its kernels run")
            yield
        finally:
            load.kill()


def run() -> BenchResult:
    """Start a vgpud on the null backend and measure; blocks for some fifteen seconds."""
    found = []
    with running_vgpud() as daemon:
        high, low = (
            register(daemon, priority=priority) for priority in (Priority.HIGH, Priority.LOW)
        )

        def launches() -> dict[str, float]:
            how = ("kernel", ROUNDS, ROUND_MS, HIGH_KERNEL, 1)
            return drive("load_ring_main", *how, high.ring_socket)["alone"]

        alone = launches()
        for kernel_us, in_flight in LOW_US.items():
            with saturating(low, kernel_us):
                beside = launches()
            found += [
                Row(
                    f"high beside low kernels of {kernel_us} us, p50",
                    beside["p50_us"],
                    "us",
                    f"alone + {in_flight} in flight + {ALLOWED_US:.0f} us",
                    alone["p50_us"] + in_flight * kernel_us + ALLOWED_US,
                ),
                Row(
                    f"high beside low kernels of {kernel_us} us, p99",
                    beside["p99_us"],
                    "us",
                    "alone, p99",
                    alone["p99_us"],
                ),
            ]
    return BenchResult(
        rows=tuple(found),
        notes=(
            f"medians of {ROUNDS} rounds of {ROUND_MS} ms each; from submission to answer",
            "bar: p50 <= its baseline; the p99 is stated",
        ),
    )
