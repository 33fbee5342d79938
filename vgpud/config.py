"""The configuration: every key, its default and its range; read from one TOML file.

The defaults below are the ones the program runs with; vgpud.toml in the distribution writes them
out again with an explanation each, and a guard keeps both equal. Anything that is not understood
refuses the start: a misspelt key would else silently mean its default.
"""

from __future__ import annotations

import difflib
import os
import re
import uuid
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import msgspec
import tomli
from msgspec import Meta, Struct

from vgpud.errors import ConfigError

DEFAULT_PATH = Path("/etc/vgpud/vgpud.toml")
UNIX_PATH_MAX = 107
"""Longest path of a Unix socket in bytes, without the final NUL."""

VM_SOCKET_NAME = "stub.sock"
"""The name of a VM's socket; the other one is as long."""

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
)
"""What a reload cannot take over: the keys that vgpud.toml marks (restart)."""


def needs_restart(old: Config, new: Config) -> list[str]:
    """Those of RESTART_KEYS that differ."""

    def value(config: Config, dotted: str) -> object:
        section, key = dotted.split(".")
        return getattr(getattr(config, section), key)

    return [key for key in RESTART_KEYS if value(old, key) != value(new, key)]


_SECTIONS: dict[str, type[Struct]] = {
    field.name: type(field.default) for field in msgspec.structs.fields(Config)
}


def load_config(path: Path | None = None) -> Config:
    """Reads the configuration, or the defaults if none is named and none is installed.

    Args:
        path: the file to read; it must exist. None reads DEFAULT_PATH if there is one.

    Raises:
        ConfigError: the file cannot be read, is not TOML, or has a key or value that is not
            understood; names the file, the key and what is expected.
    """
    if path is None:
        if not DEFAULT_PATH.exists():
            return Config()
        path = DEFAULT_PATH
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}", _HOW_TO_START_WITHOUT) from error
    try:
        document = tomli.loads(text)
    except tomli.TOMLDecodeError as error:
        raise ConfigError(f"{path}: is not valid TOML: {error}") from error
    return config_from_document(document, str(path))


_HOW_TO_START_WITHOUT = (
    "Without --config, vgpud reads /etc/vgpud/vgpud.toml if it is there, else uses its defaults."
)


def config_from_document(document: dict[str, Any], source: str) -> Config:
    """Checks a parsed TOML document. `source` names it in errors; raises ConfigError."""
    _refuse_unknown_keys(document, source)
    try:
        config = msgspec.convert(document, Config, strict=True)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{source}: {_explain(str(error), document)}") from error
    for key, socket in _socket_paths(config):
        size = len(os.fsencode(socket))
        if size > UNIX_PATH_MAX:
            raise ConfigError(
                f"{source}: {key}: the path of a Unix socket may have {UNIX_PATH_MAX} bytes, "
                f"{socket} would have {size}"
            )
    return config


def _socket_paths(config: Config) -> list[tuple[str, Path]]:
    """Every socket there will be, by the key that its path comes from."""
    return [
        ("control.socket" if config.control.socket else "daemon.run_dir", config.control_socket),
        ("spawner.socket" if config.spawner.socket else "daemon.run_dir", config.spawn_socket),
        ("daemon.run_dir", config.vms_dir / str(uuid.UUID(int=0)) / VM_SOCKET_NAME),
    ]


def _refuse_unknown_keys(document: dict[str, Any], source: str) -> None:
    """Names the first key that does not exist, with the ones that look like it."""
    for section, content in document.items():
        if section not in _SECTIONS:
            raise _unknown(source, section, "section", list(_SECTIONS))
        if not isinstance(content, dict):
            raise ConfigError(f"{source}: {section}: expected a section [{section}]")
        keys = [field.name for field in msgspec.structs.fields(_SECTIONS[section])]
        for key in content:
            if key not in keys:
                raise _unknown(source, f"{section}.{key}", "key", keys)


def _unknown(source: str, dotted: str, kind: str, known: list[str]) -> ConfigError:
    said = f"{source}: {dotted}: unknown {kind}"
    close = difflib.get_close_matches(dotted.rpartition(".")[2], known, n=3)
    if close:
        return ConfigError(said, f"Did you mean {' or '.join(close)}?")
    return ConfigError(f"{said}; expected {', '.join(known)}")


def _explain(message: str, document: dict[str, Any]) -> str:
    """Says for which key msgspec refused the document, what it may be, and what it is.

    msgspec ends its sentence with "- at `$.section.key`", or with the section's path alone for
    what __post_init__ found; that sentence starts with the key.
    """
    found = re.fullmatch(r"(?P<what>.*) - at `\$\.(?P<path>[^`]*)`", message, re.DOTALL)
    if found is None:
        return message
    section, _, key = found["path"].partition(".")
    if not key:
        return f"{section}.{found['what']}"
    return f"{section}.{key}: expected {_expected(section, key)}, is {document[section][key]!r}"


def _expected(section: str, key: str) -> str:
    """The type and range of one key, in words, from its declaration."""
    hint = get_type_hints(_SECTIONS[section], include_extras=True)[key]
    if get_origin(hint) is Literal:
        return f"one of {', '.join(get_args(hint))}"
    for meta in get_args(hint)[1:]:
        if isinstance(meta, Meta):
            if meta.description is not None:
                return meta.description
            return f"an integer from {meta.ge} to {meta.le}"
    return "a string"
