"""Values of options: read with a message that says what is expected."""

from __future__ import annotations

from argparse import ArgumentTypeError
from collections.abc import Callable

DIGITS_MAX = 19
"""What is longer is beyond 64 bits."""


def whole_number(lowest: int, highest: int) -> Callable[[str], int]:
    """A reader of decimal numbers from `lowest` to `highest`, written in digits alone."""

    def read(text: str) -> int:
        digits = text.removeprefix("-")
        plain = digits.isascii() and digits.isdecimal() and len(digits) <= DIGITS_MAX
        if not plain or not lowest <= int(text) <= highest:
            raise ArgumentTypeError(f"{text!r} is not a number from {lowest} to {highest}")
        return int(text)

    return read


def seconds(text: str) -> float:
    """A time above 0 and up to a day, in seconds."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value <= 86_400:
        raise ArgumentTypeError(f"{text!r} is not from 0 to 86400 seconds")
    return value
