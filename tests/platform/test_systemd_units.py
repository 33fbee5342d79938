"""The units, accounts and directories, as installed, under a real systemd as PID 1."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator

import pytest

from tests.platform.installed import QEMU_USER, Guest, main_pid, registered, status_of
from tests.platform.systemd_host import UNITS, SystemdHost

# The first test of a run also installs and boots.
pytestmark = pytest.mark.timeout(300)

CONFIG = "/etc/vgpud/vgpud.toml"
NOT_ALLOWED, CANNOT_ATTACH = 4, 3
CAPABILITIES = ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")
EXPOSURE_MAX = {"vgpud.service": 1.5, "vgpu-spawn.service": 5.0}


# --- What the installation made -------------------------------------------------------------------


def test_booting_makes_the_accounts_and_the_directory_of_sockets(machine: SystemdHost) -> None:
    account = machine.do("getent", "passwd", "vgpud").strip().split(":")
    assert account[5:] == ["/var/lib/vgpud", "/usr/sbin/nologin"]
    assert machine.run("getent", "group", "vgpud", "vgpud-admin").returncode == 0
    assert machine.do("stat", "--format=%a %U %G", "/run/vgpud").split() == ["711"] + ["vgpud"] * 2
    assert machine.do("systemctl", "list-units", "--failed", "--plain", "--no-legend") == ""


def test_systemd_understands_every_line_of_the_units(machine: SystemdHost) -> None:
    units = ("vgpu-spawn.service", "vgpud.service")
    done = machine.run("systemd-analyze", "verify", "--man=no", *units)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_the_manual_pages_that_the_units_name_are_there(machine: SystemdHost) -> None:
    documentation = " ".join(machine.show(unit, "Documentation") for unit in UNITS)
    named = set(re.findall(r"man:([\w.-]+)\((\d)\)", documentation))
    assert ("vgpud", "8") in named
    for name, section in named:
        assert machine.read(f"/usr/local/share/man/man{section}/{name}.{section}")


def test_shells_find_the_completion_of_vgpu_admin(machine: SystemdHost) -> None:
    for place in (
        "bash-completion/completions/vgpu-admin",
        "zsh/site-functions/_vgpu-admin",
        "fish/vendor_completions.d/vgpu-admin.fish",
    ):
        assert "vgpu-admin names vms" in machine.read(f"/usr/local/share/{place}")


def test_enabling_starts_both_at_boot(machine: SystemdHost) -> None:
    machine.do("systemctl", "enable", "vgpu-spawn.service", "vgpud.service")
    wanted = machine.do("systemctl", "list-dependencies", "--plain", "multi-user.target")
    assert {"vgpu-spawn.service", "vgpud.service"} <= set(wanted.split())


# --- Started --------------------------------------------------------------------------------------


def test_starting_vgpud_starts_the_spawner_first(host: SystemdHost) -> None:
    spawner_ready = int(host.show("vgpu-spawn.service", "ActiveEnterTimestampMonotonic"))
    assert 0 < spawner_ready <= int(host.show("vgpud.service", "ExecMainStartTimestampMonotonic"))
    for unit in ("vgpu-spawn.service", "vgpud.service"):
        assert (host.show(unit, "Type"), host.show(unit, "SubState")) == ("notify", "running")
    assert "device" in host.show("vgpud.service", "StatusText")


def test_the_journal_knows_the_severity_of_what_vgpud_says(host: SystemdHost) -> None:
    pid = f"_PID={main_pid(host, 'vgpud.service')}"
    informed = host.do("journalctl", "--quiet", "--output=cat", "--priority=info..info", pid)
    assert "INFO vgpud: ready" in informed and "<6>" not in informed
    assert "INFO" not in host.do("journalctl", "--quiet", "--output=cat", "--priority=notice", pid)


def test_vgpud_runs_as_its_account_with_no_capability(host: SystemdHost) -> None:
    status = status_of(host, main_pid(host, "vgpud.service"))
    uid = host.do("id", "--user", "vgpud").strip()
    assert status["Uid"].split() == [uid] * 4
    assert {int(status[name], 16) for name in CAPABILITIES} == {0}
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")


def test_the_spawner_cannot_have_more_capabilities_than_its_unit_lists(host: SystemdHost) -> None:
    status = status_of(host, main_pid(host, "vgpu-spawn.service"))
    names = host.do("capsh", f"--decode={status['CapBnd']}").strip().partition("=")[2]
    assert set(names.split(",")) == {
        *("cap_sys_admin", "cap_setuid", "cap_setgid", "cap_kill"),
        *("cap_chown", "cap_dac_override", "cap_fowner"),
    }


def test_workers_may_open_devices(host: SystemdHost) -> None:
    assert host.show("vgpu-spawn.service", "DevicePolicy") == "auto"
    assert host.show("vgpu-spawn.service", "DeviceAllow") == ""
    assert host.show("vgpu-spawn.service", "PrivateDevices") == "no"


@pytest.mark.parametrize("unit", EXPOSURE_MAX)
def test_the_exposure_of_each_unit_stays_below_its_bar(host: SystemdHost, unit: str) -> None:
    said = host.run("systemd-analyze", "security", "--no-pager", unit).stdout
    level = re.search(r"Overall exposure level for \S+: ([0-9.]+)", said)
    assert level and float(level[1]) <= EXPOSURE_MAX[unit], said


# --- Who may do what ------------------------------------------------------------------------------


def test_root_and_the_view_group_may_look_and_others_may_not(host: SystemdHost) -> None:
    assert "Pool A" in host.do("vgpu-admin", "list-pools")
    assert "Pool A" in host.do("vgpu-admin", "list-pools", user="nobody", groups=["vgpud"])
    assert host.run("vgpu-admin", "list-pools", user="nobody").returncode == NOT_ALLOWED


def test_only_the_admin_group_may_change_something(host: SystemdHost) -> None:
    change = ("vgpu-admin", "disable-pool", "--pool-id=B")
    assert host.run(*change, user="nobody", groups=["vgpud"]).returncode == NOT_ALLOWED
    host.do(*change, user="nobody", groups=["vgpud", "vgpud-admin"])
    host.do("vgpu-admin", "enable-pool", "--pool-id=B")


@pytest.mark.parametrize(("peer", "account"), [("uid:0", ""), ("qemu", QEMU_USER)])
def test_the_sockets_of_a_vm_are_open_to_its_peer_alone(
    host: SystemdHost, peer: str, account: str
) -> None:
    with registered(host, peer) as vm:
        for kind in ("stub", "ring"):
            assert vm.ask(kind, "nop", user=account)["answered"] == 1
        others = {"", QEMU_USER, "nobody", "vgpud"} - {account}
        assert {vm.refused(other) for other in others} == {CANNOT_ATTACH}
        denied = host.run("test", "-w", vm.socket("stub"), user="nobody")
        assert denied.returncode == 1, "the file itself is open to others"


def test_a_restart_does_not_close_the_sockets_to_their_peer_for_a_moment(host: SystemdHost) -> None:
    with registered(host, "qemu") as vm:
        before = host.do("getfacl", "--absolute-names", vm.socket("ring"))
        # Somebody who tries without a pause, until told to end or refused.
        host.do("touch", "/run/go-on")
        loop = f"while [ -e /run/go-on ]; do [ -w {vm.socket('ring')} ] || exit 1; done"
        trying = host.begin("bash", "-c", loop, user=QEMU_USER)
        host.do("systemctl", "restart", "vgpud.service")
        host.do("rm", "/run/go-on")
        assert trying.communicate(timeout=30)[0] == ""
        assert trying.returncode == 0, "the socket was closed to its peer for a moment"
        assert host.do("getfacl", "--absolute-names", vm.socket("ring")) == before


# --- Reload ---------------------------------------------------------------------------------------


@contextlib.contextmanager
def config_line(host: SystemdHost, text: str) -> Iterator[None]:
    """The configuration is `text` for the length of the `with` block."""
    before = host.read(CONFIG)
    host.write(CONFIG, text)
    try:
        yield
    finally:
        host.write(CONFIG, before)


def reload_until(host: SystemdHost, status: str) -> None:
    host.do("systemctl", "reload", "vgpud.service")
    host.eventually(lambda: status in host.show("vgpud.service", "StatusText"), status)


def test_a_reload_takes_the_configuration_over_without_a_restart(host: SystemdHost) -> None:
    pid = main_pid(host, "vgpud.service")
    look = ("vgpu-admin", "list-pools")
    with config_line(host, '[control]\nview_group = "nogroup"\nsocket_mode = 0o666\n'):
        reload_until(host, "reloaded")
        # The role is decided per call; the socket stays as it was made.
        assert host.run(*look, user="nobody", groups=["vgpud"]).returncode == 0
        assert host.run(*look, user=QEMU_USER, groups=["vgpud"]).returncode == 0
    reload_until(host, "reloaded")
    assert main_pid(host, "vgpud.service") == pid


def test_a_reload_with_a_wrong_configuration_changes_nothing_and_says_so(host: SystemdHost) -> None:
    pid = main_pid(host, "vgpud.service")
    with config_line(host, "[daemon]\nno_such_key = 1\n"):
        reload_until(host, "reload refused")
    assert host.show("vgpud.service", "SubState") == "running"
    assert main_pid(host, "vgpud.service") == pid
    reload_until(host, "reloaded")


# --- The end --------------------------------------------------------------------------------------


def test_a_stop_leaves_the_workers_and_the_next_start_goes_on_with_them(guest: Guest) -> None:
    host = guest.host
    guest.ask("stub", "vector-add", "1", "2")
    worker = guest.live()["worker_pid"]
    host.do("systemctl", "stop", "vgpud.service")
    assert host.show("vgpud.service", "Result") == "success"
    assert host.show("vgpu-spawn.service", "SubState") == "running"
    assert worker in host.processes("^vgpu-worker")
    host.do("systemctl", "start", "vgpud.service")
    assert guest.ask("stub", "vector-add", "3", "4")["result"] == 7
    assert guest.live()["worker_pid"] == worker


def nothing_runs(host: SystemdHost) -> bool:
    return not host.processes(r"(^|/)vgpu(d|-spawn|-worker)( |$)")


def ended_well(host: SystemdHost) -> bool:
    """Both units are inactive and not failed, and no process and no file of theirs is left."""
    states = {host.show(unit, "ActiveState") for unit in UNITS}
    left = host.do("find", "/tmp", "/var/tmp", "-name", "*vgpu*")
    return states == {"inactive"} and nothing_runs(host) and left == ""


@pytest.mark.parametrize("daemon", ["running", "stopped"])
def test_shutdown_all_leaves_nothing(guest: Guest, daemon: str) -> None:
    host = guest.host
    guest.ask("stub", "vector-add", "1", "2")
    if daemon == "stopped":
        host.do("systemctl", "stop", "vgpud.service")
    host.do("vgpud", "shutdown", "--all")
    host.eventually(lambda: ended_well(host), "nothing is left")


def test_stopping_the_spawner_stops_vgpud_and_leaves_nothing(guest: Guest) -> None:
    host = guest.host
    guest.ask("stub", "vector-add", "1", "2")
    host.do("systemctl", "stop", "vgpu-spawn.service")
    host.eventually(lambda: ended_well(host), "nothing is left")


def start_in_vain(host: SystemdHost) -> tuple[int, int]:
    """The exit status of a vgpud that cannot start, and how often systemd tried again."""
    assert host.run("systemctl", "restart", "vgpud.service").returncode != 0
    assert host.show("vgpud.service", "ActiveState") == "failed"
    status = int(host.show("vgpud.service", "ExecMainStatus"))
    return status, int(host.show("vgpud.service", "NRestarts"))


def test_a_wrong_configuration_ends_the_start_at_once(host: SystemdHost) -> None:
    with config_line(host, "[daemon]\nno_such_key = 1\n"):
        assert start_in_vain(host) == (2, 0)
    assert "no_such_key" in host.journal("--lines=5", "--priority=err")


def test_an_unusable_database_ends_the_start_at_once_and_is_left_alone(host: SystemdHost) -> None:
    host.do("systemctl", "stop", "vgpud.service")
    host.do("mv", "/var/lib/vgpud/vgpud.db", "/var/lib/vgpud/kept")
    host.do("install", "--owner=vgpud", "--mode=600", "/etc/hostname", "/var/lib/vgpud/vgpud.db")
    try:
        assert start_in_vain(host) == (6, 0)
        assert host.read("/var/lib/vgpud/vgpud.db") == host.read("/etc/hostname")
    finally:
        host.do("mv", "/var/lib/vgpud/kept", "/var/lib/vgpud/vgpud.db")
