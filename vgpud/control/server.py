"""The control socket: connections, their limits, and bytes in and out.

A connection is one task: it reads, hands each message to dispatch, and writes the answer, or all
answers, before it goes on, so that a client that does not read is not read from either. No client
delays another: a message that stops half-way and an answer that is not read end that one connection
after `message_timeout_ms`, a client that sends many messages at once lets the others in after each,
and an idle connection costs nothing. Who the caller is, the kernel said when it connected.
"""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import AsyncGenerator
from typing import Protocol

from vgpud.config import ControlConfig
from vgpud.control.listener import BACKLOG, ControlListener
from vgpud.control.peer import Peer, peer_of
from vgpud.control.streams import READ_BYTES, send_all
from vgpud.protocol.calls import encode_error
from vgpud.protocol.framing import MessageDecoder, frame
from vgpud.refusals import MessageTooLarge, TooManyConnections

log = logging.getLogger(__name__)


class MessageHandler(Protocol):
    """What answers the messages; `Dispatch` in the daemon."""

    def handle(self, peer: Peer, message: bytes) -> bytes | AsyncGenerator[bytes, None] | None:
        """The answer to one message, several one after the other, or None for none."""


class ControlServer:
    """Serves a listener from `start()` until `stop()`. Lives in the event loop."""

    def __init__(
        self,
        listener: ControlListener,
        config: ControlConfig,
        handler: MessageHandler,
        *,
        favoured_uid: int | None = 0,
    ) -> None:
        """Takes ready parts.

        Args:
            listener: where to listen; its file is removed by `stop()`.
            config: the limits.
            handler: what answers.
            favoured_uid: an account that others cannot lock out by holding all connections: it
                may have as many again. None favours nobody.
        """
        self._listener = listener
        self._config = config
        self._handler = handler
        self._favoured_uid = favoured_uid
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()

    def reload(self, config: ControlConfig) -> None:
        """Takes over new limits, for messages and connections to come, and the socket's group."""
        self._config = config
        self._listener.give_to_group(config.view_group)

    async def start(self) -> None:
        """Begins to serve, first those who connected before."""
        self._server = await asyncio.start_unix_server(
            self._accept, sock=self._listener.socket, backlog=BACKLOG
        )

    async def stop(self) -> None:
        """Stops listening, ends all connections and removes the socket. Answers are out by then."""
        if self._server is None:
            return
        self._server.close()
        for task in self._connections:
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)
        await self._server.wait_closed()
        self._server = None
        self._listener.close()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(self._serve_and_close(reader, writer))
        self._connections.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._connections.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            # A fault of ours: this connection is lost, the daemon's outermost frame reports it.
            task.get_loop().call_exception_handler(
                {"message": "a control connection failed", "exception": error, "task": task}
            )

    async def _serve_and_close(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        # Every answer leaves the buffer before the next message is looked at.
        writer.transport.set_write_buffer_limits(high=0)
        try:
            peer = peer_of(writer.get_extra_info("socket"))
            limit = self._config.max_connections * (2 if peer.uid == self._favoured_uid else 1)
            if len(self._connections) > limit:
                refusal = TooManyConnections(limit)
                log.warning("%s: %s", peer, refusal)
                await self._send(writer, encode_error(refusal))
            else:
                await self._serve(peer, reader, writer)
        except TimeoutError:
            log.info("closed a control connection that stopped half-way")
            writer.transport.abort()
        except ConnectionError:
            log.debug("a control connection was closed by the client")
        finally:
            writer.close()

    async def _serve(
        self, peer: Peer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Answers until the client ends the connection. Raises TimeoutError or ConnectionError."""
        decoder = MessageDecoder(self._config.max_message_bytes)
        loop = asyncio.get_running_loop()
        deadline: float | None = None
        data = b""
        while True:
            if not data:
                async with asyncio.timeout_at(deadline):
                    data = await reader.read(READ_BYTES)
            if not data:
                return
            sent_meanwhile = b""
            try:
                for message in decoder.feed(data):
                    # The time to finish a message counts from its own first byte.
                    deadline = None
                    answer = self._handler.handle(peer, message)
                    if isinstance(answer, bytes):
                        await self._send(writer, answer)
                    elif answer is not None:
                        sent_meanwhile += await send_all(
                            answer,
                            functools.partial(self._send, writer),
                            reader,
                            self._config.max_message_bytes - len(sent_meanwhile),
                        )
                    await asyncio.sleep(0)
            except MessageTooLarge as error:
                log.warning("%s: %s", peer, error)
                await self._send(writer, encode_error(error))
                return
            data = sent_meanwhile
            if not decoder.has_unfinished:
                deadline = None
            elif deadline is None:
                deadline = loop.time() + self._config.message_timeout_ms / 1000

    async def _send(self, writer: asyncio.StreamWriter, answer: bytes) -> None:
        """Writes an answer and waits until the client took it. Raises TimeoutError."""
        writer.write(frame(answer))
        async with asyncio.timeout(self._config.message_timeout_ms / 1000):
            await writer.drain()
