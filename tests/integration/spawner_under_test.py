"""A real vgpu-spawn in the foreground, with the worker program of spawn_child.c."""

from __future__ import annotations

import atexit
import os
import select
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import pytest

from vgpud.spawner import Role, Spawner, WorkerExit, WorkerProcess

ROOT = Path(__file__).resolve().parent.parent.parent
WAIT_S = 20.0
STRANGER_UID = 54321
"""Nobody's uid, for what must not be done as root."""

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: changes uids")


def program() -> Path:
    """The vgpu-spawn under test; fails the test if it was not built."""
    path = Path(os.environ.get("VGPUD_BIN", ROOT / "vgpud" / "bin")) / "vgpu-spawn"
    if not path.exists():
        pytest.fail(f"{path} is missing: run ./build.sh build, or set VGPUD_BIN")
    return path


@cache
def worker_program() -> Path:
    """spawn_child.c, compiled where every uid can execute it."""
    directory = tempfile.mkdtemp(prefix="vgpu-child-")
    atexit.register(shutil.rmtree, directory)
    os.chmod(directory, 0o755)
    path = Path(directory) / "spawn_child"
    source = Path(__file__).with_name("spawn_child.c")
    subprocess.run(["gcc", "-Wall", "-Wextra", "-o", path, source], check=True)
    path.chmod(0o755)
    return path


@contextmanager
def short_directory() -> Iterator[Path]:
    """A directory whose sockets fit into an address, open to all uids."""
    path = Path(tempfile.mkdtemp(prefix="vgpu-"))
    path.chmod(0o777)
    try:
        yield path
    finally:
        shutil.rmtree(path)


def wait_readable(fd: int, what: str) -> None:
    """Waits until a descriptor has something to read, or is at its end."""
    poller = select.poll()
    poller.register(fd, select.POLLIN)
    if not poller.poll(WAIT_S * 1000):
        pytest.fail(f"waited {WAIT_S:.0f} s in vain for {what}")


def wait_gone(pid: int) -> None:
    """Waits until a process has ended, whoever its parent is."""
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        wait_readable(pidfd, f"the end of process {pid}")
    finally:
        os.close(pidfd)


@dataclass
class Worker:
    """A started worker, and our end of its control socket."""

    process: WorkerProcess
    control: socket.socket

    def tell(self, command: str) -> None:
        self.control.send(command.encode())

    def ask(self, command: str) -> str:
        self.tell(command)
        return self.control.recv(4096).decode()

    def proc(self, name: str) -> str:
        """A file of its /proc directory."""
        return Path(f"/proc/{self.process.pid}/{name}").read_text()

    def status(self, field_name: str) -> str:
        """A line of its /proc status."""
        for line in self.proc("status").splitlines():
            if line.startswith(f"{field_name}:"):
                return line.partition(":")[2].strip()
        pytest.fail(f"/proc/{self.process.pid}/status has no {field_name}")

    def environment(self) -> dict[str, str]:
        entries = self.proc("environ").rstrip("\0").split("\0")
        return dict(entry.split("=", 1) for entry in entries)

    def wait_ended(self) -> None:
        wait_readable(self.process.pidfd, f"the end of worker {self.process.worker_id}")


@dataclass
class Service:
    """A running spawner and what was made with it."""

    process: subprocess.Popen[bytes]
    directory: Path
    log: Path
    clients: list[Spawner] = field(default_factory=list)
    workers: list[Worker] = field(default_factory=list)

    @property
    def socket_path(self) -> Path:
        return self.directory / "spawn.sock"

    def connect(self) -> Spawner:
        client = Spawner.connect(self.socket_path, WAIT_S)
        self.clients.append(client)
        return client

    def spawn(
        self,
        client: Spawner,
        role: Role = Role.LAUNCH,
        slot: int = 0,
        settings: Mapping[str, str] | None = None,
        label: str = "test",
    ) -> Worker:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.settimeout(WAIT_S)
        with theirs:
            try:
                process = client.spawn_worker(role, slot, theirs, settings or {}, label)
            except Exception:
                ours.close()
                raise
        worker = Worker(process, ours)
        self.workers.append(worker)
        return worker

    def next_exits(self, client: Spawner, count: int = 1) -> list[WorkerExit]:
        """Waits for as many exit reports; fails if there are more."""
        seen: list[WorkerExit] = []
        client.watch(seen.append, lambda error: pytest.fail(str(error)))
        while len(seen) < count:
            wait_readable(client.fileno(), f"exit report {len(seen) + 1} of {count}")
            client.dispatch()
        assert len(seen) == count
        return seen

    def scratch_directories(self) -> list[Path]:
        return sorted((self.directory / "scratch").glob("*/*"))

    def stop(self) -> None:
        """Ends it with its workers."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.send_signal(signal.SIGINT)
        self.process.wait(WAIT_S)
        for client in self.clients:
            client.close()
        for worker in self.workers:
            worker.control.close()
            os.close(worker.process.pidfd)


@contextmanager
def running_spawner(
    *options: str,
    user: int | None = None,
    worker: Path | None = None,
) -> Iterator[Service]:
    """A spawner that is ready; ended with all its workers afterwards.

    They run `worker`, by default the program that does what a test tells it.
    """
    with short_directory() as directory:
        scratch = directory / "scratch"
        scratch.mkdir()
        scratch.chmod(0o777)
        log = directory / "log"
        reader, writer = os.pipe()
        with log.open("wb") as out:
            process = subprocess.Popen(
                [
                    str(program()),
                    f"--socket={directory}/spawn.sock",
                    f"--worker={worker or worker_program()}",
                    f"--scratch={scratch}",
                    f"--ready-fd={writer}",
                    *options,
                ],
                stderr=out,
                pass_fds=[writer],
                user=user,
            )
        os.close(writer)
        try:
            wait_readable(reader, "vgpu-spawn to be ready")
            if os.read(reader, 16) != b"ready\n":
                process.wait(WAIT_S)
                pytest.fail(f"vgpu-spawn did not start: {log.read_text()}")
        finally:
            os.close(reader)
        service = Service(process, directory, log)
        try:
            yield service
        finally:
            service.stop()
