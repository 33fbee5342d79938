"""How long something that failed is not tried again: longer with each failure, up to a limit."""

from __future__ import annotations

import math
from dataclasses import dataclass

FIRST_S = 1.0
LONGEST_S = 60.0


@dataclass
class HoldOff:
    """Failures in a row. Times are in seconds, of any one clock that does not go back."""

    _delay_s: float = 0.0
    _until_s: float = -math.inf

    def failed(self, now_s: float) -> None:
        """It was tried, and failed."""
        self._delay_s = min(max(FIRST_S, 2 * self._delay_s), LONGEST_S)
        self._until_s = now_s + self._delay_s

    def succeeded(self) -> None:
        """It was tried, and worked: the next failure counts as the first."""
        self._delay_s, self._until_s = 0.0, -math.inf

    def left_s(self, now_s: float) -> float:
        """How long it is not to be tried yet; 0 when it may be."""
        return max(0.0, self._until_s - now_s)
