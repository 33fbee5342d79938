"""Version 1 against a real vgpud: right messages, byte for byte, and the limits of the queue."""

from __future__ import annotations

import struct

import pytest

from tests.daemon.conftest import TIGHT_QUEUE
from tests.daemon.guests import Guest, stopped, wait_taken
from tests.ring_abi import DEVICE_INFO
from tests.stub_client import (
    CUDA_NOT_SUPPORTED,
    HEADER,
    MessageType,
    Opcode,
    StubClient,
    WireStatus,
    header,
    parse_response,
    request_payload,
)

VECTOR_ADD = request_payload(Opcode.VECTOR_ADD, (7, 35))


def answer_bytes(client: StubClient, count: int) -> bytes:
    """So many bytes, as they come."""
    got = b""
    while len(got) < count:
        piece = client.socket.recv(count - len(got))
        assert piece, f"closed after {got!r}"
        got += piece
    return got


def without_time(response: bytes) -> bytes:
    """A RESPONSE payload with its exec_time_us set to 0: it is never the same twice."""
    return response[:20] + bytes(4) + response[24:]


def test_nop_is_answered_byte_for_byte(guest: Guest) -> None:
    with guest.stub() as client:
        client.send_raw(
            header(
                MessageType.REQUEST,
                0xDEADBEEF,
                32,
                vm_id=guest.vm_id,
                pool_id=b"A",
                priority=1,
                pad=0xFFFF,
            )
            + request_payload(Opcode.NOP)
        )
        answer = answer_bytes(client, 24 + 32)
    assert answer[:24] == struct.pack("<4s5I", b"UPGV", 2, guest.vm_id, 0xDEADBEEF, 0x00000141, 32)
    assert without_time(answer[24:]) == struct.pack("<8I", 0x00010000, 0, 0, 32, 0, 0, 0, 0)


def test_vector_add_is_answered_byte_for_byte(guest: Guest) -> None:
    with guest.stub() as client:
        client.send(MessageType.REQUEST, 5, request_payload(1, (-5, 3)), pool_id=b"A", priority=2)
        answer = answer_bytes(client, 24 + 36)
    assert answer[:24] == struct.pack("<4s5I", b"UPGV", 2, 0, 5, 0x00000241, 36)
    assert without_time(answer[24:]) == struct.pack("<8Ii", 0x00010000, 0, 1, 36, 0, 0, 0, 0, -2)


def test_exec_time_is_from_arrival_to_answer(guest: Guest) -> None:
    with guest.stub() as client:
        worker = guest.worker() if client.vector_add(1, 1) else None
        assert worker is not None
        with stopped(worker):
            request_id = client.send_request(Opcode.VECTOR_ADD, (1, 1))
            guest.when(lambda live: live.running == 1, "its request runs")
            guest.live()
        message = client.receive()
    assert message.request_id == request_id
    # Two calls on the control socket lay between arrival and answer.
    assert parse_response(message.payload).exec_time_us > 100


def test_device_info_is_answered_with_a_description_of_the_device(guest: Guest) -> None:
    with guest.stub() as client:
        response = client.request(Opcode.GET_DEVICE_INFO)
    assert response.status == WireStatus.OK
    assert response.results == ()
    assert len(response.data) == DEVICE_INFO.size == 272
    size, _, name, vendor, _, backend, *_ = DEVICE_INFO.unpack(response.data)
    assert size == 272
    assert [text.rstrip(b"\0") for text in (name, vendor, backend)] == [
        b"null device",
        b"vgpud",
        b"null",
    ]


def test_ping_is_answered_with_a_pong_that_echoes_only_the_vm_id(guest: Guest) -> None:
    with guest.stub() as client:
        client.send(MessageType.PING, 77, vm_id=guest.vm_id, pool_id=b"A", priority=2)
        assert answer_bytes(client, 24) == struct.pack("<4s5I", b"UPGV", 4, guest.vm_id, 0, 0, 0)
        client.ping()


def test_a_pong_is_not_answered(guest: Guest) -> None:
    with guest.stub() as client:
        client.send(MessageType.PONG, 1)
        assert client.ping().type == MessageType.PONG
        assert client.request(Opcode.NOP).status == WireStatus.OK


