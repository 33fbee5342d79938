"""Descriptors that vgpu-spawn keeps: they outlive whoever sent them, and nobody can spoil that."""

from __future__ import annotations

import errno
import os
import random
import select
import signal
import socket
import time
from collections.abc import Callable, Iterator

import pytest

from tests.integration.spawner_under_test import (
    STRANGER_UID,
    WAIT_S,
    Service,
    needs_root,
    running_spawner,
)
from vgpud.spawner import (
    Spawner,
    SpawnerRefusedError,
    close_fds,
    open_hold_channel,
)
from vgpud.spawner.messages import Flag, Message, Verb


@pytest.fixture
def service() -> Iterator[Service]:
    with running_spawner() as running:
        yield running


@pytest.fixture
def client(service: Service) -> Spawner:
    return service.connect()


def in_child(act: Callable[[], None]) -> int:
    """Runs `act` in a forked process; its wait status."""
    pid = os.fork()
    if pid == 0:
        try:
            act()
        finally:
            os._exit(99)
    return os.waitpid(pid, 0)[1]


def hold_message(key: str, arg: int = 0) -> bytes:
    """A request to hold that wants no answer."""
    return Message(Verb.HOLD, key=key, arg=arg).pack()


def wait_for_log(service: Service, text: str) -> None:
    """Waits until the spawner has logged something: what it does unasked has no other sign."""
    deadline = time.monotonic() + WAIT_S
    while text not in service.log.read_text():
        if time.monotonic() > deadline:
            pytest.fail(f"{text!r} is not in the log: {service.log.read_text()}")
        time.sleep(0.01)


def raw_connection(service: Service) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    connection.settimeout(WAIT_S)
    connection.connect(str(service.socket_path))
    return connection


def assert_serves(service: Service) -> None:
    client = service.connect()
    assert client.info.pid == service.process.pid
    assert service.process.poll() is None


# --- Hold and fetch -------------------------------------------------------------------------------


def test_fetched_descriptors_work(client: Spawner) -> None:
    reader, writer = os.pipe()
    client.hold("vm/1/pipe", [reader, writer], arg=77)
    close_fds([reader, writer])
    (entry,) = client.fetch()
    assert (entry.key, entry.arg, len(entry.fds)) == ("vm/1/pipe", 77, 2)
    os.write(entry.fds[1], b"through the spawner")
    assert os.read(entry.fds[0], 64) == b"through the spawner"
    assert not any(os.get_inheritable(fd) for fd in entry.fds)
    close_fds(entry.fds)


def test_as_many_descriptors_as_fit_into_one_message_come_back(client: Spawner) -> None:
    fds = [os.memfd_create(f"number-{i}") for i in range(24)]
    client.hold("many", fds)
    close_fds(fds)
    (entry,) = client.fetch("many")
    names = [os.readlink(f"/proc/self/fd/{fd}") for fd in entry.fds]
    close_fds(entry.fds)
    assert names == [f"/memfd:number-{i} (deleted)" for i in range(24)]


def test_fetch_returns_the_keys_with_the_prefix(client: Spawner) -> None:
    for key in ("vm/1/a", "vm/1/b", "vm/10", "host"):
        client.hold(key, [0])
    for prefix, keys in {"vm/1/": 2, "vm/1": 3, "host": 1, "nothing": 0, "": 4}.items():
        entries = client.fetch(prefix)
        assert len(entries) == keys
        for entry in entries:
            close_fds(entry.fds)


def test_holding_again_replaces_and_closes(client: Spawner) -> None:
    reader, writer = os.pipe()
    client.hold("key", [writer], arg=1)
    os.close(writer)
    client.hold("key", [0], arg=2)
    assert os.read(reader, 1) == b""  # the last writer was the spawner
    os.close(reader)
    (entry,) = client.fetch()
    close_fds(entry.fds)
    assert entry.arg == 2


def test_drop_closes_exactly_one_entry(client: Spawner) -> None:
    reader, writer = os.pipe()
    client.hold("key", [writer])
    client.hold("key/below", [0])
    os.close(writer)
    client.drop("key")
    assert os.read(reader, 1) == b""
    os.close(reader)
    (entry,) = client.fetch()
    close_fds(entry.fds)
    assert entry.key == "key/below"
    with pytest.raises(SpawnerRefusedError) as refused:
        client.drop("key")
    assert refused.value.error_number == errno.ENOENT


