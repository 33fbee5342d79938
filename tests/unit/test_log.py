"""The log: one line for each record, severities for the journal, times elsewhere."""

from __future__ import annotations

import logging
import os
import re
import subprocess
import sys

import pytest

from tests.guards.sources import ROOT
from vgpud.log import LineFormatter, goes_to_journal, printable, severity


def line(message: str, *, journal: bool = False, level: int = logging.ERROR) -> str:
    record = logging.LogRecord("vgpud.x", level, "", 0, message, (), None)
    return LineFormatter(journal=journal).format(record)


def test_elsewhere_a_line_starts_with_the_time() -> None:
    time = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}"
    assert re.fullmatch(f"{time} ERROR vgpud.x: it failed", line("it failed"))


def test_for_the_journal_a_line_starts_with_its_severity() -> None:
    assert line("it failed", journal=True) == "<3>ERROR vgpud.x: it failed"


@pytest.mark.parametrize(
    ("level", "number"),
    [
        (logging.CRITICAL, 2),
        (logging.ERROR, 3),
        (logging.WARNING, 4),
        (logging.INFO, 6),
        (logging.DEBUG, 7),
    ],
)
def test_levels_are_severities_of_syslog(level: int, number: int) -> None:
    assert severity(level) == number


@pytest.mark.parametrize("journal", [True, False])
def test_what_somebody_chose_cannot_start_a_line_nor_reach_a_terminal(journal: bool) -> None:
    said = line("no VM x\nCRITICAL vgpud: forged\x1b[31m\u2028\udcff", journal=journal)
    assert said.endswith(r"no VM x\nCRITICAL vgpud: forged\x1b[31m\u2028\udcff")


def test_ordinary_text_stays_as_it_is() -> None:
    assert printable("Grüße aus 東京 \\n") == "Grüße aus 東京 \\n"


def test_the_lines_of_a_traceback_cannot_be_taken_for_others() -> None:
    try:
        raise ValueError("first\nERROR vgpud: forged")
    except ValueError:
        record = logging.LogRecord("x", logging.ERROR, "", 0, "failed", (), sys.exc_info())
    first, *rest = LineFormatter(journal=True).format(record).split("\n")
    assert first == "<3>ERROR x: failed"
    assert rest and all(text.startswith("<3>  ") for text in rest)


def test_only_the_stream_that_systemd_made_is_the_journal() -> None:
    status = os.fstat(2)
    assert goes_to_journal({"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"})
    assert not goes_to_journal({"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino + 1}"})
    assert not goes_to_journal({})


def test_what_refuses_a_start_is_an_error_to_the_journal_too() -> None:
    reading, writing = os.pipe()
    status = os.fstat(writing)
    done = subprocess.run(
        [sys.executable, "-m", "vgpud.daemon", "--config", "/nowhere.toml"],
        stderr=writing,
        env={**os.environ, "JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"},
        cwd=ROOT,
        timeout=30,
        check=False,
    )
    os.close(writing)
    with open(reading) as said:
        assert said.read().startswith("<3>vgpud: /nowhere.toml: cannot be read")
    assert done.returncode == 2
