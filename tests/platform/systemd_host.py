"""A machine in a container: systemd as PID 1 over this host's files, with vgpud installed on it.

Its root is an overlay: this host's root file system below, unwritable, and memory above, so that
nothing of a boot is left. `./build.sh install` puts vgpud there as it would on a host. cgroups are
those of version 2 alone, whatever the host has, since that is what distributions boot with.

The container runs in a mount namespace, and in a cgroup, of its own: several may run at once.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import selectors
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

ROOT = Path(__file__).resolve().parent.parent.parent
INSTALL_TIMEOUT_S = 240.0
BOOT_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 30.0
WAIT_S = 20.0
REFUSED_STATUS = 77
"""What the script below ends with where mounts are not to be had."""

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
UNITS = ("vgpu-spawn.service", "vgpud.service")
UID_LOCKS = Path("/run/vgpu-spawn.uids")
"""Where spawners of this host lock their uids. It reaches into the container, whose processes this
host sees: a spawner out here would else end those that run under uids of its own."""

# Only what services of the system stand on by themselves: nothing else of this host is to start.
TARGET = """\
[Unit]
Requires=sysinit.target
After=sysinit.target
"""

# $1: an empty directory; $2: where vgpud was installed; $3: the target; $4: number of cgroups that
# follow, each to be joined; then the command that boots $1/root.
BOOT = f"""
lay() {{
    mount -t tmpfs -o mode=0755,size=1g vgpud-test "$1" &&
    mkdir "$1/host" "$1/upper" "$1/work" "$1/root" &&
    mount --bind / "$1/host" &&
    mount -t overlay -o "lowerdir=$1/host,upperdir=$1/upper,workdir=$1/work" vgpud-test "$1/root"
}}
lay "$1" || exit {REFUSED_STATUS}
cp -a "$2/usr" "$2/etc" "$1/root/"
mkdir -p "$1/root/opt/vgpud"
mount --bind "$2/opt/vgpud" "$1/root/opt/vgpud"
mount -o remount,bind,ro "$1/root/opt/vgpud"
: >"$1/root/etc/fstab"
printf '%s' "$3" >"$1/root/etc/systemd/system/vgpud-test.target"
joins=$4
shift 4
while ((joins-- > 0)); do
    echo $$ >"$1/cgroup.procs"
    shift