def test_what_was_sent_survives_the_death_of_the_sender(service: Service) -> None:
    reader, writer = os.pipe()

    def hold_and_die() -> None:
        channel = open_hold_channel(service.socket_path)
        socket.send_fds(channel, [hold_message("vm/1/pipe", 5)], [reader])
        os.kill(os.getpid(), signal.SIGKILL)

    assert os.WTERMSIG(in_child(hold_and_die)) == signal.SIGKILL
    os.close(reader)
    (entry,) = service.connect().fetch()
    os.write(writer, b"alive")
    assert os.read(entry.fds[0], 16) == b"alive"
    close_fds([*entry.fds, writer])


def keys_fetched_after(service: Service, act: Callable[[], None]) -> set[str]:
    """What a client is told that asks for everything after a process has done `act` and died.

    The spawner is stopped meanwhile: it finds the new client and all its messages, and the question
    of one that it has known for longer, at the same time.
    """
    with raw_connection(service) as asker:
        asker.send(Message(Verb.HELLO, tag=1).pack())
        asker.recv(4096)
        service.process.send_signal(signal.SIGSTOP)
        assert os.WTERMSIG(in_child(act)) == signal.SIGKILL
        asker.send(Message(Verb.FETCH, tag=2).pack())
        service.process.send_signal(signal.SIGCONT)
        keys: set[str] = set()
        while True:
            data, fds, _, _ = socket.recv_fds(asker, 4096, 24)
            close_fds(fds)
            answer = Message.unpack(data)
            if not answer.flags & Flag.MORE:
                return keys
            keys.add(answer.key)


def test_a_fetch_sees_what_lies_unread_in_the_queues_of_the_dead(service: Service) -> None:
    def hold_and_die() -> None:
        channel = open_hold_channel(service.socket_path)
        for number in range(100):
            socket.send_fds(channel, [hold_message(f"vm/{number}")], [0, 1])
        os.kill(os.getpid(), signal.SIGKILL)

    assert keys_fetched_after(service, hold_and_die) == {f"vm/{number}" for number in range(100)}


def test_what_the_dead_did_not_read_does_not_delay_what_they_sent(service: Service) -> None:
    def ask_hold_and_die() -> None:
        channel = open_hold_channel(service.socket_path)
        channel.send(Message(Verb.FETCH, tag=1).pack())
        channel.send(Message(Verb.WORKERS, tag=2).pack())
        socket.send_fds(channel, [hold_message("late")], [0])
        os.kill(os.getpid(), signal.SIGKILL)

    assert keys_fetched_after(service, ask_hold_and_die) == {"late"}


def test_no_worker_is_started_for_the_dead(service: Service) -> None:
    def ask_and_die() -> None:
        channel = open_hold_channel(service.socket_path)
        _, control = socket.socketpair()
        request = Message(Verb.WORKER, tag=1).pack()
        socket.send_fds(channel, [request], [control.fileno()])
        socket.send_fds(channel, [hold_message("later")], [0])
        os.kill(os.getpid(), signal.SIGKILL)

    assert keys_fetched_after(service, ask_and_die) == {"later"}
    assert service.connect().workers() == []


def test_more_entries_than_a_socket_buffer_holds_are_fetched(client: Spawner) -> None:
    for number in range(700):
        client.hold(f"vm/{number}", [0])
    keys = set()
    for entry in client.fetch():
        close_fds(entry.fds)
        keys.add(entry.key)
    assert keys == {f"vm/{number}" for number in range(700)}


def test_more_than_may_be_held_is_refused() -> None:
    with running_spawner("--max-held=8") as service:
        client = service.connect()
        client.hold("a", [0] * 5)
        with pytest.raises(SpawnerRefusedError) as refused:
            client.hold("b", [0] * 4)
        assert refused.value.error_number == errno.ENOSPC
        client.hold("a", [0] * 8)  # what it replaces does not count
        with open_hold_channel(service.socket_path) as channel:
            socket.send_fds(channel, [hold_message("c")], [0])
            wait_for_log(service, "HOLD of c with 1 descriptors refused: No space left")


@pytest.mark.parametrize("key", ["", "white space", "tab\t", "umlaut-\u00e4", "x" * 103])
def test_keys_are_printable_words(client: Spawner, key: str) -> None:
    if key == "x" * 103:
        client.hold(key, [0])
        client.drop(key)
        return
    with pytest.raises((SpawnerRefusedError, UnicodeEncodeError)):
        client.hold(key, [0])


# --- Clients that misbehave -----------------------------------------------------------------------


def test_garbage_is_answered_and_survived(service: Service) -> None:
    chance = random.Random(4)
    with raw_connection(service) as connection:
        for size in (1, 2, 11, 399, 400, 401, 4000):
            reader, writer = os.pipe()
            socket.send_fds(connection, [chance.randbytes(size)], [writer])
            os.close(writer)
            answer = Message.unpack(connection.recv(4096))
            assert answer.status == -errno.EINVAL
            assert os.read(reader, 1) == b""  # the descriptor that came with it was closed
            os.close(reader)
    assert_serves(service)


