"""The control socket as a protocol: Varlink, and clients that do not behave."""

from __future__ import annotations

import json
import os
import socket
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import varlink

from tests.unit.control_under_test import (
    UUID_1,
    RunningControl,
    as_call,
    is_closed,
    limits,
    receive,
    running_control,
)
from vgpud.errors import ControlError

ADMIN = "org.vgpud.admin"


# --- The Varlink layer ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "parameters", "error", "named"),
    [
        ("org.vgpud.admin.Dance", {}, "MethodNotFound", {"method": "org.vgpud.admin.Dance"}),
        ("org.example.X", {}, "InterfaceNotFound", {"interface": "org.example"}),
        ("nonsense.", {}, "InterfaceNotFound", {"interface": "nonsense"}),
        ("org.vgpud.admin.ShowPool", {}, "InvalidParameter", {"parameter": "pool_id"}),
        ("org.vgpud.admin.Status", {"x": 1}, "InvalidParameter", {"parameter": "x"}),
    ],
)
def test_calls_that_do_not_fit_get_the_standard_errors(
    control: RunningControl, method: str, parameters: dict[str, Any], error: str, named: Any
) -> None:
    reply = control.call(method, **parameters)
    assert reply == {"error": f"org.varlink.service.{error}", "parameters": named}


def test_oneway_gets_no_answer_and_is_carried_out(control: RunningControl) -> None:
    call = {"method": f"{ADMIN}.CreatePool", "parameters": {"pool_id": "C"}, "oneway": True}
    with control.connect() as client:
        client.sendall(json.dumps(call).encode() + b"\0")
        client.sendall(json.dumps(call).encode() + b"\0")  # refused, and silent about it
        client.sendall(as_call("ListPools"))
        pools = receive(client)["parameters"]["pools"]
    assert [pool["pool_id"] for pool in pools] == ["A", "B", "C"]


def test_more_is_answered_once_and_for_all(control: RunningControl) -> None:
    with control.connect() as client:
        client.sendall(b'{"method":"org.vgpud.admin.ListPools","more":true}\0')
        reply = receive(client)
        assert "continues" not in reply and len(reply["parameters"]["pools"]) == 2


def test_upgrade_is_refused(control: RunningControl) -> None:
    with control.connect() as client:
        client.sendall(b'{"method":"org.vgpud.admin.ListPools","upgrade":true}\0')
        assert receive(client)["parameters"] == {"parameter": "upgrade"}


def test_many_calls_at_once_are_answered_in_order(control: RunningControl) -> None:
    names = ["A", "Z", "B", "Y"] * 25
    with control.connect() as client:
        client.sendall(b"".join(as_call("ShowPool", pool_id=name) for name in names))
        answers = [receive(client) for _ in names]
    found = [
        reply["parameters"]["pool"]["pool_id"] if "error" not in reply else "?" for reply in answers
    ]
    assert found == ["A", "?", "B", "?"] * 25


