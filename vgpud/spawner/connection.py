"""One connection to vgpu-spawn: messages out, messages in, with descriptors."""

from __future__ import annotations

import errno
import os
import socket
from array import array
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from vgpud.errors import SpawnerError
from vgpud.spawner.messages import MAX_FDS, VERSION, Flag, Message, Verb


class SpawnerLostError(SpawnerError):
    """The connection to vgpu-spawn ended, or it did not answer in time."""

    advice = "Is vgpu-spawn running? Its journal, or the file of its --log-file, says why it ended."


class SpawnerRefusedError(SpawnerError):
    """vgpu-spawn answered that it could not, or would not; `error_number` is the errno."""

    def __init__(self, message: str, error_number: int, next_step: str = "") -> None:
        super().__init__(message, next_step)
        self.error_number = error_number


_FDS_SPACE = socket.CMSG_LEN(MAX_FDS * array("i").itemsize)

_ADVICE = {
    errno.EINVAL: "The spawner may be of another version, or does not allow one of the settings.",
    errno.EBUSY: "The last worker of this slot and role has not ended yet.",
    errno.ENOSPC: "Raise the spawner's --max-held or --max-workers.",
    errno.EPROTONOSUPPORT: "Restart vgpu-spawn: it is of another version.",
}


def refusal(attempted: str, error_number: int) -> SpawnerRefusedError:
    """The error for a negative answer to what was `attempted`."""
    return SpawnerRefusedError(
        f"vgpu-spawn could not {attempted}: {os.strerror(error_number)}",
        error_number,
        _ADVICE.get(error_number, ""),
    )


def close_fds(fds: Iterable[int]) -> None:
    """Close descriptors that nobody took."""
    for fd in fds:
        os.close(fd)


class Connection:
    """A SEQPACKET connection. It blocks, up to a timeout, unless made non-blocking."""

    def __init__(self, path: Path, timeout_s: float) -> None:
        """Connect; raises SpawnerLostError if nobody serves there."""
        self._path = path
        self._tag = 0
        self._socket = connect_socket(path, timeout_s)

    def fileno(self) -> int:
        """The descriptor, which remains the connection's; -1 once closed."""
        return self._socket.fileno()

    def set_nonblocking(self) -> None:
        """From now on `receive()` raises BlockingIOError instead of waiting."""
        self._socket.setblocking(False)

    def end(self) -> None:
        """Nothing is sent or received any more. The descriptor stays open, and readable."""
        with suppress(OSError):  # the other end has ended it already
            self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """End the connection; may be called again."""
        self._socket.close()

    def send(self, message: Message, fds: Sequence[int] = ()) -> None:
        """Send one message with duplicates of `fds`; waits at most the timeout.

        Raises SpawnerLostError, after which nothing else can be sent.
        """
        try:
            socket.send_fds(self._socket, [message.pack()], list(fds))
        except OSError as error:
            raise self._lost(str(error)) from error

    def receive(self) -> tuple[Message, list[int]]:
        """The next message and its descriptors, which are the caller's.

        Waits at most the timeout. Raises SpawnerLostError, after which there is no other message,
        and BlockingIOError if it is non-blocking and there is none yet.
        """
        try:
            # socket.recv_fds() does not pass its flags on, and close-on-exec is one of them.
            data, parts, flags, _ = self._socket.recvmsg(
                Message.LAYOUT.size, _FDS_SPACE, socket.MSG_CMSG_CLOEXEC
            )
        except BlockingIOError:
            raise
        except OSError as error:
            raise self._lost(str(error)) from error
        fds = _received_fds(parts)
        try:
            if not data:
                raise ValueError("it closed the connection")
            if flags & (socket.MSG_CTRUNC | socket.MSG_TRUNC):
                raise ValueError("a message arrived cut off")
            return Message.unpack(data), fds
        except ValueError as error:
            close_fds(fds)
            raise self._lost(str(error)) from error

    def ask(
        self, attempted: str, request: Message, fds: Sequence[int] = ()
    ) -> Iterator[tuple[Message, list[int]]]:
        """Send a request and yield its answers up to the last one, each with its descriptors.

        To be exhausted: a half-read series would be taken for the next request's answer.
        `attempted` says in the error what the request was to do. Raises SpawnerRefusedError for a
        negative answer, and SpawnerLostError.
        """
        self._tag = self._tag % 0xFFFF_FFFF + 1
        self.send(replace(request, tag=self._tag), fds)
        more = True
        while more:
            answer, received = self.receive()
            if (answer.verb, answer.tag) != (request.verb, self._tag):
                close_fds(received)
                raise self._lost(f"it answered {answer.verb} to {Verb(request.verb).name}")
            if answer.status < 0:
                close_fds(received)
                raise refusal(attempted, -answer.status)
            if answer.version != VERSION:
                close_fds(received)
                raise refusal(attempted, errno.EPROTONOSUPPORT)
            yield answer, received
            more = bool(answer.flags & Flag.MORE)

    def _lost(self, cause: str) -> SpawnerLostError:
        # Not closed: the owner may have the descriptor in an event loop and must take it out first.
        self.end()
        return SpawnerLostError(f"lost vgpu-spawn on {self._path}: {cause}")


def _received_fds(parts: list[tuple[int, int, bytes]]) -> list[int]:
    fds = array("i")
    for level, kind, data in parts:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            fds.frombytes(data[: len(data) - len(data) % fds.itemsize])
    return list(fds)


def connect_socket(path: Path, timeout_s: float) -> socket.socket:
    """A connected socket; waits at most `timeout_s`. Raises SpawnerLostError."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    connection.settimeout(timeout_s)
    try:
        connection.connect(str(path))
    except OSError as error:
        connection.close()
        raise SpawnerLostError(f"cannot reach vgpu-spawn on {path}: {error}") from error
    return connection


def open_hold_channel(path: Path, timeout_s: float = 10.0) -> socket.socket:
    """The connection on which the engine only holds and drops, unanswered; the caller's to close.

    Non-blocking. Waits at most `timeout_s` for the connection. Raises SpawnerLostError.
    """
    connection = connect_socket(path, timeout_s)
    connection.setblocking(False)
    return connection
