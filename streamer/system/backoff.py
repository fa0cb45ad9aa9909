"""Growing waits between attempts."""

from __future__ import annotations

import random
from collections.abc import Callable


class Backoff:
    """Seconds to wait, doubling from `least` to `most`, each but the shortest shortened by chance by up to a
    quarter, so that many who lost the same partner do not come back together.
    """

    def __init__(self, least: float, most: float, draw: Callable[[], float] = random.random) -> None:
        self._least, self._most, self._draw = least, max(least, most), draw
        self._failures = 0

    def next(self, slow: bool = False) -> float:
        """Seconds to wait now, never below `least`. `slow`: no retry can mend it, so the longest is used."""
        wait = self._most if slow else min(self._most, self._least * 2.0 ** min(self._failures, 60))
        self._failures += 1
        return max(self._least, wait * (1.0 - 0.25 * self._draw()))

    def reset(self) -> None:
        """It works again."""
        self._failures = 0
