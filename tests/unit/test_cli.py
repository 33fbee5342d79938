"""vgpu-admin against a real control socket: what it prints, how it fails, how fast it loads."""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.guards.sources import ROOT
from tests.unit.admin_under_test import Admin, Ran
from tests.unit.control_under_test import UUID_1, UUID_2, UUID_3, RunningControl, running_control
from vgpud.cli.admin import build_parser
from vgpud.cli.shutdown import request_shutdown
from vgpud.cli.vms import VM_ID_MAX
from vgpud.client import error_from_reply
from vgpud.control.authz import RolePolicy
from vgpud.errors import NoDaemonError, TimeoutExpiredError, VgpudError
from vgpud.model import vm as model_vm
from vgpud.model.engine import PoolStatus, VmStatus
from vgpud.model.mediation import Times
from vgpud.refusals import PoolExists


def test_pools_are_listed_as_the_contract_has_it(control: RunningControl, admin: Admin) -> None:
    admin("register-vm", f"--vm-uuid={UUID_1}", "--pool=A", "--priority=high")
    admin("register-vm", f"--vm-uuid={UUID_2}", "--pool=A", "--priority=low")
    admin("disable-pool", "--pool-id=B")
    assert admin("list-pools").out == (
        "=== Pools (2) ===\n"
        'Pool A: "Pool A" | Enabled | VMs: 2 (1 high, 0 medium, 1 low)\n'
        'Pool B: "Pool B" | Disabled | VMs: 0\n'
    )
    assert "Pool B" not in admin("list-pools", "--enabled-only").out


def test_a_pool_is_shown_as_the_contract_has_it(control: RunningControl, admin: Admin) -> None:
    admin("create-pool", "--pool-id=C", "--pool-name=Production Pool")
    words = ("register-vm", "--pool=C", "--vm-name")
    admin(*words, "low-one", f"--vm-uuid={UUID_1}", "--priority=low")
    admin(*words, "high-one", f"--vm-uuid={UUID_2}", "--priority=high")
    admin("register-vm", "--pool=C", f"--vm-uuid={UUID_3}", "--vm-id=9", "--priority=low")
    shown = admin("show-pool", "--pool-id=C")
    assert shown.code == 0
    assert re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", "TIME", shown.out) == (
        "=== Pool C: Production Pool ===\n"
        "Status: Enabled\n"
        "Created: TIME\n"
        "VMs: 3\n"
        "\n"
        "VM List:\n"
        f"  high-one (UUID: {UUID_2}) | Priority: high | VM ID: 2\n"
        f"  low-one (UUID: {UUID_1}) | Priority: low | VM ID: 1\n"
        f"  VM-9 (UUID: {UUID_3}) | Priority: low | VM ID: 9\n"
        "\n"
        "Priority Distribution:\n"
        "  High: 1 VM\n"
        "  Medium: 0 VMs\n"
        "  Low: 2 VMs\n"
    )


def test_a_vm_is_registered_listed_shown_and_removed(control: RunningControl, admin: Admin) -> None:
    registered = admin("register-vm", "--vm-uuid", UUID_1.upper(), "--vm-name=one", "--peer=uid:7")
    assert registered.out.startswith("VM registered successfully:\nVM Configuration:\n  UUID: 5b0a")
    block = admin("show-vm", "--vm-name=one").out
    for line in (
        f"  UUID: {UUID_1}",
        "  Name: one",
        "  VM ID: 1",
        '  Pool: A ("Pool A", enabled)',
        "  Priority: medium (1)",
        "  Scheduler Weight: 50",
        "  Rate Limit: unlimited",
        "  Quarantine: no (error count: 0)",
        "  Peer: uid:7",
        "  Connections: not connected",
    ):
        assert f"{line}\n" in block
    assert admin("list-vms", "--pool=A", "--priority=medium").out == block
    assert admin("list-vms", "--priority=high").out == "No VMs found\n"
    assert admin("remove-vm", f"--vm-uuid={UUID_1}").out == f"VM {UUID_1} (one) removed.\n"