done
exec "$@"
"""

Result = TypeVar("Result")


class NoContainer(Exception):
    """This environment cannot run one; the text says why."""


@dataclass(frozen=True)
class SystemdHost:
    """A booted container. Commands run in it as root, or as `user` with exactly `groups`."""

    leader: int
    """Its PID 1, as this host counts."""
    name: str

    def argv(self, *command: str, user: str = "", groups: Sequence[str] = ()) -> list[str]:
        """The argument list that runs `command` inside."""
        inside = ["env", "-i", f"PATH={PATH}", "LC_ALL=C.UTF-8", "SYSTEMD_COLORS=0"]
        if user:
            inside += ["setpriv", f"--reuid={user}", "--regid=nogroup"]
            inside += [f"--groups={','.join(groups)}"] if groups else ["--clear-groups"]
        return ["nsenter", f"--target={self.leader}", "--all", "--", *inside, *command]

    def run(
        self, *command: str, user: str = "", groups: Sequence[str] = (), timeout_s: float = 60.0
    ) -> subprocess.CompletedProcess[str]:
        """Run a command to its end, whatever its exit status."""
        return subprocess.run(
            self.argv(*command, user=user, groups=groups),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )

    def do(self, *command: str, user: str = "", groups: Sequence[str] = ()) -> str:
        """Run a command that has to succeed; returns its output. Fails with the journal."""
        done = self.run(*command, user=user, groups=groups)
        if done.returncode != 0:
            said = f"{' '.join(command)}: exit {done.returncode}\n{done.stdout}{done.stderr}"
            raise AssertionError(f"{said}\n{self.journal()}")
        return done.stdout

    def begin(self, *command: str, user: str = "") -> subprocess.Popen[str]:
        """Start a command and leave it running."""
        return subprocess.Popen(
            self.argv(*command, user=user),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def show(self, unit: str, name: str) -> str:
        """One property of a unit."""
        return self.do("systemctl", "show", f"--property={name}", "--value", unit).strip()

    def write(self, path: str, text: str) -> None:
        """Replace a file inside; its owner and mode stay."""
        Path(f"/proc/{self.leader}/root{path}").write_text(text)

    def read(self, path: str) -> str:
        """The text of a file inside, files of /proc by the process ids there."""
        return self.do("cat", path)

    def journal(self, *options: str) -> str:
        """What both units, and systemd about them, have logged."""
        units = [f"--unit={unit}" for unit in UNITS]
        return self.run("journalctl", "--no-pager", "--quiet", *units, *options).stdout

    def processes(self, pattern: str) -> list[int]:
        """The processes whose command line matches."""
        found = self.run("pgrep", "--full", pattern)
        return [int(pid) for pid in found.stdout.split()]

    def eventually(self, look: Callable[[], Result | None], what: str) -> Result:
        """The first result of `look` that is true; fails with the journal after WAIT_S."""
        deadline = time.monotonic() + WAIT_S
        while not (result := look()):
            if time.monotonic() > deadline:
                raise AssertionError(f"not within {WAIT_S} s: {what}\n{self.journal()}")
            time.sleep(0.05)  # nothing outside of the container can be told of it
        return result


@contextlib.contextmanager
def systemd_host() -> Iterator[SystemdHost]:
    """Install, boot, and at the end power off. Raises NoContainer or AssertionError."""
    _require()
    base = Path(tempfile.mkdtemp(prefix="vgs-"))
    base.chmod(0o711)
    try:
        _install(base / "stage")
        with _booted(base) as host:
            yield host
    finally:
        shutil.rmtree(base)


def _require() -> None:
    if os.geteuid() != 0:
        raise NoContainer("only root may boot a container")
    for program in ("systemd-nspawn", "nsenter", "setpriv"):
        if shutil.which(program) is None:
            raise NoContainer(f"{program} is not installed (apt-get install systemd-container)")
    asked = ["unshare", "--mount", "--pid", "--fork", "--ipc", "--uts", "--net", "--cgroup", "true"]
    done = subprocess.run(asked, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise NoContainer(f"namespaces are refused here: {done.stderr.strip()}")


def _install(stage: Path) -> None:
    environment = {**os.environ, "DESTDIR": str(stage), "PREFIX": "/opt/vgpud", "EXTRAS": "cpu"}
    done = subprocess.run(
        [str(ROOT / "build.sh"), "install"],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=INSTALL_TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout


@contextlib.contextmanager
def _booted(base: Path) -> Iterator[SystemdHost]:
    name = f"vgpud-{secrets.token_hex(6)}"
    machine = base / "machine"
    machine.mkdir()
    UID_LOCKS.touch(mode=0o600)
    with (
        _own_cgroups(name) as cgroups,
        (base / "console").open("wb") as console,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify,
    ):
        notify.bind(str(base / "notify"))
        # It powers off when this process dies.
        argv = ["setpriv", "--pdeathsig=TERM", "unshare", "--mount", "--propagation=private"]
        argv += ["bash", "-euc", BOOT, "boot", str(machine), str(base / "stage"), TARGET]
        argv += [str(len(cgroups)), *map(str, cgroups)]
        process = subprocess.Popen(
            [*argv, *_nspawn(name, machine / "root", cgroups)],
            env={
                "PATH": PATH,
                "NOTIFY_SOCKET": str(base / "notify"),
                "UNIFIED_CGROUP_HIERARCHY": "1",
            },
            stdin=subprocess.DEVNULL,
            stdout=console,
            stderr=subprocess.STDOUT,
        )
        try:
            leader = _wait_booted(process, notify)
            if leader is None:
                said = (base / "console").read_text(errors="replace")
                if process.poll() == REFUSED_STATUS:
                    raise NoContainer(f"mounts are refused here: {said.strip()}")
                raise AssertionError(f"systemd did not boot:\n{said}")
            yield SystemdHost(leader, name)
        finally:
            _power_off(process)
            _forget_machine(name)


def _nspawn(name: str, root: Path, cgroups: Sequence[Path]) -> list[str]:
    options = ["--quiet", "--register=no", "--private-network", "--notify-ready=yes"]
    options += ["--link-journal=no", "--settings=no", "--console=pipe", f"--bind={UID_LOCKS}"]
    # Without a systemd on the host nobody but ourselves can give it a cgroup.
    options += ["--keep-unit"] if cgroups else []
    what = [f"--machine={name}", f"--directory={root}", "--boot"]
    return ["systemd-nspawn", *options, *what, "systemd.unit=vgpud-test.target", "fstab=no"]


def _wait_booted(process: subprocess.Popen[bytes], notify: socket.socket) -> int | None:
    """The leader's pid once its boot is complete; None if it ended, or took too long."""
    deadline = time.monotonic() + BOOT_TIMEOUT_S
    leader = None
    pidfd = os.pidfd_open(process.pid)
    try:
        with selectors.DefaultSelector() as selector:
            selector.register(notify, selectors.EVENT_READ)
            selector.register(pidfd, selectors.EVENT_READ)
            while (left_s := deadline - time.monotonic()) > 0:
                for key, _ in selector.select(left_s):
                    if key.fileobj is not notify:
                        process.wait()
                        return None
                    for line in notify.recv(4096).decode().splitlines():
                        field, _, value = line.partition("=")
                        if field == "X_NSPAWN_LEADER_PID":
                            leader = int(value)
                        if line == "READY=1":
                            return leader
    finally:
        os.close(pidfd)
    return None


def _power_off(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is not None:
        return
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        # Its PID 1, and so everything in it, dies with it.
        process.kill()
        process.wait()


def _forget_machine(name: str) -> None:
    """nspawn removes this itself, unless /run is no file system of its own."""
    left = Path("/run/systemd/nspawn/propagate") / name
    if left.is_dir():
        left.rmdir()


@contextlib.contextmanager
def _own_cgroups(name: str) -> Iterator[list[Path]]:
    """A cgroup in each hierarchy that systemd would use; none where this host's systemd gives it.

    Else nspawn would use the same one for every container.
    """
    if Path("/run/systemd/system").is_dir():
        yield []
        return
    mounts = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    paths = [
        Path(at) / name
        for _, at, kind, options, *_ in mounts
        if kind == "cgroup2" or (kind == "cgroup" and "name=systemd" in options.split(","))
    ]
    for path in paths:
        path.mkdir()
    try:
        yield paths
    finally:
        for path in paths:
            for directory, _, _ in os.walk(path, topdown=False):
                os.rmdir(directory)
