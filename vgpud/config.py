"""The configuration: every key, its default and its range.

The defaults below are the ones the program runs with; vgpud.toml in the distribution writes them
out again with an explanation each, and a guard keeps both equal.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Literal

from msgspec import Meta, Struct

UIDS_PER_SLOT = 4
"""A worker's slot has a uid for each of its roles."""

MODE = "a mode from 0o000 to 0o777, in octal such as 0o660"
"""How the range of a file's mode is told; other numbers are told from their limits."""

SPIN_CPUS = 4
MAX_BUILDS = 32
"""What the engine can have at a time."""

# Every number states its range where it is declared; a value outside is named with it.
TimeoutMs = Annotated[int, Meta(ge=1, le=86_400_000)]
Count = Annotated[int, Meta(ge=1, le=1_000_000)]


def _require_absolute(name: str, value: str, *, may_be_empty: bool = False) -> None:
    if value == "" and may_be_empty:
        return
    if not value.startswith("/") or "\0" in value:
        raise ValueError(f"{name}: expected an absolute path, is {value!r}")


class DaemonConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """Section [daemon]: where state lives and how the daemon runs."""

    state_dir: str = "/var/lib/vgpud"
    run_dir: str = "/run/vgpud"
    user: str = ""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    shutdown_timeout_ms: TimeoutMs = 10_000

    def __post_init__(self) -> None:
        for name in ("state_dir", "run_dir"):
            _require_absolute(name, getattr(self, name))


class ControlConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """Section [control]: the administration socket, who may use it, and its limits."""

    socket: str = ""
    socket_mode: Annotated[int, Meta(ge=0, le=0o777, description=MODE)] = 0o660
    admin_group: str = "vgpud-admin"
    operate_group: str = ""
    view_group: str = "vgpud"
    max_message_bytes: Annotated[int, Meta(ge=4096, le=16_777_216)] = 65_536
    message_timeout_ms: TimeoutMs = 5_000
    max_connections: Annotated[int, Meta(ge=1, le=4096)] = 64

    def __post_init__(self) -> None:
        _require_absolute("socket", self.socket, may_be_empty=True)


class SpawnerConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """Section [spawner]: vgpu-spawn and the worker processes it starts."""

    socket: str = ""
    binary: str = ""
    worker_binary: str = ""
    worker_uid_base: Annotated[int, Meta(ge=0, le=2**31 - 1)] = 0
    max_workers: Annotated[int, Meta(ge=1, le=16_384)] = 64
    start_timeout_ms: TimeoutMs = 10_000
    request_timeout_ms: TimeoutMs = 10_000
    build_idle_ms: TimeoutMs = 30_000
    launch_idle_ms: TimeoutMs = 600_000
    standby: Annotated[int, Meta(ge=0, le=1)] = 1
    worker_memory_bytes: Annotated[int, Meta(ge=0, le=2**62)] = 0
    worker_max_tasks: Annotated[int, Meta(ge=16, le=4_194_304)] = 1_024

    def __post_init__(self) -> None:
        for name in ("socket", "binary", "worker_binary"):
            _require_absolute(name, getattr(self, name), may_be_empty=True)
        if self.worker_uid_base % UIDS_PER_SLOT:
            raise ValueError(
                f"worker_uid_base: expected a multiple of {UIDS_PER_SLOT}, "
                f"is {self.worker_uid_base}"
            )


class VmsConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """Section [vms]: what every VM gets: queue depths and the shared-memory ring."""

    qemu_user: str = ""
    max_queued_per_vm: Annotated[int, Meta(ge=16, le=32_768)] = 1_024
    max_queued_total: Count = 65_536
    ring_queue_pairs: Annotated[int, Meta(ge=1, le=64)] = 1
    ring_entries: Annotated[int, Meta(ge=16, le=32_768)] = 256
    ring_data_bytes: Annotated[int, Meta(ge=65_536, le=4_294_967_296)] = 16_777_216

    def __post_init__(self) -> None:
        if self.max_queued_per_vm > self.max_queued_total:
            raise ValueError(
                f"max_queued_per_vm: expected at most max_queued_total, {self.max_queued_total}, "
                f"is {self.max_queued_per_vm}"
            )
        for name in ("ring_entries", "ring_data_bytes"):
            value = getattr(self, name)
            if value & (value - 1):
                raise ValueError(f"{name}: expected a power of two, is {value}")


class SchedulerConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """Section [scheduler]: how long a unit of work may hold the device, wait and run."""

    quantum_us: Annotated[int, Meta(ge=100, le=10_000_000)] = 2_000
    units_in_flight: Annotated[int, Meta(ge=1, le=32)] = 8
    run_timeout_ms: TimeoutMs = 60_000
    queue_timeout_ms: TimeoutMs = 600_000
    priority_scope: Literal["pool", "global"] = "pool"
    aging_after_ms: TimeoutMs = 100
    aging_share_percent: Annotated[int, Meta(ge=0, le=100)] = 20
    build_timeout_ms: TimeoutMs = 60_000
    max_builds: Annotated[int, Meta(ge=0, le=MAX_BUILDS)] = 0
    spin_us: Annotated[int, Meta(ge=0, le=1_000)] = 0


class TraceConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """Section [trace]: what is kept of requests that are finished."""

    entries: Annotated[int, Meta(ge=0, le=65_536)] = 4_096

    def __post_init__(self) -> None:
        if self.entries & (self.entries - 1):
            raise ValueError(f"entries: expected 0 or a power of two, is {self.entries}")


class FaultsConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """Section [faults]: when a VM that does wrong is quarantined."""

    threshold: Annotated[int, Meta(ge=0, le=1_000_000)] = 100
    half_life_ms: TimeoutMs = 600_000


class DeviceConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """Section [device]: which device the work runs on."""

    backend: Literal["auto", "cuda", "opencl", "null"] = "auto"
    cuda_library: str = ""
    opencl_library: str = ""
    device_index: Annotated[int, Meta(ge=0, le=255)] = 0
    cpu_threads: Annotated[int, Meta(ge=0, le=4096)] = 0
    vm_memory_bytes: Annotated[int, Meta(ge=1_048_576, le=2**50)] = 1_073_741_824
    retry_interval_ms: TimeoutMs = 30_000
    allow_unconfined_kernels: bool = False

    def __post_init__(self) -> None:
        _require_absolute("cuda_library", self.cuda_library, may_be_empty=True)
        _require_absolute("opencl_library", self.opencl_library, may_be_empty=True)


class Config(Struct, frozen=True, forbid_unknown_fields=True):
    """The whole configuration as written; the properties resolve what may be left empty."""

    daemon: DaemonConfig = DaemonConfig()
    control: ControlConfig = ControlConfig()
    spawner: SpawnerConfig = SpawnerConfig()
    vms: VmsConfig = VmsConfig()
    scheduler: SchedulerConfig = SchedulerConfig()
    trace: TraceConfig = TraceConfig()
    faults: FaultsConfig = FaultsConfig()
    device: DeviceConfig = DeviceConfig()

    @property
    def control_socket(self) -> Path:
        """Where the administration socket is."""
        return Path(self.control.socket or f"{self.daemon.run_dir}/control.sock")

    @property
    def spawn_socket(self) -> Path:
        """Where vgpu-spawn listens."""
        return Path(self.spawner.socket or f"{self.daemon.run_dir}/spawn.sock")

    @property
    def vms_dir(self) -> Path:
        """Where each VM has a directory, named by its UUID, with its sockets."""
        return Path(self.daemon.run_dir) / "vms"

    @property
    def max_builds(self) -> int:
        """Program builds at a time. At least 4, so that one that takes long holds up few others."""
        by_cpus = max(4, len(os.sched_getaffinity(0)))
        return self.scheduler.max_builds or min(by_cpus, MAX_BUILDS)

    @property
    def spin_us(self) -> int:
        """How long to look before sleeping; 0 where that would take the CPU that others need."""
        return self.scheduler.spin_us if len(os.sched_getaffinity(0)) >= SPIN_CPUS else 0

    @property
    def store_path(self) -> Path:
        """The database."""
        return Path(self.daemon.state_dir) / "vgpud.db"

    @property
    def lock_path(self) -> Path:
        """The lock that keeps a second daemon off the same state."""
        return Path(self.daemon.state_dir) / "vgpud.lock"

    @property
    def run_lock_path(self) -> Path:
        """The lock that keeps a second daemon off the same sockets."""
        return Path(self.daemon.run_dir) / "vgpud.lock"


RESTART_KEYS = (
    "daemon.state_dir",
    "daemon.run_dir",
    "daemon.user",
    "control.socket",
    "control.socket_mode",
    "spawner.socket",
    "spawner.binary",
    "spawner.worker_binary",
    "spawner.worker_uid_base",
    "spawner.max_workers",
    "spawner.request_timeout_ms",
    "vms.max_queued_per_vm",
    "vms.ring_queue_pairs",
    "vms.ring_entries",
    "vms.ring_data_bytes",
    "trace.entries",
    "device.backend",
    "device.cuda_library",
    "device.opencl_library",
    "device.device_index",
    "device.cpu_threads",
    "device.allow_unconfined_kernels",
)
"""What a reload cannot take over: the keys that vgpud.toml marks (restart)."""


def needs_restart(old: Config, new: Config) -> list[str]:
    """Those of RESTART_KEYS that differ."""

    def value(config: Config, dotted: str) -> object:
        section, key = dotted.split(".")
        return getattr(getattr(config, section), key)

    return [key for key in RESTART_KEYS if value(old, key) != value(new, key)]