def test_pools_are_switched_and_switching_twice_is_no_failure(
    control: RunningControl, admin: Admin
) -> None:
    assert admin("disable-pool", "--pool-id=A").out == "Pool A disabled.\n"
    assert admin("disable-pool", "--pool-id=A").out == "Pool A is already disabled.\n"
    assert admin("enable-pool", "--pool-id=A").out == "Pool A enabled.\n"
    assert admin("enable-pool", "--pool-id=A") == Ran(0, "Pool A is already enabled.\n", "")


def test_status_shows_daemon_device_pools_and_vms(control: RunningControl, admin: Admin) -> None:
    admin("register-vm", f"--vm-uuid={UUID_1}", "--vm-name=one")
    page = admin("status").out
    assert f"Daemon: pid {os.getpid()} | up 1 h 2 min | state in " in page
    assert "Device: Test Device (null) | Ready | 8.0 GiB | 2 compute units\n" in page
    assert f"  one (UUID: {UUID_1}) | Priority: medium | VM ID: 1\n    not connected |" in page
    assert "=== Pools (2) ===\n" in page and "Stored, not applied" not in page
    assert "not kept apart" not in page


def test_status_says_where_guests_are_not_kept_apart(control: RunningControl, admin: Admin) -> None:
    control.engine.isolation_gaps = ("workers share an account", "and a network")
    page = admin("status").out
    assert page.endswith(
        "=== Guests are not kept apart (2) ===\n  workers share an account\n  and a network\n"
    )
    answer = json.loads(admin("--json", "status").out)
    assert answer["daemon"]["isolation_gaps"] == ["workers share an account", "and a network"]


WAITED = Times(count=9, sum_ns=9_000_000, p50_ns=2_500, p95_ns=1, p99_ns=71_234_567, max_ns=10**10)


def test_live_numbers_are_shown_with_quantiles(control: RunningControl, admin: Admin) -> None:
    admin("register-vm", f"--vm-uuid={UUID_1}", "--vm-name=one")
    control.engine.live[UUID_1] = VmStatus(
        connected_ring=True, queued=2, running=1, submitted=12, completed=9, wait=WAITED
    )
    control.engine.live_pools["A"] = PoolStatus(completed=7, gpu_time_ns=1500, run=WAITED)
    wait = "p50 2.5 us, p99 71.2 ms, max 10 s"
    assert admin("show-vm", "--vm-name=one").out.endswith(
        "Live:\n"
        "  Connections: ring\n"
        "  Queued: 2\n"
        "  Running: 1\n"
        "  Submitted: 12\n"
        "  Completed: 9 (failed: 0, refused: 0, dropped: 0, faults: 0)\n"
        "  GPU Time: 0 ns\n"
        "  Build Time: 0 ns\n"
        f"  Wait: {wait}\n"
        "  Run: -\n"
        "  Total: -\n"
        "  Worker: none\n"
    )
    page = admin("show-pool", "--pool-id=A").out
    assert "  Low: 0 VMs\n\nLive:\n  Queued: 0\n" in page and f"  Run: {wait}\n" in page
    status = admin("status").out
    assert (
        "  Queued: 0 | Running: 0 | Completed: 7 | Failed: 0 | Refused: 0 | GPU: 1.5 us | "
        "Wait p50/p99: - | Run p50/p99: 2.5 us / 71.2 ms\n"
    ) in status
    assert "    ring | Queued: 2 | Running: 1 | Completed: 9 |" in status


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("create-pool", "--pool-id=A"), 6, "creating pool A: there already is a pool A."),
        (("show-pool", "--pool-id=Z"), 5, "showing pool Z: there is no pool Z."),
        (("show-pool", "--pool-id=ZZ"), 2, "pool_id is 'ZZ', expected one letter or digit"),
        (("show-vm", "--vm-name=x"), 5, "showing VM 'x': no VM 'x' is registered."),
        (("register-vm", "--vm-uuid=abc123"), 2, "expected a UUID such as"),
        (("register-vm", f"--vm-uuid={UUID_1}", "--pool=Z"), 5, "there is no pool Z"),
        (("register-vm", f"--vm-uuid={UUID_1}", "--vm-id=0"), 2, "1 to 2147483647"),
        (("register-vm", f"--vm-uuid={UUID_1}", "--vm-id=x"), 2, "argument --vm-id"),
        (("register-vm", f"--vm-uuid={UUID_1}", "--priority=urgent"), 2, "invalid choice"),
        (("show-vm",), 2, "--vm-uuid --vm-name is required"),
        (("show-vm", "--vm-uuid=a", "--vm-name=b"), 2, "not allowed with"),
        (("show-pool", "--pool=A"), 2, "required: --pool-id"),
        (("register-vm", f"--vm-uuid={UUID_1}", "--vm-id=1_0"), 2, "'1_0' is not a number from 1"),
        (("register-vm", f"--vm-uuid={UUID_1}", f"--vm-id={10**20}"), 2, "a number from 1 to 2147"),
        (("show-vm", "--vm-name=\udcff"), 2, r"vm_name is '\udcff', expected text in UTF-8"),
        (("remove-vm", "--vm-name=x\nCRITICAL"), 2, r"VM 'x\nCRITICAL': vm_name is 'x\nCRITICAL'"),
        (("remove-vm", "--vm-uuid=x\nCRITICAL"), 2, r"removing VM x\nCRITICAL: vm_uuid is"),
        (("show-pool", "--pool-id=\x1b[31m"), 2, r"showing pool \x1b[31m: pool_id is"),
        (
            ("create-pool", "--pool-id=C", f"--description={'x' * 100_000}"),
            2,
            "the message exceeds",
        ),
        (("scan-gpus",), 2, "there is no command 'scan-gpus'. See"),
        (("list-pools", "--timeout=0"), 2, "not from 0 to 86400"),
        (("list-pools", "--timeout=abc"), 2, "'abc' is not from 0 to 86400"),
        (("list-pools", "--timeout=nan"), 2, "'nan' is not from 0 to 86400"),
        (("list-pols",), 2, "there is no command 'list-pols'. Did you mean list-pools?"),
        (("help", "list-pols"), 2, "Did you mean list-pools?"),
    ],
)
def test_a_failure_is_one_line_with_cause_advice_and_code(
    control: RunningControl, admin: Admin, words: tuple[str, ...], code: int, said: str
) -> None:
    ran = admin(*words)
    assert (ran.code, ran.out) == (code, "")
    assert ran.err.startswith("vgpu-admin: ") and said in ran.err
    assert re.search(r"\[[A-Za-z]+\]\n\Z", ran.err) and ran.err.count("\n") == 1


