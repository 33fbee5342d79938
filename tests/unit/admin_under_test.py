"""vgpu-admin run in the process of the test, with what it prints."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from vgpud.cli.admin import main


@dataclass(frozen=True)
class Ran:
    """How a command ended, and what it printed."""

    code: int
    out: str
    err: str


Admin = Callable[..., Ran]


def admin_of(capsys: pytest.CaptureFixture[str]) -> Admin:
    """Runs vgpu-admin with the words given; what it prints is taken from `capsys`."""

    def run(*words: str) -> Ran:
        try:
            code = main(words)
        except SystemExit as ended:
            code = int(ended.code or 0)
        captured = capsys.readouterr()
        return Ran(code, captured.out, captured.err)

    return run
