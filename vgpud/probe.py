"""Which device work will run on: asked of a probe, a process that may die of the answer.

A device's library runs in the process that loads it, and some abort. So vgpud never loads one: the
spawner starts a worker in the role of a probe, which describes the device and exits.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from vgpud.config import DeviceConfig
from vgpud.errors import EngineError, SpawnerError
from vgpud.model.engine import DeviceStatus
from vgpud.pocl import find_bundled_pocl
from vgpud.spawner import (
    Capability,
    Role,
    Spawner,
    SpawnerLostError,
    SpawnerRefusedError,
    WorkerProcess,
)
from vgpud.worker_messages import READY_BYTES, DeviceType, device_type, unpack_ready

log = logging.getLogger(__name__)

ICD_DIRECTORY = Path("/etc/OpenCL/vendors")
NVIDIA_DRIVER = Path("/proc/driver/nvidia/version")
"""There while the kernel's part of NVIDIA's driver is loaded; without it libcuda has no device."""
SYSTEM_LOADER = "libOpenCL.so.1"
PROBE_SLOTS = 4


class NoAnswerError(EngineError):
    """A probe said neither that the device works nor that it does not."""


@dataclass(frozen=True)
class Device:
    """A device that answered: how workers reach it, and what it says it is.

    `info` is struct vgpu_device_info, empty when there is no device; `status.reason` says why.
    `confirmed` is false for one that answered some time ago and did not say no since.
    """

    settings: Mapping[str, str]
    info: bytes
    status: DeviceStatus
    confirmed: bool = True

    def worker_settings(self) -> Mapping[str, str]:
        """The environment of its workers: who has a driver in the kernel needs its device nodes."""
        if device_type(self.info) in (DeviceType.NONE, DeviceType.CPU):
            return self.settings
        return {**self.settings, "VGPU_DEVICE_NODES": "1"}


async def find_device(
    spawner: Spawner,
    config: DeviceConfig,
    timeout_s: float,
    known: Device | None = None,
    level: int = logging.WARNING,
) -> Device:
    """The first device that works, in the order of candidates().

    Takes until a probe has answered, at most `timeout_s` for each. `known` is what worked last: it
    is returned as it is when its probe does not answer. Raises SpawnerLostError only: a host whose
    device does not work can still be administered. What does not work is logged at `level`.
    """
    reasons = []
    for settings in candidates(config):
        library = settings.get("VGPU_CUDA_LIBRARY") or settings.get("VGPU_OPENCL_LIBRARY")
        where = library or settings["VGPU_BACKEND"]
        try:
            found = await _probe(spawner, settings, timeout_s, config.vm_memory_bytes)
            _refuse_unconfined(spawner.info.capabilities, config, found)
            return found
        except SpawnerLostError:
            raise
        except (EngineError, SpawnerError, OSError, ValueError) as error:
            log.log(level, "device: %s cannot be used: %s", where, error)
            reasons.append(f"{where}: {error}")
            silent = isinstance(error, NoAnswerError | SpawnerRefusedError)
        if silent and known is not None and settings == known.settings:
            log.log(level, "device: taking %s for what it last was", where)
            return known
    reason = "; ".join(reasons) or "no OpenCL library was found, and PoCL is not installed"
    return Device({}, b"", DeviceStatus(reason=reason))


def _refuse_unconfined(capabilities: Capability, config: DeviceConfig, device: Device) -> None:
    """Raises EngineError where guests' kernels would be native code that nothing confines."""
    missing = [
        what
        for capability, what in (
            (Capability.SETUID, "accounts"),
            (Capability.NAMESPACE, "namespaces"),
        )
        if capability not in capabilities
    ]
    if device_type(device.info) is not DeviceType.CPU or not missing:
        return
    what = f"workers have no {' and no '.join(missing)} of their own here"
    if config.allow_unconfined_kernels:
        log.warning("device: allow_unconfined_kernels is set, and %s: guests are trusted", what)
        return
    raise EngineError(
        f"guests' kernels are native code on a CPU, and {what} to confine it: start vgpu-spawn as "
        "root, or set [device] allow_unconfined_kernels = true where every guest is trusted"
    )


def candidates(config: DeviceConfig) -> Iterator[dict[str, str]]:
    """What a worker is to be told to find a device, the best first.

    The order: an NVIDIA device through CUDA, a system's OpenCL, the bundled PoCL. A backend that is
    named is the only one, and so is OpenCL when a library of it is named and none of CUDA is.
    """
    if config.backend == "null":
        yield {"VGPU_BACKEND": "null"}
        return
    if _wants_cuda(config):
        cuda = {"VGPU_BACKEND": "cuda", "VGPU_DEVICE_INDEX": str(config.device_index)}
        yield cuda | ({"VGPU_CUDA_LIBRARY": config.cuda_library} if config.cuda_library else {})
    if config.backend != "cuda":
        yield from _opencl_candidates(config)


def _wants_cuda(config: DeviceConfig) -> bool:
    if config.backend == "auto" and not config.cuda_library:
        return NVIDIA_DRIVER.exists() and not config.opencl_library
    return config.backend in ("auto", "cuda")


def _opencl_candidates(config: DeviceConfig) -> Iterator[dict[str, str]]:
    common = {"VGPU_BACKEND": "opencl", "VGPU_DEVICE_INDEX": str(config.device_index)}
    if config.cpu_threads:
        common["VGPU_CPU_THREADS"] = str(config.cpu_threads)
    if config.opencl_library:
        yield common | {"VGPU_OPENCL_LIBRARY": config.opencl_library}
        return
    if ICD_DIRECTORY.is_dir() and any(ICD_DIRECTORY.glob("*.icd")):
        yield common | {"VGPU_OPENCL_LIBRARY": SYSTEM_LOADER}
    bundled = find_bundled_pocl()
    if bundled is not None:
        yield common | {"VGPU_OPENCL_LIBRARY": str(bundled)}


async def _probe(
    spawner: Spawner, settings: Mapping[str, str], timeout_s: float, memory_bytes: int
) -> Device:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours:
        with theirs:
            process = _spawn_probe(spawner, theirs, settings)
        os.close(process.pidfd)
        ours.setblocking(False)
        received = asyncio.get_running_loop().sock_recv(ours, READY_BYTES + 1)
        try:
            message = await asyncio.wait_for(received, timeout_s)
        except TimeoutError:
            spawner.kill(process.worker_id)
            raise NoAnswerError(f"its probe did not answer within {timeout_s:g} s") from None
    if not message:
        raise EngineError("its probe died while it looked at the device")
    ready = unpack_ready(message)
    if ready.error_number:
        raise EngineError(ready.reason or os.strerror(ready.error_number))
    return Device(settings, with_quota(ready.device, memory_bytes), ready.status())


def _spawn_probe(
    spawner: Spawner, control: socket.socket, settings: Mapping[str, str]
) -> WorkerProcess:
    """A predecessor's probe may not have ended yet: then its slot is taken, and the next one is."""
    for slot in range(PROBE_SLOTS - 1):
        try:
            return spawner.spawn_worker(Role.PROBE, slot, control, settings, "probe")
        except SpawnerRefusedError as error:
            if error.error_number != errno.EBUSY:
                raise
    return spawner.spawn_worker(Role.PROBE, PROBE_SLOTS - 1, control, settings, "probe")


def with_quota(info: bytes, memory_bytes: int) -> bytes:
    """The description with what a VM may allocate, where a probe had no VM to ask about."""
    offset = 8 + 96 + 48 + 48 + 16 + 3 * 8
    return info[:offset] + memory_bytes.to_bytes(8, "little") + info[offset + 8 :]
