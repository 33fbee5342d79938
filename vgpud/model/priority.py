"""The scheduling class of a VM."""

from __future__ import annotations

from enum import IntEnum


class Priority(IntEnum):
    """Strict scheduling class inside a pool; the values are those of the v1 stub framing."""

    LOW = 0
    MEDIUM = 1
    HIGH = 2

    @property
    def label(self) -> str:
        """The word used in commands and on the control socket."""
        return self.name.lower()

    @classmethod
    def from_label(cls, label: str) -> Priority:
        """Reads the word used in commands. Raises ValueError for any other word."""
        for priority in cls:
            if priority.label == label:
                return priority
        raise ValueError(f"{label!r} is not one of {', '.join(p.label for p in cls)}")
