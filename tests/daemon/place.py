"""A place for a vgpud whose start, or whose end, is what a test is about."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests.daemon_under_test import BIN


@dataclass
class Place:
    """A configuration file and the directories it names; nothing runs here yet."""

    base: Path

    @property
    def config(self) -> Path:
        return self.base / "vgpud.toml"

    @property
    def state_dir(self) -> Path:
        return self.base / "state"

    @property
    def run_dir(self) -> Path:
        return self.base / "run"

    @property
    def database(self) -> Path:
        return self.state_dir / "vgpud.db"

    def configure(self, more: str = "", *, state_dir: Path | None = None) -> None:
        """Write the configuration; `more` comes behind the section [daemon]."""
        self.config.write_text(
            f'[daemon]\nstate_dir = "{state_dir or self.state_dir}"\n'
            f'run_dir = "{self.run_dir}"\n{more}'
        )

    def argv(self, *words: str) -> list[str]:
        """The command line of vgpud on this configuration."""
        return [str(BIN / "vgpud"), "--config", str(self.config), *words]

    def start(self, *words: str, umask: int = -1) -> subprocess.CompletedProcess[str]:
        """Run vgpud to its end."""
        return subprocess.run(
            self.argv(*words),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            umask=umask,
        )

    def begin(self, umask: int = -1) -> subprocess.Popen[str]:
        """Start vgpud; its log is to be read from `stderr`."""
        return subprocess.Popen(
            self.argv(), stderr=subprocess.PIPE, text=True, errors="replace", umask=umask
        )

    def processes(self) -> list[psutil.Process]:
        """What runs here."""
        return [
            process
            for process in psutil.process_iter(["cmdline", "status"])
            if process.info["status"] != psutil.STATUS_ZOMBIE
            and process.pid != os.getpid()
            and any(str(self.base) in word for word in process.info["cmdline"] or ())
        ]


def read_until(process: subprocess.Popen[str], text: str) -> str:
    """What a vgpud has logged up to a line with `text`; fails if it ends before."""
    assert process.stderr is not None
    said = ""
    for line in process.stderr:
        said += line
        if text in line:
            return said
    raise AssertionError(f"vgpud ended without saying {text!r}:\n{said}")
