"""What vgpud and a worker say to each other on the control socket, as mediator_ext/worker_channel.h
has it: one bind with descriptors, one answer; for a standby a question and an answer before."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum

from vgpud.errors import EngineError
from vgpud.model.engine import DeviceStatus
from vgpud.model.mediation import RingLayout
from vgpud.spawner import Role

MAGIC = 0x4B525756
VERSION = 1

STAND_BY_LAYOUT = struct.Struct("<2I")
BIND_LAYOUT = struct.Struct("<4I5Q")
READY_LAYOUT = struct.Struct("<IIiI256s")
DEVICE_LAYOUT = struct.Struct("<II96s48s48s16s5Q4I")
READY_BYTES = READY_LAYOUT.size + DEVICE_LAYOUT.size


class DeviceType(IntEnum):
    """enum vgpu_device_type."""

    NONE = 0
    CPU = 1
    GPU = 2
    ACCELERATOR = 3


@dataclass(frozen=True)
class Ready:
    """A worker's, or a probe's, answer. `error_number` 0 = it works; else `reason` says why not.

    `device` is struct vgpu_device_info as the engine takes it.
    """

    error_number: int
    reason: str
    device: bytes

    def status(self) -> DeviceStatus:
        """The device in words."""
        if self.error_number:
            return DeviceStatus(reason=self.reason)
        return device_status(self.device)


def device_status(device: bytes) -> DeviceStatus:
    """struct vgpu_device_info in words; raises EngineError for other bytes."""
    if len(device) != DEVICE_LAYOUT.size:
        raise EngineError(f"a device is described by {len(device)} bytes")
    fields = DEVICE_LAYOUT.unpack(device)
    return DeviceStatus(
        name=_text(fields[2]),
        backend=_text(fields[5]),
        global_mem_bytes=fields[6],
        compute_units=fields[11],
        ready=True,
    )


def pack_stand_by() -> bytes:
    """The message that asks a worker to say when it waits to be bound."""
    return STAND_BY_LAYOUT.pack(MAGIC, VERSION)


def device_type(device: bytes) -> DeviceType:
    """What kind of device struct vgpu_device_info describes; none where there is none."""
    if not device:
        return DeviceType.NONE
    return DeviceType(DEVICE_LAYOUT.unpack(device)[1])


def pack_bind(role: Role, layout: RingLayout, memory_bytes: int) -> bytes:
    """The message that binds a worker to a VM."""
    return BIND_LAYOUT.pack(
        MAGIC,
        VERSION,
        role,
        layout.qp_count,
        layout.qp_base,
        layout.qp_stride,
        layout.data_offset,
        layout.data_bytes,
        memory_bytes,
    )


def unpack_ready(message: bytes) -> Ready:
    """Read a worker's answer; raises EngineError for anything else."""
    if len(message) != READY_BYTES:
        raise EngineError(f"a worker answered with {len(message)} bytes instead of {READY_BYTES}")
    magic, version, status, _, reason = READY_LAYOUT.unpack_from(message)
    if (magic, version) != (MAGIC, VERSION):
        raise EngineError(f"a worker speaks version {version} of another protocol")
    return Ready(-status, _text(reason), message[READY_LAYOUT.size :])


def _text(field: bytes) -> str:
    return field.partition(b"\0")[0].decode(errors="replace")
