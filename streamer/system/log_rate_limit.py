"""Lines for people, at most one a minute for each cause: repeated attempts must not fill a log."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable

from streamer.system.clock import SYSTEM_CLOCK, Clock

EVERY = 60.0  # seconds
MOST_CAUSES = 256


class LogLimit:
    """Call it with a cause and a line: written unless one of that cause was within the last `every` seconds.

    What was left out is counted and said with the next line of that cause. A cause is what went wrong ("key
    not allowed"), never what strangers can make up (a key, an address): those belong into the line. Where
    there are more than MOST_CAUSES nevertheless, the rest share one. Thread-safe.
    """

    def __init__(
        self, tell: Callable[[str], None], *, every: float = EVERY, clock: Clock = SYSTEM_CLOCK
    ) -> None:
        self._tell, self._every, self._clock = tell, every, clock
        self._lock = threading.Lock()
        self._told: dict[Hashable, tuple[float, int]] = {}  # cause -> when it was told, lines left out since

    def __call__(self, cause: Hashable, line: str) -> None:
        with self._lock:
            now = self._clock.monotonic()
            if cause not in self._told and len(self._told) >= MOST_CAUSES:
                self._told = {
                    known: kept for known, kept in self._told.items() if now - kept[0] < self._every
                }
                cause = cause if len(self._told) < MOST_CAUSES else None
            at, left_out = self._told.get(cause, (now - self._every, 0))
            if now - at < self._every:
                self._told[cause] = at, left_out + 1
                return
            self._told[cause] = now, 0
        self._tell(f"{line} ({left_out} more like it before)" if left_out else line)
