"""vgpu-admin trace: its table, and how following ends."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.guards.sources import ROOT
from tests.unit.control_under_test import UUID_1, RunningControl, running_control, traced
from vgpud.cli import trace as cli_trace
from vgpud.cli.admin import main
from vgpud.control.handlers import trace as handlers_trace
from vgpud.model.trace import RequestOutcome, RequestStatus, TraceBatch

FOLLOW = ("trace", "--follow")


def started(*words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "vgpud.cli.admin", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )


def line_of(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline()


def add(control: RunningControl, batch: TraceBatch | None) -> None:
    control.in_loop(lambda: control.engine.trace.add(batch))


def test_requests_are_a_table_with_times_that_need_no_arithmetic(
    control: RunningControl, capsys: pytest.CaptureFixture[str]
) -> None:
    control.engine.trace.kept = [
        traced(1),
        traced(
            2,
            outcome=RequestOutcome.REFUSED,
            status=RequestStatus.BUSY,
            request=0,
            picked_ns=0,
            dispatches=0,
            retry_after_us=1500,
            pool_id="",
        ),
        traced(3, status=RequestStatus.FAILED, op_index=4, native=-54, dispatches=12),
    ]
    assert main(["trace"]) == 0
    out = capsys.readouterr().out
    assert re.sub(r"\d\d:\d\d:\d\d\.\d{3}", "hh:mm:ss.mmm", out) == (
        "TIME              VM   REQUEST  POOL  CLASS   VIA   KIND             WAIT       RUN"
        "     TOTAL  UNITS  STATUS\n"
        "hh:mm:ss.mmm       1         1  A     high    ring  command        100 us     20 us"
        "    150 us      1  ok\n"
        "hh:mm:ss.mmm       1         -  -     high    ring  command             -         -"
        "    150 us      0  busy (refused) retry after 1.5 ms\n"
        "hh:mm:ss.mmm       1         3  A     high    ring  command        100 us     20 us"
        "    150 us     12  failed at op 4 (native -54)\n"
    )


def test_a_vm_and_a_number_of_requests_can_be_asked_for(
    control: RunningControl, capsys: pytest.CaptureFixture[str]
) -> None:
    control.call("RegisterVm", vm_uuid=UUID_1, vm_name="one")
    assert main(["trace", "--vm-name=one", "--limit=5", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"requests": [], "missed": 0}
    assert control.engine.trace.asked == [(UUID_1, 5)]
    assert cli_trace.LIMIT_MAX == handlers_trace.LIMIT_MAX
    assert main(["trace", f"--limit={cli_trace.LIMIT_MAX + 1}"]) == 2
    assert "a number from 0 to 1000" in capsys.readouterr().err
    assert main(["trace", "--vm-name=two", "--follow"]) == 5
    assert "tracing requests of VM two: no VM 'two' is registered" in capsys.readouterr().err


def test_following_prints_what_comes_until_it_is_interrupted(control: RunningControl) -> None:
    control.engine.trace.kept = [traced(1)]
    with started(*FOLLOW) as process:
        assert line_of(process).startswith("TIME ")
        assert line_of(process).endswith(" ok\n")
        add(control, TraceBatch([traced(5)], 3))
        assert line_of(process) == "... 3 requests missed\n"
        assert line_of(process).endswith(" ok\n")
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=30) == ("", "")
        assert process.returncode == 0
    assert control.engine.trace.left.wait(10)


def test_each_answer_that_is_followed_is_a_line_of_json(control: RunningControl) -> None:
    with started(*FOLLOW, "--json") as process:
        assert json.loads(line_of(process)) == {"requests": [], "missed": 0}
        add(control, TraceBatch([traced(5)], 0))
        assert json.loads(line_of(process))["requests"][0]["seq"] == 5
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=30) == ("", "")


def test_following_ends_with_the_vm(control: RunningControl) -> None:
    control.call("RegisterVm", vm_uuid=UUID_1)
    with started(*FOLLOW, f"--vm-uuid={UUID_1}") as process:
        line_of(process)
        control.call("RemoveVm", vm_uuid=UUID_1)
        add(control, None)
        assert process.communicate(timeout=30)[1].endswith("[VmNotFound]\n")
        assert process.returncode == 5


def test_following_a_daemon_that_ends_says_so(short_dir: Path) -> None:
    with running_control(short_dir) as control:
        process = started(*FOLLOW, f"--socket={control.socket}")
        assert line_of(process).startswith("TIME ")
    with process:
        _, err = process.communicate(timeout=30)
    assert process.returncode == 3
    assert f"the daemon on {control.socket} has ended, or closed the connection." in err


def test_following_ends_when_nobody_reads_what_it_prints(control: RunningControl) -> None:
    with started(*FOLLOW) as process:
        line_of(process)
        assert process.stdout is not None
        process.stdout.close()
        add(control, TraceBatch([traced(5)], 0))
        assert process.wait(30) == 0
    assert control.engine.trace.left.wait(10)
