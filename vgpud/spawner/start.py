"""Connecting to vgpu-spawn, and starting it where no service manager did.

Two daemons may come up at the same moment. So the second look, and the start, happen under a file
lock; and vgpu-spawn itself refuses a socket that is served already.
"""

from __future__ import annotations

import fcntl
import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from vgpud.errors import ExitCode, SpawnerError
from vgpud.spawner.client import REQUEST_TIMEOUT_S, Spawner
from vgpud.spawner.connection import SpawnerLostError

LOCK_POLL_S = 0.02


@dataclass(frozen=True)
class SpawnerLaunch:
    """How vgpu-spawn is to be started; paths are absolute. See vgpu-spawn --help for each option.

    `uid_base` None lets it choose a range of uids that no other spawner uses. Without `log_file`
    it is silent once it is ready.
    """

    binary: Path
    worker_binary: Path
    allow_uid: int
    uid_base: int | None = None
    max_workers: int | None = None
    max_held: int | None = None
    scratch_dir: Path | None = None
    log_file: Path | None = None
    uid_lock_file: Path | None = None

    def arguments(self, socket_path: Path) -> list[str]:
        """The command line for a spawner in the background that listens at `socket_path`."""
        optional = {
            "--worker-uid-base": self.uid_base,
            "--max-workers": self.max_workers,
            "--max-held": self.max_held,
            "--scratch": self.scratch_dir,
            "--log-file": self.log_file,
            "--uid-lock": self.uid_lock_file,
        }
        return [
            str(self.binary),
            "--daemonize",
            f"--socket={socket_path}",
            f"--worker={self.worker_binary}",
            f"--allow-uid={self.allow_uid}",
            *(f"{name}={value}" for name, value in optional.items() if value is not None),
        ]


def connect_or_start(
    socket_path: Path,
    launch: SpawnerLaunch,
    lock_path: Path,
    timeout_s: float = REQUEST_TIMEOUT_S,
    request_timeout_s: float = REQUEST_TIMEOUT_S,
) -> Spawner:
    """The spawner at `socket_path`; started if nobody listens there.

    A running one is taken as it is, whatever `launch` says. `timeout_s` holds for the lock and for
    the start. Blocks. Raises SpawnerError with what vgpu-spawn said.
    """
    try:
        return Spawner.connect(socket_path, request_timeout_s)
    except SpawnerLostError:
        pass  # the usual case at a first start
    with _locked(lock_path, timeout_s):
        try:
            return Spawner.connect(socket_path, request_timeout_s)
        except SpawnerLostError:
            _start(launch, socket_path, timeout_s)
            return Spawner.connect(socket_path, request_timeout_s)


def _start(launch: SpawnerLaunch, socket_path: Path, timeout_s: float) -> None:
    """Returns when clients can connect: the process started here ends then."""
    arguments = launch.arguments(socket_path)
    try:
        done = subprocess.run(
            arguments,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env={"PATH": "/usr/bin:/bin"},  # nothing that was meant for vgpud, such as LISTEN_FDS
            timeout=timeout_s,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise SpawnerError(
            f"{launch.binary} was not ready within {timeout_s:g} s",
            "Raise [spawner] start_timeout_ms if this machine is that slow.",
        ) from error
    except OSError as error:
        raise SpawnerError(
            f"cannot execute {launch.binary}: {error.strerror}",
            "Check [spawner] binary in vgpud.toml.",
        ) from error
    if done.returncode not in (ExitCode.OK, ExitCode.CONFLICT):
        said = done.stderr.decode(errors="replace").strip() or f"exit status {done.returncode}"
        raise SpawnerError(f"vgpu-spawn did not start: {said}")


@contextmanager
def _locked(path: Path, timeout_s: float) -> Iterator[None]:
    try:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise SpawnerError(f"cannot open the lock {path}: {error.strerror}") from error
    try:
        _take(fd, path, time.monotonic() + timeout_s)
        yield
    finally:
        os.close(fd)


def _take(fd: int, path: Path, deadline: float) -> None:
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError as error:
            if time.monotonic() >= deadline:
                raise SpawnerError(
                    f"another process has been starting vgpu-spawn for long: {path} is locked",
                    f"`fuser {path}` shows which.",
                ) from error
        time.sleep(LOCK_POLL_S)
