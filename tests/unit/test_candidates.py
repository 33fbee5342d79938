"""Which devices are tried, in which order: nothing is loaded here, and nothing is started."""

from __future__ import annotations

from pathlib import Path

import pytest

from vgpud import probe
from vgpud.config import DeviceConfig
from vgpud.probe import SYSTEM_LOADER, candidates

CUDA = {"VGPU_BACKEND": "cuda", "VGPU_DEVICE_INDEX": "0"}
OPENCL = {"VGPU_BACKEND": "opencl", "VGPU_DEVICE_INDEX": "0"}
POCL = OPENCL | {"VGPU_OPENCL_LIBRARY": "/pocl/libpocl.so"}


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A host with the bundled PoCL alone; a test may give it more below the directory."""
    monkeypatch.setattr(probe, "NVIDIA_DRIVER", tmp_path / "nvidia")
    monkeypatch.setattr(probe, "ICD_DIRECTORY", tmp_path / "icd")
    monkeypatch.setattr(probe, "find_bundled_pocl", lambda: Path("/pocl/libpocl.so"))
    return tmp_path


def test_without_an_nvidia_driver_auto_is_opencl(host: Path) -> None:
    assert list(candidates(DeviceConfig())) == [POCL]


def test_with_an_nvidia_driver_auto_is_cuda_and_opencl_where_that_does_not_work(
    host: Path,
) -> None:
    (host / "nvidia").touch()
    (host / "icd").mkdir()
    (host / "icd" / "some.icd").touch()
    system = OPENCL | {"VGPU_OPENCL_LIBRARY": SYSTEM_LOADER}
    assert list(candidates(DeviceConfig())) == [CUDA, system, POCL]


def test_an_opencl_library_that_is_named_is_the_only_one_of_auto(host: Path) -> None:
    (host / "nvidia").touch()
    config = DeviceConfig(opencl_library="/opt/libOpenCL.so")
    assert list(candidates(config)) == [OPENCL | {"VGPU_OPENCL_LIBRARY": "/opt/libOpenCL.so"}]


def test_a_cuda_library_that_is_named_is_the_first_of_auto(host: Path) -> None:
    config = DeviceConfig(cuda_library="/opt/libcuda.so.1", opencl_library="/opt/libOpenCL.so")
    assert list(candidates(config)) == [
        CUDA | {"VGPU_CUDA_LIBRARY": "/opt/libcuda.so.1"},
        OPENCL | {"VGPU_OPENCL_LIBRARY": "/opt/libOpenCL.so"},
    ]


def test_a_backend_that_is_named_is_the_only_one(host: Path) -> None:
    (host / "nvidia").touch()
    assert list(candidates(DeviceConfig(backend="cuda", device_index=3))) == [
        CUDA | {"VGPU_DEVICE_INDEX": "3"}
    ]
    assert list(candidates(DeviceConfig(backend="opencl"))) == [POCL]
    assert list(candidates(DeviceConfig(backend="null"))) == [{"VGPU_BACKEND": "null"}]
