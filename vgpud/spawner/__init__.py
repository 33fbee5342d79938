"""The client of vgpu-spawn, the process that starts workers and keeps descriptors for vgpud."""

from vgpud.spawner.client import Spawner
from vgpud.spawner.connection import (
    SpawnerLostError,
    SpawnerRefusedError,
    close_fds,
    open_hold_channel,
)
from vgpud.spawner.messages import (
    Capability,
    HeldEntry,
    PeerProcess,
    Role,
    SpawnerInfo,
    WorkerEntry,
    WorkerExit,
    WorkerProcess,
    isolation_gaps,
    signal_name,
)
from vgpud.spawner.start import SpawnerLaunch, connect_or_start

__all__ = [
    "Capability",
    "HeldEntry",
    "PeerProcess",
    "Role",
    "Spawner",
    "SpawnerInfo",
    "SpawnerLaunch",
    "SpawnerLostError",
    "SpawnerRefusedError",
    "WorkerEntry",
    "WorkerExit",
    "WorkerProcess",
    "close_fds",
    "connect_or_start",
    "isolation_gaps",
    "open_hold_channel",
    "signal_name",
]
