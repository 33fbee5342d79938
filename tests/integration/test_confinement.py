"""Which devices are used where vgpu-spawn cannot confine workers."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.spawner_under_test import STRANGER_UID, Service, needs_root, running_spawner
from tests.integration.worker_under_test import BINARY, environment
from vgpud.config import DeviceConfig
from vgpud.probe import Device, find_device
from vgpud.spawner import Spawner

PROBE_S = 60.0


@pytest.fixture
def unprivileged() -> Iterator[Service]:
    """A spawner that is not root, whatever the tests are."""
    user = STRANGER_UID if os.geteuid() == 0 else None
    with running_spawner(f"--allow-uid={os.geteuid()}", worker=BINARY, user=user) as running:
        yield running


def found(service: Service, config: DeviceConfig) -> Device:
    """What vgpud would use."""
    spawner: Spawner = service.connect()
    return asyncio.run(find_device(spawner, config, PROBE_S))


def pocl(allow_unconfined_kernels: bool, scratch: Path) -> DeviceConfig:
    """The CPU device; skips where there is none."""
    return DeviceConfig(
        backend="opencl",
        opencl_library=environment("opencl", scratch)["VGPU_OPENCL_LIBRARY"],
        allow_unconfined_kernels=allow_unconfined_kernels,
    )


def test_a_cpu_is_no_device_where_its_kernels_cannot_be_confined(
    unprivileged: Service, short_dir: Path
) -> None:
    device = found(unprivileged, pocl(False, short_dir))
    assert not device.status.ready and not device.settings
    assert "workers have no accounts and no namespaces of their own" in device.status.reason
    assert "allow_unconfined_kernels" in device.status.reason


def test_a_cpu_is_one_all_the_same_where_the_configuration_says_so(
    unprivileged: Service, short_dir: Path
) -> None:
    assert found(unprivileged, pocl(True, short_dir)).status.ready


def test_the_null_device_needs_no_confinement(unprivileged: Service) -> None:
    assert found(unprivileged, DeviceConfig(backend="null")).status.ready


@needs_root
def test_a_cpu_is_a_device_where_its_kernels_are_confined(short_dir: Path) -> None:
    with running_spawner(worker=BINARY) as service:
        assert found(service, pocl(False, short_dir)).status.ready
