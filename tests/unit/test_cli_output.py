"""vgpu-admin as a process: what it leaves on its outputs, also where they fail it."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.guards.sources import ROOT
from tests.unit.control_under_test import UUID_1, RunningControl
from vgpud.client import Vgpud


def vgpu_admin(
    socket_path: Path, *words: str, stdout: int = subprocess.PIPE, **environment: str
) -> subprocess.CompletedProcess[bytes]:
    """vgpu-admin as a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "vgpud.cli.admin", f"--socket={socket_path}", *words],
        stdout=stdout,
        stderr=subprocess.PIPE,
        env={**os.environ, **environment},
        cwd=ROOT,
        timeout=30,
        check=False,
    )


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (
            ("show-pool", "--pool-id=Z", "--json"),
            {
                "code": "PoolNotFound",
                "message": "there is no pool Z",
                "next_step": "`vgpu-admin list-pools` shows the pools there are.",
                "exit_code": 5,
                "parameters": {"pool_id": "Z"},
            },
        ),
        (
            ("--json", "show-pool"),
            {
                "code": "UsageError",
                "message": "the following arguments are required: --pool-id",
                "next_step": "See `vgpu-admin show-pool --help`.",
                "exit_code": 2,
                "parameters": {},
            },
        ),
    ],
)
def test_a_failure_is_an_object_for_programs_too(
    control: RunningControl, words: tuple[str, ...], told: dict[str, object]
) -> None:
    done = vgpu_admin(control.socket, *words)
    assert done.returncode == told["exit_code"]
    assert json.loads(done.stdout) == {"error": told}
    assert done.stderr.count(b"\n") == 1 and f"[{told['code']}]" in done.stderr.decode()


def test_a_reader_that_stops_is_no_failure(control: RunningControl) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = vgpu_admin(control.socket, "list-pools", stdout=writing)
    os.close(writing)
    assert (done.returncode, done.stderr) == (0, b"")


def test_a_change_of_many_steps_is_made_to_its_end_whoever_reads_of_it(
    control: RunningControl, short_dir: Path
) -> None:
    file = short_dir / "pools.toml"
    reading, writing = os.pipe()
    os.close(reading)
    file.write_text("".join(f'[[pools]]\npool_id = "{name}"\n' for name in "CDEFGH"))
    done = vgpu_admin(control.socket, "apply", f"--file={file}", stdout=writing)
    os.close(writing)
    assert (done.returncode, done.stderr) == (0, b"")
    file.write_text("".join(f'[[pools]]\npool_id = "{name}"\n' for name in "IJKLMN"))
    with open("/dev/full", "wb") as full:
        done = vgpu_admin(control.socket, "apply", f"--file={file}", stdout=full.fileno())
    assert done.returncode == 1 and b"has been done all the same" in done.stderr
    made = [pool.pool_id for pool in Vgpud(str(control.socket)).list_pools()]
    assert made == list("ABCDEFGHIJKLMN")


def test_a_full_disk_is_a_failure_in_one_line(control: RunningControl) -> None:
    with open("/dev/full", "wb") as full:
        done = vgpu_admin(control.socket, "list-pools", stdout=full.fileno())
    assert done.returncode == 1
    assert done.stderr == (
        b"vgpu-admin: listing pools: cannot write the answer: No space left on device. "
        b"What was asked for has been done all the same. [OutputError]\n"
    )


def test_a_terminal_without_the_characters_of_a_name_gets_escapes(
    control: RunningControl,
) -> None:
    control.call("RegisterVm", vm_uuid=UUID_1, vm_name="Grüße")
    done = vgpu_admin(control.socket, "list-vms", PYTHONIOENCODING="ascii", PYTHONUTF8="0")
    assert (done.returncode, done.stderr) == (0, b"")
    assert rb"Name: Gr\xfc\xdfe" in done.stdout


def test_a_daemon_with_a_full_queue_is_waited_for_until_the_timeout(
    short_dir: Path,
) -> None:
    path = short_dir / "c.sock"
    with contextlib.ExitStack() as waiting:
        full = waiting.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
        full.bind(str(path))
        full.listen(0)
        with pytest.raises(BlockingIOError):
            while True:
                client = waiting.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
                client.setblocking(False)
                client.connect(str(path))
        done = vgpu_admin(path, "list-pools", "--timeout=0.05")
    assert done.returncode == 7 and b"no answer from" in done.stderr
