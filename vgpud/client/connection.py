"""Calls on the control socket, waited for."""

from __future__ import annotations

import contextlib
import errno
import socket
import struct
import time
from collections.abc import Callable, Generator, Iterator
from typing import Any, TypeVar

from vgpud.errors import AccessError, NoDaemonError, TimeoutExpiredError, VgpudError
from vgpud.protocol.calls import Call, Reply, decode_reply, encode_call
from vgpud.protocol.codec import from_wire, to_wire
from vgpud.protocol.framing import MessageDecoder, frame
from vgpud.protocol.methods import METHODS
from vgpud.record import Record
from vgpud.refusals import (
    ADMIN_ERRORS,
    SERVICE_ERRORS,
    InterfaceNotFound,
    InvalidArgument,
    InvalidParameter,
    MalformedMessage,
    RequestError,
)

DEFAULT_SOCKET = "/run/vgpud/control.sock"
REPLY_BYTES_MAX = 256 * 1024 * 1024
READ_BYTES = 262_144

HOW_TO_START = (
    "Start it with `systemctl start vgpud`, or `vgpud --config FILE`; "
    "name another socket with --socket or VGPUD_SOCKET."
)

ReplyType = TypeVar("ReplyType", bound=Record)

_METHOD_NAMES: dict[type[Record], str] = {call: name for name, (call, _) in METHODS.items()}

_ERRORS: dict[str, type[RequestError]] = {
    f"{error.interface}.{error.__name__}": error for error in (*ADMIN_ERRORS, *SERVICE_ERRORS)
}


class Client:
    """Calls the daemon at a socket; each call is a connection of its own and blocks."""

    def __init__(
        self,
        socket_path: str,
        timeout_s: float,
        on_connect: Callable[[socket.socket], None] | None = None,
    ) -> None:
        """`on_connect` may look at each connection before the call is sent."""
        self._socket_path = socket_path
        self._timeout_s = timeout_s
        self._on_connect = on_connect

    def call(
        self, message: Record, reply_type: type[ReplyType]
    ) -> tuple[ReplyType, dict[str, Any]]:
        """Makes the call whose message this is, and returns its reply, also as it came.

        Raises:
            RequestError: the daemon's answer is an error; its own class.
            NoDaemonError, AccessError, TimeoutExpiredError: there is no answer.
        """
        call = Call(_METHOD_NAMES[type(message)], to_wire(message))
        with contextlib.closing(self._exchange(call)) as replies:
            return _read(next(replies), reply_type)

    def follow(
        self, message: Record, reply_type: type[ReplyType]
    ) -> Generator[tuple[ReplyType, dict[str, Any]], None, None]:
        """Makes a call that has several replies, and gives each as it comes, however long it takes.

        Only the first one must come in time. Raises as `call` does, also between replies, and
        NoDaemonError when the daemon ends.
        """
        call = Call(_METHOD_NAMES[type(message)], to_wire(message), more=True)
        with contextlib.closing(self._exchange(call)) as replies:
            for reply in replies:
                yield _read(reply, reply_type)

    def _exchange(self, call: Call) -> Generator[Reply, None, None]:
        deadline = time.monotonic() + self._timeout_s
        begun = False
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            try:
                self._connect(connection)
                if self._on_connect is not None:
                    self._on_connect(connection)
                # A daemon that closes while we write may have answered why: read that.
                with contextlib.suppress(BrokenPipeError):
                    connection.sendall(frame(encode_call(call)))
                for reply in self._receive(connection, deadline):
                    begun = True
                    yield reply
            except TimeoutError as error:
                raise TimeoutExpiredError(
                    f"no answer from {self._socket_path} within {self._timeout_s:g} s",
                    "Look at `systemctl status vgpud`, or wait longer with --timeout.",
                ) from error
            except OSError as error:
                raise self._lost() if begun else self._unreachable(error) from error
            except MalformedMessage as error:
                raise _not_understood(error.reason) from error

    def _connect(self, connection: socket.socket) -> None:
        """Waits in the queue of a daemon that is busy, too. Raises TimeoutError, or OSError."""
        # Only a blocking connect() waits for room in that queue, and for no longer than to send.
        whole, part = divmod(self._timeout_s, 1)
        limit = struct.pack("@ll", int(whole), max(int(part * 1_000_000), 1))
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)
        try:
            connection.connect(self._socket_path)
        except BlockingIOError as error:
            raise TimeoutError from error
        connection.settimeout(self._timeout_s)

    def _receive(self, connection: socket.socket, deadline: float | None) -> Iterator[Reply]:
        """All replies to a call; the first one by the deadline."""
        decoder = MessageDecoder(REPLY_BYTES_MAX)
        while True:
            connection.settimeout(_remaining_s(deadline))
            data = connection.recv(READ_BYTES)
            if not data:
                raise ConnectionResetError(errno.ECONNRESET, "closed without an answer")
            for message in decoder.feed(data):
                reply = decode_reply(message)
                yield reply
                if not reply.continues:
                    return
                deadline = None

    def _lost(self) -> VgpudError:
        return NoDaemonError(
            f"the daemon on {self._socket_path} has ended, or closed the connection",
            "Look at `systemctl status vgpud`. It also closes on a reader that stops reading for "
            "longer than message_timeout_ms.",
        )

    def _unreachable(self, error: OSError) -> VgpudError:
        if isinstance(error, PermissionError):
            return AccessError(
                f"{self._socket_path} may not be opened by this account",
                "Run it as root, or join the group that owns the socket.",
            )
        reason = error.strerror or str(error)
        if isinstance(error, (ConnectionResetError, BrokenPipeError)):
            return NoDaemonError(
                f"the daemon on {self._socket_path} closed the connection without an answer",
                "Look at `systemctl status vgpud`; a change may or may not have been made.",
            )
        return NoDaemonError(f"no daemon answers on {self._socket_path}: {reason}", HOW_TO_START)


def _remaining_s(deadline: float | None) -> float | None:
    """How long until a deadline; raises TimeoutError when it has passed."""
    if deadline is None:
        return None
    remaining_s = deadline - time.monotonic()
    if remaining_s <= 0:
        raise TimeoutError
    return remaining_s


def _read(reply: Reply, reply_type: type[ReplyType]) -> tuple[ReplyType, dict[str, Any]]:
    """A reply as its class, and as it came; raises the error that it is."""
    if reply.error is not None:
        raise error_from_reply(reply.error, reply.parameters)
    try:
        return from_wire(reply_type, reply.parameters, strict=False), reply.parameters
    except (InvalidParameter, InvalidArgument) as error:
        raise _not_understood(f"it lacks {error.parameter}") from error


def error_from_reply(name: str, parameters: dict[str, Any]) -> VgpudError:
    """The error that an answer names, as its own class; a newer daemon's as its bare name."""
    cls = _ERRORS.get(name)
    try:
        if cls is InterfaceNotFound:
            return InterfaceNotFound(str(parameters["interface"]))
        if cls is not None:
            given = {name: parameters[name] for name in cls.field_defaults if name in parameters}
            return cls(**given)
    except (KeyError, TypeError) as error:
        return _not_understood(f"{name} lacks a parameter: {error}")
    return VgpudError(f"the daemon answered {name} {parameters}")


def _not_understood(reason: str) -> VgpudError:
    return VgpudError(
        f"the answer cannot be understood: {reason}",
        "Client and daemon may be of different versions.",
    )