def test_vm_ids_have_the_same_limit_here_and_there() -> None:
    assert VM_ID_MAX == model_vm.VM_ID_MAX and model_vm.VM_ID_MIN == 1


def test_a_change_that_is_not_applied_yet_is_a_negative_answer(
    control: RunningControl, admin: Admin
) -> None:
    control.engine.broken[UUID_1] = OSError(28, "No space left on device")
    ran = admin("register-vm", f"--vm-uuid={UUID_1}")
    assert ran.code == 1 and ran.err.endswith("[StoredNotApplied]\n")
    assert f"  VM {UUID_1}: No space left on device\n" in admin("status").out


def test_who_may_not_is_told_which_role_is_needed(
    short_dir: Path, admin: Admin, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running_control(short_dir, policy=RolePolicy(frozenset())) as control:
        ran = admin(f"--socket={control.socket}", "list-pools")
    assert ran.code == 4 and "ListPools needs the role view; yours: none" in ran.err


def test_without_a_daemon_it_says_how_to_start_one(short_dir: Path, admin: Admin) -> None:
    ran = admin("list-pools", f"--socket={short_dir}/absent.sock")
    assert ran.code == 3
    assert "systemctl start vgpud" in ran.err and "vgpud --config" in ran.err


def test_a_daemon_that_died_leaves_the_same_answer(short_dir: Path, admin: Admin) -> None:
    path = short_dir / "dead.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as dead:
        dead.bind(str(path))
    assert admin("list-pools", f"--socket={path}").code == 3


def test_a_path_too_long_for_a_socket_is_no_daemon(admin: Admin) -> None:
    assert admin("list-pools", f"--socket=/{'x' * 200}").code == 3


@pytest.mark.parametrize(
    ("answer", "code"),
    [(b"", 3), (b'{"parameters":', 3), (b"nonsense\0", 1), (b'{"parameters":{}}\0', 1)],
)
def test_a_daemon_that_answers_nonsense_is_said_so(
    short_dir: Path, admin: Admin, answer: bytes, code: int
) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as daemon:
        daemon.bind(str(short_dir / "c.sock"))
        daemon.listen()

        def serve() -> None:
            client, _ = daemon.accept()
            with client:
                client.recv(65536)
                client.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        ran = admin("list-pools", f"--socket={short_dir}/c.sock")
        thread.join(10)
    assert ran.code == code and ran.err.startswith("vgpu-admin: listing pools: ")


def test_a_daemon_that_does_not_answer_is_left_after_the_timeout(
    short_dir: Path, admin: Admin
) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as silent:
        silent.bind(str(short_dir / "c.sock"))
        silent.listen()
        ran = admin("list-pools", f"--socket={short_dir}/c.sock", "--timeout=0.05")
    assert ran.code == 7 and "--timeout" in ran.err


def test_a_daemon_that_answers_for_ever_is_left_after_the_timeout(
    short_dir: Path, admin: Admin
) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as daemon:
        daemon.bind(str(short_dir / "c.sock"))
        daemon.listen()

        def serve() -> None:
            client, _ = daemon.accept()
            with client, contextlib.suppress(BrokenPipeError, ConnectionResetError):
                while True:
                    client.sendall(b" ")

        thread = threading.Thread(target=serve)
        thread.start()
        ran = admin("list-pools", f"--socket={short_dir}/c.sock", "--timeout=0.1")
        thread.join(10)
    assert ran.code == 7


def test_an_error_of_a_newer_daemon_is_shown_by_its_name() -> None:
    assert isinstance(error_from_reply("org.vgpud.admin.PoolExists", {"pool_id": "A"}), PoolExists)
    newer = error_from_reply("org.vgpud.admin.PoolOnFire", {"pool_id": "A"})
    assert type(newer) is VgpudError and "PoolOnFire" in str(newer)
    assert "lacks" in str(error_from_reply("org.vgpud.admin.PoolExists", {}))


def test_shutdown_is_requested(control: RunningControl, short_dir: Path) -> None:
    with contextlib.closing(request_shutdown(str(control.socket), everything=True)) as ending:
        assert ending.is_seen and ending.pid == os.getpid()
        with pytest.raises(TimeoutExpiredError, match="has not ended within"):
            ending.wait(0.01)
    assert control.shutdowns == [True]
    with pytest.raises(NoDaemonError):
        request_shutdown(str(short_dir / "absent.sock"), everything=False)


def test_options_are_not_abbreviated_and_may_precede_the_command(
    control: RunningControl, admin: Admin
) -> None:
    assert admin("list-pools", "--enabled").code == 2
    assert admin("--json", "--timeout", "5", "list-pools").out.startswith("{")


def test_help_and_version_exit_zero_and_no_command_is_a_usage_error(admin: Admin) -> None:
    assert admin("--help").out == admin("help").out
    assert "--pool-id" in admin("help", "show-pool").out
    assert re.fullmatch(r"vgpu-admin \d+\.\d+\.\d+\n", admin("--version").out)
    assert admin().code == 2


def test_nothing_slow_is_loaded() -> None:
    code = "import sys, vgpud.cli.admin; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True
    )
    slow = {"msgspec", "asyncio", "sqlite3", "dataclasses", "inspect", "varlink", "difflib", "uuid"}
    assert slow & set(done.stdout.split()) == set()


def test_every_command_and_option_is_in_the_manual_page() -> None:
    page = (ROOT / "vgpud/man/vgpu-admin.1").read_text().replace("\\-", "-")
    explained = page[page.index(".SH OPTIONS") : page.index('.SH "EXIT STATUS"')]
    parser = build_parser()
    (commands,) = (action for action in parser._actions if action.dest == "command")
    assert isinstance(commands.choices, dict)
    for name, subparser in commands.choices.items():
        assert re.search(rf"^\.B {name}\b", page, re.MULTILINE), name
        for action in [*parser._actions, *subparser._actions]:
            for option in action.option_strings:
                assert re.search(rf"{option}\b", explained), f"{name} {option}"