def test_the_real_client_sees_and_calls_everything(control: RunningControl) -> None:
    with varlink.Client.new_with_address(f"unix:{control.socket}") as client:
        assert client.get_interfaces() == ["org.varlink.service", ADMIN]
        with client.open(ADMIN) as admin:
            registered = admin.RegisterVm(UUID_1, vm_name="one", priority="high")
            assert registered["vm"]["vm_id"] == 1
            assert admin.Status()["device"]["name"] == "Test Device"
            with pytest.raises(varlink.VarlinkError, match="PoolNotFound"):
                admin.ShowPool("Z")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("info", "unix:{}"), "org.vgpud.admin"),
        (("help", "unix:{}/org.vgpud.admin"), "method RegisterVm("),
        (("call", "unix:{}/org.vgpud.admin.ListPools"), '"pool_name": "Pool A"'),
    ],
)
def test_the_varlink_command_drives_the_daemon(
    control: RunningControl, arguments: tuple[str, str], expected: str
) -> None:
    verb, address = arguments
    done = subprocess.run(
        [sys.executable, "-m", "varlink.cli", verb, address.format(control.socket)],
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    assert expected in done.stdout


# --- Clients that misbehave -----------------------------------------------------------------------


@pytest.mark.parametrize("message", [b"", b"{", b"\xff", b"[" * 50_000, b'{"method": 1}'])
def test_a_malformed_message_is_answered_and_the_connection_kept(
    control: RunningControl, message: bytes
) -> None:
    with control.connect() as client:
        client.sendall(message + b"\0")
        assert receive(client)["error"] == f"{ADMIN}.MalformedMessage"
        client.sendall(as_call("ListPools"))
        assert "error" not in receive(client)


def test_a_message_too_large_is_answered_and_closed(short_dir: Path) -> None:
    with (
        running_control(short_dir, limits(max_message_bytes=4096)) as control,
        control.connect() as client,
    ):
        client.sendall(b"x" * 4097)
        assert receive(client) == {
            "error": f"{ADMIN}.MessageTooLarge",
            "parameters": {"limit_bytes": 4096},
        }
        assert is_closed(client)
        assert "error" not in control.call("ListPools")


def test_half_a_message_is_closed_after_its_time_and_delays_nobody(short_dir: Path) -> None:
    with (
        running_control(short_dir, limits(message_timeout_ms=300)) as control,
        control.connect() as half,
    ):
        half.sendall(as_call("ListPools")[:-1])
        assert "error" not in control.call("ListPools")
        assert is_closed(half)


def test_bytes_that_trickle_in_do_not_extend_the_time(short_dir: Path) -> None:
    with (
        running_control(short_dir, limits(message_timeout_ms=300)) as control,
        control.connect() as slow,
    ):
        slow.settimeout(0.05)
        closed = False
        for _ in range(100):
            try:
                slow.sendall(b"x")
                closed = slow.recv(1) == b""
            except TimeoutError:
                continue
            except (BrokenPipeError, ConnectionResetError):
                closed = True
            if closed:
                break
        assert closed


def test_an_idle_connection_stays(short_dir: Path) -> None:
    with (
        running_control(short_dir, limits(message_timeout_ms=100)) as control,
        control.connect() as idle,
        control.connect() as half,
    ):
        half.sendall(b"{")
        assert is_closed(half)  # by then the time of both is over
        idle.sendall(as_call("ListPools"))
        assert "error" not in receive(idle)


def test_a_client_that_does_not_read_is_closed_and_delays_nobody(short_dir: Path) -> None:
    with (
        running_control(short_dir, limits(message_timeout_ms=300)) as control,
        control.connect() as deaf,
    ):
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        call = as_call("org.varlink.service.GetInterfaceDescription", interface=ADMIN)
        with pytest.raises((BrokenPipeError, ConnectionResetError)):
            while True:
                deaf.sendall(call)
        assert "error" not in control.call("ListPools")


def test_a_client_that_leaves_before_its_answer_harms_nobody(control: RunningControl) -> None:
    for _ in range(20):
        with control.connect() as client:
            client.sendall(as_call("Status"))
    assert "error" not in control.call("ListPools")


def test_one_connection_too_many_is_told_so(short_dir: Path) -> None:
    with (
        running_control(short_dir, limits(max_connections=2)) as control,
        control.connect() as first,
        control.connect() as second,
    ):
        for client in (first, second):
            client.sendall(as_call("ListPools"))
            receive(client)
        with control.connect() as third:
            assert receive(third) == {
                "error": f"{ADMIN}.TooManyConnections",
                "parameters": {"limit": 2},
            }
            assert is_closed(third)
        first.sendall(as_call("ListPools"))
        assert "error" not in receive(first)


def test_nobody_locks_the_favoured_account_out(short_dir: Path) -> None:
    with (
        running_control(short_dir, limits(max_connections=1), favoured_uid=os.geteuid()) as control,
        control.connect() as first,
    ):
        first.sendall(as_call("ListPools"))
        receive(first)
        assert "error" not in control.call("ListPools")


# --- The socket file ------------------------------------------------------------------------------


def test_a_descriptor_that_a_client_sends_never_reaches_the_daemon(control: RunningControl) -> None:
    reading, writing = os.pipe()
    with control.connect() as client:
        try:
            socket.send_fds(client, [b"{"], [writing])
        except PermissionError:
            pass  # refused by the kernel, from Linux 6.16 on
        else:
            client.sendall(b"}\0")  # an older kernel drops it where it is received
            assert client.recv(4096)
    os.close(writing)
    with open(reading, "rb") as end:
        assert end.read() == b""  # nobody else has the other end
    assert control.call(f"{ADMIN}.ListPools")["parameters"]


def test_a_dead_socket_is_replaced(short_dir: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as dead:
        dead.bind(str(short_dir / "control.sock"))
    with running_control(short_dir) as control:
        assert "error" not in control.call("ListPools")


def test_a_living_socket_is_not_taken_over(short_dir: Path, control: RunningControl) -> None:
    with pytest.raises(ControlError, match="another daemon answers"):
        RunningControl(short_dir).start()
    assert "error" not in control.call("ListPools")


def test_a_file_in_the_way_is_kept(short_dir: Path) -> None:
    (short_dir / "control.sock").write_text("precious")
    with pytest.raises(ControlError, match="not a socket"):
        RunningControl(short_dir).start()
    assert (short_dir / "control.sock").read_text() == "precious"


def test_the_socket_has_the_configured_mode_and_goes_with_the_server(short_dir: Path) -> None:
    with running_control(short_dir, limits(socket_mode=0o600)) as control:
        assert stat.S_IMODE(control.socket.stat().st_mode) == 0o600
    assert not control.socket.exists()
