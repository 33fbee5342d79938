"""Version 1 against a real vgpud: messages wrong or held back, and those who are not the VM."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.daemon.guests import VGPU_CLIENT, Guest, eventually, register, wait_taken
from tests.daemon_under_test import RunningDaemon
from tests.stub_client import (
    CUDA_NOT_SUPPORTED,
    REQUEST,
    VERSION,
    MessageType,
    Opcode,
    StubClient,
    WireStatus,
    header,
    parse_cuda_result,
    parse_response,
    request_payload,
)

THREE_GIB = 3 << 30
SOMEBODY, SOMEBODY_ELSE = 47_001, 47_002


def request(
    version: int = VERSION,
    opcode: int = Opcode.NOP,
    flags: int = 0,
    params: int = 0,
    offset: int = 32,
    length: int = 0,
    reserved: tuple[int, int] = (0, 0),
    behind: bytes = b"",
) -> bytes:
    """The payload of a REQUEST, every field of which may be wrong."""
    return REQUEST.pack(version, opcode, flags, params, offset, length, *reserved) + behind


BAD_REQUESTS = {
    "empty": (b"", WireStatus.INVALID_LENGTH),
    "one byte short": (request()[:-1], WireStatus.INVALID_LENGTH),
    "too long": (request(behind=bytes(1024 - 31)), WireStatus.TOO_LARGE),
    "a megabyte": (request(behind=bytes(1 << 20)), WireStatus.TOO_LARGE),
    "version": (request(version=0x00020000), WireStatus.INVALID_REQUEST),
    "flags": (request(flags=1), WireStatus.INVALID_REQUEST),
    "reserved": (request(reserved=(0, 1)), WireStatus.INVALID_REQUEST),
    "parameters that did not come": (request(params=1), WireStatus.INVALID_LENGTH),
    "four billion parameters": (request(params=0xFFFFFFFF), WireStatus.INVALID_LENGTH),
    "parameters that overflow": (request(params=0x40000000), WireStatus.INVALID_LENGTH),
    "data that did not come": (request(length=1), WireStatus.INVALID_LENGTH),
    "data far away": (request(offset=0xFFFFFFFF, length=1), WireStatus.INVALID_LENGTH),
    "data that overflows": (request(length=0xFFFFFFF0), WireStatus.INVALID_LENGTH),
    "unknown opcode": (request(opcode=0x1234), WireStatus.UNSUPPORTED),
    "one summand": (request_payload(Opcode.VECTOR_ADD, (1,)), WireStatus.INVALID_REQUEST),
    "three summands": (request_payload(Opcode.VECTOR_ADD, (1, 2, 3)), WireStatus.INVALID_REQUEST),
}


@pytest.mark.parametrize(("payload", "status"), BAD_REQUESTS.values(), ids=BAD_REQUESTS.keys())
def test_a_malformed_request_is_answered_with_a_reason_and_the_connection_is_kept(
    guest: Guest, payload: bytes, status: WireStatus
) -> None:
    with guest.stub() as client:
        client.send(MessageType.REQUEST, 33, payload)
        answer = client.receive()
        assert (answer.type, answer.request_id) == (MessageType.RESPONSE, 33)
        assert parse_response(answer.payload).status == status
        assert client.vector_add(20, 22) == 42
    # To ask for what is not offered is no fault.
    assert guest.live().faults == (status != WireStatus.UNSUPPORTED)


@pytest.mark.parametrize("kind", [0x00, 0x02, 0x05, 0x06, 0x11, 0x12, 0x77, 0xFFFFFFFF], ids=hex)
def test_a_message_that_no_guest_sends_is_answered_unsupported(guest: Guest, kind: int) -> None:
    with guest.stub() as client:
        client.send(kind, 4, b"abc")
        answer = client.receive()
        assert (answer.type, answer.request_id) == (MessageType.RESPONSE, 4)
        assert parse_response(answer.payload).status == WireStatus.UNSUPPORTED
        assert client.request(Opcode.NOP).status == WireStatus.OK


def test_a_cuda_call_without_its_whole_header_is_answered_invalid_length(guest: Guest) -> None:
    with guest.stub() as client:
        client.send(MessageType.CUDA_CALL, 4, bytes(87))
        assert parse_response(client.receive().payload).status == WireStatus.INVALID_LENGTH
        assert client.request(Opcode.NOP).status == WireStatus.OK


def test_a_wrong_magic_is_answered_and_then_the_connection_is_closed(guest: Guest) -> None:
    with guest.stub() as client:
        client.send_raw(header(MessageType.PING, magic=0x56475054))
        assert parse_response(client.receive().payload).status == WireStatus.INVALID_REQUEST
        assert client.wait_closed() == b""
    guest.logged("disconnected from stub")
    with guest.stub() as client:
        assert client.vector_add(1, 1) == 2


def test_what_was_asked_before_a_wrong_magic_is_answered(guest: Guest) -> None:
    with guest.stub() as client:
        client.request(Opcode.NOP)
        nop = request_payload(Opcode.NOP)
        client.send_raw(header(MessageType.REQUEST, 8, len(nop)) + nop + b"garbage!")
        assert client.receive().request_id == 8
        assert parse_response(client.receive().payload).status == WireStatus.INVALID_REQUEST
        assert client.wait_closed() == b""


def test_a_request_that_declares_three_gib_costs_no_memory_and_harms_nobody(
    guest: Guest, neighbour: Guest, vgpud: RunningDaemon
) -> None:
    assert vgpud.process is not None
    before = psutil.Process(vgpud.process.pid).memory_info().vms
    with guest.stub() as client:
        client.send_raw(header(MessageType.REQUEST, 1, THREE_GIB) + bytes(1024))
        assert parse_response(client.receive().payload).status == WireStatus.TOO_LARGE
        with neighbour.stub() as other:
            assert other.vector_add(1, 1) == 2
        assert psutil.Process(vgpud.process.pid).memory_info().vms < before + (1 << 30)
    with guest.stub() as client:
        assert client.vector_add(2, 2) == 4


def test_a_cuda_call_that_declares_three_gib_is_refused_before_they_come(guest: Guest) -> None:
    with guest.stub() as client:
        call = struct.pack("<6I16I", 0x56475055, 1, 12, 0, 0, 0, *(16 * [0]))
        client.send_raw(header(MessageType.CUDA_CALL, 1, THREE_GIB) + call)
        result = parse_cuda_result(client.receive().payload)
    assert (result.seq_num, result.status) == (12, CUDA_NOT_SUPPORTED)


@pytest.mark.parametrize("held_back", [b"", b"\x55", header(1, 1, 32), header(1, 1, 1 << 31)])
def test_a_client_that_holds_a_message_back_delays_nobody(
    guest: Guest, neighbour: Guest, held_back: bytes
) -> None:
    with guest.stub() as client, neighbour.stub() as other:
        client.send_raw(held_back)
        wait_taken(client)
        assert other.vector_add(3, 4) == 7


def test_a_client_that_does_not_read_delays_nobody_and_loses_nothing(
    guest: Guest, neighbour: Guest
) -> None:
    frame = header(MessageType.PING)
    sent = refused = 0
    with guest.stub() as client, neighbour.stub() as other:
        client.socket.setblocking(False)
        while refused < 20:
            try:
                sent += client.socket.send((frame * 64)[sent % len(frame) :])
                refused = 0
            except BlockingIOError:
                # An answer to another VM: vgpud has looked at both since.
                assert other.vector_add(1, 1) == 2
                refused += 1
        client.socket.settimeout(30)
        complete = sent // len(frame)
        assert all(client.receive().type == MessageType.PONG for _ in range(complete))
        if sent % len(frame):
            client.send_raw(frame[sent % len(frame) :])
            client.receive()
        assert client.vector_add(1, 2) == 3


def test_a_header_that_names_another_vm_is_refused_logged_and_a_fault_of_the_sender(
    guest: Guest, neighbour: Guest
) -> None:
    with guest.stub() as client:
        client.send_request(Opcode.VECTOR_ADD, (1, 1), vm_id=neighbour.vm_id)
        answer = client.receive()
        assert answer.vm_id == neighbour.vm_id
        assert parse_response(answer.payload).status == WireStatus.INVALID_REQUEST
        assert client.vector_add(1, 1) == 2
    guest.logged(rf"fault: a message claims to be VM {neighbour.vm_id}\b")
    assert (guest.live().faults, guest.live().completed) == (1, 1)
    assert (neighbour.live().faults, neighbour.live().completed) == (0, 0)


@pytest.mark.parametrize("own", [False, True])
def test_a_header_may_name_no_vm_or_its_own(guest: Guest, own: bool) -> None:
    with guest.stub() as client:
        client.send_request(Opcode.VECTOR_ADD, (1, 1), vm_id=guest.vm_id if own else 0)
        assert parse_response(client.receive().payload).results == (2,)
    assert guest.live().faults == 0


def test_pool_and_priority_of_a_header_are_echoed_and_ignored(
    guest: Guest, neighbour: Guest
) -> None:
    with guest.stub() as client:
        payload = request_payload(Opcode.VECTOR_ADD, (1, 1))
        client.send(MessageType.REQUEST, 1, payload, pool_id=b"B", priority=255)
        answer = client.receive()
    assert (answer.pool_id, answer.priority) == (b"B", 255)
    assert parse_response(answer.payload).results == (2,)
    assert guest.live().faults == 0
    assert guest.live().completed == 1


def test_a_second_client_is_refused_and_the_first_one_notices_nothing(guest: Guest) -> None:
    with guest.stub() as first:
        first.ping()
        with guest.stub() as second:
            assert second.wait_closed() == b""
        guest.logged(rf"refused a second client on stub \(pid {os.getpid()}\)")
        assert first.vector_add(1, 1) == 2


def test_the_next_client_is_served_once_the_first_one_has_gone(guest: Guest) -> None:
    with guest.stub() as first:
        first.ping()

    def next_one() -> bool:
        with guest.stub() as client:
            client.send_raw(header(MessageType.PING))
            return client.socket.recv(1) != b""

    eventually(next_one, "the next client is served")


def test_a_client_that_closes_with_answers_unread_harms_nobody(
    guest: Guest, neighbour: Guest
) -> None:
    def served_and_gone() -> bool:
        try:
            with guest.stub() as client:
                client.send_raw(header(MessageType.PING) * 50)
                return client.socket.recv(1) != b""
        except ConnectionError:
            return False  # the one before was not yet seen to be gone: a second client is refused

    for _ in range(20):
        eventually(served_and_gone, "the next client is served")
    with neighbour.stub() as other:
        assert other.vector_add(1, 1) == 2


def test_an_account_that_the_vm_is_not_registered_with_is_refused_and_logged(
    vgpud: RunningDaemon,
) -> None:
    # The socket's mode would not stop the daemon's own account: what the kernel says of it does.
    guest = register(vgpud, peer=f"uid:{SOMEBODY if os.geteuid() == 0 else os.geteuid() + 1}")
    if os.geteuid() != 0:
        guest.stub_socket.chmod(0o600)
    for path, name in ((guest.stub_socket, "stub"), (guest.ring_socket, "ring")):
        with StubClient(path) as client:
            assert client.wait_closed() == b""
        guest.logged(rf"refused uid {os.geteuid()} \(pid {os.getpid()}\) on {name}")
    guest.remove()


as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become other accounts")


def nop_as(uid: int, socket: Path) -> subprocess.CompletedProcess[str]:
    """Run `vgpu-client nop` under another account."""
    return subprocess.run(
        [VGPU_CLIENT, "--stub", socket, "nop"],
        user=uid,
        group=uid,
        extra_groups=[],
        cwd="/",
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@as_root
def test_only_the_account_that_the_vm_is_registered_with_is_served(vgpud: RunningDaemon) -> None:
    guest = register(vgpud, peer=f"uid:{SOMEBODY}")
    served = nop_as(SOMEBODY, guest.stub_socket)
    assert served.returncode == 0, served.stderr
    assert nop_as(SOMEBODY_ELSE, guest.stub_socket).returncode == 3
    # Now only what the kernel says of the peer stands in the way.
    guest.stub_socket.chmod(0o666)
    assert nop_as(SOMEBODY_ELSE, guest.stub_socket).returncode == 3
    guest.logged(rf"refused uid {SOMEBODY_ELSE} ")
    assert guest.live().completed == 1
    guest.remove()


@as_root
def test_nobody_can_list_the_vms_of_the_host(vgpud: RunningDaemon, guest: Guest) -> None:
    listing = f"import os; print(os.stat({str(guest.directory)!r}).st_uid); os.listdir('.')"
    done = subprocess.run(
        [os.path.realpath(sys.executable), "-c", listing],
        user=SOMEBODY,
        group=SOMEBODY,
        extra_groups=[],
        cwd=vgpud.run_dir / "vms",
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "0\n", done.stderr
    assert "PermissionError" in done.stderr
