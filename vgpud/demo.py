"""The main job, shown: two VMs share one device through a real vgpud on a directory of its own.

`python -m vgpud.demo`. Everything is what an administrator and a VM owner would use: the daemon
with its defaults, vgpu-admin, and vgpu-client in the place of the VMs. Whatever goes wrong is said,
with the daemon's last log lines, and the exit status is 1. Nothing is left running.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PACKAGE = Path(__file__).resolve().parent
CLIENT = PACKAGE / "bin" / "vgpu-client"
ELEMENTS = 1_048_576
LONG_RUNS = 300
START_TIMEOUT_S = 60.0
CLIENT_TIMEOUT_S = 120.0
LOG_LINES_SHOWN = 25


class DemoFailure(Exception):
    """Something did not happen as it should have; the text says what."""


@dataclass(frozen=True)
class DemoVm:
    """A VM of the demonstration. `peer` is the account that may connect as it."""

    name: str
    uuid: str
    pool: str
    priority: str


VM_ONE = DemoVm("vm-one", "6f1c2f8e-0d5b-4a53-9a55-1d3c7c0a0001", "A", "high")
VM_TWO = DemoVm("vm-two", "6f1c2f8e-0d5b-4a53-9a55-1d3c7c0a0002", "B", "low")


def say(text: str = "") -> None:
    """Print a line at once."""
    print(text, flush=True)


def step(text: str) -> None:
    """Print a heading."""
    say()
    say(f"--- {text}")


def show_command(*words: str) -> None:
    """Print a command as one would type it."""
    say(f"  $ {shlex.join(words)}")


class Stage:
    """A vgpud on a temporary directory, and what one does with it."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self.config = base / "vgpud.toml"
        self.log = base / "log"
        self.control = base / "run" / "control.sock"
        self._process: subprocess.Popen[bytes] | None = None
        self.config.write_text(
            f'[daemon]\nstate_dir = "{base / "state"}"\nrun_dir = "{base / "run"}"\n'
            f"[device]\nallow_unconfined_kernels = {'false' if os.geteuid() == 0 else 'true'}\n"
        )

    def socket_of(self, vm: DemoVm, name: str) -> Path:
        """Where a VM connects."""
        return self.base / "run" / "vms" / vm.uuid / name

    def start(self) -> float:
        """Start vgpud and wait for its READY=1. Returns seconds; raises DemoFailure."""
        began = time.monotonic()
        notify_path = self.base / "notify"
        notify_path.unlink(missing_ok=True)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify, self.log.open("ab") as log:
            notify.bind(str(notify_path))
            notify.settimeout(0.5)
            self._process = subprocess.Popen(
                [sys.executable, "-m", "vgpud.daemon", "--config", str(self.config)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=os.environ | {"NOTIFY_SOCKET": str(notify_path)},
                cwd="/",
            )
            while time.monotonic() - began < START_TIMEOUT_S:
                if self._process.poll() is not None:
                    raise DemoFailure("vgpud ended while it started")
                try:
                    if b"READY=1" in notify.recv(4096).split(b"\n"):
                        return time.monotonic() - began
                except TimeoutError:
                    continue
        raise DemoFailure(f"vgpud was not ready within {START_TIMEOUT_S:g} s")

    def kill(self) -> None:
        """End vgpud as a crash would."""
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()

    def shutdown(self) -> None:
        """End vgpud, its workers and its spawner, and wait for that. Raises DemoFailure."""
        command = [sys.executable, "-m", "vgpud.daemon", "--config", str(self.config)]
        done = subprocess.run(
            [*command, "shutdown", "--all"], capture_output=True, text=True, check=False, cwd="/"
        )
        if done.returncode:
            raise DemoFailure(f"vgpud shutdown --all: {done.stderr.strip()}")
        if self._process is None:
            return
        try:
            code = self._process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            self.kill()
            raise DemoFailure("vgpud did not end within 30 s of its shutdown") from None
        if code:
            raise DemoFailure(f"vgpud ended with exit status {code}")

    def last_log_lines(self) -> str:
        """The end of the daemon's log."""
        if not self.log.exists():
            return "(vgpud has logged nothing)"
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-LOG_LINES_SHOWN:])

    def admin(self, *words: str) -> str:
        """Run vgpu-admin as one would type it, and return what it printed."""
        command = [sys.executable, "-m", "vgpud.cli.admin", f"--socket={self.control}", *words]
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd="/")
        if done.returncode:
            raise DemoFailure(f"vgpu-admin {shlex.join(words)}: {done.stderr.strip()}")
        return done.stdout

    def client(self, vm: DemoVm, way: str, *words: str, may_fail: bool = False) -> dict[str, Any]:
        """Do what a VM would do; returns what vgpu-client --json says. Raises DemoFailure."""
        path = self.socket_of(vm, f"{way}.sock")
        command = [str(CLIENT), f"--{way}", str(path), "--json", *words]
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=CLIENT_TIMEOUT_S, check=False
        )
        if done.returncode and not may_fail:
            raise DemoFailure(f"{vm.name}: {shlex.join(words)}: {done.stderr.strip()}")
        answer: dict[str, Any] = json.loads(done.stdout)
        return answer


