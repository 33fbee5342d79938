"""A real vgpud for tests and benchmarks: started on a directory of its own, stopped for certain.

The daemon runs as an administrator would run it (`vgpud --config FILE`), with its own spawner.
Readiness is the READY=1 that it sends to a service manager, so nothing here sleeps and polls.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parent.parent
BIN = ROOT / ".venv" / "bin"
START_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 30.0
# The daemon inherits this. The spawner, which cleans its environment, names the directory in its
# arguments, and workers are its children: so that nothing can be left behind unseen.
MARK = "VGPUD_UNDER_TEST"

ConfigValue = str | bool | int | float | list[str]
ConfigOverrides = Mapping[str, Mapping[str, ConfigValue]]


class DaemonFailed(AssertionError):
    """The daemon did not start, or did not stop; the text ends with its log."""


@dataclass
class RunningDaemon:
    """Where a vgpud under test keeps its things, and how to start it, end it and talk to it."""

    config: Path
    state_dir: Path
    run_dir: Path
    log: Path
    process: subprocess.Popen[bytes] | None = None
    limit_nofile: int | None = None

    def start(self) -> None:
        """Start the daemon, also again after `end()`; returns once its control socket answers."""
        _launch(self)

    def end(self, number: signal.Signals) -> int:
        """Send the daemon, and it alone, a signal that ends it; returns its exit status.

        Blocks for at most STOP_TIMEOUT_S. Its spawner and workers live on.
        """
        assert self.process is not None, "the daemon is not running"
        self.process.send_signal(number)
        returncode = self.process.wait(STOP_TIMEOUT_S)
        self.process = None
        return returncode

    @property
    def control_socket(self) -> Path:
        return self.run_dir / "control.sock"

    def admin_argv(self, *args: str) -> list[str]:
        """The argument list of `vgpu-admin ARGS…` against this daemon."""
        return [str(BIN / "vgpu-admin"), f"--socket={self.control_socket}", *args]

    def admin(self, *args: str, timeout_s: float = 30.0) -> subprocess.CompletedProcess[str]:
        """Run `vgpu-admin ARGS…`, whatever its exit code; blocks for `timeout_s` at most."""
        return subprocess.run(
            self.admin_argv(*args), capture_output=True, text=True, timeout=timeout_s, check=False
        )


@contextlib.contextmanager
def running_vgpud(
    overrides: ConfigOverrides | None = None, *, limit_nofile: int | None = None
) -> Iterator[RunningDaemon]:
    """Run a vgpud on an empty state directory for the length of the `with` block.

    `overrides` maps section to key to value and is laid over `[device] backend = "null"`. With
    `limit_nofile` neither the daemon nor its spawner may have more descriptors. Raises
    DaemonFailed when it is not ready within START_TIMEOUT_S, or not gone (with its spawner and
    workers) within STOP_TIMEOUT_S of `vgpud shutdown --all`.
    """
    # Not pytest's tmp_path: a Unix socket path has 108 bytes. 0711: workers have uids of their own.
    base = Path(tempfile.mkdtemp(prefix="vgd-"))
    base.chmod(0o711)
    try:
        daemon = _prepare(base, overrides or {})
        daemon.limit_nofile = limit_nofile
        daemon.start()
        try:
            yield daemon
        finally:
            _stop(daemon)
    finally:
        shutil.rmtree(base)


def _prepare(base: Path, overrides: ConfigOverrides) -> RunningDaemon:
    state_dir, run_dir, config, log = (base / n for n in ("state", "run", "vgpud.toml", "log"))
    sections: dict[str, dict[str, ConfigValue]] = {
        "daemon": {"state_dir": str(state_dir), "run_dir": str(run_dir)},
        "device": {"backend": "null"},
    }
    for name, keys in overrides.items():
        sections.setdefault(name, {}).update(keys)
    config.write_text(_toml(sections))
    return RunningDaemon(config, state_dir, run_dir, log)


def _launch(daemon: RunningDaemon) -> None:
    base = daemon.config.parent
    notify_path = base / "notify"
    with (
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify,
        daemon.log.open("ab") as log_file,
    ):
        notify_path.unlink(missing_ok=True)
        notify.bind(str(notify_path))
        notify_path.chmod(0o777)
        limit = daemon.limit_nofile
        daemon.process = subprocess.Popen(
            [
                *(["prlimit", f"--nofile={limit}:{limit}"] if limit is not None else []),
                str(BIN / "vgpud"),
                "--config",
                str(daemon.config),
            ],
            stdin=subprocess.DEVNULL,
            stdout=log_file,
            stderr=subprocess.STDOUT,
            env={**os.environ, "NOTIFY_SOCKET": str(notify_path), MARK: str(base)},
            start_new_session=True,
        )
        try:
            _wait_ready(daemon, daemon.process, notify)
        except BaseException:
            _kill_marked(base)
            raise


def _wait_ready(
    daemon: RunningDaemon, process: subprocess.Popen[bytes], notify: socket.socket
) -> None:
    """Wait for READY=1 or for the daemon's end, whichever comes first."""
    deadline = time.monotonic() + START_TIMEOUT_S
    pidfd = os.pidfd_open(process.pid)
    try:
        with selectors.DefaultSelector() as selector:
            selector.register(notify, selectors.EVENT_READ)
            selector.register(pidfd, selectors.EVENT_READ)
            while (left_s := deadline - time.monotonic()) > 0:
                for key, _ in selector.select(left_s):
                    if key.fileobj is not notify:
                        rc = process.wait()
                        raise DaemonFailed(f"vgpud ended with {rc} at start\n{_log_tail(daemon)}")
                    if b"READY=1" in notify.recv(4096).split(b"\n"):
                        _greet(daemon.control_socket)
                        return
    finally:
        os.close(pidfd)
    raise DaemonFailed(f"vgpud was not ready after {START_TIMEOUT_S} s\n{_log_tail(daemon)}")


