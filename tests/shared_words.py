"""Numbers in memory that another process reads meanwhile: each is whole at every moment.

struct.pack_into() clears the bytes before it fills them, and the other side may look in between.
"""

from __future__ import annotations

from mmap import mmap


def load_u32(memory: mmap, offset: int) -> int:
    """The number at `offset` bytes, a multiple of 4."""
    with memoryview(memory) as view, view.cast("I") as words:
        return words[offset // 4]


def store_u32(memory: mmap, offset: int, value: int) -> None:
    """Put a number, modulo 2^32, at `offset` bytes, a multiple of 4."""
    with memoryview(memory) as view, view.cast("I") as words:
        words[offset // 4] = value & 0xFFFFFFFF


def store_u64(memory: mmap, offset: int, value: int) -> None:
    """Put a number at `offset` bytes, a multiple of 8."""
    with memoryview(memory) as view, view.cast("Q") as words:
        words[offset // 8] = value
