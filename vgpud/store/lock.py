"""One daemon per directory: whoever keeps things in it holds its lock."""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path

from vgpud.errors import InstanceLockedError, StoreError


class InstanceLock:
    """A held lock; it ends with `release()` or with the process, however that dies."""

    def __init__(self, fd: int, path: Path) -> None:
        self._fd = fd
        self.path = path

    def release(self) -> None:
        """Gives the lock up. The file stays: removing it would let two daemons hold two files."""
        os.close(self._fd)


def acquire_instance_lock(path: Path, key: str = "state_dir") -> InstanceLock:
    """Takes the lock at `path` without waiting; its directory must exist.

    Args:
        path: the file to lock.
        key: the configuration key that names its directory, for the advice.

    Raises:
        InstanceLockedError: another process holds it; its pid is named.
        StoreError: the file cannot be opened.
    """
    try:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise StoreError(
            f"cannot open the lock {path}: {error.strerror}",
            f"The directory of {key} must exist and belong to the account vgpud runs as.",
        ) from error
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        holder = os.pread(fd, 32, 0).decode("ascii", "replace").strip()
        os.close(fd)
        if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
            raise StoreError(f"cannot lock {path}: {error.strerror}") from error
        raise InstanceLockedError(
            f"another vgpud (pid {holder or 'unknown'}) holds {path}",
            f"Stop it first, or use another {key}.",
        ) from error
    # Written for people and for the message above; the lock itself is the kernel's.
    os.ftruncate(fd, 0)
    os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
    return InstanceLock(fd, path)
