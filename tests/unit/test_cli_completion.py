"""vgpu-admin completion and names: what a shell proposes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.guards.sources import ROOT
from tests.unit.admin_under_test import Admin
from tests.unit.control_under_test import UUID_1, UUID_2, RunningControl
from vgpud.cli.admin import COMMANDS, SHELLS

PROPOSE = """
source "$1"; shift
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1))
_shtab_vgpu_admin vgpu-admin "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
printf '%s\\n' "${COMPREPLY[@]}"
"""


class Bash:
    """A shell that has the script loaded, and finds vgpu-admin."""

    def __init__(self, directory: Path, script: str) -> None:
        program = directory / "vgpu-admin"
        program.write_text(
            f'#!/bin/sh\nPYTHONPATH={ROOT} exec {sys.executable} -m vgpud.cli.admin "$@"\n'
        )
        program.chmod(0o755)
        self.script = directory / "completion.bash"
        self.script.write_text(script)
        self.environment = {**os.environ, "PATH": f"{directory}:{os.environ['PATH']}"}

    def proposes(self, *words: str) -> list[str]:
        """For the last of the words, which may be empty."""
        done = subprocess.run(
            ["bash", "-c", PROPOSE, "bash", str(self.script), "vgpu-admin", *words],
            env=self.environment,
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stderr == ""
        return done.stdout.split()


@pytest.fixture
def bash(control: RunningControl, admin: Admin, short_dir: Path) -> Bash:
    return Bash(short_dir, admin("completion", "bash").out)


def test_commands_and_options_are_completed(bash: Bash) -> None:
    assert bash.proposes("set-p") == ["set-pool", "set-priority"]
    assert set(bash.proposes("")) >= {*COMMANDS, "help", "completion"}
    assert "--vm-name" in bash.proposes("set-pool", "--")
    assert bash.proposes("register-vm", "--priority", "") == ["low", "medium", "high"]


def test_pools_and_vms_that_are_there_are_proposed(bash: Bash, admin: Admin) -> None:
    admin("register-vm", f"--vm-uuid={UUID_1}", "--vm-name=trainer")
    assert bash.proposes("set-pool", "--vm-name", "tr") == ["trainer"]
    assert bash.proposes("show-vm", "--vm-uuid", "") == [UUID_1]
    assert bash.proposes("set-pool", "--pool", "") == ["A", "B"]
    assert bash.proposes("delete-pool", "--pool-id", "") == ["A", "B"]


def test_what_is_to_be_new_is_not_proposed(bash: Bash, admin: Admin) -> None:
    admin("register-vm", f"--vm-uuid={UUID_1}")
    assert bash.proposes("register-vm", "--vm-uuid", "") == []
    assert bash.proposes("create-pool", "--pool-id", "") == []


def test_the_name_of_a_vm_is_never_run(bash: Bash, admin: Admin, short_dir: Path) -> None:
    trap = short_dir / "trap"
    admin("register-vm", f"--vm-uuid={UUID_1}", f"--vm-name=$(touch${{IFS}}{trap})")
    admin("register-vm", f"--vm-uuid={UUID_2}", "--vm-name=plain")
    assert bash.proposes("show-vm", "--vm-name", "") == ["plain"]
    assert not trap.exists()


def test_without_a_daemon_commands_are_completed_all_the_same(bash: Bash) -> None:
    bash.environment["VGPUD_SOCKET"] = "/nowhere/control.sock"
    assert bash.proposes("show-vm", "--vm-name", "") == []
    assert bash.proposes("show-v") == ["show-vm"]


@pytest.mark.parametrize("shell", SHELLS)
def test_the_script_of_each_shell_asks_for_names_and_knows_all_commands(
    admin: Admin, shell: str
) -> None:
    ran = admin("completion", shell)
    assert ran.code == 0
    assert "vgpu-admin names vms" in ran.out
    assert [name for name in COMMANDS if name not in ran.out] == []


def test_another_shell_is_refused_with_those_there_are(admin: Admin) -> None:
    ran = admin("completion", "csh")
    assert ran.code == 2 and "'bash', 'zsh', 'fish'" in ran.err


def test_names_are_listed_one_a_line(control: RunningControl, admin: Admin) -> None:
    admin("register-vm", f"--vm-uuid={UUID_1}", "--vm-name=b")
    admin("register-vm", f"--vm-uuid={UUID_2}", "--vm-name=two words")
    assert admin("names", "pools").out == "A\nB\n"
    assert admin("names", "vms").out == "b\n"
    assert admin("names", "uuids").out == f"{UUID_1}\n{UUID_2}\n"
