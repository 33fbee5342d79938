"""What a command leaves on its outputs: the answer, or why there is none."""

from __future__ import annotations

import io
import json
import os
import sys

from vgpud.errors import OutputError, VgpudError
from vgpud.refusals import RequestError


def as_line(program: str, attempt: str, error: VgpudError) -> str:
    """A failure for people: one line, whatever is in it."""
    next_step = f" {error.next_step}" if error.next_step else ""
    return _one_line(f"{program}: {attempt}: {error}.{next_step} [{error.code}]")


def as_json(error: VgpudError) -> str:
    """A failure for programs."""
    told = {
        "code": error.code,
        "message": str(error),
        "next_step": error.next_step,
        "exit_code": int(error.exit_code),
        "parameters": error.parameters() if isinstance(error, RequestError) else {},
    }
    return json.dumps({"error": told}, indent=2)


def write(text: str) -> bool:
    """Prints an answer, and says if anybody reads it; one that has seen enough is no failure.

    Characters that the terminal does not have are written as escapes. Raises OutputError.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        print(text, flush=True)
    except BrokenPipeError:
        _discard_rest()
        return False
    except OSError as error:
        _discard_rest()
        raise OutputError(f"cannot write the answer: {error.strerror or error}") from error
    return True


def _discard_rest() -> None:
    """The interpreter flushes once more when it ends, and would complain then."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _one_line(text: str) -> str:
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)
