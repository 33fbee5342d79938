"""What every error of vgpud has: a sentence, a next step, a stable code and an exit status.

Here are those that a process meets itself; the answers of the control socket are in refusals.py.
"""

from __future__ import annotations

from enum import IntEnum
from typing import ClassVar, dataclass_transform

from vgpud.record import Fields


class ExitCode(IntEnum):
    """Exit status of the command line clients; the numbers are part of their interface."""

    OK = 0
    NEGATIVE = 1
    USAGE = 2
    NO_DAEMON = 3
    NOT_ALLOWED = 4
    NOT_FOUND = 5
    CONFLICT = 6
    TIMEOUT = 7


class VgpudError(Exception):
    """Base of all errors that vgpud raises on purpose.

    `str(error)` says what went wrong without a final full stop; `next_step` is a whole sentence
    that says what to do about it, or empty.
    """

    exit_code: ClassVar[ExitCode] = ExitCode.NEGATIVE
    advice: ClassVar[str] = ""
    _next_step: str = ""

    def __init__(self, message: str, next_step: str = "") -> None:
        super().__init__(message)
        self._next_step = next_step

    @property
    def next_step(self) -> str:
        """What to do about it; a kind of error has its `advice` where the case gives none."""
        return self._next_step or self.advice

    @property
    def code(self) -> str:
        """The stable name of this kind of error, for scripts and for searching."""
        return type(self).__name__


@dataclass_transform()
class FactError(Fields, VgpudError):
    """An error whose class says what went wrong and whose fields say with what."""


class ConfigError(VgpudError):
    """The configuration cannot be used; the daemon does not start."""

    exit_code = ExitCode.USAGE


class StoreError(VgpudError):
    """The database cannot be read or written, or is not one of ours."""

    exit_code = ExitCode.CONFLICT


class EngineError(VgpudError):
    """The engine refused or failed what it was asked to take over."""


class NotConfirmedError(VgpudError):
    """The user was asked, and did not want it."""


class NotPossibleError(VgpudError):
    """What a file declares cannot be reached from what is there; nothing was changed."""

    exit_code = ExitCode.CONFLICT


class UnhealthyError(VgpudError):
    """Something is wrong that an operator should do something about."""


class RecordingError(VgpudError):
    """A file cannot be read or written as a recording of the scheduler."""


class SpawnerError(VgpudError):
    """vgpu-spawn cannot be reached, or refused."""


class ControlError(VgpudError):
    """The control socket cannot be set up or listened on."""


class InstanceLockedError(ControlError):
    """Another vgpud holds a directory, the control socket or the spawner."""

    exit_code = ExitCode.CONFLICT


class NoDaemonError(VgpudError):
    """No daemon answers on the control socket."""

    exit_code = ExitCode.NO_DAEMON


class AccessError(VgpudError):
    """The caller may not open the control socket."""

    exit_code = ExitCode.NOT_ALLOWED


class TimeoutExpiredError(VgpudError):
    """The daemon did not answer in time."""

    exit_code = ExitCode.TIMEOUT


class OutputError(VgpudError):
    """The answer cannot be written; what was asked for has been done."""

    advice = "What was asked for has been done all the same."


class BackupError(VgpudError):
    """A copy of the database cannot be had, or not be kept."""


class UsageError(VgpudError):
    """The command line cannot be understood."""

    exit_code = ExitCode.USAGE


class ReconcileError(FactError):
    """One object of the store could not be moved to the engine.

    `remedy` is a whole sentence that says what to do about it, or empty.
    """

    subject: str
    reason: str
    remedy: str = ""

    @property
    def next_step(self) -> str:
        return self.remedy

    def __str__(self) -> str:
        return f"{self.subject}: {self.reason}"
