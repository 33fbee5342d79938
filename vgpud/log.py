"""How vgpud writes its log: to standard error, one line for each record.

Below systemd each line says how severe it is, in the form that the journal takes off again
(sd-daemon(3)), so that `journalctl -p err` finds the errors; the journal adds the time. Elsewhere
the line starts with the local time. What other people chose (a name, a path) cannot start a line of
its own, nor reach a terminal: characters that are not printable are written as escapes.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Mapping

SEVERITIES = ((logging.CRITICAL, 2), (logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6))
DEBUG_SEVERITY = 7

_TIMED = "%(asctime)s.%(msecs)03d %(levelname)s %(name)s: %(message)s"
_UNTIMED = "%(levelname)s %(name)s: %(message)s"


class LineFormatter(logging.Formatter):
    """One line for each record; the lines of a traceback are indented below it."""

    def __init__(self, *, journal: bool) -> None:
        """`journal`: severities in place of the time."""
        super().__init__(_UNTIMED if journal else _TIMED, datefmt="%Y-%m-%d %H:%M:%S")
        self._journal = journal

    def formatMessage(self, record: logging.LogRecord) -> str:
        """The line itself."""
        return printable(super().formatMessage(record))

    def formatException(self, ei: object) -> str:
        """A traceback, whose lines cannot be taken for others."""
        text = super().formatException(ei)  # type: ignore[arg-type]
        return "\n".join(f"  {printable(line)}" for line in text.splitlines())

    def format(self, record: logging.LogRecord) -> str:
        """All lines of a record."""
        text = super().format(record)
        if not self._journal:
            return text
        return "\n".join(f"<{severity(record.levelno)}>{line}" for line in text.split("\n"))


def printable(text: str) -> str:
    """The text with an escape for each character that is not printable."""
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode("ascii")
        for char in text
    )


def severity(level: int) -> int:
    """The syslog severity of a level of `logging`, which counts the other way round."""
    return next((number for least, number in SEVERITIES if level >= least), DEBUG_SEVERITY)


def goes_to_journal(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether standard error is the stream that systemd made for the journal."""
    try:
        status = os.fstat(2)
    except OSError:
        return False
    return environment.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"


def start_logging(level: str) -> None:
    """Log from `level` (a word of the configuration) on to standard error."""
    handler = logging.StreamHandler()
    handler.setFormatter(LineFormatter(journal=goes_to_journal()))
    logging.basicConfig(level=level.upper(), handlers=[handler])


def say_error(text: str) -> None:
    """What ends the program, in one line on standard error."""
    mark = f"<{severity(logging.ERROR)}>" if goes_to_journal() else ""
    print(f"{mark}{printable(text)}", file=sys.stderr)