def test_every_verb_with_random_fields_is_answered_once(service: Service) -> None:
    chance = random.Random(5)
    others = [verb for verb in Verb if verb is not Verb.SHUTDOWN]
    with raw_connection(service) as connection:
        for number in range(1, 400):
            message = bytearray(Message(chance.choice(others), tag=number).pack())
            message[12:] = chance.randbytes(len(message) - 12)
            connection.send(message)
            answer = Message.unpack(connection.recv(4096))
            assert (answer.tag, answer.status < 0) == (number, True)
    assert_serves(service)


def test_more_descriptors_than_allowed_are_all_closed(service: Service) -> None:
    with raw_connection(service) as connection:
        reader, writer = os.pipe()
        message = Message(Verb.HOLD, tag=9, key="many").pack()
        socket.send_fds(connection, [message], [writer] * 25)
        os.close(writer)
        answer = Message.unpack(connection.recv(4096))
        assert (answer.tag, answer.status) == (9, -errno.EINVAL)
        assert os.read(reader, 1) == b""
        os.close(reader)
    assert service.connect().fetch() == []


def test_descriptors_that_a_verb_does_not_take_are_refused_and_closed(service: Service) -> None:
    with raw_connection(service) as connection:
        for verb in (Verb.HELLO, Verb.KILL, Verb.DROP, Verb.FETCH, Verb.PEER, Verb.SHUTDOWN):
            reader, writer = os.pipe()
            socket.send_fds(connection, [Message(verb, tag=3).pack()], [writer])
            os.close(writer)
            assert Message.unpack(connection.recv(4096)).status == -errno.EINVAL
            assert os.read(reader, 1) == b""
            os.close(reader)
    assert_serves(service)


def test_another_version_is_told_so(service: Service) -> None:
    with raw_connection(service) as connection:
        connection.send(Message(Verb.HELLO, tag=1, version=1).pack())
        answer = Message.unpack(connection.recv(4096))
        assert (answer.status, answer.version) == (-errno.EPROTONOSUPPORT, 2)


def test_a_client_that_does_not_read_is_dropped_and_others_are_served() -> None:
    with running_spawner("--client-timeout-ms=200") as service:
        client = service.connect()
        with raw_connection(service) as lazy:
            lazy.setblocking(False)
            with pytest.raises(OSError) as dropped:  # its queue is full, then it is cut off
                while True:
                    try:
                        lazy.send(Message(Verb.PEER, tag=1, pid=1).pack())
                    except BlockingIOError:
                        client.hello()  # meanwhile
                        select.select([], [lazy], [], WAIT_S)
            assert dropped.value.errno in (errno.EPIPE, errno.ECONNRESET)
        wait_for_log(service, "not read its answers for 200 ms")
        client.hello()


def test_more_clients_than_there_is_room_for_wait_their_turn(service: Service) -> None:
    crowd = [raw_connection(service) for _ in range(16)]
    with raw_connection(service) as late:
        late.send(Message(Verb.HELLO, tag=1).pack())
        crowd[0].send(Message(Verb.HELLO, tag=2).pack())
        assert Message.unpack(crowd[0].recv(4096)).tag == 2
        assert not select.select([late], [], [], 0)[0]
        crowd.pop().close()
        assert Message.unpack(late.recv(4096)).tag == 1
    for connection in crowd:
        connection.close()


@needs_root
def test_another_uid_is_not_served(service: Service) -> None:
    service.socket_path.chmod(0o666)  # so that the spawner itself has to refuse
    service.directory.chmod(0o755)

    def connect_as_stranger() -> None:
        os.setgroups([])
        os.setuid(STRANGER_UID)
        connection = raw_connection(service)
        os._exit(1 if connection.recv(400) else 0)

    assert os.waitstatus_to_exitcode(in_child(connect_as_stranger)) == 0
    wait_for_log(service, f"refused uid {STRANGER_UID}")


@needs_root
def test_the_allowed_uid_owns_the_socket_and_is_served() -> None:
    with running_spawner(f"--allow-uid={STRANGER_UID}") as service:
        found = service.socket_path.stat()
        assert (found.st_uid, found.st_mode & 0o777) == (STRANGER_UID, 0o600)

        def connect_as_allowed() -> None:
            os.setgroups([])
            os.setuid(STRANGER_UID)
            Spawner.connect(service.socket_path, WAIT_S).hold("mine", [0])
            os._exit(0)

        assert os.waitstatus_to_exitcode(in_child(connect_as_allowed)) == 0
        (entry,) = service.connect().fetch()
        close_fds(entry.fds)
        assert entry.key == "mine"
