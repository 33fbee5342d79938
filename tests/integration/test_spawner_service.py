"""vgpu-spawn as a service: how it comes up, where it listens, how it ends."""

from __future__ import annotations

import errno
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.integration.spawner_under_test import (
    STRANGER_UID,
    WAIT_S,
    Service,
    needs_root,
    program,
    running_spawner,
    short_directory,
    wait_gone,
    wait_readable,
    worker_program,
)
from vgpud.errors import SpawnerError
from vgpud.spawner import (
    Spawner,
    SpawnerLaunch,
    SpawnerLostError,
    SpawnerRefusedError,
    connect_or_start,
)

CONFLICT = 6

PASS_SOCKET = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="1")
os.execv(sys.argv[2], sys.argv[2:])
"""


@pytest.fixture
def service() -> Iterator[Service]:
    with running_spawner() as running:
        yield running


@pytest.fixture
def directory() -> Iterator[Path]:
    with short_directory() as path:
        yield path


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs vgpu-spawn to its end, which is expected at once."""
    return subprocess.run(
        [str(program()), *arguments], capture_output=True, text=True, timeout=WAIT_S, check=False
    )


def launch(directory: Path) -> SpawnerLaunch:
    return SpawnerLaunch(
        binary=program(),
        worker_binary=worker_program(),
        allow_uid=os.geteuid(),
        max_workers=8,
        max_held=64,
        scratch_dir=directory,
        log_file=directory / "log",
    )


# --- The command line -----------------------------------------------------------------------------


def test_help_and_version_exit_with_zero() -> None:
    assert "--max-held" in run("--help").stdout
    assert run("--version").stdout.startswith("vgpu-spawn, protocol 2")
    assert run("--help").returncode == run("--version").returncode == 0


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ([], "--worker is missing"),
        (["--worker=/bin/true"], "--socket is missing"),
        (["--worker=/bin/true", "--socket=/tmp/s", "more"], "unexpected argument more"),
        (["--max-workers=0"], "--max-workers 0: expected a number from 1"),
        (["--max-held=12x"], "--max-held 12x: expected a number"),
        (["--allow-uid=no-such-user"], "--allow-uid no-such-user: expected a uid"),
        (["--ready-fd=77"], "--ready-fd 77: expected an open descriptor"),
        (["--worker="], "--worker : expected a path"),
    ],
)
def test_wrong_usage_is_named(arguments: list[str], named: str) -> None:
    ended = run(*arguments)
    assert ended.returncode == 2
    assert named in ended.stderr


def test_a_worker_program_that_is_not_there_refuses_the_start(directory: Path) -> None:
    ended = run(f"--socket={directory}/s", f"--worker={directory}/none", f"--scratch={directory}")
    assert ended.returncode == 1
    assert f"cannot execute the worker program {directory}/none" in ended.stderr
    assert list(directory.iterdir()) == []


def test_limits_that_the_descriptor_limit_does_not_allow_are_refused(directory: Path) -> None:
    ended = run(f"--socket={directory}/s", "--worker=/bin/true", "--max-held=1048576")
    assert ended.returncode == 1
    assert "raise it (LimitNOFILE=, ulimit -Hn)" in ended.stderr


@needs_root
@pytest.mark.parametrize("base", ["1000", "61200", "400002"])
def test_uids_of_people_and_services_are_refused_for_workers(directory: Path, base: str) -> None:
    ended = run(
        f"--socket={directory}/s",
        f"--worker={worker_program()}",
        f"--worker-uid-base={base}",
        f"--scratch={directory}",
    )
    assert ended.returncode == 1
    assert f"worker uids from {base}" in ended.stderr or f"worker uids {base} to" in ended.stderr


@needs_root
def test_uids_of_another_spawner_are_refused(directory: Path) -> None:
    base = "--worker-uid-base=1900000000"
    with running_spawner(base, "--max-workers=4"):
        ended = run(
            f"--socket={directory}/s",
            f"--worker={worker_program()}",
            "--worker-uid-base=1900000012",
            f"--scratch={directory}",
        )
    assert ended.returncode == 1
    assert "another vgpu-spawn uses some of these" in ended.stderr


# --- The socket -----------------------------------------------------------------------------------


def test_the_socket_is_open_to_its_owner_alone(service: Service) -> None:
    assert service.socket_path.stat().st_mode & 0o777 == 0o600


