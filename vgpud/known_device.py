"""The device that worked last, kept by the spawner for the next vgpud.

The next one asks a probe again. Only when that cannot be asked, or says nothing, is what is kept
here taken for true: workers use that device meanwhile, and their VMs need not do without it.
"""

from __future__ import annotations

import json
import logging
import os
from dataclasses import replace

from vgpud.errors import EngineError
from vgpud.probe import Device
from vgpud.spawner import Spawner, close_fds
from vgpud.worker_messages import device_status

log = logging.getLogger(__name__)

KEY = "device"
LONGEST_BYTES = 65536


def remember(spawner: Spawner, device: Device) -> None:
    """Have it kept. Raises OSError or SpawnerError."""
    fd = os.memfd_create("vgpud-device", os.MFD_CLOEXEC)
    try:
        record = {"settings": dict(device.settings), "info": device.info.hex()}
        os.write(fd, json.dumps(record).encode())
        spawner.hold(KEY, [fd])
    finally:
        os.close(fd)


def recall(spawner: Spawner) -> Device | None:
    """What was kept, not confirmed; None when nothing was, or nothing that can be read.

    Raises SpawnerError.
    """
    entries = [entry for entry in spawner.fetch(KEY) if entry.key == KEY]
    try:
        return _read(entries[0].fds[0]) if entries else None
    except (OSError, ValueError, KeyError, TypeError, EngineError) as error:
        log.warning("what a predecessor kept about the device cannot be read: %s", error)
        return None
    finally:
        for entry in entries:
            close_fds(entry.fds)


def _read(fd: int) -> Device:
    record = json.loads(os.pread(fd, LONGEST_BYTES, 0))
    settings = {str(name): str(value) for name, value in record["settings"].items()}
    info = bytes.fromhex(record["info"])
    return replace(Device(settings, info, device_status(info)), confirmed=False)