def _greet(control_socket: Path) -> None:
    """Ask org.varlink.service.GetInfo once: READY=1 must mean that the socket answers."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(5.0)
        client.connect(str(control_socket))
        client.sendall(b'{"method":"org.varlink.service.GetInfo"}\0')
        answer = b""
        while not answer.endswith(b"\0"):
            piece = client.recv(65536)
            if not piece:
                raise DaemonFailed(f"{control_socket} closed the connection on GetInfo")
            answer += piece
    if "parameters" not in json.loads(answer[:-1]):
        raise DaemonFailed(f"{control_socket} answered GetInfo with {answer!r}")


def _stop(daemon: RunningDaemon) -> None:
    base = daemon.config.parent
    marked = _marked(base)
    trouble = ""
    try:
        done = subprocess.run(
            [str(BIN / "vgpud"), "--config", str(daemon.config), "shutdown", "--all"],
            capture_output=True,
            text=True,
            timeout=STOP_TIMEOUT_S,
            check=False,
        )
        if done.returncode != 0:
            trouble = f"vgpud shutdown --all: exit {done.returncode}: {done.stderr.strip()}"
        else:
            rc = daemon.process.wait(STOP_TIMEOUT_S) if daemon.process else 0
            _, left = psutil.wait_procs(marked, timeout=STOP_TIMEOUT_S)
            if rc != 0 or left:
                trouble = f"after vgpud shutdown --all: exit {rc}, still running: {left}"
    except subprocess.TimeoutExpired as late:
        trouble = f"no end within {late.timeout} s: {late.cmd}"
    log = _log_tail(daemon)
    _kill_marked(base)
    if trouble:
        raise DaemonFailed(f"{trouble}\n{log}")


def _marked(base: Path) -> list[psutil.Process]:
    """Every process started by the daemon on `base`, and their descendants."""
    found: dict[int, psutil.Process] = {}
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            if process.pid == os.getpid():
                continue
            named = any(str(base) in argument for argument in process.cmdline())
            if named or process.environ().get(MARK) == str(base):
                found[process.pid] = process
                found.update({child.pid: child for child in process.children(recursive=True)})
    return list(found.values())


def _kill_marked(base: Path) -> None:
    """The last resort. Children are looked up again: killing a parent may uncover them."""
    while victims := [p for p in _marked(base) if p.status() != psutil.STATUS_ZOMBIE]:
        for process in victims:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(victims, timeout=STOP_TIMEOUT_S)


def _log_tail(daemon: RunningDaemon, lines: int = 40) -> str:
    text = daemon.log.read_text(errors="replace").splitlines()
    return "\n".join(["--- vgpud's log, last lines ---", *text[-lines:]])


def _toml(sections: Mapping[str, Mapping[str, ConfigValue]]) -> str:
    """Sections of plain values as TOML; JSON's strings, numbers and booleans are TOML's too."""
    lines: list[str] = []
    for name, keys in sections.items():
        lines.append(f"[{name}]")
        lines.extend(f"{key} = {json.dumps(value)}" for key, value in keys.items())
    return "\n".join(lines) + "\n"
