"""What vgpud tells the service manager; outside of one, every call does nothing."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping

import sdnotify


class ServiceManager:
    """The notification socket of systemd. Calls send one datagram and do not wait for anything."""

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        # Without an address, sdnotify opens a socket all the same and loses it.
        given = "NOTIFY_SOCKET" in environment
        self._notifier = sdnotify.SystemdNotifier() if given else None
        self._environment = environment

    def close(self) -> None:
        """Closes the socket; calls after it do nothing. sdnotify itself never does."""
        if self._notifier is not None and self._notifier.socket is not None:
            self._notifier.socket.close()
        self._notifier = None

    def ready(self, status: str) -> None:
        """Says that start-up, or a reload, is complete; `status` is shown by systemctl."""
        self._notify(f"READY=1\nSTATUS={_one_line(status)}")

    def status(self, status: str) -> None:
        """Says in one line what the daemon is doing."""
        self._notify(f"STATUS={_one_line(status)}")

    def reloading(self) -> None:
        """Says that a reload begins; `ready()` ends it."""
        now_usec = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        self._notify(f"RELOADING=1\nMONOTONIC_USEC={now_usec}")

    def stopping(self, status: str) -> None:
        """Says that the daemon is shutting down on purpose."""
        self._notify(f"STOPPING=1\nSTATUS={_one_line(status)}")

    def watchdog(self) -> None:
        """Says that the daemon is alive; due every `watchdog_interval_s()`."""
        self._notify("WATCHDOG=1")

    def watchdog_interval_s(self) -> float | None:
        """Seconds between two pings, half of what the unit allows; None when none is wanted.

        The variables are meant for one process: another pid's are not ours to answer.
        """
        usec = self._environment.get("WATCHDOG_USEC", "")
        pid = self._environment.get("WATCHDOG_PID", str(os.getpid()))
        if not usec.isdecimal() or int(usec) == 0 or pid != str(os.getpid()):
            return None
        return int(usec) / 2 / 1_000_000

    def _notify(self, state: str) -> None:
        if self._notifier is not None:
            self._notifier.notify(state)


def _one_line(status: str) -> str:
    # A newline would start another assignment in the notification protocol.
    return " ".join(status.splitlines())