def register(stage: Stage, vm: DemoVm) -> None:
    """Make a VM known, as an administrator would."""
    words = [
        "register-vm",
        f"--vm-uuid={vm.uuid}",
        f"--vm-name={vm.name}",
        f"--pool={vm.pool}",
        f"--priority={vm.priority}",
        f"--peer=uid:{os.geteuid()}",
    ]
    show_command("vgpu-admin", *words)
    stage.admin(*words)


def two_at_once(stage: Stage, way: str, *words: str) -> list[tuple[DemoVm, dict[str, Any]]]:
    """Both VMs do the same at the same time."""
    vms = (VM_ONE, VM_TWO)
    with ThreadPoolExecutor(len(vms)) as threads:
        jobs = [threads.submit(stage.client, vm, way, *words) for vm in vms]
        return [(vm, job.result()) for vm, job in zip(vms, jobs, strict=True)]


def label(vm: DemoVm) -> str:
    """Which VM, which pool, which priority."""
    return f"{vm.name} (pool {vm.pool}, {vm.priority} priority)"


def show_stub(stage: Stage) -> None:
    """The framing of the existing vGPU-STUB device."""
    step("Both VMs at the same time, over the framing of the vGPU-STUB device (version 1)")
    for vm, answer in two_at_once(stage, "stub", "nop", "--count", "100"):
        say(f"  {label(vm)}: 100 no-ops answered, {answer['mean_us']:.0f} us each")
    for vm, answer in two_at_once(stage, "stub", "device-info"):
        say(f"  {label(vm)}: its device is {answer['device']}")
    for vm, answer in two_at_once(stage, "stub", "vector-add", "20", "22"):
        if answer["result"] != 42:
            raise DemoFailure(f"{vm.name}: 20 + 22 came back as {answer['result']}")
        say(
            f"  {label(vm)}: 20 + 22 = {answer['result']}, computed on the device, "
            f"{answer['exec_time_us'] / 1000:.1f} ms from request to answer"
        )


def show_kernel(stage: Stage) -> None:
    """The shared-memory ring."""
    step(f"Both VMs at the same time, over shared memory: an OpenCL kernel, {ELEMENTS:,} elements")
    for vm, answer in two_at_once(stage, "ring", "saxpy", "--elements", str(ELEMENTS)):
        check(vm, answer)
        say(
            f"  {label(vm)}: program built in {answer['build_ms']:.0f} ms, "
            f"kernel waited {duration(answer['wait_us'])}, ran {duration(answer['gpu_us'])} on the "
            f"device; all {answer['checked']:,} results are right"
        )


def show_build_error(stage: Stage) -> None:
    """A mistake in a program is told to who made it."""
    step("A program that does not compile: its VM gets the build log, nobody else notices")
    source = stage.base / "broken.cl"
    source.write_text("kernel void broken(global int *a) { a[0] = undeclared; }\n")
    answer = stage.client(VM_TWO, "ring", "build", str(source), may_fail=True)
    if answer["ok"] or "undeclared" not in answer["log"]:
        raise DemoFailure(f"a broken program was answered with {answer}")
    first = next(line for line in answer["log"].splitlines() if "undeclared" in line)
    say(f"  {label(VM_TWO)}: {answer['status']}: {first[first.find('error') :]}")


