"""The directories that vgpud keeps its things in: made, opened and given away."""

from __future__ import annotations

import logging
import os
import stat
from collections.abc import Collection
from pathlib import Path

from vgpud.config import Config
from vgpud.errors import ConfigError

log = logging.getLogger(__name__)

STATE_MODE = 0o750
RUN_MODE = 0o711
"""Entered, but not listed, by everybody: hypervisors reach their VM's socket below it."""

EVERYBODY_ENTERS = 0o111


def make_directories(config: Config) -> None:
    """Make what is missing, and the run directory one that everybody may enter.

    Raises ConfigError.
    """
    _make(Path(config.daemon.state_dir), STATE_MODE)
    # The umask of a unit is for secrets; this directory, and what leads to it, is none.
    umask = os.umask(0o022)
    try:
        _make(Path(config.daemon.run_dir), RUN_MODE)
    finally:
        os.umask(umask)
    _open_way(Path(config.daemon.run_dir))


def _make(directory: Path, mode: int) -> None:
    try:
        os.makedirs(directory, mode=mode, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f"cannot make the directory {directory}: {error.strerror}",
            "Start vgpud as root or under its unit, or choose another directory.",
        ) from error


def _open_way(directory: Path) -> None:
    """Let everybody enter a directory; say which one above it closes the way, if one does."""
    try:
        status = directory.stat()
        mode = stat.S_IMODE(status.st_mode)
        if mode & EVERYBODY_ENTERS != EVERYBODY_ENTERS and os.geteuid() in (0, status.st_uid):
            directory.chmod(mode | EVERYBODY_ENTERS)
            log.info("%s may be entered by everybody now: its mode was %#o", directory, mode)
    except OSError as error:
        raise ConfigError(f"cannot use the directory {directory}: {error.strerror}") from error
    for place in (directory, *directory.absolute().parents):
        if not place.stat().st_mode & stat.S_IXOTH:
            log.warning(
                "%s cannot be entered by everybody: QEMU may not reach the sockets of its VM in %s",
                place,
                directory,
            )


def give_directory(directory: Path, uid: int, gid: int, but: Collection[Path]) -> None:
    """Give a directory to an account, with all that is in it except for `but`; follows no link.

    A path in `but` keeps owner and group, and so does a file that has another name elsewhere: the
    account may own the directory already, and have put it there. Raises OSError.
    """
    kept = {os.fspath(path) for path in but}
    for path, names, files, descriptor in os.fwalk(directory):
        os.chown(descriptor, uid, gid)
        for name in (*names, *files):
            found = os.stat(name, dir_fd=descriptor, follow_symlinks=False)
            shared = not stat.S_ISDIR(found.st_mode) and found.st_nlink > 1
            if os.path.join(path, name) not in kept and not shared:
                os.chown(name, uid, gid, dir_fd=descriptor, follow_symlinks=False)
