"""The rule for names and descriptions that people choose."""

from __future__ import annotations

from vgpud.refusals import InvalidArgument

NAME_MAX_CHARACTERS = 255
DESCRIPTION_MAX_CHARACTERS = 1024


def parse_text(parameter: str, value: str, max_characters: int) -> str:
    """Checks a text that is shown on terminals and in logs: one line, nothing invisible.

    Raises InvalidArgument naming `parameter`.
    """
    if not 1 <= len(value) <= max_characters or not value.isprintable() or value != value.strip():
        raise InvalidArgument(
            parameter,
            value,
            f"1 to {max_characters} printable characters without blanks at the ends",
        )
    return value
