"""Fakes that users of the library may use in their own tests too."""

from __future__ import annotations

import threading

from streamer.system.clock import Clock


class FakeClock(Clock):
    """A clock that moves only when told to, or by exactly what is waited for.

    `wait` advances the time at once and never blocks, so a loop that waits runs as fast as it can.
    """

    def __init__(self, monotonic: float = 1000.0, wall: float = 1_700_000_000.0) -> None:
        self._lock = threading.Lock()
        self._monotonic = monotonic
        self._wall = wall

    def monotonic(self) -> float:
        with self._lock:
            return self._monotonic

    def wall(self) -> float:
        with self._lock:
            return self._wall

    def advance(self, seconds: float) -> None:
        """Move both clocks forward."""
        with self._lock:
            self._monotonic += seconds
            self._wall += seconds

    def wait(self, event: threading.Event, seconds: float) -> bool:
        if not event.is_set():
            self.advance(max(0.0, seconds))
        return event.is_set()
