"""What a VM's client may do over the stub socket, an administrator's over the control socket."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from contextlib import ExitStack

from tests import ring_abi
from tests.daemon.guests import Guest, register, wait_taken
from tests.daemon.storms import Context, storm
from tests.ring_abi import Kind, Status, Submission
from tests.stub_client import (
    MessageType,
    Opcode,
    WireStatus,
    header,
    parse_response,
    request_payload,
)

EIGHT_MIB = 8 << 20
QUEUED = 1_100


@contextlib.contextmanager
def says(guest: Guest, *pieces: bytes) -> Iterator[None]:
    """A client that says something, perhaps nothing, and then holds on without reading."""
    with guest.stub() as client:
        for piece in pieces:
            client.send_raw(piece)
        wait_taken(client)
        guest.when(lambda live: live.connected_stub, "its client is there")
        yield


def nops(count: int) -> bytes:
    payload = request_payload(Opcode.NOP)
    return b"".join(
        header(MessageType.REQUEST, i, len(payload)) + payload for i in range(1, count + 1)
    )


@contextlib.contextmanager
def leaves_answers_unread(guest: Guest, victim: Guest) -> Iterator[None]:
    """Ask for 8 MiB of answers, as far as anybody listens, and read none of them."""
    payload = request_payload(Opcode.GET_DEVICE_INFO)
    frame = header(MessageType.REQUEST, 1, len(payload)) + payload
    wanted = EIGHT_MIB // ring_abi.DEVICE_INFO.size * len(frame)
    sent = refused = 0
    with guest.stub() as client:
        client.socket.setblocking(False)
        while sent < wanted and refused < 20:
            try:
                sent += client.socket.send((frame * 64)[sent % len(frame) :])
                refused = 0
            except BlockingIOError:
                guest.live()  # vgpud has looked at everybody since
                refused += 1
        assert sent < wanted, "8 MiB of answers have gone somewhere"
        yield


@contextlib.contextmanager
def queues_more_than_it_may(guest: Guest, victim: Guest) -> Iterator[None]:
    """1,100 vector adds while somebody else has the device: all are answered, some BUSY."""
    payload = request_payload(Opcode.VECTOR_ADD, (1, 2))
    adds = b"".join(header(MessageType.REQUEST, i, len(payload)) + payload for i in range(QUEUED))
    guest.warm_up()
    with ExitStack() as device, guest.stub() as client:
        device.enter_context(busy_device(guest))
        client.send_raw(adds)
        guest.when(lambda live: live.refused > 0, "more is queued than it may have")
        yield
        device.close()
        answers = [client.receive() for _ in range(QUEUED)]
    assert sorted(answer.request_id for answer in answers) == [*range(QUEUED)]
    busy = [answer for answer in answers if answer.type == MessageType.BUSY]
    assert len(busy) == guest.live().refused > 0
    sums = [parse_response(a.payload) for a in answers if a.type != MessageType.BUSY]
    assert {(sum_.status, sum_.results) for sum_ in sums} == {(WireStatus.OK, (3,))}


@contextlib.contextmanager
def busy_device(guest: Guest) -> Iterator[None]:
    """A third VM has kernels of 20 ms, one after the other."""
    worker = register(guest.daemon)
    source = b"kernel void busy() {}\n"
    with worker.ring() as ring:
        ring.poke(ring.data_at(0x10000), source)
        code, log = ring_abi.ref(0x10000, len(source)), ring_abi.ref(0x20000, 0x10000)
        load = ring_abi.op_module_load(1, code, log)
        assert ring.run(load, lane=ring_abi.Lane.BUILD).status == Status.OK
        assert ring.run(ring_abi.op_kernel_create(2, 1, b"busy_20000us")).status == Status.OK
        launch = ring_abi.op_launch(2, [1])
        ring.poke(ring.data_at(0), launch)
        ring.submit(*(Submission(i, kind=Kind.COMMAND, cmd_len=len(launch)) for i in range(200)))
        worker.when(lambda live: live.running > 0, "its kernels run")
        yield
    worker.remove()


def connects_and_closes(guest: Guest, victim: Guest) -> Context:
    path = str(guest.stub_socket)

    def step() -> None:
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(path)

    return storm(step)


def pings_and_closes(guest: Guest, victim: Guest) -> Context:
    path, pings = str(guest.stub_socket), header(MessageType.PING) * 50

    def step() -> None:
        with contextlib.suppress(ConnectionError), socket.socket(socket.AF_UNIX) as client:
            client.connect(path)
            client.send(pings)

    return storm(step)


@contextlib.contextmanager
def sends_second_clients(guest: Guest, victim: Guest) -> Iterator[None]:
    with guest.stub() as first:
        first.ping()
        with connects_and_closes(guest, victim):
            yield
        assert first.request(Opcode.NOP).status == WireStatus.OK


@contextlib.contextmanager
def repeats(guest: Guest, frames: bytes, answers: int) -> Iterator[None]:
    """Send the same again and again, as fast as the answers come."""
    with guest.stub() as client:

        def step() -> None:
            client.send_raw(frames)
            for _ in range(answers):
                client.receive()

        with storm(step):
            yield


def forges_ids(guest: Guest, victim: Guest) -> Context:
    payload = request_payload(Opcode.VECTOR_ADD, (1, 2))
    frame = header(MessageType.REQUEST, 7, len(payload), vm_id=victim.vm_id) + payload
    return repeats(guest, frame * 32, 32)


def sends_nonsense(guest: Guest, victim: Guest) -> Context:
    return repeats(guest, (header(0x77, 1, 8) + bytes(8)) * 32, 32)


# ---- over the control socket ---------------------------------------------------------------------


@contextlib.contextmanager
def idles_as_admin(guest: Guest, victim: Guest) -> Iterator[None]:
    """Three administrators: one says nothing, one half of something, one reads no answer."""
    call = b'{"method":"org.vgpud.admin.ListVms","parameters":{}}\0'
    with ExitStack() as stack:
        silent, halfway, deaf = (
            stack.enter_context(socket.socket(socket.AF_UNIX)) for _ in range(3)
        )
        for client in (silent, halfway, deaf):
            client.connect(str(guest.daemon.control_socket))
        halfway.send(call[: len(call) // 2])
        deaf.send(call * 500)
        yield
