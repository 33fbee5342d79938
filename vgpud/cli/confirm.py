"""Asking the user before something that is hard to undo."""

from __future__ import annotations

import sys

from vgpud.errors import UsageError


def confirmed(question: str) -> bool:
    """Asks on the terminal; only yes or y, in any case, is one.

    Raises UsageError when nobody is there to be asked.
    """
    if not sys.stdin.isatty():
        raise UsageError("it asks before it does that, and this is no terminal", "Add --yes.")
    print(question, "(yes/no): ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")
