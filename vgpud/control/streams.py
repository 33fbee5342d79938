"""Several answers to one call: sent as they come, for as long as the caller is there.

While an answer is awaited the caller is listened to as well, so that one that hangs up is noticed
even if there is never another answer. What else it sends is kept until the answers end, as Varlink
answers calls in order, but no more than `max_bytes` of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable

from vgpud.refusals import MessageTooLarge

READ_BYTES = 65_536


async def send_all(
    answers: AsyncGenerator[bytes, None],
    send: Callable[[bytes], Awaitable[None]],
    reader: asyncio.StreamReader,
    max_bytes: int,
) -> bytes:
    """Sends every answer, closes their source, and returns what the caller has sent meanwhile.

    Raises ConnectionResetError when the caller hangs up, MessageTooLarge when it sends too much,
    and what `send` raises.
    """
    sent_meanwhile = bytearray()
    loop = asyncio.get_running_loop()
    hang_up = loop.create_task(_until_hang_up(reader, sent_meanwhile, max_bytes))
    coming: asyncio.Task[bytes | None] | None = None
    try:
        while True:
            coming = loop.create_task(_next_of(answers))
            await asyncio.wait({coming, hang_up}, return_when=asyncio.FIRST_COMPLETED)
            if not coming.done():
                hang_up.result()
                raise ConnectionResetError("the caller of several answers has hung up")
            answer = coming.result()
            if answer is None:
                return bytes(sent_meanwhile)
            await send(answer)
    finally:
        left = [task for task in (coming, hang_up) if task is not None]
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        await answers.aclose()


async def _next_of(answers: AsyncGenerator[bytes, None]) -> bytes | None:
    return await anext(answers, None)


async def _until_hang_up(
    reader: asyncio.StreamReader, sent_meanwhile: bytearray, max_bytes: int
) -> None:
    while data := await reader.read(READ_BYTES):
        sent_meanwhile += data
        if len(sent_meanwhile) > max_bytes:
            raise MessageTooLarge(max_bytes)
