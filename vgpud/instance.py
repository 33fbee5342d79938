"""One vgpud per spawner: two would end each other's workers.

The locks of the directories keep two daemons apart that share one of them. Two that have nothing
in common but `[spawner] socket` meet here: who serves leaves with the spawner a descriptor of its
own process, and the next one looks whether that process has ended.
"""

from __future__ import annotations

import os
import select

from vgpud.errors import InstanceLockedError
from vgpud.spawner import HeldEntry, Spawner, close_fds

KEY = "daemon"


def claim_spawner(spawner: Spawner) -> None:
    """Makes this process the one that the spawner works for, as long as it lives.

    Raises InstanceLockedError if another one is, and SpawnerError.
    """
    for entry in spawner.fetch(KEY):
        try:
            if _is_running(entry):
                raise InstanceLockedError(
                    f"another vgpud (pid {entry.arg}) uses this spawner",
                    "Stop it first, or set another [spawner] socket.",
                )
        finally:
            close_fds(entry.fds)
    pidfd = os.pidfd_open(os.getpid())
    try:
        spawner.hold(KEY, [pidfd], arg=os.getpid())
    finally:
        os.close(pidfd)


def _is_running(entry: HeldEntry) -> bool:
    """A pidfd is readable once its process has ended."""
    if entry.arg == os.getpid():
        return False
    ended, _, _ = select.select(entry.fds, (), (), 0)
    return not ended
