"""Daemons and VMs that the tests of a real vgpud share.

A daemon of the session is never restarted or reconfigured; every test has VMs of its own on it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.daemon.guests import Guest, register, registered
from tests.daemon.place import Place
from tests.daemon_under_test import RunningDaemon, running_vgpud
from tests.fake_cuda import fake_cuda
from vgpud.pocl import find_bundled_pocl
from vgpud.probe import ICD_DIRECTORY

TIGHT_QUEUE = 16
TIGHT_MEMORY_BYTES = 1 << 20


@pytest.fixture(scope="session")
def vgpud() -> Iterator[RunningDaemon]:
    """A daemon with the null device and otherwise the defaults."""
    with running_vgpud() as daemon:
        yield daemon


@pytest.fixture(scope="session")
def tight_vgpud() -> Iterator[RunningDaemon]:
    """A daemon with the null device and small limits."""
    with running_vgpud(
        {
            "vms": {"max_queued_per_vm": TIGHT_QUEUE, "ring_queue_pairs": 2, "ring_entries": 16},
            "device": {"vm_memory_bytes": TIGHT_MEMORY_BYTES},
        }
    ) as daemon:
        yield daemon


@pytest.fixture(scope="module")
def private_vgpud() -> Iterator[RunningDaemon]:
    """A daemon for the tests of one file, see vgpud_of_its_own."""
    with running_vgpud() as daemon:
        yield daemon


@pytest.fixture
def vgpud_of_its_own(private_vgpud: RunningDaemon) -> RunningDaemon:
    """A running daemon that a test may end, kill and reconfigure."""
    if private_vgpud.process is None:
        private_vgpud.start()
    return private_vgpud


@pytest.fixture
def place(short_dir: Path) -> Iterator[Place]:
    """An empty place with the null device; what a test leaves running there is ended."""
    place = Place(short_dir)
    place.configure('[device]\nbackend = "null"\n')
    place.state_dir.mkdir(mode=0o750)
    short_dir.chmod(0o711)
    yield place
    for process in place.processes():
        process.kill()


@pytest.fixture(scope="session")
def opencl_vgpud() -> Iterator[RunningDaemon]:
    """A daemon with an OpenCL device on which a unit may run for three seconds."""
    installed = ICD_DIRECTORY.is_dir() and any(ICD_DIRECTORY.glob("*.icd"))
    if not installed and find_bundled_pocl() is None:
        pytest.skip("no OpenCL device: neither an ICD nor pocl-binary-distribution is installed")
    with running_vgpud(
        {"device": {"backend": "opencl"}, "scheduler": {"run_timeout_ms": 3000}}
    ) as daemon:
        yield daemon


@pytest.fixture(scope="session")
def cuda_vgpud() -> Iterator[RunningDaemon]:
    """A daemon with a CUDA driver that has no device."""
    with running_vgpud({"device": {"backend": "cuda", "cuda_library": fake_cuda()}}) as daemon:
        yield daemon


def _guest(daemon: RunningDaemon, pool: str) -> Iterator[Guest]:
    guest = register(daemon, pool=pool)
    yield guest
    if guest.uuid in registered(daemon):
        guest.remove()


@pytest.fixture
def guest(vgpud: RunningDaemon) -> Iterator[Guest]:
    """A VM in pool A."""
    yield from _guest(vgpud, "A")


@pytest.fixture
def neighbour(vgpud: RunningDaemon) -> Iterator[Guest]:
    """Another VM of the same host, in pool B."""
    yield from _guest(vgpud, "B")


@pytest.fixture
def tight_guest(tight_vgpud: RunningDaemon) -> Iterator[Guest]:
    """A VM with small limits."""
    yield from _guest(tight_vgpud, "A")


@pytest.fixture
def opencl_guest(opencl_vgpud: RunningDaemon) -> Iterator[Guest]:
    """A VM with an OpenCL device, in pool A."""
    yield from _guest(opencl_vgpud, "A")


@pytest.fixture
def opencl_neighbour(opencl_vgpud: RunningDaemon) -> Iterator[Guest]:
    """Another VM with an OpenCL device, in pool B."""
    yield from _guest(opencl_vgpud, "B")


@pytest.fixture
def cuda_guest(cuda_vgpud: RunningDaemon) -> Iterator[Guest]:
    """A VM with a CUDA device, in pool A."""
    yield from _guest(cuda_vgpud, "A")


@pytest.fixture
def cuda_neighbour(cuda_vgpud: RunningDaemon) -> Iterator[Guest]:
    """Another VM with a CUDA device, in pool B."""
    yield from _guest(cuda_vgpud, "B")
