"""Time, injected wherever it matters, so that tests never sleep."""

from __future__ import annotations

import threading
import time
from typing import Protocol


class Clock(Protocol):
    """The two clocks of the program and the only way to wait."""

    def monotonic(self) -> float:
        """Seconds that only grow; for durations, ages, timeouts."""
        ...

    def wall(self) -> float:
        """Unix seconds; for people and messages."""
        ...

    def wait(self, event: threading.Event, seconds: float) -> bool:
        """Wait until `event` is set or `seconds` have passed; True if it is set."""
        ...


class SystemClock:
    """The machine's clocks."""

    def monotonic(self) -> float:
        return time.monotonic()

    def wall(self) -> float:
        return time.time()

    def wait(self, event: threading.Event, seconds: float) -> bool:
        return event.wait(max(0.0, seconds))


SYSTEM_CLOCK: Clock = SystemClock()