def test_a_second_spawner_on_the_same_socket_is_refused(service: Service) -> None:
    ended = run(
        f"--socket={service.socket_path}",
        f"--worker={worker_program()}",
        f"--scratch={service.directory}",
    )
    assert ended.returncode == CONFLICT
    assert f"a spawner already serves on {service.socket_path}" in ended.stderr
    assert service.connect().info.pid == service.process.pid


def test_a_stale_socket_is_replaced(directory: Path) -> None:
    path = directory / "s"
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as dead:
        dead.bind(str(path))
    spawner = connect_or_start(path, launch(directory), directory / "lock", WAIT_S)
    assert spawner.info.pid > 0
    spawner.shutdown()


def test_what_is_not_a_socket_is_not_replaced(directory: Path) -> None:
    path = directory / "precious"
    path.write_text("content")
    ended = run(f"--socket={path}", f"--worker={worker_program()}", f"--scratch={directory}")
    assert ended.returncode == 1
    assert "exists and is not a socket" in ended.stderr
    assert path.read_text() == "content"


def test_a_socket_of_the_service_manager_is_taken_over(directory: Path) -> None:
    path = directory / "s"
    with (
        socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager,
    ):
        listener.bind(str(path))
        listener.listen()
        manager.bind(str(directory / "notify"))
        manager.settimeout(WAIT_S)
        listener_fd = listener.fileno()
        process = subprocess.Popen(
            [
                sys.executable,
                "-c",
                PASS_SOCKET,
                str(listener_fd),
                str(program()),
                f"--worker={worker_program()}",
                f"--scratch={directory}",
            ],
            pass_fds=[listener_fd],
            env={"NOTIFY_SOCKET": str(directory / "notify")},
        )
        assert manager.recv(4096).startswith(b"READY=1\n")
        spawner = Spawner.connect(path, WAIT_S)
        assert spawner.info.pid == process.pid
        spawner.shutdown()
        assert process.wait(WAIT_S) == 0
        assert path.exists()  # the service manager's to remove


# --- Whom it answers what -------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["connect", "relay"])
def test_a_worker_is_not_served_though_it_has_the_uid_that_is(how: str) -> None:
    user = STRANGER_UID if os.geteuid() == 0 else None
    with running_spawner(f"--allow-uid={os.geteuid()}", user=user) as unprivileged:
        worker = unprivileged.spawn(unprivileged.connect())
        assert worker.ask(f"{how} {unprivileged.socket_path}") == "refused"
        assert unprivileged.connect().workers()


def test_peer_is_described_by_uid_and_command_line(service: Service) -> None:
    peer = service.connect().peer(os.getpid())
    words = Path("/proc/self/cmdline").read_bytes().rstrip(b"\0").replace(b"\0", b" ")
    assert (peer.pid, peer.uid) == (os.getpid(), os.geteuid())
    assert peer.command == words[:511].decode()


@pytest.mark.parametrize(("pid", "error"), [(0, errno.EINVAL), (2**31 - 1, errno.ESRCH)])
def test_peer_that_does_not_exist_is_refused(service: Service, pid: int, error: int) -> None:
    with pytest.raises(SpawnerRefusedError) as refused:
        service.connect().peer(pid)
    assert refused.value.error_number == error


# --- The end --------------------------------------------------------------------------------------


def test_shutdown_leaves_nothing(service: Service) -> None:
    client = service.connect()
    workers = [service.spawn(client, slot=slot) for slot in range(3)]
    reader, writer = os.pipe()
    client.hold("pipe", [writer])
    os.close(writer)
    client.shutdown()
    for worker in workers:
        worker.wait_ended()
        assert not Path(f"/proc/{worker.process.pid}").exists()
    assert os.read(reader, 1) == b""
    os.close(reader)
    assert not service.socket_path.exists()
    assert service.process.wait(WAIT_S) == 0
    assert list((service.directory / "scratch").iterdir()) == []


def test_sigint_ends_the_workers(service: Service) -> None:
    worker = service.spawn(service.connect())
    service.process.send_signal(signal.SIGINT)
    assert service.process.wait(WAIT_S) == 0
    wait_gone(worker.process.pid)


def test_sigterm_leaves_the_workers_running(service: Service) -> None:
    worker = service.spawn(service.connect())
    service.process.send_signal(signal.SIGTERM)
    assert service.process.wait(WAIT_S) == 0
    assert not service.socket_path.exists()
    assert worker.ask("alive") == "alive"
    worker.control.shutdown(socket.SHUT_RDWR)  # on which every worker exits
    wait_gone(worker.process.pid)


