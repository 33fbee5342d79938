"""vgpud as an administrator has installed it: its units, its daemon, a VM and the VM's clients."""

from __future__ import annotations

import contextlib
import json
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tests.platform.systemd_host import SystemdHost

CLIENT = "/opt/vgpud/bin/vgpu-client"
QEMU_USER = "libvirt-qemu"


@dataclass(frozen=True)
class Guest:
    """A registered VM, and its clients."""

    host: SystemdHost
    uuid: str

    def socket(self, kind: str) -> str:
        return f"/run/vgpud/vms/{self.uuid}/{kind}.sock"

    def client(self, kind: str, *command: str) -> list[str]:
        """The command line of vgpu-client over the stub or the ring socket."""
        return [CLIENT, f"--{kind}", self.socket(kind), "--json", *command]

    def ask(self, kind: str, *command: str, user: str = "") -> dict[str, Any]:
        """What vgpu-client answers; it has to succeed."""
        answer: dict[str, Any] = json.loads(
            self.host.do(*self.client(kind, *command), user=user),
        )
        return answer

    def refused(self, user: str) -> int:
        """The exit status of an account that tries to connect."""
        return self.host.run(*self.client("stub", "nop"), user=user).returncode

    def live(self) -> dict[str, Any]:
        """What the engine counts for this VM."""
        answer = json.loads(
            self.host.do("vgpu-admin", "show-vm", f"--vm-uuid={self.uuid}", "--json")
        )
        live: dict[str, Any] = answer["vm"]["live"]
        return live


@contextlib.contextmanager
def registered(host: SystemdHost, peer: str) -> Iterator[Guest]:
    guest = Guest(host, str(uuid.uuid4()))
    host.do("vgpu-admin", "register-vm", f"--vm-uuid={guest.uuid}", f"--peer={peer}")
    try:
        yield guest
    finally:
        # A test may have stopped the daemon, or broken its configuration.
        host.run("systemctl", "reset-failed")
        host.do("systemctl", "start", "vgpud.service")
        host.do("vgpu-admin", "remove-vm", f"--vm-uuid={guest.uuid}")


def main_pid(host: SystemdHost, unit: str) -> int:
    return int(host.show(unit, "MainPID"))


def status_of(host: SystemdHost, pid: int) -> dict[str, str]:
    """/proc/PID/status by field."""
    lines = host.read(f"/proc/{pid}/status").splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def daemon_answers(host: SystemdHost, not_pid: int) -> int | None:
    """The pid of the vgpud that answers, unless it is the one given."""
    done = host.run("vgpu-admin", "status", "--json")
    pid = int(json.loads(done.stdout)["daemon"]["pid"]) if done.returncode == 0 else not_pid
    return pid if pid != not_pid else None