def test_a_cuda_call_is_not_supported_and_the_connection_is_kept(guest: Guest) -> None:
    with guest.stub() as client:
        request_id = 0x01020304
        call = struct.pack("<6I16I", 0x56475055, 0xF0, 99, guest.vm_id, 16, 3, *range(16))
        client.send(MessageType.CUDA_CALL, request_id, call + b"abc", vm_id=guest.vm_id)
        answer = answer_bytes(client, 24 + 88)
        assert answer[:24] == struct.pack("<4s5I", b"UPGV", 0x11, guest.vm_id, request_id, 0, 88)
        assert answer[24:] == struct.pack(
            "<6I8Q", 0x56475055, 99, CUDA_NOT_SUPPORTED, 0, 0, 0, *(8 * [0])
        )
        assert client.vector_add(1, 1) == 2


@pytest.mark.parametrize("kind", [MessageType.REQUEST, MessageType.CUDA_CALL])
def test_a_frame_may_come_in_two_pieces_split_anywhere(guest: Guest, kind: MessageType) -> None:
    payload = VECTOR_ADD if kind is MessageType.REQUEST else bytes(88)
    with guest.stub() as client:
        for at in range(1, HEADER.size + len(payload)):
            frame = header(kind, at, len(payload)) + payload
            client.send_raw(frame[:at])
            wait_taken(client)
            client.send_raw(frame[at:])
            answer = client.receive()
            assert answer.request_id == at
            if kind is MessageType.REQUEST:
                assert parse_response(answer.payload).results == (42,)
            else:
                assert answer.type == MessageType.CUDA_RESULT


def test_a_frame_may_come_byte_by_byte(guest: Guest) -> None:
    frame = header(MessageType.REQUEST, 9, len(VECTOR_ADD)) + VECTOR_ADD
    with guest.stub() as client:
        for at in range(len(frame)):
            client.send_raw(frame[at : at + 1])
            wait_taken(client)
        assert parse_response(client.receive().payload).results == (42,)


def test_pipelined_requests_are_all_answered_in_order(guest: Guest) -> None:
    count = 500
    with guest.stub() as client:
        ids = [client.send_request(Opcode.VECTOR_ADD, (i, 1000)) for i in range(count)]
        answers = [client.receive() for _ in range(count)]
    assert [answer.request_id for answer in answers] == ids
    sums = [parse_response(answer.payload).results for answer in answers]
    assert sums == [(i + 1000,) for i in range(count)]


def test_a_request_that_does_not_fit_into_the_queue_is_answered_busy(tight_guest: Guest) -> None:
    too_many = 9
    worker = tight_guest.warm_up()
    with tight_guest.stub() as client:
        with stopped(worker):
            ids = [
                client.send_request(Opcode.VECTOR_ADD, (i, i), vm_id=tight_guest.vm_id)
                for i in range(TIGHT_QUEUE + too_many)
            ]
            refused = [client.receive() for _ in range(too_many)]
            live = tight_guest.live()
        served = [client.receive() for _ in range(TIGHT_QUEUE)]
        assert client.vector_add(1, 1) == 2
    assert [(m.type, m.request_id, m.vm_id, m.payload) for m in refused] == [
        (MessageType.BUSY, request_id, tight_guest.vm_id, b"") for request_id in ids[TIGHT_QUEUE:]
    ]
    assert (live.queued + live.running, live.refused) == (TIGHT_QUEUE, too_many)
    assert [message.request_id for message in served] == ids[:TIGHT_QUEUE]
    sums = [parse_response(message.payload).results for message in served]
    assert sums == [(2 * i,) for i in range(TIGHT_QUEUE)]


def test_a_nop_needs_no_worker(guest: Guest) -> None:
    with guest.stub() as client:
        assert client.request(Opcode.NOP).status == WireStatus.OK
    assert guest.live().worker_pid == 0


def test_a_nop_is_not_answered_before_what_was_sent_before_it(guest: Guest) -> None:
    worker = guest.warm_up()
    with guest.stub() as client:
        with stopped(worker):
            first = client.send_request(Opcode.VECTOR_ADD, (2, 3))
            second = client.send_request(Opcode.NOP)
            guest.when(lambda live: live.running + live.queued == 2, "both are accepted")
        assert [client.receive().request_id for _ in range(2)] == [first, second]