def show_restart(stage: Stage) -> None:
    """The daemon is killed in the middle of both VMs' work."""
    step(
        f"Both VMs run {LONG_RUNS} kernels each; meanwhile vgpud is killed (SIGKILL) and restarted"
    )
    words = ("saxpy", "--elements", str(ELEMENTS), "--repeat", str(LONG_RUNS))
    with ThreadPoolExecutor(1) as thread:
        job = thread.submit(two_at_once, stage, "ring", *words)
        wait_until_running(stage)
        stage.kill()
        seconds = stage.start()
        say(f"  vgpud was killed, and served again after {seconds:.2f} s")
        answers = job.result()
    for vm, answer in answers:
        check(vm, answer)
        say(
            f"  {label(vm)}: all {answer['repeat']} kernels were answered once, "
            f"{duration(answer['gpu_total_us'])} on the device in all, longest wait "
            f"{duration(answer['wait_max_us'])}; all results are right"
        )


def wait_until_running(stage: Stage) -> None:
    """Wait until both VMs have kernels done and more to do."""
    deadline = time.monotonic() + CLIENT_TIMEOUT_S
    names = {vm.uuid: vm.name for vm in (VM_ONE, VM_TWO)}
    before: dict[str, int] = {}
    while time.monotonic() < deadline:
        vms = json.loads(stage.admin("list-vms", "--json"))["vms"]
        done = {vm["vm_uuid"]: vm["live"]["completed"] for vm in vms}
        before = before or done
        if all(done[uuid] > before[uuid] + 5 for uuid in names):
            return
    raise DemoFailure("the VMs did not get their work started")


def check(vm: DemoVm, answer: dict[str, Any]) -> None:
    """Every element must have been checked and right."""
    if answer["wrong"] or answer["checked"] != ELEMENTS:
        raise DemoFailure(f"{vm.name}: {answer['wrong']} of {answer['checked']} results are wrong")


def duration(us: float) -> str:
    """Microseconds in the unit that reads best."""
    if us < 1000:
        return f"{us:.0f} us"
    return f"{us / 1000:.1f} ms" if us < 1e6 else f"{us / 1e6:.2f} s"


def run(stage: Stage) -> None:
    """The demonstration from start to end; raises DemoFailure."""
    say("vgpud: two virtual machines share one GPU. On a machine without one, the CPU plays its")
    say("part (PoCL, an OpenCL device); everything else is as it is on a host with a GPU.")

    if os.geteuid() != 0:
        say()
        say("You are not root: workers cannot be confined, which [device] allow_unconfined_kernels")
        say("allows here, since this demonstration's kernels are its own.")

    step("Starting vgpud, with its defaults, on an empty state directory")
    say(f"  ready after {stage.start():.2f} s")
    show_command("vgpu-admin", "list-pools")
    say(indent(stage.admin("list-pools")))

    step("Registering two VMs")
    for vm in (VM_ONE, VM_TWO):
        register(stage, vm)

    show_stub(stage)
    show_kernel(stage)
    show_build_error(stage)
    show_restart(stage)

    step("What the administrator sees")
    show_command("vgpu-admin", "status")
    say(indent(stage.admin("status")))


def indent(text: str) -> str:
    """Set off what a command printed."""
    return "\n".join(f"    {line}".rstrip() for line in text.rstrip().splitlines())


def main(arguments: Sequence[str]) -> int:
    """Run it on a temporary directory; returns the exit status."""
    if arguments:
        print("usage: python -m vgpud.demo (it takes no arguments)", file=sys.stderr)
        return 2
    # Short, as the path of a Unix socket has 108 bytes; open, as workers have uids of their own.
    base = Path(tempfile.mkdtemp(prefix="vgpud-demo-", dir="/tmp"))
    base.chmod(0o711)
    stage = Stage(base)
    failure = ""
    try:
        run(stage)
    except (DemoFailure, OSError, subprocess.SubprocessError) as error:
        failure = str(error)
    except KeyboardInterrupt:
        failure = "interrupted"
    try:
        stage.shutdown()
    except DemoFailure as error:
        failure = failure or str(error)
    if failure:
        print(f"\nvgpud demo: {failure}\n\nvgpud's last log lines:", file=sys.stderr)
        print(stage.last_log_lines(), file=sys.stderr)
    shutil.rmtree(base, ignore_errors=True)
    if failure:
        return 1
    step("Done. vgpud, its workers and its spawner have ended; nothing is left running")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