def test_the_loss_of_the_spawner_is_told_once(service: Service) -> None:
    client = service.connect()
    lost: list[SpawnerLostError] = []
    client.watch(lambda ended: pytest.fail(str(ended)), lost.append)
    service.process.kill()
    wait_readable(client.fileno(), "the end of the connection")
    client.dispatch()
    client.dispatch()
    assert len(lost) == 1
    with pytest.raises(SpawnerLostError):
        client.hello()


def test_what_killed_spawners_left_behind_is_removed_and_nothing_else(directory: Path) -> None:
    abandoned, used, fresh = (directory / f"vgpu-spawn-{n}" for n in ("aaaaaa", "bbbbbb", "cccccc"))
    (used / "worker-1").mkdir(parents=True)
    for path in (abandoned, fresh):
        path.mkdir()
    for path in (abandoned, used):
        os.utime(path, (0, 0))
    spawner = connect_or_start(directory / "s", launch(directory), directory / "lock", WAIT_S)
    (own,) = set(directory.glob("vgpu-spawn-*")) - {abandoned, used, fresh}
    os.utime(own, (0, 0))  # old, but alive
    other = connect_or_start(directory / "s2", launch(directory), directory / "lock", WAIT_S)
    assert [path.exists() for path in (abandoned, used, fresh, own)] == [False, True, True, True]
    spawner.shutdown()
    other.shutdown()


# --- Started by vgpud -----------------------------------------------------------------------------


def test_a_started_spawner_is_in_the_background(directory: Path) -> None:
    spawner = connect_or_start(directory / "s", launch(directory), directory / "lock", WAIT_S)
    pid = spawner.info.pid
    status = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    parent, session, terminal = int(status[1]), int(status[3]), int(status[4])
    streams = [os.readlink(f"/proc/{pid}/fd/{fd}") for fd in range(3)]
    environment = Path(f"/proc/{pid}/environ").read_bytes()
    working_directory = os.readlink(f"/proc/{pid}/cwd")
    spawner.shutdown()
    wait_gone(pid)
    assert parent != os.getpid() and session != os.getsid(0) and terminal == 0
    assert streams == ["/dev/null", str(directory / "log"), str(directory / "log")]
    assert environment == b"PATH=/usr/bin:/bin\0"
    assert working_directory == "/"


def test_a_running_spawner_is_used(service: Service) -> None:
    other = launch(service.directory)
    spawner = connect_or_start(service.socket_path, other, service.directory / "lock", WAIT_S)
    assert spawner.info.pid == service.process.pid
    spawner.close()


def test_several_daemons_at_once_start_one_spawner(directory: Path) -> None:
    def start(_: int) -> Spawner:
        return connect_or_start(directory / "s", launch(directory), directory / "lock", WAIT_S)

    with ThreadPoolExecutor(6) as pool:
        spawners = list(pool.map(start, range(6)))
    assert len({spawner.info.pid for spawner in spawners}) == 1
    for spawner in spawners[1:]:
        spawner.close()
    spawners[0].shutdown()
    wait_gone(spawners[0].info.pid)


def test_why_it_did_not_start_is_passed_on(directory: Path) -> None:
    wrong = SpawnerLaunch(program(), directory / "none", os.geteuid(), scratch_dir=directory)
    with pytest.raises(SpawnerError, match="cannot execute the worker program"):
        connect_or_start(directory / "s", wrong, directory / "lock", WAIT_S)
    missing = SpawnerLaunch(directory / "none", worker_program(), os.geteuid())
    with pytest.raises(SpawnerError, match=r"cannot execute .*/none: No such file"):
        connect_or_start(directory / "s", missing, directory / "lock", WAIT_S)


def test_nobody_there_is_said_with_the_path(directory: Path) -> None:
    with pytest.raises(SpawnerLostError, match=f"cannot reach vgpu-spawn on {directory}/s"):
        Spawner.connect(directory / "s")


def test_exit_reports_do_not_wake_the_loop_without_reason(service: Service) -> None:
    client = service.connect()
    worker = service.spawn(client)
    client.dispatch()  # nothing there: returns at once
    worker.tell("exit 0")
    wait_readable(client.fileno(), "an exit report")
