"""Bytes to messages: on the wire a message is JSON text ended by one NUL byte."""

from __future__ import annotations

from collections.abc import Iterator

from vgpud.refusals import MessageTooLarge

END_OF_MESSAGE = b"\0"


class MessageDecoder:
    """Collects bytes as they arrive and cuts them into messages.

    It holds at most one unfinished message of `max_message_bytes`, besides the last bytes fed.
    """

    def __init__(self, max_message_bytes: int) -> None:
        self._max_message_bytes = max_message_bytes
        self._unfinished = bytearray()

    @property
    def has_unfinished(self) -> bool:
        """Whether a message has begun that has not ended."""
        return bool(self._unfinished)

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Takes what arrived and yields the messages now complete, without their NUL.

        To be exhausted before the next call. Raises MessageTooLarge after the messages before the
        one too large; the stream cannot be followed any more then.
        """
        *ends, rest = data.split(END_OF_MESSAGE)
        for part in ends:
            self._append(part)
            message = bytes(self._unfinished)
            self._unfinished.clear()
            yield message
        self._append(rest)

    def _append(self, part: bytes) -> None:
        if len(self._unfinished) + len(part) > self._max_message_bytes:
            raise MessageTooLarge(self._max_message_bytes)
        self._unfinished += part


def frame(message: bytes) -> bytes:
    """One message as it goes onto the wire."""
    return message + END_OF_MESSAGE
